"""Schedules as a person gives them: all that can be wrong is told at once, and how nights went can be seen."""

import asyncio
import contextlib
import subprocess
from dataclasses import replace

import orjson
import pytest
from standardwebhooks import Webhook as Receiver

from pipeline.core.firings import added
from pipeline.core.schedules import Book, Cause, Firing, FiringState, Notice, Schedule
from pipeline.edges.redis_door import RedisDoor
from pipeline.edges.redis_keys import LEDGER_VERSION
from pipeline.edges.redis_ledger import RedisLedger
from pipeline.edges.redis_schedules import RedisSchedules
from pipeline.ports import WorkerCard
from tests.integration.conftest import eventually
from tests.webhook_receiver import Hook

NIGHTLY = ("schedule", "add", "nightly", "--cron", "0 2 * * *", "--tz", "Europe/Berlin")
RUN = ("--", "run", "s3://films/today-{date}.csv", "--out", "out/{schedule}")


@pytest.fixture
def there(here, redis_url):
    """Types commands of a fleet's Redis in which no worker lives."""
    return lambda *words, **variables: here(*words, VIDBATCH_REDIS=redis_url, **variables)


@contextlib.asynccontextmanager
async def schedules_at(url):
    schedules = RedisSchedules(RedisDoor(url))
    try:
        yield schedules
    finally:
        await schedules.close()


def book_of(url, name="nightly") -> Book:
    async def look():
        async with schedules_at(url) as schedules:
            return await schedules.book(name)

    return asyncio.run(look())


def keep(url, change, *over):
    """Change the book of `nightly`, and have firings in its history."""

    async def put():
        async with schedules_at(url) as schedules:
            book = await schedules.book("nightly")
            assert await schedules.put("nightly", book.revision, change(book), over)

    asyncio.run(put())


def lives(url, *fingerprints):
    """Let a control worker live for some seconds."""

    async def register():
        ledger = RedisLedger(url)
        await ledger.register_worker(WorkerCard("w1", ("control", "write"), 1, fingerprints, LEDGER_VERSION))
        await ledger.close()

    asyncio.run(register())


def test_a_schedule_that_is_added_tells_when_it_comes_and_what_it_runs(there, redis_url, tmp_path):
    told = there(*NIGHTLY, "--overlap", "queue", "--missed", "skip", "--notify", "https://ops.example/hook?key=1", *RUN)
    assert told.code == 0, told.err
    schedule = book_of(redis_url).schedule
    assert schedule.command == ("s3://films/today-{date}.csv", "--out", "out/{schedule}")
    assert (schedule.tz, schedule.folder, schedule.notify) == (
        "Europe/Berlin",
        str(tmp_path),
        "https://ops.example/hook?key=1",
    )
    assert (schedule.overlap, schedule.missed) == ("queue", "skip")
    assert "schedule nightly is added: 0 2 * * *, Europe/Berlin" in told.out
    assert told.out.count(" 02:00 CE") == 3
    assert "first: vidbatch run s3://films/today-20" in told.out
    assert "no control worker lives" in told.out
    assert "VIDBATCH_NOTIFY_SECRET_FILE" in told.out
    assert "key=1" not in told.out


def test_what_is_assumed_or_doubtful_is_told(there, redis_url, tmp_path):
    lives(redis_url)
    (tmp_path / "vidbatch.toml").write_text('model = "gemini-2.5-flash"\n')
    command = ("--", "run", "films-{dat}.csv", "video*.csv", "--out", "out", "--prompt", "What is in {{ title }}?")
    told = there("schedule", "add", "x", "--cron", "5 4 * * *", "--json", *command, TZ="Europe/Paris", VIDBATCH_RPM="6")
    assert told.code == 0, told.err
    said = orjson.loads(told.out)
    assert (said["time_zone"], len(said["next"]), said["control_workers"]) == ("Europe/Paris", 3, 1)
    assert said["first_command"] == list(command[1:])
    warnings = "\n".join(said["warnings"])
    for part in (
        "time zone: Europe/Paris, that of this machine",
        "{dat} stays as it is; {date} would be filled",
        "films-{dat}.csv is not there yet",
        "video*.csv is not there yet",
        "VIDBATCH_RPM is set in this shell",
        "no control worker has an API key",
    ):
        assert part in warnings
    assert "title" not in warnings


