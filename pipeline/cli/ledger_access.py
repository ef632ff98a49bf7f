"""Reach the ledger from a command that runs nothing: in the given Redis, else in the user's private server."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.edges.embedded import EmbeddedServer, server_binary, state_folder
from pipeline.edges.environment import process_environment


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
