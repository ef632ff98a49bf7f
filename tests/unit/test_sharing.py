"""What a run takes of its account: as its command gives it, kept by commands that give nothing, paced at once."""

import asyncio
from dataclasses import replace

import click
import pytest
import redis
from click.testing import CliRunner

from pipeline.cli import options
from pipeline.cli.limit_options import changed, limits_of
from pipeline.cli.limits_command import View, as_object, change, view_lines, view_of
from pipeline.cli.sharing import Share, found_before, live_card, pace_now, runs_of, share_of, shared, since
from pipeline.core.errors import SettingsError, UsageError
from pipeline.core.limits import Limits
from pipeline.core.observations import Observed, pack_observed
from pipeline.core.pacing import LaneSeen, found_now
from pipeline.core.policy import Policy
from pipeline.core.rows import Rows
from pipeline.core.snapshot import RunState
from pipeline.edges.memory_ledger import MemoryLedger
from pipeline.edges.redis_ledger import RedisLedger
from pipeline.ports import FedRow, RunCard

CARD = RunCard("run-1", "api#key", "https://api", "key", "out", "secret", "e1", 60, Policy(first_rows=1_000))
NOTHING = {"rpm": None, "poll_rpm": None, "tpm": None, "max_in_flight": None}


def give(**typed):
    return {**NOTHING, **typed}


class Clock:
    """Milliseconds that pass when a test says so."""

    def __init__(self):
        self.now = 1_800_000_000_000

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger(clock):
    return MemoryLedger(clock)


async def open_run(ledger, card):
    await ledger.open_run(card, recover_until=0, ended={}, done=Rows())
    await ledger.feed(card.run_id, 0, card.total, [FedRow(i, b"{}") for i in range(card.total)])


async def sent_within(ledger, clock, run_id, seconds):
    """Rows that are claimed within so many seconds, by somebody who always asks."""
    count = 0
    for _ in range(seconds * 100):
        count += len((await ledger.claim_submit(run_id, "worker", 20)).rows)
        clock.now += 10
    return count


def test_a_limit_that_is_given_to_a_run_holds_at_once(ledger, clock):
    async def act():
        await open_run(ledger, CARD)
        said, account = await change(ledger, "run-1", give(rpm=60.0))
        assert (said, account) == (["run run-1 allows 60 POSTs a minute"], "api#key")
        return await sent_within(ledger, clock, "run-1", 5)

    assert asyncio.run(act()) in range(5, 7)


def test_a_limit_that_is_given_to_an_account_holds_for_all_of_its_runs(ledger, clock):
    async def act():
        for run_id in ("run-1", "run-2"):
            await open_run(ledger, replace(CARD, run_id=run_id))
        said, _ = await change(ledger, "api#key", give(max_in_flight=3))
        assert said == ["account api#key allows 3 in flight"]
        counts = [await sent_within(ledger, clock, run_id, 1) for run_id in ("run-1", "run-2")]
        assert await ledger.account_limits("api#key") == Limits(max_in_flight=3)
        return sum(counts)

    assert asyncio.run(act()) == 3


def test_what_is_not_typed_stays_and_auto_takes_a_limit_away(ledger):
    async def act():
        await open_run(ledger, replace(CARD, limits=Limits(rpm=60.0, max_in_flight=5)))
        said, _ = await change(ledger, "run-1", give(rpm="auto"))
        assert (await ledger.snapshot("run-1")).limits == Limits(max_in_flight=5)
        assert said == ["run run-1 allows 5 in flight"]
        said, _ = await change(ledger, "run-1", give(max_in_flight="auto"))
        assert said == ["run run-1 allows anything: what the API accepts is found"]

    asyncio.run(act())


def test_the_lowest_of_what_an_account_and_its_runs_were_given_counts(ledger):
    async def act():
        await open_run(ledger, replace(CARD, limits=Limits(rpm=120.0)))
        await open_run(ledger, replace(CARD, run_id="run-2"))
        await change(ledger, "api#key", give(rpm=600.0))
        await change(ledger, "run-2", give(rpm=300.0))
        return (await ledger.snapshot("run-2")).pace

    pace = asyncio.run(act())
    assert (pace.rate, pace.why) == (2.0, "given")


