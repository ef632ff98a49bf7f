"""An answer gathered from chunks: what it holds, how it ends, and where a broken stream goes on."""

import tracemalloc

import orjson
import pytest

from pipeline.core.completions import completion_of
from pipeline.core.sse import SseEvent, SseTooLarge
from pipeline.core.stream_answer import LARGEST_ANSWER, StreamAnswer, StreamState

HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1776874570, "model": "gemini-2.5-pro-002"}
DONE = SseEvent("", b"[DONE]")


def chunk(*, name="chunk", finish=None, choices=None, usage=None, **delta):
    body = HEAD | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}] if choices is None else choices}
    return SseEvent(name, orjson.dumps(body | ({"usage": usage} if usage else {})))


def done(total):
    return SseEvent("done", orjson.dumps({"total_chunks": total}))


CHUNKS = [
    chunk(role="assistant", content=""),
    chunk(reasoning_content="I see "),
    chunk(reasoning_content="fur."),
    chunk(content="ha "),
    chunk(content="ha "),
    chunk(content="ha "),
    chunk(content="A dog."),
    chunk(finish="stop"),
]


def taken(events, answer=None):
    answer = answer or StreamAnswer()
    for event in events:
        answer.take(event)
    return answer


def completion(answer):
    return completion_of(orjson.loads(answer.whole()))


def test_the_chunks_are_one_answer_as_a_query_would_bring_it():
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
    answer = taken([*CHUNKS, chunk(choices=[], usage=usage), done(9)])
    assert answer.state is StreamState.WHOLE
    assert orjson.loads(answer.whole()) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1776874570,
        "model": "gemini-2.5-pro-002",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "ha ha ha A dog.", "reasoning_content": "I see fur."},
                "finish_reason": "stop",
            }
        ],
        "usage": usage,
    }
    found = completion(answer)
    assert (found.content, found.reasoning, found.finish_reason, found.total_tokens) == (
        "ha ha ha A dog.",
        "I see fur.",
        "stop",
        13,
    )


@pytest.mark.parametrize("name", ["", "message", "chunk"])
def test_chunks_may_be_named_or_not(name):
    answer = taken([chunk(name=name, content="A dog."), DONE])
    assert answer.state is StreamState.WHOLE
    assert completion(answer).content == "A dog."


def test_reasoning_has_two_names_and_a_refusal_is_kept():
    found = completion(taken([chunk(reasoning="Hm."), chunk(refusal="I "), chunk(refusal="won't."), DONE]))
    assert (found.content, found.reasoning, found.refusal, found.usage) == (None, "Hm.", "I won't.", None)


def test_halves_of_a_character_in_two_chunks_are_one():
    halves = [rb'{"choices":[{"delta":{"content":"\ud83d"}}]}', rb'{"choices":[{"delta":{"content":"\udc15!"}}]}']
    assert completion(taken([*(SseEvent("", half) for half in halves), DONE])).content == "🐕!"
    lost = completion(taken([SseEvent("", halves[1]), SseEvent("", rb'{"id":"\ud800"}'), DONE]))
    assert lost.content == "\ufffd!"


def test_other_events_and_other_choices_are_passed_over():
    other = chunk(choices=[{"index": 1, "delta": {"content": "no"}}, {"index": 0, "delta": {"content": "yes"}}])
    answer = taken([SseEvent("ping", b"x"), other, SseEvent("progress", b"{}"), done(1)])
    assert (answer.state, completion(answer).content) == (StreamState.WHOLE, "yes")


@pytest.mark.parametrize(
    "events",
    [
        [done(0)],
        [DONE],
        [*CHUNKS, done(7)],
        [*CHUNKS, done(9)],
        [*CHUNKS, SseEvent("chunk", b"<html>")],
        [SseEvent("", b"[1]")],
        [SseTooLarge()],
    ],
)
def test_a_stream_that_does_not_add_up_ends_badly(events):
    answer = taken([*events, done(8), *CHUNKS, DONE])
    assert answer.state is StreamState.UNREADABLE


@pytest.mark.parametrize("told", [b"{}", b"", b"[]", b'{"total_chunks":null}', b'{"total_chunks":8}'])
def test_an_end_need_not_tell_how_many_chunks_there_were(told):
    assert taken([*CHUNKS, SseEvent("done", told)]).state is StreamState.WHOLE


@pytest.mark.parametrize(
    ("event", "code", "message"),
    [
        (SseEvent("error", b'{"message":"It failed."}'), "generation_failed", "It failed."),
        (SseEvent("error", b'{"error":{"message":"m","code":"timeout"}}'), "timeout", "m"),
        (SseEvent("error", b'{"message":"m","type":"server_error"}'), "server_error", "m"),
        (SseEvent("error", b'{"message":"m","type":"task_error"}'), "generation_failed", "m"),
        (SseEvent("error", b'{"message":"content_policy_violation: no"}'), "content_policy_violation", None),
        (SseEvent("error", b"plain words"), "generation_failed", "plain words"),
        (SseEvent("", b'{"error":{"message":"m","type":"rate_limit_error"}}'), "rate_limit_error", "m"),
        (SseEvent("", b'{"error":"words"}'), "generation_failed", "words"),
        (SseEvent("error", b""), "generation_failed", None),
    ],
)
def test_a_failure_is_told_in_several_ways(event, code, message):
    answer = taken([CHUNKS[0], event, DONE])
    assert answer.state is StreamState.FAILED
    assert answer.problem.code == code
    assert message is None or answer.problem.message == message