def test_nothing_is_said_where_nothing_is_missing(there, redis_url, tmp_path):
    lives(redis_url, "0123456789ab")
    (tmp_path / "m.csv").write_text("video_url\n")
    told = there(*NIGHTLY, "--", "run", "m.csv", "--out", "out")
    assert "note:" not in told.out
    assert "given by: one of 1 control worker that live" in told.out or "control worker" in told.out


def test_a_folder_of_other_machines_is_taken_as_it_is(there, redis_url):
    told = there(*NIGHTLY, "--folder", "/srv/films", "--", "run", "m.csv", "--prompt-file", "p.txt", "--out", "out")
    assert told.code == 0, told.err
    assert "/srv/films is no folder of this machine" in told.out
    assert book_of(redis_url).schedule.folder == "/srv/films"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "Nightly!", "--cron", "0 2 * * *", *RUN), "NAME: found 'Nightly!'; allowed are"),
        (("add", "x", "--cron", "0 25 * * *", *RUN), "hour: found '25'"),
        (("add", "x", "--cron", "0 2 * *", *RUN), "five fields"),
        (("add", "x", "--cron", "0 2 * * *", "--tz", "Europe/Berlni", *RUN), "--tz: found 'Europe/Berlni'"),
        (("add", "x", "--cron", "0 2 * * *", "--notify", "ops", *RUN), "--notify: found what is no URL"),
        (("add", "x", "--cron", "0 2 * * *", "--folder", "file", *RUN), "--folder: found"),
        (("add", "x", "--cron", "0 2 * * *"), "found nothing; allowed is -- run MANIFEST"),
        (("add", "x", "--cron", "0 2 * * *", "--", "plan", "m.csv"), "found 'plan'"),
        (("pause", "nobody"), "there is no schedule nobody; there are none"),
        (("history", "nobody"), "there is no schedule nobody"),
    ],
)
def test_what_is_no_schedule_is_refused(there, tmp_path, words, said):
    (tmp_path / "file").touch()
    told = there("schedule", *words)
    assert told.code == 2
    assert said in told.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("m.csv",), "Missing option '--out'"),
        (("--out", "out"), "Missing argument 'MANIFEST...'"),
        (("m.csv", "--out", "out", "--yes"), "--yes: found; allowed is none: it is added"),
        (("m.csv", "--out", "out", "--detach"), "--detach: found"),
        (("m.csv", "--out", "out", "--json"), "--json: found"),
        (("m.csv", "--out", "out", "--redis", "redis://host/0"), "--redis: found"),
        (("m.csv", "--out", "out", "--workers", "2"), "--workers: found"),
        (("m.csv", "--out", "out", "--by", "06:00"), "--by: found"),
        (("m.csv", "--out", "out", "--help"), "--help runs nothing"),
        (("m.csv", "--out", "out", "--no-such"), "No such option"),
        (("m.csv", "--out", "out", "--poll", "never"), "--poll: found 'never'"),
        (("m.csv", "--out", "out", "--api", "openai"), "--base-url"),
        (("m.csv", "--out", "out", "--prompt-file", "gone.txt"), "'gone.txt' does not exist"),
        (("m.csv", "--out", "out", "--prompt", "{{ a"), "--prompt"),
        (("m.csv", "--out", "out", "--schema", "gone.json"), "gone.json"),
        (("gs://bucket/m.csv", "--out", "out"), "MANIFEST: found gs://"),
        (("s3://k:s3cr3t@b/m.csv", "--out", "out"), "argument 1 of the scheduled command holds a URL with a user"),
        (("m.csv", "--out", "out", "--prompt", "sk-fleet-0123456789"), "argument 5 of the scheduled command holds the"),
        (("m.csv", "--out", "out", "--prompt", "https://b/x.mp4?X-Amz-Signature=s3cr3t"), "a signature"),
        (("m.csv", "--out", "out", "--account", "whsec_s3cr3ts3cr3t"), "a webhook's secret"),
    ],
)
def test_a_command_that_would_fail_at_night_is_refused_now(there, redis_url, arguments, said):
    told = there(*NIGHTLY, "--", "run", *arguments, VIDBATCH_BASE_URL="http://127.0.0.1:1")
    assert told.code == 2, told.out
    assert said in told.err
    assert "s3cr3t" not in told.err
    assert told.out == ""
    assert book_of(redis_url) is None


