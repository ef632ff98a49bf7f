"""What the lab's faults of the API are made of: strikes that must happen, a door that closes, what rows must tell."""

import asyncio
from collections import Counter
from contextlib import suppress
from types import SimpleNamespace

import pytest

from pipeline.core.lifecycle import Outcome
from pipeline.core.policy import Policy
from pipeline.core.reading import RETRYABLE_FAILURES
from pipeline.edges.http import HttpDoor, NoAnswerError, NotSentError
from pipeline.edges.http_transport import HttpSettings
from pipeline.edges.local_simulator import SimulatorBooks, local_simulator
from pipeline.faultlab import demands, strikes
from pipeline.faultlab.api_faults_query import FAULTS as QUERY_FAULTS
from pipeline.faultlab.api_faults_query import FLOODS, MOST_GROWTH, RETRYABLE
from pipeline.faultlab.catalogue import FAULTS
from pipeline.faultlab.fault import Family
from pipeline.faultlab.forwarder import Forwarder
from pipeline.faultlab.verdict import Evidence, Moment, Post, Row, Rules, judge


def row(index, outcome=Outcome.COMPLETED, generation_id="g", log=()):
    return Row(index, outcome, own=True, flagged=False, generation_id=generation_id, log=tuple(log))


def evidence(*rows, **posts):
    by_row = {int(name.removeprefix("of_")): made for name, made in posts.items()}
    return Evidence(rows=len(rows), dataset=rows, rejected=(), posts=by_row)


def post(generation_id="g", *, answered=True, outcome="completed"):
    return Post(generation_id, 1.0, answered, outcome)


DOUBT = (None, Outcome.UNKNOWN)


# What rows must tell.


def test_a_row_that_is_unknown_after_one_doubt_is_complained_of():
    found = evidence(row(0, Outcome.UNKNOWN, None, [DOUBT]), row(1, Outcome.UNKNOWN, None, [DOUBT, DOUBT]))
    assert list(demands.doubted_twice(found)) == ["row 0 is unknown after 1 POSTs in doubt"]


def test_a_post_without_an_answer_must_stand_in_the_log():
    lost, told = [post("a", answered=False), post("b")], [DOUBT, ("b", Outcome.COMPLETED)]
    assert list(demands.owned_up(evidence(row(0, generation_id="b", log=told), of_0=lost))) == []
    silent = evidence(row(0, generation_id="b", log=told[1:]), of_0=lost)
    assert list(demands.owned_up(silent)) == ["row 0 has 1 POSTs without an answer, and 0 in its log"]


def test_a_row_that_bears_anothers_id_may_not_be_completed():
    first, second = row(0, log=[("g", Outcome.COMPLETED)]), row(1, log=[("g", Outcome.COMPLETED)])
    posts = {"of_0": [post("g")], "of_1": [post("h", answered=False)]}
    told = list(demands.unknown_where_shared(evidence(first, second, **posts)))
    assert told == ["row 1 is completed, and its id is of another row"]
    distrusted = row(1, Outcome.UNKNOWN, None, [("g", Outcome.UNKNOWN)])
    assert list(demands.unknown_where_shared(evidence(first, distrusted, **posts))) == []


def test_a_row_whose_id_is_its_own_may_not_be_distrusted():
    lonely = row(0, Outcome.UNKNOWN, None, [("g", Outcome.UNKNOWN)])
    told = list(demands.unknown_where_shared(evidence(lonely, of_0=[post("g")])))
    assert told == ["row 0 is unknown, and nobody else bears its id"]


def test_of_many_complaints_of_a_kind_the_first_are_told():
    assert list(demands.few("abcde")) == ["a", "b", "c", "… and 2 more like it"]


def test_rows_expire_where_their_generation_never_ends_and_only_there():
    endless = {f"of_{index}": [post(outcome="open")] for index in range(6)}
    expired = [row(index, Outcome.EXPIRED) for index in range(6)]
    assert list(demands.expired_where_endless(evidence(*expired, row(6), of_6=[post()], **endless))) == []
    wrong = evidence(*expired, row(6, Outcome.EXPIRED), of_6=[post()], **endless)
    assert list(demands.expired_where_endless(wrong)) == ["row 6 is expired, its generation ended"]


def test_too_few_expired_rows_show_nothing():
    assert list(demands.some_expired(evidence(row(0, Outcome.EXPIRED)))) == ["only 1 rows expired"]


def test_an_expired_row_keeps_its_id():
    rows = [row(index, Outcome.EXPIRED, None if index == 3 else "g") for index in range(6)]
    assert list(demands.some_expired(evidence(*rows))) == ["row 3 expired and does not keep its id"]


def test_a_row_that_failed_too_early_is_complained_of():
    posts = [post("a", outcome="failed")]
    found = evidence(row(0, Outcome.FAILED, "a", [("a", Outcome.FAILED)]), of_0=posts)
    assert list(demands.failed_after_attempts(found)) == ["row 0 failed after 1 of 3 attempts"]
    assert list(demands.failed_at_once(found)) == []


def test_a_generation_that_the_log_does_not_name_is_complained_of():
    found = evidence(row(0, generation_id="b", log=[("b", Outcome.COMPLETED)]), of_0=[post("a"), post("b")])
    assert list(demands.failed_as_told(found)) == ["row 0 had generations that its log does not name: a"]


def test_what_failed_for_good_may_not_be_asked_again():
    posts = [post("a", outcome="failed"), post("b")]
    log = [("a", Outcome.FAILED), ("b", Outcome.COMPLETED)]
    found = list(demands.failed_at_once(evidence(row(0, generation_id="b", log=log), of_0=posts)))
    assert found == ["row 0 is completed although its generation failed for good"]