def test_to_look_changes_nothing(ledger):
    async def act():
        await open_run(ledger, CARD)
        before = await ledger.account_seen("api#key")
        assert await change(ledger, "run-1", NOTHING) == ([], "api#key")
        assert await ledger.account_seen("api#key") == before

    asyncio.run(act())


def test_a_name_that_nobody_knows_is_told_with_those_that_are_known(ledger):
    async def act():
        await open_run(ledger, CARD)
        await change(ledger, "run-9", give(rpm=60.0))

    with pytest.raises(UsageError, match="no run and no account run-9 is known; runs: run-1; accounts: api#key"):
        asyncio.run(act())


def test_a_finished_run_has_no_limits_to_change(ledger):
    async def act():
        await open_run(ledger, CARD)
        await ledger.set_state("run-1", RunState.FINISHED)
        await change(ledger, "run-1", give(rpm=60.0))

    with pytest.raises(UsageError, match="run-1 is finished"):
        asyncio.run(act())


def test_a_run_that_begins_is_paced_before_it_is_there_and_keeps_the_others_limits(ledger, clock):
    async def act():
        await open_run(ledger, replace(CARD, run_id="run-0", limits=Limits(max_in_flight=40)))
        await pace_now(ledger, "api#key", replace(CARD, limits=Limits(rpm=60.0)))
        pace = (await ledger.snapshot("run-0")).pace
        assert (pace.rate, pace.most) == (1.0, 40)

    asyncio.run(act())


def test_a_run_that_goes_on_is_paced_by_its_new_limits_and_not_by_its_old_ones(ledger):
    async def act():
        await open_run(ledger, replace(CARD, limits=Limits(rpm=60.0)))
        await pace_now(ledger, "api#key", replace(CARD, limits=Limits(rpm=120.0)))
        return (await ledger.snapshot("run-1")).pace.rate

    assert asyncio.run(act()) == 2.0


def test_finished_runs_and_those_of_other_accounts_allow_nothing(ledger):
    async def act():
        await open_run(ledger, CARD)
        await open_run(ledger, replace(CARD, run_id="run-2", account="other"))
        await open_run(ledger, replace(CARD, run_id="run-3"))
        await ledger.set_state("run-3", RunState.FINISHED)
        return [run.run_id for run in await runs_of(ledger, "api#key")]

    assert asyncio.run(act()) == ["run-1"]


def test_an_account_is_shown_with_what_holds_who_gave_it_and_its_runs(ledger):
    async def act():
        await open_run(ledger, replace(CARD, limits=Limits(rpm=600.0, tpm=1e6), priority=30, detached=True))
        await change(ledger, "api#key", give(max_in_flight=2))
        await ledger.claim_submit("run-1", "worker", 20)
        await ledger.claim_submit("run-1", "worker", 20)
        return View("api#key", await ledger.account_seen("api#key"), await runs_of(ledger, "api#key"))

    view = asyncio.run(act())
    *head, run = view_lines(view)
    assert head == [
        "account api#key",
        "  POSTs     by the tokens that rows take: 50 a minute",
        "  polls     still to be found, now: 6,000 a minute",
        "  tokens    given: 1,000,000 a minute",
        "  in flight 1 (given: 2)",
        "  given to the account: 2 in flight",
    ]
    assert run.startswith("  run run-1: running, priority 30, 1 in flight, allows 600 POSTs a minute, 1,000,000 tokens")
    assert run.endswith("bound by the account's rate limit (by the tokens that rows take: 50 a minute)")
    told = as_object(view)
    assert told["holds"] == {
        "rpm": 50.0,
        "rpm_by": "tokens",
        "poll_rpm": 6_000.0,
        "poll_rpm_by": "starting",
        "tpm": 1e6,
        "max_in_flight": 2,
    }
    assert told["given"] == {"rpm": None, "poll_rpm": None, "tpm": None, "max_in_flight": 2}
    [run] = told["runs"]
    assert (run["run_id"], run["given"]["rpm"], run["bound"], run["priority"]) == ("run-1", 600.0, "rate", 30)


def test_an_account_without_a_run_shows_what_was_given_to_it(ledger):
    async def act():
        await ledger.set_account_limits("mine", Limits(rpm=60.0))
        return View("mine", await ledger.account_seen("mine"), [])

    view = asyncio.run(act())
    assert list(view_lines(view)) == [
        "account mine",
        "  no run is at work; the next one begins with 60 POSTs a minute (given)",
        "  given to the account: 60 POSTs a minute",
    ]
    assert as_object(view)["holds"]["rpm"] == 60.0