def test_a_name_that_is_taken_is_replaced_only_by_option_and_keeps_its_history_and_pause(there, redis_url):
    assert there(*NIGHTLY, *RUN).code == 0
    taken = there("schedule", "add", "nightly", "--cron", "0 3 * * *", *RUN)
    assert taken.code == 2
    assert "there is a schedule nightly (0 2 * * *, Europe/Berlin); give --replace" in taken.err
    past = Firing("1", 0, Cause.CRON, FiringState.ENDED, 0, exit_code=0)
    keep(redis_url, lambda book: book.revised(schedule=replace(book.schedule, paused=True)), past)
    told = there("schedule", "add", "nightly", "--cron", "0 3 * * *", "--tz", "UTC", "--replace", *RUN)
    assert "schedule nightly is replaced, and paused: 0 3 * * *, UTC" in told.out
    assert orjson.loads(there("schedule", "history", "nightly", "--json").out)[0]["firing"] == "1"
    assert book_of(redis_url).schedule.paused


def test_without_a_redis_the_machines_own_cron_is_named(here, tmp_path):
    told = here(*NIGHTLY, "--", "run", "100% {yesterday}.csv", "a'b", "--out", "{schedule}/{week}", VIDBATCH_REDIS=None)
    assert told.code == 2
    line = told.err.strip().partition("gives the command: ")[2]
    assert line.startswith(f"0 2 * * * cd {tmp_path} && vidbatch run ")
    words = line.partition("vidbatch run ")[2].replace(r"\%", "%")
    assert "%" not in line.replace(r"\%", "")
    told = subprocess.run(["sh", "-c", f"printf '%s|' {words}"], capture_output=True, text=True, check=True).stdout
    dates = ["date -d yesterday +%F", "date +%G-W%V"]
    yesterday, week = (subprocess.check_output(date.split(), text=True).strip() for date in dates)
    assert told == f"100% {yesterday}.csv|a'b|--out|nightly/{week}|--yes|"
    for words in (("list",), ("history",), ("run-now", "x"), ("remove", "x")):
        assert "VIDBATCH_REDIS" in here("schedule", *words, VIDBATCH_REDIS=None).err


NIGHT = 1_795_827_600_000
"""2026-11-28 02:00 in Berlin."""


def nights(book: Book) -> Book:
    """A run is at work, and one that ended is still to be told of."""
    ended = Firing(
        "20261127T010000Z",
        NIGHT - 86_400_000,
        Cause.CRON,
        FiringState.ENDED,
        NIGHT - 86_400_000 + 3_661_000,
        run_id="20261127-010001-abcdef",
        out="/data/out",
        exit_code=1,
        said="9 of 10 rows completed, 1 failed",
        summary={"outcomes": {"completed": 9, "failed": 1}, "cost": 0.5, "prompt": "never told"},
        notices=(Notice("ended", tries=2, due_ms=NIGHT, trouble="https://ops.example/… answered 500"),),
    )
    at_work = Firing("20261128T010000Z", NIGHT, Cause.CRON, FiringState.RUNNING, NIGHT, "20261128-010002-123456")
    return book.revised(firings=(ended, replace(at_work, exit_code=3, said="the cap was reached")))


def test_how_nights_went_is_seen(there, redis_url):
    there(*NIGHTLY, *RUN)
    skipped = Firing("20261126T010000Z", NIGHT - 172_800_000, Cause.CRON, FiringState.SKIPPED, 0, said="was open")
    keep(redis_url, nights, skipped)
    listed = there("schedule", "list").out
    assert "nightly  0 2 * * *  Europe/Berlin  next " in listed
    assert "last: Thu 2026-11-26 02:00 CET: skipped" in listed
    assert "open: Sat 2026-11-28 02:00 CET: running, stopped by the budget, run 20261128-010002-123456" in listed
    told = there("schedule", "history").out.splitlines()
    assert told[0].startswith("nightly  Sat 2026-11-28 02:00 CET  running, stopped by the budget")
    assert told[1] == "    the cap was reached"
    assert told[2] == (
        "nightly  Fri 2026-11-27 02:00 CET  1 (done, but some rows did not complete or were rejected)  "
        "run 20261127-010001-abcdef  took 1 h 1 min"
    )
    assert told[4].startswith("    notice `ended` waits, next try at Sat 2026-11-28 02:00 CET: https://ops.example/…")
    assert told[5:] == ["nightly  Thu 2026-11-26 02:00 CET  skipped", "    was open"]
    [_, ended] = orjson.loads(there("schedule", "history", "nightly", "-n", "2", "--json").out)
    assert (ended["planned_at"], ended["exit_code"]) == ("2026-11-27T02:00:00+01:00", 1)
    assert (ended["duration_s"], ended["summary"]) == (3660.0, {"rows": {"completed": 9, "failed": 1}, "cost": 0.5})
    assert (ended["notices"][0]["state"], ended["notices"][0]["tries"]) == ("waiting", 2)
    shown = there("schedule", "show", "nightly").out
    assert "runs: vidbatch run 's3://films/today-{date}.csv' --out 'out/{schedule}'" in shown


