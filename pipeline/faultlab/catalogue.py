"""Every fault that the lab knows, by family.

To add one:

1. Write `async def _name(stage)` in the module of its family. It starts the run (`await stage.mid_run()` also brings it
   to its middle), notes the moment at which it strikes (`stage.struck(await stage.moment(processes_hit))`, exact for
   processes that are frozen, as `catching` does it), strikes, and lifts again what lasts by itself before it
   returns. Switches of the simulated API are turned by `await stage.books.switch(error_after_rate=0.3)`. It need
   not wait for the run's end, and not repeat a command that the fault ends: the lab does both.
2. Add a `Fault` to the module's `FAULTS`: name, family, one line of meaning, the play, and `Rules`: how many POSTs it
   may cost (`nothing`, `what_was_on_the_wire`, `ambiguous_answers`, or a function of the evidence), which outcomes rows
   may have, and whether the API itself ends generations so that they are asked for again (`resends_pending`).
3. Try it: `vidbatch faultlab --only NAME --rows 200`, and again with 2000 rows and other seeds.

A fault should take 25 s at most, and strike while rows are on the wire and others are pending: else it shows nothing.
"""

from collections.abc import Sequence

from pipeline.core.errors import SettingsError
from pipeline.faultlab import (
    api_faults_account,
    api_faults_query,
    api_faults_submit,
    disk_faults,
    process_faults,
    store_faults,
    time_faults,
)
from pipeline.faultlab.fault import Fault

FAULTS: tuple[Fault, ...] = (
    *process_faults.FAULTS,
    *store_faults.FAULTS,
    *disk_faults.FAULTS,
    *api_faults_account.FAULTS,
    *api_faults_submit.FAULTS,
    *api_faults_query.FAULTS,
    *time_faults.FAULTS,
)


def chosen(names: Sequence[str]) -> list[Fault]:
    """The faults of these names or families, in the catalogue's order; without names all. SettingsError for others."""
    known = {fault.name for fault in FAULTS} | {fault.family.value for fault in FAULTS}
    if unknown := [name for name in names if name not in known]:
        raise SettingsError(f"--only: there is no fault {unknown[0]!r}; `vidbatch faultlab --list` shows them all")
    return [fault for fault in FAULTS if not names or fault.name in names or fault.family.value in names]
