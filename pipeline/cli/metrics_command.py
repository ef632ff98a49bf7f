"""`vidbatch metrics`."""

import asyncio
import logging
from functools import partial
from importlib.metadata import version

import click

from pipeline.cli import log_options, options
from pipeline.cli.ledger_access import ledger_url
from pipeline.core.errors import LedgerUnavailable
from pipeline.core.measures import samples
from pipeline.edges.clock import MachineClock
from pipeline.edges.environment import process_environment
from pipeline.edges.log_secrets import secrets_of
from pipeline.edges.logs import configure, hide
from pipeline.edges.metrics_server import serve
from pipeline.edges.metrics_text import encoded
from pipeline.edges.redis_door import RedisDoor
from pipeline.edges.redis_keys import LEDGER_VERSION
from pipeline.edges.redis_ledger import RedisLedger
from pipeline.edges.redis_schedules import RedisSchedules
from pipeline.edges.redis_store import RedisStore
from pipeline.flows.measuring import Watcher, measure

PORT = 9464

_log = logging.getLogger("vidbatch.metrics")


@click.command(name="metrics")
@options.redis_url
@click.option(
    "--host",
    envvar="VIDBATCH_METRICS_HOST",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen at; 0.0.0.0 is every one, for a Prometheus on another machine.",
)
@click.option(
    "--port",
    envvar="VIDBATCH_METRICS_PORT",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="Port to listen at; 0 is any that is free.",
)
@log_options.form
@log_options.level
def command(redis_url: str | None, host: str, port: int, log_format: str, log_level: str) -> None:
    """Serve what the ledger tells of all runs, accounts, workers and schedules as metrics, for Prometheus.

    Each request of /metrics looks at the ledger, at most once a second. Nothing is changed, and no API key is needed.
    """
    environment = process_environment()
    hide(secrets_of(environment))
    configure({"VIDBATCH_LOG_FORMAT": log_format, "VIDBATCH_LOG_LEVEL": log_level})
    with ledger_url(redis_url) as url:
        asyncio.run(_serve(url, host, port))


async def _serve(url: str, host: str, port: int) -> None:
    clock, ledger, store = MachineClock(), RedisLedger(url), RedisStore(url)
    schedules = RedisSchedules(RedisDoor(url))
    watcher = Watcher(partial(measure, ledger, store, schedules, clock), clock, _Listener())

    async def answer(accepts: str) -> tuple[bytes, str]:
        return encoded(samples(await watcher(), version("vidbatch"), LEDGER_VERSION), accepts)

    try:
        await serve(answer, host, port, _ready)
        _log.info("told to stop", extra={"event": "metrics_stopped"})
    finally:
        for one in (ledger, store, schedules):
            await one.close()


def _ready(address: str) -> None:
    click.echo(f"metrics ready {address}")
    _log.info("serving %s", address, extra={"event": "metrics_ready"})


class _Listener:
    """Logs what goes wrong with looking, once until it goes well again."""

    def __init__(self) -> None:
        self._said = ""

    def __call__(self, error: Exception | None) -> None:
        said = "" if error is None else f"{type(error).__name__}: {error}"
        if said == self._said:
            return
        self._said = said
        if error is None:
            _log.info("Redis answers again", extra={"event": "redis_back"})
        elif isinstance(error, LedgerUnavailable):
            _log.warning("the page says that it is down: %s", error, extra={"event": "redis_away"})
        else:
            _log.error("the ledger could not be read", exc_info=error, extra={"event": "read_failed"})
