"""Whatever the contract leaves open, each way it may be: the answers are the same, and what can't be known is told."""

import asyncio
from pathlib import Path

import pytest
import uvloop

from pipeline.core.answers import Accepted, Ambiguous, Completed, Failed
from pipeline.core.policy import SYNC, SYNC_STREAM
from pipeline.edges.http_transport import HttpSettings
from pipeline.simulator.settings import OPTIONS
from tests.contract.test_foxapi_modes import every_mode, world

UNKNOWN = {
    "unknown_fields_refused": (True, False),
    "credits_reported": (False, True),
    "cost_reported": (True, False),
    "reasoning_required": ("none", "gemini-2.5-pro"),
    "refresh_hides_results": (False, True),
    "answered_model": ("", "gemini-2.5-pro-002"),
    "auth_error_status": (401, 403),
    "retry_after": ("none", "1s"),
    "retry_after_as_date": (False, True),
    "sync_errors": ("status", "task", "error"),
    "sync_task": (False, True),
    "sync_stream_framing": ("named", "bare"),
    "stream_named": (True, False),
    "stream_offset_base": (0, 1),
    "stream_usage": ("off", "last", "extra"),
    "stream_gone_status": (404, 410),
    "stream_url_absolute": (False, True),
    "stream_comments": (False, True),
    "created_skew_s": (0, -7200),
    "upload_url_relative": (False, True),
    "credits_shape": ("flat", "nested", "none"),
}
"""What nobody knows, by the simulator's switch for it, with every position."""

SETTINGS = HttpSettings(connect_timeout_s=2, read_timeout_s=5, total_timeout_s=10)


def played(scene, **switches):
    async def act():
        async with world(SETTINGS, **switches) as made:
            return await scene(made)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(act(), 30))


def each(*names):
    return [(name, value) for name in names or UNKNOWN for value in UNKNOWN[name]]


def test_every_position_is_one_that_the_simulator_has():
    assert set(UNKNOWN) <= {option.name for option in OPTIONS}


@pytest.mark.parametrize("which", [0, -1], ids=["usual", "other"])
def test_the_answers_are_the_same_in_every_mode_whatever_all_of_them_are(which):
    asked, *others = played(every_mode, **{switch: positions[which] for switch, positions in UNKNOWN.items()})
    for found in (asked, *others):
        assert (found.content, found.finish_reason) == (asked.content, "stop")
    assert asked.content


@pytest.mark.slow
@pytest.mark.parametrize(("switch", "value"), each())
def test_the_answers_are_the_same_in_every_mode(switch, value):
    asked, *others = played(every_mode, **{switch: value})
    model = value if switch == "answered_model" and value else "gemini-2.5-pro"
    for found in (asked, *others):
        assert (found.content, found.finish_reason, found.model_answered) == (asked.content, "stop", model)
    assert all(found.reasoning for found in others)
    assert asked.content
    assert asked.usage


async def failing(world):
    accepted = await world.submit("async")
    assert isinstance(accepted, Accepted)
    followed, generation_id = await world.follow()
    asked = [await world.query(one) for one in (accepted.generation_id, generation_id)]
    return asked, followed, [await world.submit(mode) for mode in (SYNC, SYNC_STREAM)]


@pytest.mark.parametrize(("switch", "value"), each("sync_errors"))
def test_a_generation_that_failed_is_never_taken_for_an_answer(switch, value):
    asked, followed, posted = played(failing, **{switch: value, "fail_rate": 1.0})
    assert all(isinstance(answer, Failed) for answer in asked)
    assert not isinstance(followed, Completed)
    # a plain fault of the server may have been billed, and is owned up to
    allowed = Ambiguous | Failed if (switch, value) == ("sync_errors", "status") else Failed
    assert all(isinstance(answer, allowed) for answer in posted), posted


async def cut(world):
    followed, generation_id = await world.follow()
    return followed, await world.query(generation_id), await world.admin("summary")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("switch", "value"), each("stream_offset_base", "stream_named", "stream_comments", "stream_usage", "created_skew_s")
)
def test_a_stream_that_breaks_off_is_gone_on_with(switch, value):
    followed, asked, told = played(cut, **{switch: value, "stream_cut_after_bytes": 3_000, "stream_cuts": 2})
    assert isinstance(followed, Completed), followed
    assert followed.completion.content == asked.completion.content
    assert told["stream_connections"] == 3


def test_the_list_is_of_what_the_contract_calls_unknown():
    """Each switch that the documents name beside what is unknown stands above."""
    text = Path("docs/foxapi.md").read_text(encoding="utf-8")
    named = {option.name for option in OPTIONS if f"`{option.name}`" in text}
    faults = {name for name in named if name.endswith(("_rate", "_bytes", "_cuts"))}
    assert named - faults - set(UNKNOWN) <= {
        "balance",
        "stream_kept",
        "upload_kept",
        "sync_limit",
        "stream_chunks",
        "retry_after_text",
    }
