import random
import statistics

import pytest

from pipeline.core.errors import SettingsError
from pipeline.simulator.latency import parse_latency, seconds


def draws(text, count=4000):
    rng = random.Random(7)
    latency = parse_latency(text)
    return [latency.draw(rng) for _ in range(count)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("250ms", 0.25), ("2s", 2.0), ("1.5m", 90.0), ("1h", 3600.0), ("3", 3.0), (".5s", 0.5), (" 4s ", 4.0)],
)
def test_a_duration_is_read_with_its_unit(text, expected):
    assert seconds(text) == expected


def test_a_bare_duration_is_a_constant():
    assert set(draws("2s")) == {2.0} == set(draws("constant:2s"))


def test_a_uniform_latency_stays_between_its_bounds():
    drawn = draws("uniform:1s,5s")
    assert min(drawn) >= 1
    assert max(drawn) <= 5
    assert statistics.mean(drawn) == pytest.approx(3, rel=0.05)


def test_a_lognormal_latency_has_the_median_that_was_asked_for():
    assert statistics.median(draws("lognormal:8s,0.6")) == pytest.approx(8, rel=0.08)


def test_an_exponential_latency_has_the_mean_that_was_asked_for():
    assert statistics.mean(draws("exponential:2s")) == pytest.approx(2, rel=0.08)
    assert set(draws("exponential:0s")) == {0.0}


def test_a_bimodal_latency_is_one_or_the_other():
    assert set(draws("bimodal:5s,60s")) == {5.0, 60.0}
    assert statistics.mean(draws("bimodal:5s,60s")) == pytest.approx(32.5, rel=0.05)
    assert draws("bimodal:5s,60s,0.9").count(5.0) == pytest.approx(3600, rel=0.03)
    assert set(draws("bimodal:5s,60s,0")) == {60.0}


def test_a_pareto_latency_has_a_least_and_a_heavy_tail():
    drawn = draws("pareto:4s,1.5")
    assert min(drawn) >= 4
    assert statistics.median(drawn) == pytest.approx(4 * 2 ** (1 / 1.5), rel=0.05)
    assert max(drawn) > 200


def test_only_a_constant_of_zero_never_waits():
    assert parse_latency("0s").is_zero
    assert not parse_latency("1ms").is_zero
    assert not parse_latency("uniform:0s,0s").is_zero


@pytest.mark.parametrize(
    "text",
    [
        *("", "soon", "-1s", "constant:", "constant:1s,2s", "uniform:1s", "uniform:5s,1s", "normal:1s", "lognormal:8s"),
        *("bimodal:5s", "bimodal:5s,60s,1.5", "bimodal:1s,2s,0.5,3", "pareto:5s", "pareto:5s,0"),
    ],
)
def test_what_is_no_latency_is_refused_with_a_sentence(text):
    with pytest.raises(SettingsError, match=r"is no (latency|duration); "):
        parse_latency(text)


def test_the_same_seed_draws_the_same_latencies():
    assert draws("lognormal:8s,0.6", 20) == draws("lognormal:8s,0.6", 20)
