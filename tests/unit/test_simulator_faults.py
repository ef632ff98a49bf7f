import random
from dataclasses import fields
from email.utils import parsedate_to_datetime

import pytest

from pipeline.simulator import faults
from pipeline.simulator.billing import COMPLETED
from pipeline.simulator.faults import Bucket, Chances, Fault, drawn
from pipeline.simulator.settings import SimulatorSettings, changed


def settings(**switches):
    return changed(SimulatorSettings(latency=changed(SimulatorSettings(), {"latency": "2s"}).latency), switches)


def moments(switched):
    chances = Chances.of(switched)
    return [getattr(chances, field.name) for field in fields(chances)]


def test_without_switches_nothing_goes_wrong_and_chance_is_not_asked():
    rng = random.Random(1)
    before = rng.getstate()
    quiet = settings()
    for odds in moments(quiet):
        assert drawn(odds, rng) is None
    assert faults.ending(quiet, rng) == faults.Ending(COMPLETED, stuck=False, latency_s=2.0)
    assert rng.getstate() == before


@pytest.mark.parametrize(
    ("switches", "wait_s"),
    [
        ({}, None),
        ({"retry_after": 2}, 2.0),
        ({"retry_after": 2, "retry_after_as_date": True}, 2.0),
        ({"retry_after": 2, "retry_after_text": "7"}, 7.0),
        ({"retry_after": 2, "retry_after_text": "soon"}, None),
    ],
)
def test_the_books_of_arrivals_know_how_long_a_429_asked_to_wait(switches, wait_s):
    assert faults.retry_after_s(settings(**switches)) == wait_s


@pytest.mark.parametrize("fault", Fault)
def test_a_switch_brings_its_fault_as_often_as_it_says_and_at_one_moment_only(fault):
    rng = random.Random(5)
    (always,) = [odds for odds in moments(settings(**{f"{fault.value}_rate": 1})) if odds]
    assert drawn(always, rng) is fault
    (odds,) = [odds for odds in moments(settings(**{f"{fault.value}_rate": 0.5})) if odds]
    half = [drawn(odds, rng) for _ in range(400)]
    assert 150 < half.count(fault) < 250
    assert half.count(fault) + half.count(None) == 400


def test_failed_generations_take_their_codes_from_the_list():
    rng = random.Random(5)
    failing = settings(fail_rate=1, fail_codes="timeout,content_policy_violation")
    assert {faults.ending(failing, rng).outcome for _ in range(50)} == {"timeout", "content_policy_violation"}
    assert faults.ending(settings(stuck_rate=1), rng).stuck
    assert faults.ending(settings(lost_results_rate=1), rng).results_lost


def test_retry_after_comes_as_seconds_or_as_a_date_or_not_at_all():
    assert faults.retry_after(settings(), 0.0) == ()
    assert faults.retry_after(settings(retry_after=2), 0.0) == (("Retry-After", "2"),)
    ((_, date),) = faults.retry_after(settings(retry_after=90, retry_after_as_date=True), 1_700_000_000.0)
    assert parsedate_to_datetime(date).timestamp() == 1_700_000_090


@pytest.mark.parametrize("text", ["99999999999", "-5", "soon", "inf"])
def test_retry_after_can_be_any_text_whatever_else_is_set(text):
    both = settings(retry_after=2, retry_after_as_date=True, retry_after_text=text)
    assert faults.retry_after(both, 0.0) == (("Retry-After", text),)


def test_a_retry_after_beyond_the_calendar_is_its_last_second():
    ((_, date),) = faults.retry_after(settings(retry_after=1e18, retry_after_as_date=True), 0.0)
    assert date == "Fri, 31 Dec 9999 23:59:59 GMT"


def test_a_bucket_lets_a_burst_through_and_then_its_rate():
    bucket = Bucket(0.0)
    assert sum(bucket.admits(60.0, 5, 0.0) for _ in range(20)) == 5
    assert sum(bucket.admits(60.0, 5, quarter / 4) for quarter in range(1, 41)) == 10


def test_a_bucket_without_a_limit_admits_everything():
    bucket = Bucket(0.0)
    assert all(bucket.admits(None, 1, 0.0) for _ in range(100))
