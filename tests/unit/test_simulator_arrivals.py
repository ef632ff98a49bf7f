import pytest

from pipeline.simulator.arrivals import NO_STATUS, Arrivals, told
from pipeline.simulator.messages import Cut, Flood, NoAnswer, Response


def test_arrivals_are_told_in_the_order_in_which_they_came():
    arrivals = Arrivals()
    for at, status, wait_s in ((1_700_000_000.125, 200, None), (1_700_000_000.25, 429, 2.0), (1_700_000_001.0, 429, 0)):
        arrivals.note(at, status, wait_s)
    assert arrivals.rows(0, 10) == [
        (1_700_000_000.125, 200, None),
        (1_700_000_000.25, 429, 2.0),
        (1_700_000_001.0, 429, 0.0),
    ]
    assert arrivals.rows(1, 1) == [(1_700_000_000.25, 429, 2.0)]
    assert arrivals.rows(3, 5) == []
    assert len(arrivals) == 3


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Response(429, b""), 429),
        (Flood(Response(200, b""), 5), 200),
        (Cut(Response(200, b"")), NO_STATUS),
        (NoAnswer.HANGUP, NO_STATUS),
        (NoAnswer.SILENCE, NO_STATUS),
    ],
)
def test_what_does_not_arrive_whole_has_no_status(answer, status):
    assert told(answer) == status


def test_a_million_arrivals_take_some_fifteen_megabytes():
    arrivals = Arrivals()
    for number in range(10_000):
        arrivals.note(number / 10, 200, None)
    assert len(arrivals._records) == 140_000