def test_a_paused_schedule_fires_by_hand_alone_and_beside_nothing_else(there, redis_url):
    there(*NIGHTLY, *RUN)
    assert "is paused; `vidbatch schedule resume nightly` goes on" in there("schedule", "pause", "nightly").out
    assert "paused already" in there("schedule", "pause", "nightly").out
    assert "Europe/Berlin  paused" in there("schedule", "list").out
    fires = there("schedule", "run-now", "nightly")
    assert fires.code == 0
    assert "no control worker lives" in fires.out
    second = there("schedule", "run-now", "nightly", "--json")
    assert second.code == 1
    assert orjson.loads(second.out)["state"] == "skipped"
    assert [firing.cause for firing in book_of(redis_url).firings] == [Cause.BY_HAND]
    assert "fires again; it comes next at" in there("schedule", "resume", "nightly").out
    assert "is not paused" in there("schedule", "resume", "nightly").out
    keep(redis_url, nights)
    removed = there("schedule", "remove", "nightly").out
    assert "is removed, with its history; run 20261128-010002-123456 goes on" in removed
    assert "there is no schedule" in there("schedule", "list").out


def test_a_book_that_others_change_meanwhile_is_changed_all_the_same(redis_url):
    from pipeline.cli.schedule_access import changed

    schedule = Schedule("nightly", "0 2 * * *", "UTC", ("m.csv", "--out", "o"), "/srv")

    async def both():
        async with schedules_at(redis_url) as schedules:
            assert await schedules.put("nightly", None, added(schedule, NIGHT))

            def change(number):
                return lambda book, now: book.revised(next_ms=book.next_ms + number)

            await asyncio.gather(*(changed(schedules, "nightly", change(10**number)) for number in range(5)))
            return (await schedules.book("nightly")).next_ms - added(schedule, NIGHT).next_ms

    assert asyncio.run(both()) == 11_111


def test_a_schedule_that_is_fired_runs_and_its_url_is_told(here, fleet, simulator, manifest, tmp_path):
    api, hook = simulator(latency="0.3s"), Hook()
    (tmp_path / "films").mkdir()
    [at] = [manifest(3).path.replace(tmp_path / "films" / "today.csv")]
    try:
        words = ("--", "run", "films/*.csv", "--out", "out/{date}", "--base-url", api.base_url, "--poll", "fixed:200ms")
        added = here(
            "schedule", "add", "e2e", "--cron", "0 0 29 2 *", "--notify", hook.url, *words, VIDBATCH_REDIS=fleet.url
        )
        assert added.code == 0, added.err
        fired = here("schedule", "run-now", "e2e", "--json", VIDBATCH_REDIS=fleet.url)
        assert orjson.loads(fired.out)["state"] == "due"
        eventually(lambda: hook.got, "the URL is told")
    finally:
        hook.close()
    ((_, headers, body),) = hook.got
    told = Receiver(fleet.notify_secret).verify(body, headers)
    assert (told["event"], told["good"], told["exit_code"], told["cause"]) == ("ended", True, 0, "by hand")
    assert told["summary"]["rows"]["completed"] == 3
    day = told["planned_at"][:10]
    assert told["out"] == str(tmp_path / "out" / day)
    assert (tmp_path / "out" / day / "runs" / told["run_id"] / "done.json").exists()
    assert at.exists()

    def over():
        history = here("schedule", "history", "e2e", "--json", VIDBATCH_REDIS=fleet.url)
        [firing] = orjson.loads(history.out)
        return firing if firing["notices"][0]["state"] == "delivered" else None

    firing = eventually(over, "it is written down that the message arrived")
    assert (firing["state"], firing["run_id"]) == ("ended", told["run_id"])
    here("schedule", "remove", "e2e", VIDBATCH_REDIS=fleet.url)