def test_an_account_tells_the_rate_by_tokens_with_which_its_next_run_really_begins(ledger):
    async def act():
        await ledger.set_account_limits("mine", Limits(tpm=600_000.0))
        ledger._named("mine").observed = [Observed("m", 1, 2, 900, 100)] * 50
        view = await view_of(ledger, "mine")
        await pace_now(ledger, "mine")
        return view, ledger._named("mine").pace

    view, pace = asyncio.run(act())
    told = "  no run is at work; the next one begins with 600 POSTs a minute (by the tokens that rows take)"
    assert (list(view_lines(view))[1], pace.rate) == (told, 10.0)


def test_an_account_whose_runs_do_not_send_shows_no_limit_of_theirs(ledger):
    async def act():
        await open_run(ledger, replace(CARD, limits=Limits(rpm=240.0), detached=True))
        await pace_now(ledger, "api#key")
        sending = await view_of(ledger, "api#key")
        await ledger.set_state("run-1", RunState.STOPPING)
        return sending, await view_of(ledger, "api#key")

    sending, stopping = asyncio.run(act())
    assert list(view_lines(sending))[1] == "  POSTs     given: 240 a minute"
    assert list(view_lines(stopping))[1] == "  POSTs     none: no run sends"
    assert as_object(stopping)["holds"] is None


def test_an_account_of_which_nothing_is_known_says_so(ledger):
    async def act():
        return View("mine", await ledger.account_seen("mine"), [])

    view = asyncio.run(act())
    assert list(view_lines(view)) == ["account mine", "  no run is at work"]
    assert as_object(view)["holds"] is None


def test_a_command_that_gives_no_share_keeps_what_the_run_has():
    known = replace(CARD, account="team", limits=Limits(rpm=60.0), priority=30)
    kept = shared(replace(CARD, account=""), None, known)
    assert (kept.account, kept.limits, kept.priority) == ("team", Limits(rpm=60.0), 30)
    assert shared(replace(CARD, account=""), None, None).account == "api#key"


def test_an_account_by_key_changes_with_the_key_and_a_named_one_stays():
    now = replace(CARD, account="", key_fingerprint="new")
    assert shared(now, None, CARD).account == "api#new"
    assert shared(now, None, replace(CARD, account="team")).account == "team"


def test_a_command_that_sends_gives_all_of_its_share_anew():
    known = replace(CARD, account="team", limits=Limits(rpm=60.0), priority=30)
    anew = shared(replace(CARD, account=""), Share(), known)
    assert (anew.account, anew.limits, anew.priority) == ("api#key", Limits(), 10)
    assert shared(CARD, Share(account="lab"), known).account == "lab"


@pytest.mark.parametrize(
    ("share", "now", "becomes"),
    [
        (Share(), {}, (Limits(rpm=60.0, tpm=9.0), 30, None)),
        (Share(Limits(rpm=600.0), 3), {}, (Limits(rpm=600.0, tpm=9.0), 3, None)),
        (Share(found=frozenset(["rpm"])), {}, (Limits(tpm=9.0), 30, None)),
        (Share(Limits(rpm=600.0), 3), {"limits": Limits(rpm=6.0), "priority": 7}, (Limits(rpm=6.0), 7, None)),
        (Share(), {"account": "team"}, (Limits(rpm=60.0, tpm=9.0), 30, "team")),
        (Share(account="lab"), {"account": "team"}, (Limits(rpm=60.0, tpm=9.0), 30, "lab")),
    ],
)
def test_a_command_that_watched_first_gives_what_it_typed_and_what_nobody_changed_meanwhile(share, now, becomes):
    before = replace(CARD, limits=Limits(rpm=60.0, tpm=9.0), priority=30)
    told = since(share, before, replace(before, **now))
    assert (told.limits, told.priority, told.account) == becomes
    assert since(None, before, before) is None


def test_limits_that_a_person_changed_are_those_that_a_run_keeps(ledger):
    async def act():
        await open_run(ledger, CARD)
        await ledger.set_limits("run-1", Limits(rpm=30.0))
        assert await live_card(ledger, "run-9") is None
        return (await live_card(ledger, "run-1")).limits

    assert asyncio.run(act()) == Limits(rpm=30.0)


