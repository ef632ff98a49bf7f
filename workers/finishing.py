"""What a worker says of a run that is finished, and the report that it makes of it."""

import logging

from pipeline.core.errors import StorageError
from pipeline.core.snapshot import RunSnapshot
from pipeline.edges.reporting import make_report
from pipeline.edges.run_folder import LocalRunFolder

_log = logging.getLogger("vidbatch.worker")


def tell_finished(run: RunSnapshot) -> None:
    """Say in the log how a run ended."""
    outcomes = {outcome.value: count for outcome, count in run.outcomes.items() if count}
    ended = ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.items()) or "no rows"
    tokens, cost = run.prompt_tokens + run.completion_tokens, round(run.cost, 6) or None
    told = {"rows": run.total, "outcomes": outcomes, "tokens": tokens, "cost": cost, "account": run.account}
    _log.info("the run is finished: %s", ended, extra={"event": "run_finished", **told})


def report(folder: LocalRunFolder) -> None:
    """Make the report; a reason why it can't be made is in the log too."""
    try:
        make_report(folder)
    except StorageError as error:
        _log.warning("no report: %s", error, extra={"event": "report_failed"})
        raise
