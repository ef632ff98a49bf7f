"""The tasks: each takes a ticket to the runtime of its process. A ticket names a run and carries no row."""

from pipeline.core.tickets import Role
from workers.app import app

PUBLISHING_S = 6 * 3600
"""Publishing a very large run takes long, and killing it would only make it begin again."""


def _hold(role: Role, run_id: str) -> None:
    from workers.runtime import runtime  # noqa: PLC0415 - clients are made after the fork

    runtime().hold(role, run_id)


@app.task(name="vidbatch.submit")  # type: ignore[untyped-decorator]
def submit(run_id: str) -> None:
    """Send ready rows for one shift."""
    _hold(Role.SUBMIT, run_id)


@app.task(name="vidbatch.poll")  # type: ignore[untyped-decorator]
def poll(run_id: str) -> None:
    """Poll pending rows for one shift."""
    _hold(Role.POLL, run_id)


@app.task(name="vidbatch.write")  # type: ignore[untyped-decorator]
def write(run_id: str) -> None:
    """Write results for one shift."""
    _hold(Role.WRITE, run_id)


@app.task(name="vidbatch.control", time_limit=PUBLISHING_S)  # type: ignore[untyped-decorator]
def control(run_id: str) -> None:
    """Feed the run, or finalize it."""
    _hold(Role.CONTROL, run_id)