def test_the_lab_expects_as_many_attempts_as_the_policy_makes_and_fails_by_codes_that_are_retried():
    assert Policy().max_attempts == demands.ATTEMPTS
    assert set(RETRYABLE) <= set(RETRYABLE_FAILURES)


# Strikes.


@pytest.fixture(scope="module")
def base_url():
    with local_simulator(["--fast", "--latency", "0s"]) as url:
        yield url


def stage_of(url, *, running=True):
    """As much of a stage as a strike needs."""

    async def rows(state):
        return frozenset({7}) if state == "submitting" else frozenset()

    async def look():
        return SimpleNamespace(fed=9, ended=5)

    async def held_back(run_id):
        return frozenset({8})

    beside = {"run_folder": SimpleNamespace(run_id="r"), "ledger": SimpleNamespace(held_back=held_back)}
    stage = SimpleNamespace(**beside, books=SimulatorBooks(url), running=running, complaints=[], rows=rows, look=look)
    stage.moments = [Moment(1.0, frozenset({3}))]
    return stage


KEY = {"authorization": "Bearer sk-lab-0123456789"}
BODY = b'{"model":"gemini-2.5-pro","prompt":"p","video_urls":["https://videos.example/0.mp4"]}'


async def posting(url):
    """POST until cancelled."""
    door = HttpDoor(HttpSettings())
    with suppress(asyncio.CancelledError):
        while True:
            await door.post(f"{url}/v1/llm/generations", KEY, BODY)
    await door.close()


def strike(url, *, requests=True, running=True, **options):
    async def scenario():
        stage = stage_of(url, running=running)
        traffic = asyncio.create_task(posting(url) if requests else asyncio.sleep(0))
        await strikes.strike(stage, {"submit_throttle_rate": 1.0}, "submit_throttle", **options)
        traffic.cancel()
        await asyncio.gather(traffic, return_exceptions=True)
        rate = (await stage.books.switches())["submit_throttle_rate"]
        counted: Counter[str] = await strikes.tally(stage)
        await stage.books.close()
        return stage.complaints, rate, counted, stage.moments

    return asyncio.run(scenario())


def test_a_strike_lasts_until_it_has_happened_and_is_lifted(base_url):
    complaints, rate, counted, moments = strike(base_url, times=7)
    assert (complaints, rate) == ([], 0.0)
    assert moments == [Moment(1.0, frozenset({3, 7, 8}), fed=9, ended=5)]
    assert counted["submit_throttle"] >= 7
    assert counted["POST 429"] == counted["submit_throttle"]


def test_a_strike_that_meets_no_request_is_complained_of(base_url):
    complaints, rate, *_ = strike(base_url, requests=False, running=False)
    assert (complaints, rate) == (["did not strike: submit_throttle 0 times, of 5"], 0.0)


def test_every_fault_of_the_api_has_a_name_that_no_other_has():
    names = [fault.name for fault in FAULTS if fault.family is Family.API]
    assert len(names) == len(set(names))
    assert {fault.name for fault in QUERY_FAULTS} <= set(names)


def test_floods_that_are_held_side_by_side_would_be_noticed():
    assert FLOODS * HttpSettings().max_body > MOST_GROWTH


# The door that closes.


async def asked(door, url):
    try:
        return (await door.post(f"{url}/v1/llm/generations", KEY, BODY)).status
    except (NotSentError, NoAnswerError) as error:
        return type(error)


def through_a_door(url, scenario):
    async def play():
        door = HttpDoor(HttpSettings(read_timeout_s=20))
        async with Forwarder(url) as forwarder:
            try:
                return await scenario(door, forwarder)
            finally:
                await door.close()

    return asyncio.run(play())


def test_an_open_door_changes_nothing(base_url):
    async def scenario(door, forwarder):
        return await asked(door, forwarder.url)

    assert through_a_door(base_url, scenario) == 200


def test_a_closed_door_refuses_and_opens_again_at_the_same_place(base_url):
    async def scenario(door, forwarder):
        url = forwarder.url
        first = await asked(door, url)
        forwarder.close(abruptly=False)
        newcomer = HttpDoor(HttpSettings())
        refused = await asked(newcomer, url)
        await forwarder.open()
        accepted = await asked(newcomer, url)
        await newcomer.close()
        return first, refused, accepted, forwarder.url == url

    assert through_a_door(base_url, scenario) == (200, NotSentError, 200, True)


@pytest.mark.parametrize(("abruptly", "result"), [(False, 200), (True, NoAnswerError)])
def test_what_is_on_the_wire_is_answered_unless_the_door_is_slammed(abruptly, result):
    async def scenario(door, forwarder):
        on_the_wire = asyncio.create_task(asked(door, forwarder.url))
        while (await books.summary())["posts_received"] == 0:  # noqa: ASYNC110 - the books are elsewhere
            await asyncio.sleep(0.01)
        forwarder.close(abruptly=abruptly)
        answer = await on_the_wire
        await books.close()
        return answer

    with local_simulator(["--fast", "--submit-delay", "500ms"]) as url:
        books = SimulatorBooks(url)
        assert through_a_door(url, scenario) == result


def test_a_fault_whose_answer_makes_rows_wait_may_recover_later():
    slow = Evidence(rows=0, dataset=(), rejected=(), posts={}, recovery_s=31.0)
    assert judge("no-channel", Rules(recovers_within_s=45), slow).passed
    assert judge("no-channel", Rules(recovers_within_s=31), slow).passed
    assert not judge("no-channel", Rules(), slow).passed
