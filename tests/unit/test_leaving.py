"""Work that anybody may do again is waited for, but not for longer than a stop may take."""

import asyncio

import pytest

from pipeline.flows.leaving import ON_THE_WIRE_S, unless_cut

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(simulated_backend):
    return simulated_backend


async def done_after(seconds, done):
    await asyncio.sleep(seconds)
    done.append(seconds)


async def test_without_a_stop_work_takes_its_time(loop_clock):
    done = []
    await unless_cut(done_after(500.0, done), lambda: False, loop_clock)
    assert (done, loop_clock.monotonic()) == ([500.0], 500.0)


async def test_after_a_stop_work_that_ends_soon_is_waited_for(loop_clock):
    done = []
    await unless_cut(done_after(ON_THE_WIRE_S - 1, done), lambda: True, loop_clock)
    assert done == [ON_THE_WIRE_S - 1]


async def test_after_a_stop_work_that_does_not_end_is_cut(loop_clock):
    done = []
    await unless_cut(done_after(500.0, done), lambda: loop_clock.monotonic() > 10.0, loop_clock)
    assert done == []
    assert loop_clock.monotonic() == pytest.approx(10.0 + ON_THE_WIRE_S, abs=0.3)


async def test_what_goes_wrong_in_it_is_raised(loop_clock):
    async def fails():
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await unless_cut(fails(), lambda: False, loop_clock)
