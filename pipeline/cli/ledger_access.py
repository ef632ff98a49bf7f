"""Reach the ledger from a command that runs nothing: in the given Redis, else in the user's private server."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.core.errors import UsageError
from pipeline.core.snapshot import RunSnapshot
from pipeline.edges.embedded import EmbeddedServer, server_binary, state_folder
from pipeline.edges.environment import process_environment
from pipeline.ports import Ledger, RunCard


@contextmanager
def ledger_url(redis_url: str | None) -> Iterator[str]:
    """The URL of the ledger's server; a private server is started for as long as this takes."""
    if redis_url:
        yield redis_url
        return
    environment = process_environment()
    server = EmbeddedServer(state_folder(environment), server_binary(environment.get("PATH")))
    server.enter()
    try:
        yield server.url
    finally:
        server.leave()


async def known_run(ledger: Ledger, run_id: str) -> tuple[RunSnapshot, RunCard]:
    """How a run stands, and its card. UsageError names the runs that the ledger knows."""
    run, card = await ledger.snapshot(run_id), await ledger.card(run_id)
    if run is not None and card is not None:
        return run, card
    known = ", ".join(await ledger.active_runs()) or "none"
    raise UsageError(f"the ledger knows no run {run_id}; it knows {known}. Finished runs are in their OUT, under runs/")