@click.command
@options.sending_options
def sending(**given):
    """What a command that sends is given."""
    click.echo(repr(share_of(given)))


def typed(*words, environment=None, written=None):
    said = CliRunner(env=environment or {}).invoke(sending, list(words), default_map=written)
    if said.exception is not None:
        raise said.exception
    return said.output.strip()


def test_limits_come_from_options_before_the_environment_and_that_before_the_file():
    told = {"VIDBATCH_RPM": "300", "VIDBATCH_ACCOUNT": "team"}
    written = {"rpm": 100.0, "poll_rpm": 900.0, "priority": 20}
    share = Share(Limits(rpm=300.0, poll_rpm=900.0), 20, "team")
    assert typed(environment=told, written=written) == repr(share)
    assert typed("--rpm", "60", "--max-in-flight", "5", "--tpm", "1e6", "--priority", "3") == repr(
        Share(Limits(60.0, None, 1e6, 5), 3)
    )
    assert typed("--rpm", "auto", environment=told) == repr(Share(Limits(), None, "team", frozenset(["rpm"])))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--rpm", "0"), "--rpm: found 0; allowed is a number from 0.001 to 1,000,000,000, or auto"),
        (("--poll-rpm", "-5"), "--poll-rpm: found -5; allowed is a number"),
        (("--tpm", "inf"), "--tpm: found inf; allowed is a number"),
        (("--rpm", "nan"), "--rpm: found nan"),
        (("--rpm", "many"), "--rpm: found many"),
        (("--max-in-flight", "2.5"), "--max-in-flight: found 2.5; allowed is a whole number from 1 to"),
        (("--account", "a:runs"), "--account: found 'a:runs'; allowed are"),
        (("--account", ""), "--account: found ''"),
    ],
)
def test_a_limit_that_can_not_be_kept_is_refused_in_a_sentence(words, told):
    with pytest.raises(SettingsError) as refused:
        typed(*words)
    assert told in str(refused.value)


def test_a_number_replaces_a_limit_and_nothing_leaves_it():
    before = Limits(rpm=60.0, tpm=9.0)
    assert changed(before, give(rpm=120.0, tpm="auto")) == Limits(rpm=120.0)
    assert changed(before, NOTHING) == before
    assert limits_of(give(max_in_flight=4)) == Limits(max_in_flight=4)


def given_to(url, **typed):
    return {**NOTHING, "priority": 10, "account": "ours", "redis_url": url, **typed}


def test_the_rate_that_an_earlier_run_found_is_known_before_the_next_one_sends(redis_url):
    async def meet_a_limit():
        ledger = RedisLedger(redis_url)
        seen = await ledger.account_seen("ours")
        at = seen.now_ms
        blob, _ = found_now(seen, Limits(), None)
        lane = LaneSeen(
            answered=100, bound=9, events=1, event_at_ms=at + 10_000, event_answered=100, event_wait_ms=1_000
        )
        blob, pace = found_now(replace(seen, now_ms=at + 10_000, posts=lane, found=blob), Limits(), None)
        await ledger.set_pace("ours", blob, pace)
        client = redis.Redis.from_url(redis_url)
        client.hset("vidbatch:account:ours", mapping={"answered": 100, "bound": 9, "events": 1})
        client.close()
        await ledger.close()
        return pace.rate

    assert found_before(given_to(redis_url), "https://api", None) is None  # nobody met a limit yet
    rate = asyncio.run(meet_a_limit())
    assert found_before(given_to(redis_url), "https://api", None) == pytest.approx(60 * rate)
    assert found_before(given_to(redis_url, account=None), "https://api", None) is None  # whose, without a key?


def test_what_rows_took_before_tells_how_many_an_accounts_tokens_a_minute_allow(redis_url):
    async def give():
        ledger = RedisLedger(redis_url)
        await ledger.set_account_limits("ours", Limits(tpm=60_000.0))
        await ledger.close()

    asyncio.run(give())
    client = redis.Redis.from_url(redis_url)
    client.rpush("vidbatch:account:ours:observed", *[pack_observed(Observed("m", 1, 2, 900, 100))] * 5)
    client.close()
    assert found_before(given_to(redis_url), "https://api", None) == pytest.approx(60.0)
