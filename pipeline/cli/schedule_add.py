"""`vidbatch schedule add`: all that can be wrong with a schedule is told here, and not at night."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import orjson

from pipeline.cli import options
from pipeline.cli.configuration import Configuration, known_key
from pipeline.cli.schedule_access import WITHOUT_REDIS, control_workers, opened
from pipeline.cli.schedule_access import redis_url as redis_option
from pipeline.cli.schedule_check import Checked, checked
from pipeline.cli.schedule_text import as_object, crontab_line, instant, moment, next_times, run_words
from pipeline.cli.sealing import HOW, seal_address
from pipeline.core.account import Secret
from pipeline.core.errors import LedgerUnavailable, SettingsError, UsageError
from pipeline.core.firings import added, replaced
from pipeline.core.notices import over
from pipeline.core.providers import FOXAPI_URL
from pipeline.core.schedule_times import check_cron, check_zone
from pipeline.core.scheduled import arguments_of, check_name, refuse_secrets
from pipeline.core.schedules import Book, Missed, Overlap, Schedule
from pipeline.edges.clock import local_zone, time_of_day_us
from pipeline.edges.environment import process_environment
from pipeline.edges.webhook import SECRET_FILE, checked_url
from pipeline.ports import Schedules, WorkerCard

SHOWN_TIMES = 3


@dataclass(frozen=True, slots=True)
class _Added:
    """A schedule that is there now: what it does first, and what a person should know."""

    book: Book
    times: Sequence[int]
    arguments: tuple[str, ...]
    warnings: Sequence[str]
    workers: int
    replaced: bool


@click.command(name="add")
@click.argument("name")
@click.option("--cron", required=True, help="When: minute, hour, day of month, month, day of week, as '0 2 * * *'.")
@click.option(
    "--tz", help="Time zone of --cron and {date}, as Europe/Berlin [default: this machine's if it is known, else UTC]."
)
@click.option(
    "--overlap",
    type=click.Choice([one.value for one in Overlap]),
    default=Overlap.SKIP.value,
    show_default=True,
    help="What becomes of a time that comes while an earlier one is still at work: it is skipped, and history says so, "
    "or it waits its turn.",
)
@click.option(
    "--missed",
    type=click.Choice([one.value for one in Missed]),
    default=Missed.ONCE.value,
    show_default=True,
    help="What becomes of times at which no worker lived, or Redis was away: the latest is caught up afterwards, or "
    "none is.",
)
@click.option(
    "--notify",
    metavar="URL",
    help="URL that is told, by a signed POST, how each firing ended, was skipped or missed, or that its run is paused.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Folder, on the machines of the control workers, in which the command is given; its relative paths stand "
    "there [default: the folder in which you are].",
)
@click.option("--replace", "replacing", is_flag=True, help="Take the place of a schedule of this name; history stays.")
@redis_option
@options.json_output
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="-- run MANIFEST... --out OUT ...")
@click.pass_obj
def command(
    configuration: Configuration,
    /,
    name: str,
    words: tuple[str, ...],
    redis_url: str | None,
    as_json: bool,
    replacing: bool,
    **given: Any,  # noqa: ANN401 - click's options
) -> None:
    """Have `vidbatch run` given at set times, by whichever control worker lives then.

    In any argument {date} stands for the day of the planned time in the schedule's zone; so do {yesterday},
    {tomorrow}, {year}, {month}, {day}, {hour}, {minute}, {time}, {weekday} (1-7), {week} (2026-W48), and {schedule}
    for NAME. The command is checked now, as it would be given next.
    """
    schedule, said = _schedule(name, words, given)
    key = known_key(configuration, process_environment())
    refuse_secrets(schedule.command, None if key is None else key.reveal())
    if not redis_url:
        line = crontab_line(schedule.cron, schedule.folder, schedule.command, name)
        raise UsageError(f"{WITHOUT_REDIS}: {line}")
    first = next_times(schedule, time_of_day_us() // 1000, 1)[0]
    looked = checked(schedule, first)
    told = asyncio.run(_add(redis_url, schedule, looked, key, replacing=replacing))
    told = replace(told, warnings=[*said, *told.warnings])
    click.echo(_as_json(told) if as_json else "\n".join(_lines(told)))


def _schedule(name: str, words: Sequence[str], given: dict[str, Any]) -> tuple[Schedule, list[str]]:
    """What was typed, each part of it checked; and what was not typed and is assumed."""
    check_name(name)
    check_cron(given["cron"])
    tz, said = given["tz"], []
    if tz is None:
        known = local_zone(process_environment())
        tz = known or "UTC"
        why = "that of this machine" if known else "as that of this machine is not known"
        said = [f"time zone: {tz}, {why}; --tz sets another"]
    check_zone(tz)
    folder = Path(given["folder"] or ".").absolute()
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"--folder: found {folder}, a file; allowed is a folder")
    return Schedule(
        name=name,
        cron=" ".join(given["cron"].split()),
        tz=tz,
        command=arguments_of(words),
        folder=str(folder),
        overlap=Overlap(given["overlap"]),
        missed=Missed(given["missed"]),
        notify="" if given["notify"] is None else checked_url(given["notify"], "--notify"),
    ), said


async def _add(redis_url: str, schedule: Schedule, looked: Checked, key: Secret | None, *, replacing: bool) -> _Added:
    await seal_address(redis_url, key, looked.base_url)
    workers = await control_workers(redis_url)
    async with opened(redis_url) as schedules:
        before, book = await put(schedules, schedule, replacing=replacing)
        times = next_times(schedule, await schedules.now_ms(), SHOWN_TIMES)
    warnings = [*looked.warnings, *worker_warnings(workers)]
    if key is None and looked.base_url != FOXAPI_URL:
        warnings.append(f"no key is set here that may be sent to {looked.base_url}: {HOW}")
    if schedule.notify:
        warnings.append(f"messages to --notify are signed: the control workers need {SECRET_FILE}")
    return _Added(book, times, looked.arguments, warnings, len(workers), before is not None)


async def put(schedules: Schedules, schedule: Schedule, *, replacing: bool) -> tuple[Book | None, Book]:
    """Keep a schedule; its book before, if there was one, and now. UsageError for a name that is taken."""
    for _ in range(2):
        before, now_ms = await schedules.book(schedule.name), await schedules.now_ms()
        if before is not None and not replacing:
            raise UsageError(
                f"NAME: there is a schedule {schedule.name} ({before.schedule.cron}, {before.schedule.tz}); give "
                "--replace to take its place, or another name"
            )
        paused = before is not None and before.schedule.paused
        after = (
            added(schedule, now_ms) if before is None else replaced(before, replace(schedule, paused=paused), now_ms)
        )
        kept, ended = over(after)
        if await schedules.put(schedule.name, None if before is None else before.revision, kept, ended):
            return before, kept
    raise LedgerUnavailable(f"schedule {schedule.name} was changed by others meanwhile; try again")


def worker_warnings(workers: Sequence[WorkerCard]) -> Iterator[str]:
    """What keeps commands from being given as it stands."""
    if not workers:
        yield "no control worker lives: nothing fires until one does (`vidbatch worker --roles control`, or all roles)"
    elif not any(card.key_fingerprints for card in workers):
        yield "no control worker has an API key: its commands would end with 4; set VIDBATCH_API_KEY_FILE there"


def _lines(told: _Added) -> Iterator[str]:
    schedule = told.book.schedule
    done = ("replaced" if told.replaced else "added") + (", and paused" if schedule.paused else "")
    yield f"schedule {schedule.name} is {done}: {schedule.cron}, {schedule.tz}"
    yield f"next: {', '.join(moment(at, schedule.tz) for at in told.times)}"
    yield f"first: {run_words(told.arguments)}"
    yield f"in: {schedule.folder}, on the machine of whichever control worker gives it"
    if told.workers:
        yield f"given by: one of {told.workers} control worker{'s' if told.workers > 1 else ''} that live"
    yield from (f"note: {warning}" for warning in told.warnings)


def _as_json(told: _Added) -> bytes:
    schedule = told.book.schedule
    return orjson.dumps(
        {
            **as_object(told.book, None),
            "replaced": told.replaced,
            "next": [instant(at, schedule.tz) for at in told.times],
            "first_command": ["run", *told.arguments],
            "control_workers": told.workers,
            "warnings": list(told.warnings),
        }
    )
