"""The tasks: each takes a ticket to the runtime of its process. A ticket names a run and carries no row.

Celery loads this module before it forks, and with it all that a shift needs: a worker's children share what one of
them would take a second of CPU to load. Clients are made after the fork, by the runtime's first use.
"""

from pipeline.core.tickets import Role
from workers.app import app
from workers.runtime import runtime
from workers.settings import SUBMITTING_S

PUBLISHING_S = 6 * 3600
"""Publishing a very large run takes long, and killing it would only make it begin again."""

PUBLISHING_EARLY_S = 1800
"""The same for what a write shift publishes while the run goes on: some files, and a look at the ids of all rows."""


def _hold(role: Role, run_id: str) -> None:
    runtime().hold(role, run_id)


@app.task(name="vidbatch.submit", time_limit=SUBMITTING_S)  # type: ignore[untyped-decorator]
def submit(run_id: str) -> None:
    """Send ready rows for one shift."""
    _hold(Role.SUBMIT, run_id)


@app.task(name="vidbatch.poll")  # type: ignore[untyped-decorator]
def poll(run_id: str) -> None:
    """Poll pending rows for one shift."""
    _hold(Role.POLL, run_id)


@app.task(name="vidbatch.write", time_limit=PUBLISHING_EARLY_S)  # type: ignore[untyped-decorator]
def write(run_id: str) -> None:
    """Write results for one shift."""
    _hold(Role.WRITE, run_id)


@app.task(name="vidbatch.control", time_limit=PUBLISHING_S)  # type: ignore[untyped-decorator]
def control(run_id: str) -> None:
    """Feed the run, or finalize it."""
    _hold(Role.CONTROL, run_id)
