"""Schedules and their firings, for people and for programs."""

import re
import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from pipeline.core.filling import NAMES, is_filled, local
from pipeline.core.notices import exit_meaning, is_waiting, notice_state, sums
from pipeline.core.schedule_times import next_after
from pipeline.core.schedules import Book, Cause, Firing, FiringState, Notice, Schedule
from pipeline.core.waiting import duration
from pipeline.edges.webhook import shown_url

_RUN_BEGAN = re.compile(r"(\d{8}-\d{6})-[0-9a-f]+")

CRON_DATES = {
    "date": "%F",
    "yesterday": "%F",
    "tomorrow": "%F",
    "year": "%Y",
    "month": "%m",
    "day": "%d",
    "hour": "%H",
    "minute": "%M",
    "time": "%H%M",
    "weekday": "%u",
    "week": "%G-W%V",
}
"""What date(1) writes for each name that is filled."""


def moment(at_ms: int, tz: str) -> str:
    """A time on a zone's clock, for people."""
    return local(at_ms, tz).strftime("%a %Y-%m-%d %H:%M %Z")


def next_times(schedule: Schedule, after_ms: int, count: int) -> list[int]:
    """The next times, in order."""
    found: list[int] = []
    while len(found) < count:
        found.append(next_after(schedule.cron, schedule.tz, found[-1] if found else after_ms))
    return found


def run_words(arguments: Sequence[str]) -> str:
    """The command as a person would type it."""
    return shlex.join(["vidbatch", "run", *arguments])


def crontab_line(cron: str, folder: str, command: Sequence[str], name: str) -> str:
    """What a machine's own cron would be given for the same."""
    words = " ".join(_shell_word(word, name) for word in command)
    return f"{cron} cd {_escaped(shlex.quote(folder))} && vidbatch run {words} --yes"


def _shell_word(word: str, name: str) -> str:
    if not is_filled(word):
        return _escaped(shlex.quote(word))
    pieces = re.split(r"(?<!\{)\{(" + "|".join(NAMES) + r")\}(?!\})", word)
    plain = [re.sub(r'([\\"$`])', r"\\\1", piece) for piece in pieces[::2]]
    dates = [name if one == "schedule" else f"$(date{_ago(one)} +{CRON_DATES[one]})" for one in pieces[1::2]]
    return '"' + _escaped("".join(a + b for a, b in zip(plain, [*dates, ""], strict=True))) + '"'


def _ago(name: str) -> str:
    return f" -d {name}" if name in {"yesterday", "tomorrow"} else ""


def _escaped(text: str) -> str:
    """A percent sign ends a command in a crontab."""
    return text.replace("%", r"\%")


def began_ms(firing: Firing) -> int | None:
    """When it really began: its run's id says so, else its planned time unless that was caught up."""
    if match := _RUN_BEGAN.fullmatch(firing.run_id):
        return round(datetime.strptime(match[1], "%Y%m%d-%H%M%S").replace(tzinfo=UTC).timestamp() * 1000)
    return None if firing.cause is Cause.CAUGHT_UP else firing.at_ms


def took_s(firing: Firing) -> float | None:
    """How long it took; nothing where it is open, or never began."""
    began = began_ms(firing)
    over = firing.state is FiringState.ENDED and began is not None
    return max(0.0, (firing.changed_ms - (began or 0)) / 1000) if over else None


def result_words(firing: Firing) -> str:
    """How it stands, or how it ended."""
    if firing.state is FiringState.ENDED:
        return f"{firing.exit_code} ({exit_meaning(firing.exit_code)})"
    paused = f", {exit_meaning(firing.exit_code)}" if firing.exit_code is not None else ""
    return f"{firing.state.value}{paused}"


def firing_lines(schedule: Schedule, firing: Firing) -> Iterator[str]:
    """A firing for people: one line, and what there is to say below it."""
    cause = "" if firing.cause is Cause.CRON else f" ({firing.cause.value})"
    parts = [f"{schedule.name}  {moment(firing.at_ms, schedule.tz)}{cause}", result_words(firing)]
    parts += [f"run {firing.run_id}"] if firing.run_id else []
    parts += [f"took {duration(seconds)}"] if (seconds := took_s(firing)) is not None and firing.run_id else []
    yield "  ".join(parts)
    if firing.said:
        yield f"    {firing.said}"
    yield from (f"    notice {notice_words(notice, schedule.tz)}" for notice in firing.notices)


