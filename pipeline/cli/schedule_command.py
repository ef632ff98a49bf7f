"""`vidbatch schedule`: commands that the fleet gives at set times."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from itertools import islice

import click
import orjson

from pipeline.cli import options
from pipeline.cli.schedule_access import changed, control_workers, known, opened
from pipeline.cli.schedule_access import redis_url as redis_option
from pipeline.cli.schedule_add import command as add
from pipeline.cli.schedule_add import worker_warnings
from pipeline.cli.schedule_text import (
    as_object,
    book_lines,
    detail_lines,
    firing_lines,
    firing_object,
    moment,
    next_times,
    result_words,
)
from pipeline.core.errors import LedgerUnavailable
from pipeline.core.firings import by_hand, paused, resumed
from pipeline.core.schedules import Book, Firing, FiringState, Schedule
from pipeline.ports import Schedules

SHOWN_TIMES = 3

NAME = click.argument("name")


@click.group(name="schedule")
def command() -> None:
    """Have the fleet give `vidbatch run` at set times; any living control worker does it, and none does it twice."""


command.add_command(add)


@command.command(name="list")
@redis_option
@options.json_output
def list_command(redis_url: str | None, as_json: bool) -> None:
    """List schedules: when each comes next, how the last one ended, and what is at work."""
    found, foreign = asyncio.run(_all(redis_url))
    if as_json:
        click.echo(orjson.dumps([as_object(book, last) for book, last in found]))
        return
    for book, last in found:
        click.echo("\n".join(book_lines(book, last)))
    for name in foreign:
        click.echo(f"{name}  belongs to a newer version of vidbatch: look at it with that one")
    if not found and not foreign:
        click.echo("there is no schedule; `vidbatch schedule add` makes one")


@command.command(name="show")
@NAME
@redis_option
@options.json_output
def show_command(name: str, redis_url: str | None, as_json: bool) -> None:
    """Show all that is known of the schedule NAME, and its next times."""

    async def look() -> tuple[Book, Firing | None, Sequence[int]]:
        async with opened(redis_url) as schedules:
            book = await known(schedules, name)
            times = next_times(book.schedule, await schedules.now_ms(), SHOWN_TIMES)
            return book, await _last(schedules, name), times

    book, last, times = asyncio.run(look())
    if as_json:
        click.echo(orjson.dumps(as_object(book, last)))
        return
    click.echo("\n".join([*book_lines(book, last), *detail_lines(book)]))
    click.echo(f"    comes: {', '.join(moment(at, book.schedule.tz) for at in times)}")


@command.command(name="history")
@click.argument("name", required=False)
@click.option("-n", "count", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many, newest.")
@redis_option
@options.json_output
def history_command(name: str | None, count: int, redis_url: str | None, as_json: bool) -> None:
    """Show what fired, newest first: of the schedule NAME, or of all. What is at work comes first.

    The exit status of each is that of `vidbatch run`: 0 if every row completed.
    """
    found = asyncio.run(_history(redis_url, name, count))
    if as_json:
        click.echo(orjson.dumps([firing_object(schedule, firing) for schedule, firing in found]))
        return
    for schedule, firing in found:
        click.echo("\n".join(firing_lines(schedule, firing)))
    if not found:
        click.echo("nothing has fired yet")


@command.command(name="remove")
@NAME
@redis_option
@options.json_output
def remove_command(name: str, redis_url: str | None, as_json: bool) -> None:
    """Remove the schedule NAME with its history; a run that it began goes on."""

    async def remove() -> Book:
        async with opened(redis_url) as schedules:
            for _ in range(3):
                book = await known(schedules, name)
                if await schedules.put(name, book.revision, None):
                    return book
            raise LedgerUnavailable(f"schedule {name} was changed by others meanwhile; try again")

    book = asyncio.run(remove())
    runs = [firing.run_id for firing in book.firings if firing.is_open and firing.run_id]
    waiting = sum(firing.state in {FiringState.QUEUED, FiringState.DUE} for firing in book.firings)
    dropped = f"; {waiting} of its times that had not begun will not" if waiting else ""
    goes_on = f"; run {runs[0]} goes on (`vidbatch cancel {runs[0]}` ends it)" if runs else ""
    _tell(book, f"schedule {name} is removed, with its history{dropped}{goes_on}", as_json=as_json)


@command.command(name="pause")
@NAME
@redis_option
@options.json_output
def pause_command(name: str, redis_url: str | None, as_json: bool) -> None:
    """Let the schedule NAME fire no more until it is resumed; what it began goes on.

    Times that pass meanwhile are neither caught up nor told of.
    """
    before, after = _change(redis_url, name, paused)
    already = " already" if before.schedule.paused else ""
    _tell(after, f"schedule {name} is paused{already}; `vidbatch schedule resume {name}` goes on", as_json=as_json)


@command.command(name="resume")
@NAME
@redis_option
@options.json_output
def resume_command(name: str, redis_url: str | None, as_json: bool) -> None:
    """Let the schedule NAME fire again, from its next time on."""
    before, after = _change(redis_url, name, lambda book, now: resumed(book, now) if book.schedule.paused else book)
    told = "is not paused" if not before.schedule.paused else "fires again"
    coming = moment(after.next_ms, after.schedule.tz)
    _tell(after, f"schedule {name} {told}; it comes next at {coming}", as_json=as_json)


@command.command(name="run-now")
@NAME
@redis_option
@options.json_output
def run_now_command(name: str, redis_url: str | None, as_json: bool) -> None:
    """Have the schedule NAME fire once, now, also while it is paused; {date} is today.

    It obeys --overlap: beside one that is at work it waits, or is skipped, which ends with 1.
    """
    before, after = _change(redis_url, name, by_hand)
    ids = {firing.firing_id for firing in before.firings}
    [firing] = [one for one in after.firings if one.firing_id not in ids]
    if as_json:
        click.echo(orjson.dumps(firing_object(after.schedule, firing)))
    else:
        click.echo(f"schedule {name}: {result_words(firing)}{f': {firing.said}' if firing.said else ''}")
    if not firing.is_open:
        sys.exit(1)
    if not as_json:
        for warning in worker_warnings(asyncio.run(control_workers(redis_url or ""))):
            click.echo(f"note: {warning}")
        click.echo(f"look at it with `vidbatch schedule history {name}`; it names the run, for `vidbatch watch RUN`")


def _tell(book: Book, line: str, *, as_json: bool) -> None:
    click.echo(orjson.dumps(as_object(book, None)) if as_json else line)


def _change(redis_url: str | None, name: str, change: Callable[[Book, int], Book]) -> tuple[Book, Book]:
    async def carry_out() -> tuple[Book, Book]:
        async with opened(redis_url) as schedules:
            return await changed(schedules, name, change)

    return asyncio.run(carry_out())


async def _all(redis_url: str | None) -> tuple[list[tuple[Book, Firing | None]], list[str]]:
    """Those that there are, each with the newest firing that is over; and names of those that are not read here."""
    async with opened(redis_url) as schedules:
        found = [(book, await _last(schedules, book.schedule.name)) for book in await schedules.books()]
        return found, await schedules.foreign()


async def _last(schedules: Schedules, name: str) -> Firing | None:
    """The newest that is over."""
    return next(iter(await schedules.history(name, 1)), None)


async def _history(redis_url: str | None, name: str | None, count: int) -> list[tuple[Schedule, Firing]]:
    found: list[tuple[Schedule, Firing]] = []
    async with opened(redis_url) as schedules:
        for book in [await known(schedules, name)] if name else await schedules.books():
            told = {firing.firing_id: firing for firing in book.firings}
            past = await schedules.history(book.schedule.name, count)
            told |= {firing.firing_id: firing for firing in past if firing.firing_id not in told}
            found += [(book.schedule, firing) for firing in told.values()]

    def order(one: tuple[Schedule, Firing]) -> tuple[bool, int, str]:
        return one[1].is_open, one[1].at_ms, one[1].firing_id

    return list(islice(sorted(found, key=order, reverse=True), count))