def test_an_error_that_is_null_is_none():
    assert (
        taken([SseEvent("", b'{"error":null,"choices":[{"delta":{"content":"a"}}]}'), DONE]).state is StreamState.WHOLE
    )


def test_text_without_end_is_given_up():
    answer = StreamAnswer()
    large = chunk(content="x" * 1_000_000)
    for _ in range(LARGEST_ANSWER // 1_000_000 + 1):
        answer.take(large)
    assert answer.state is StreamState.UNREADABLE


def test_an_answer_is_finished_by_its_reason():
    answer = taken(CHUNKS[:-1])
    assert not answer.is_finished
    assert taken(CHUNKS[-1:], answer).is_finished


def server(base, offset):
    """What a server that counts from `base` replays."""
    return CHUNKS if offset is None else CHUNKS[offset - base :]


@pytest.mark.parametrize("base", [0, 1])
@pytest.mark.parametrize("cut", range(len(CHUNKS) + 1))
@pytest.mark.parametrize("end", [done(len(CHUNKS)), DONE], ids=["named", "bare"])
def test_a_broken_stream_goes_on_without_doubling_or_losing_a_chunk(base, cut, end):
    answer = taken(CHUNKS[:cut])
    offset = answer.go_on()
    assert offset is None or offset < cut
    taken([*server(base, offset), end], answer)
    assert answer.state is StreamState.WHOLE
    assert answer.whole() == taken([*CHUNKS, DONE]).whole()
    assert answer.counted == len(CHUNKS)


@pytest.mark.parametrize("base", [0, 1])
def test_a_stream_that_breaks_every_few_chunks_arrives_all_the_same(base):
    answer = StreamAnswer()
    offset = None
    for _ in range(50):
        if taken(server(base, offset)[:5], answer).is_finished:
            break
        offset = answer.go_on()
    assert answer.is_finished
    assert answer.whole() == taken(CHUNKS).whole()


@pytest.mark.parametrize("replayed", [CHUNKS, CHUNKS[6:], [*CHUNKS[3:5], *CHUNKS[6:]]], ids=["start", "later", "hole"])
def test_a_server_that_goes_on_elsewhere_is_asked_for_the_whole_stream(replayed):
    answer = taken(CHUNKS[:6])
    assert answer.go_on() == 3
    assert taken([*replayed, DONE], answer).state is StreamState.ASTRAY
    assert answer.go_on() is None
    assert taken([*CHUNKS[:7]], answer).state is StreamState.GOING_ON
    assert answer.go_on() is None  # it is not asked for a place again
    assert taken([*CHUNKS, DONE], answer).state is StreamState.WHOLE
    assert answer.whole() == taken([*CHUNKS, DONE]).whole()


def test_an_end_that_nothing_vouches_for_is_astray():
    answer = taken(CHUNKS)
    assert answer.go_on() == 7
    assert taken([DONE], answer).state is StreamState.ASTRAY
    answer = taken(CHUNKS)
    answer.go_on()
    assert taken([done(len(CHUNKS))], answer).state is StreamState.WHOLE


def test_chunks_that_are_all_alike_begin_anew():
    alike = [chunk(content="ha ")] * 5
    answer = taken(alike)
    assert answer.go_on() is None
    assert completion(taken([*alike, DONE], answer)).content == "ha " * 5


def test_a_place_that_looks_like_the_start_is_not_asked_for():
    again = [chunk(content="a"), chunk(content="b"), chunk(content="a")]
    assert taken(again).go_on() is None
    assert taken([*again, chunk(content="c")]).go_on() is None  # its chunk 2 is like chunk 0
    assert taken([*again, chunk(content="c"), chunk(content="d")]).go_on() == 4


def test_what_was_reached_grows_with_progress_alone():
    answer = taken(CHUNKS[:6])
    assert answer.reached == 6
    answer.begin_anew()
    assert answer.go_on() is None
    assert (taken(CHUNKS[:4], answer).reached, answer.counted) == (6, 4)
    assert taken(CHUNKS[4:8], answer).reached == 8


def test_many_answers_at_once_take_little_more_room_than_their_text():
    text = chunk(content="eight by")

    def gathered():
        answer = StreamAnswer()
        for _ in range(500):
            answer.take(text)
        return answer

    gathered()
    tracemalloc.start()
    answers = [gathered() for _ in range(20)]
    taken_up = tracemalloc.get_traced_memory()[0] / len(answers)
    tracemalloc.stop()
    assert 4_000 < taken_up < 8_000
