"""`vidbatch watch`."""

import asyncio
import sys
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TextIO

import click
import orjson

from pipeline.cli import options
from pipeline.cli.configuration import Configuration, known_key
from pipeline.cli.ending import EXIT, end
from pipeline.cli.following import watch_run
from pipeline.cli.ledger_access import known_run, ledger_url
from pipeline.cli.preparing import found
from pipeline.cli.row_view import Written, follow_row, row_named
from pipeline.cli.screen import Screen, Speedometer
from pipeline.cli.sealing import may_send
from pipeline.cli.status_command import as_object
from pipeline.cli.watching import Stop, Stopped
from pipeline.core.account import Secret, key_fingerprint
from pipeline.core.deadline import Outlook, forecast_object
from pipeline.core.errors import UsageError
from pipeline.core.lifecycle import Outcome
from pipeline.core.plain import plain
from pipeline.core.snapshot import RunSnapshot
from pipeline.core.waiting import waits_for
from pipeline.edges.clock import local_now, unix_seconds
from pipeline.edges.environment import process_environment
from pipeline.edges.foxapi import FoxApi
from pipeline.edges.http import HttpDoor
from pipeline.edges.http_transport import FOLLOWING
from pipeline.edges.places import out_place
from pipeline.edges.redis_ledger import RedisLedger
from pipeline.edges.run_folder import LocalRunFolder
from pipeline.ports import RunCard


@click.command(name="watch")
@click.argument("run_id", metavar="RUN")
@options.redis_url
@options.by
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line for each change, for programs.")
@click.option(
    "--follow",
    "row",
    metavar="ROW",
    help="Show one row's answer as it is being written, in a run with --mode stream: by its id, or # and its index. "
    "What the model thinks goes to stderr. It ends with 0 once the row completed, and with 1 if it did not.",
)
@click.pass_obj
def command(
    configuration: Configuration,
    run_id: str,
    redis_url: str | None,
    by: datetime | None,
    as_json: bool,
    row: str | None,
) -> None:
    """Follow RUN until it ends, without leading it: Ctrl-C closes the view, and the run goes on.

    It ends as the run's own command does, with its exit code; with 0 when it was closed.
    """
    screen = Screen(quiet=as_json)
    with ledger_url(redis_url) as url:
        if row is None:
            code = asyncio.run(_watch(url, run_id, screen, by, as_json=as_json))
        else:
            code = asyncio.run(_follow(url, run_id, row, known_key(configuration, process_environment())))
    sys.exit(code)


async def _follow(url: str, run_id: str, name: str, key: Secret | None) -> int:
    """Show one row; nothing of it is changed, and nothing is sent that costs."""
    ledger, door = RedisLedger(url), HttpDoor(FOLLOWING)
    try:
        _, card = await known_run(ledger, run_id)
        folder = _folder_here(card)
        if folder is None:
            raise UsageError(f"--follow: {card.out} is not to be seen from here, and holds the run's rows")
        is_its_own = key is not None and key_fingerprint(key.reveal()) == card.key_fingerprint
        api = None
        if key is not None and is_its_own and await may_send(url, key, card.base_url):
            api = FoxApi(card.base_url, key, door, clock=unix_seconds)
        hidden = "" if key is None else key.reveal()
        written = Written(think=partial(_out, sys.stderr), write=partial(_out, sys.stdout), key=hidden)
        say = partial(click.echo, err=True)
        return await follow_row(card, ledger, folder, row_named(folder, name), api, written, say)
    finally:
        await door.close()
        await ledger.close()


def _out(stream: TextIO, text: str) -> None:
    stream.write(plain(text))
    stream.flush()


async def _watch(url: str, run_id: str, screen: Screen, by: datetime | None, *, as_json: bool) -> int:
    ledger = RedisLedger(url)
    last: list[RunSnapshot] = []
    try:
        run, card = await known_run(ledger, run_id)
        folder = _folder_here(card)
        screen.estimate = folder.described().get("estimate") if folder else None
        show = Lines(click.echo, by) if as_json else screen.show

        def shown(run: RunSnapshot) -> None:
            last[:] = [run]
            show(run)

        with screen:
            stop = await watch_run(card, ledger, screen, shown, by)
    finally:
        await ledger.close()
    return told(stop, [run, *last][-1], folder, screen, as_json=as_json)


def _folder_here(card: RunCard) -> LocalRunFolder | None:
    """The run's folder, where its OUT can be reached from here."""
    folder = LocalRunFolder(out_place(card.out), card.run_id)
    return folder if folder.holds(card.token) else None


def told(stop: Stop, last: RunSnapshot, folder: LocalRunFolder | None, screen: Screen, *, as_json: bool) -> int:
    """Say how the run stands as this view ends; the exit code of its own command, 0 where the view was closed.

    Without its folder all that is known of its end is what the ledger told `last`.
    """
    if folder is not None:
        return end(stop, found(folder), screen, as_json=as_json and stop.why is not Stopped.LEFT)
    if stop.why is Stopped.LEFT:
        screen.say(f"run {last.run_id} goes on")
        return 0
    if stop.why is not Stopped.FINISHED:
        screen.say(f"{stop.why.value}: it waits for {waits_for(last, '')}")
        return EXIT[stop.why]
    screen.say(f"run {last.run_id} is finished; its dataset and its receipt are in the OUT that its command names")
    return 0 if last.ended == last.total == last.outcomes[Outcome.COMPLETED] else 1


class Lines:
    """One JSON object a line, for each look at which more than the time has changed."""

    def __init__(self, echo: Callable[[bytes], None], by: datetime | None = None) -> None:
        self._echo = echo
        self._outlook = None if by is None else Outlook(by)
        self._speed = Speedometer()
        self._last: object = None

    def __call__(self, run: RunSnapshot) -> None:
        """Print the run as it is now, unless it was so before."""
        speed = self._speed.add(time.monotonic(), run)
        content = as_object(run, "", waits_for(run, ""))
        if self._outlook is not None:
            content["forecast"] = forecast_object(self._outlook.look(run, local_now()))
        if content != self._last:
            self._last = content
            rates = {"posts_a_minute": round(speed.posts, 1), "account_posts_a_minute": round(speed.account_posts, 1)}
            self._echo(orjson.dumps({"at_ms": run.now_ms, **content, **rates}))
