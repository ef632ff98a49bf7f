"""What a command begins before it knows that it is needed, since it takes a second and costs nothing to drop."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from pipeline.cli.configuration import Configuration, known_key
from pipeline.core.errors import SettingsError
from pipeline.edges.embedded_worker import Waiting
from pipeline.edges.environment import process_environment


@contextmanager
def waiting_worker(configuration: Configuration, given: Mapping[str, Any]) -> Iterator[Waiting | None]:
    """A private worker that gets ready while the command plans and asks; it is gone if it was not told to serve.

    Nothing where the fleet serves, or where there is no key: then nothing is sent.
    """
    environment = process_environment()
    key = None
    with suppress(SettingsError):  # told when the key is needed, which a finished run does not
        key = known_key(configuration, environment)
    if given["redis_url"] or key is None:
        yield None
        return
    waiting = Waiting(environment)
    try:
        yield waiting
    finally:
        waiting.drop()