def notice_words(notice: Notice, tz: str) -> str:
    """What became of a notice."""
    tries = f"{notice.tries} {'try' if notice.tries == 1 else 'tries'}"
    if notice.delivered_ms:
        return f"`{notice.event}` delivered at {moment(notice.delivered_ms, tz)} after {tries}"
    why = f": {notice.trouble}" if notice.trouble else ""
    if not is_waiting(notice):
        return f"`{notice.event}` given up after {tries}{why}"
    return (
        f"`{notice.event}` waits, next try at {moment(notice.due_ms, tz)}{why}"
        if notice.tries
        else (f"`{notice.event}` is to be sent")
    )


def book_lines(book: Book, last: Firing | None) -> Iterator[str]:
    """A schedule for people, as a list has it."""
    schedule = book.schedule
    coming = "paused" if schedule.paused else f"next {moment(book.next_ms, schedule.tz)}"
    yield f"{schedule.name}  {schedule.cron}  {schedule.tz}  {coming}"
    if last is not None:
        run = f", run {last.run_id}" if last.run_id else ""
        yield f"    last: {moment(last.at_ms, schedule.tz)}: {result_words(last)}{run}"
    for firing in book.firings:
        if firing.is_open:
            run = f", run {firing.run_id}" if firing.run_id else ""
            yield f"    open: {moment(firing.at_ms, schedule.tz)}: {result_words(firing)}{run}"


def detail_lines(book: Book) -> Iterator[str]:
    """The rest of what a person gave."""
    schedule = book.schedule
    overlap = "is skipped" if schedule.overlap == "skip" else "waits its turn"
    missed = "the latest is caught up" if schedule.missed == "once" else "none is caught up"
    yield f"    runs: {run_words(schedule.command)}"
    yield f"    in: {schedule.folder}"
    yield f"    a time that comes while an earlier one is open {overlap}; of missed times {missed}"
    yield f"    tells: {shown_url(schedule.notify) if schedule.notify else 'nobody'}"


def as_object(book: Book, last: Firing | None) -> dict[str, Any]:
    """A schedule for programs."""
    schedule = book.schedule
    return {
        "name": schedule.name,
        "cron": schedule.cron,
        "time_zone": schedule.tz,
        "command": ["run", *schedule.command],
        "folder": schedule.folder,
        "overlap": schedule.overlap.value,
        "missed": schedule.missed.value,
        "notify": shown_url(schedule.notify) if schedule.notify else None,
        "paused": schedule.paused,
        "next_at": None if schedule.paused else instant(book.next_ms, schedule.tz),
        "open": [firing_object(schedule, firing) for firing in book.firings if firing.is_open],
        "last": None if last is None else firing_object(schedule, last),
    }


def firing_object(schedule: Schedule, firing: Firing) -> dict[str, Any]:
    """A firing for programs."""
    return {
        "schedule": schedule.name,
        "firing": firing.firing_id,
        "planned_at": instant(firing.at_ms, schedule.tz),
        "cause": firing.cause.value,
        "state": firing.state.value,
        "exit_code": firing.exit_code,
        "exit_meaning": exit_meaning(firing.exit_code) or None,
        "run_id": firing.run_id or None,
        "out": firing.out or None,
        "changed_at": instant(firing.changed_ms, schedule.tz),
        "duration_s": took_s(firing),
        "said": firing.said,
        "summary": sums(firing.summary),
        "notices": [_notice_object(notice, schedule.tz) for notice in firing.notices],
    }


def _notice_object(notice: Notice, tz: str) -> dict[str, Any]:
    return {
        "event": notice.event,
        "state": notice_state(notice),
        "tries": notice.tries,
        "delivered_at": instant(notice.delivered_ms, tz) if notice.delivered_ms else None,
        "next_try_at": instant(notice.due_ms, tz) if is_waiting(notice) and notice.due_ms else None,
        "trouble": notice.trouble,
    }


def instant(at_ms: int, tz: str) -> str:
    """A time for programs, with its distance from UTC."""
    return local(at_ms, tz).isoformat(timespec="seconds")
