import random
from email.utils import parsedate_to_datetime

import pytest

from pipeline.simulator import faults
from pipeline.simulator.billing import COMPLETED
from pipeline.simulator.faults import Bucket, Fault
from pipeline.simulator.settings import SimulatorSettings, changed


def settings(**switches):
    return changed(SimulatorSettings(latency=changed(SimulatorSettings(), {"latency": "2s"}).latency), switches)


def test_without_switches_nothing_goes_wrong_and_chance_is_not_asked():
    rng = random.Random(1)
    before = rng.getstate()
    quiet = settings()
    decided = (faults.before_submit(quiet, rng), faults.after_submit(quiet, rng), faults.on_query(quiet, rng))
    assert decided == (None, None, None)
    assert faults.ending(quiet, rng) == faults.Ending(COMPLETED, stuck=False, latency_s=2.0)
    assert rng.getstate() == before


@pytest.mark.parametrize(
    ("switch", "decide", "fault"),
    [
        ("submit_throttle_rate", faults.before_submit, Fault.THROTTLED),
        ("no_channel_rate", faults.before_submit, Fault.NO_CHANNEL),
        ("error_before_rate", faults.before_submit, Fault.ERROR_BEFORE),
        ("hangup_before_rate", faults.before_submit, Fault.HANGUP_BEFORE),
        ("error_after_rate", faults.after_submit, Fault.ERROR_AFTER),
        ("hangup_after_rate", faults.after_submit, Fault.HANGUP_AFTER),
        ("query_throttle_rate", faults.on_query, Fault.THROTTLED),
        ("query_error_rate", faults.on_query, Fault.ERROR_BEFORE),
        ("query_missing_rate", faults.on_query, Fault.MISSING),
    ],
)
def test_a_switch_brings_its_fault_as_often_as_it_says(switch, decide, fault):
    rng = random.Random(5)
    assert decide(settings(**{switch: 1}), rng) is fault
    half = [decide(settings(**{switch: 0.5}), rng) for _ in range(400)]
    assert 150 < half.count(fault) < 250
    assert half.count(fault) + half.count(None) == 400


def test_failed_generations_take_their_codes_from_the_list():
    rng = random.Random(5)
    failing = settings(fail_rate=1, fail_codes="timeout,content_policy_violation")
    assert {faults.ending(failing, rng).outcome for _ in range(50)} == {"timeout", "content_policy_violation"}
    assert faults.ending(settings(stuck_rate=1), rng).stuck


def test_retry_after_comes_as_seconds_or_as_a_date_or_not_at_all():
    assert faults.retry_after(settings(), 0.0) == ()
    assert faults.retry_after(settings(retry_after=2), 0.0) == (("Retry-After", "2"),)
    ((_, date),) = faults.retry_after(settings(retry_after=90, retry_after_as_date=True), 1_700_000_000.0)
    assert parsedate_to_datetime(date).timestamp() == 1_700_000_090


def test_a_bucket_lets_a_burst_through_and_then_its_rate():
    bucket = Bucket(0.0)
    assert sum(bucket.admits(60.0, 5, 0.0) for _ in range(20)) == 5
    assert sum(bucket.admits(60.0, 5, quarter / 4) for quarter in range(1, 41)) == 10


def test_a_bucket_without_a_limit_admits_everything():
    bucket = Bucket(0.0)
    assert all(bucket.admits(None, 1, 0.0) for _ in range(100))
