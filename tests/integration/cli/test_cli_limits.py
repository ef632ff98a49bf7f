"""What a person sees and changes of an account's limits while its runs are at work, by a real ledger."""

import asyncio
from dataclasses import replace

import orjson
import pytest

from pipeline.core.limits import Limits
from pipeline.core.pacing import Pace
from pipeline.core.policy import Policy
from pipeline.core.rows import Rows
from pipeline.edges.redis_ledger import RedisLedger
from pipeline.ports import FedRow, RunCard

CARD = RunCard("run-1", "api#key", "https://api", "key", "out", "secret", "e1", 40, Policy(first_rows=1_000))


@pytest.fixture
def known(redis_url):
    """Does something with the ledger of the server that the commands are given."""

    def act(deed):
        async def with_ledger():
            ledger = RedisLedger(redis_url)
            try:
                return await deed(ledger)
            finally:
                await ledger.close()

        return asyncio.run(with_ledger())

    return act


@pytest.fixture
def runs(known):
    """Two runs of one account, each with rows to be sent."""

    async def begin(ledger):
        for run_id in ("run-1", "run-2"):
            await ledger.open_run(replace(CARD, run_id=run_id), recover_until=0, ended={}, done=Rows())
            await ledger.feed(run_id, 0, 40, [FedRow(i, b"{}") for i in range(40)])

    known(begin)


@pytest.fixture
def limits(here, redis_url):
    return lambda *words, **variables: here("limits", *words, "--redis", redis_url, **variables)


def test_a_changed_limit_is_shown_with_who_gave_it_and_holds_for_the_next_claim(runs, known, limits):
    said = limits("run-1", "--max-in-flight", "7")
    assert said.code == 0, said.err
    assert said.out.startswith("run run-1 allows 7 in flight\naccount api#key\n")
    assert "in flight 0 (given: 7)" in said.out
    claim = known(lambda ledger: ledger.claim_submit("run-2", "worker", 40))
    assert len(claim.rows) in range(1, 8)
    known(lambda ledger: ledger.set_limits("run-2", Limits(rpm=60.0)))
    assert "run run-2: running, priority 10" in limits().out
    [told] = orjson.loads(limits("api#key", "--rpm", "30", "--json").out)
    assert told["holds"] | {"poll_rpm": None} == {
        "rpm": 30.0,
        "rpm_by": "given",
        "poll_rpm": None,
        "poll_rpm_by": "starting",
        "tpm": None,
        "max_in_flight": 7,
    }
    assert [run["given"]["rpm"] for run in told["runs"]] == [None, 60.0]
    assert told["in_flight"] == len(claim.rows)
    said = limits("api#key", "--rpm", "auto")
    assert said.out.startswith("account api#key allows anything: what the API accepts is found\n")
    assert "POSTs     given: 60 a minute" in said.out


def test_defaults_of_runs_change_no_limit_of_those_at_work(runs, known, limits, tmp_path):
    (tmp_path / "vidbatch.toml").write_text("rpm = 5\nmax_in_flight = 2\n", encoding="utf-8")
    assert limits("run-1", VIDBATCH_RPM="7").code == 0
    assert known(lambda ledger: ledger.snapshot("run-1")).limits == Limits()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("run-9",), "no run and no account run-9 is known; runs: run-1, run-2; accounts: api#key"),
        (("run-1", "--rpm", "0"), "--rpm: found 0; allowed is a number from 0.001 to 1,000,000,000, or auto"),
        (("--rpm", "5"), "whose limits? Name a run or an account"),
    ],
)
def test_what_can_not_be_changed_is_refused_in_a_sentence(runs, limits, words, told):
    refused = limits(*words)
    assert refused.code == 2
    assert told in refused.err


def test_of_an_account_without_a_run_and_a_limit_the_name_is_enough(known, limits):
    for account in ("idle", "kept"):
        known(lambda ledger, account=account: ledger.set_account_limits(account, Limits()))
    assert limits().out == "no run is at work on idle, kept\n"
    assert limits("idle").out == "account idle\n  no run is at work\n"
    assert limits("kept", "--rpm", "60").code == 0
    shown = limits().out.splitlines()
    assert shown[:3] == [
        "account kept",
        "  no run is at work; the next one begins with 60 POSTs a minute (given)",
        "  given to the account: 60 POSTs a minute",
    ]
    assert shown[3:] == ["no run is at work on idle"]


def test_without_any_run_there_is_no_account_to_show(redis_url, limits):
    assert limits().out == "no account is known: none had a run here\n"
    assert orjson.loads(limits("--json").out) == []


def test_the_redis_of_the_settings_file_is_where_a_command_looks(runs, here, redis_url, tmp_path):
    (tmp_path / "vidbatch.toml").write_text(f'redis = "{redis_url}"\n', encoding="utf-8")
    assert "run run-2: running" in here("limits").out
    assert [run["run_id"] for run in orjson.loads(here("status", "--json").out)] == ["run-1", "run-2"]


def test_a_run_that_nobody_knows_is_not_watched(runs, here, redis_url):
    unknown = here("watch", "run-9", "--redis", redis_url)
    assert unknown.code == 2
    assert "it knows run-1, run-2" in unknown.err


def test_a_resumed_run_keeps_the_limits_that_it_was_given_meanwhile(runs, known, here, limits, redis_url):
    assert limits("run-1", "--rpm", "12").code == 0
    assert here("pause", "run-1", "--redis", redis_url).code == 0
    assert here("resume", "run-1", "--redis", redis_url).out == "run run-1 goes on\n"
    assert known(lambda ledger: ledger.snapshot("run-1")).limits == Limits(rpm=12.0)


def test_a_given_limit_holds_from_the_moment_in_which_a_run_is_resumed(runs, known, here, limits, redis_url):
    assert limits("run-1", "--max-in-flight", "2").code == 0
    assert here("pause", "run-1", "--redis", redis_url).code == 0
    known(lambda ledger: ledger.set_pace("api#key", b"", Pace(rate=1_000.0)))  # what others of the account may
    assert here("resume", "run-1", "--redis", redis_url).code == 0
    assert known(lambda ledger: ledger.snapshot("run-1")).pace.most == 2
