"""The API port at an OpenAI-compatible server, side by side with the official client: both must read the same."""

import asyncio
import json
from base64 import b64encode

import openai
import orjson
import pytest
import uvloop

from pipeline.core.account import Secret
from pipeline.core.answers import AccountRefused, Ambiguous, Answered, Failed, Missing, NothingSent, Refused, Throttled
from pipeline.core.errors import SettingsError
from pipeline.core.requests import Request
from pipeline.edges.http import HttpDoor
from pipeline.edges.http_transport import HttpSettings
from pipeline.edges.openai_api import OpenAiApi
from pipeline.edges.payload import InlineVideo
from tests.chat_server import USAGE, ChatServer, Reply, chunks, completion, content_of, streamed, whole

KEY = "sk-secret/0123456789abcdef"
SETTINGS = HttpSettings(connect_timeout_s=2, read_timeout_s=5, total_timeout_s=10)
BODY = Request(
    0, "a", 1, "qwen3-vl", "What is there?", ("https://v.example/a.mp4",), "Be brief.", 0.5, 2000, reasoning=True
).body()


@pytest.fixture
def server():
    with ChatServer().serving() as made:
        yield made


@pytest.fixture
def official(server):
    with openai.OpenAI(base_url=server.base_url, api_key=KEY, max_retries=0, timeout=10) as client:
        yield client


def submitted(base_url, *, stream=False, body=BODY, videos=None):
    async def scenario():
        door = HttpDoor(SETTINGS)
        try:
            api = OpenAiApi(base_url, Secret(KEY), door, clock=lambda: 1_776_874_565.0, stream=stream)
            return await api.submit(body, videos or {}), await api.query("chatcmpl-1"), repr(api)
        finally:
            await door.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(scenario(), 20))


def answer(server, reply=None, *, stream=False):
    if reply is not None:
        server.answer = reply if callable(reply) else lambda _asked, _nth: reply
    return submitted(server.base_url, stream=stream)[0]


def test_the_official_client_asks_with_the_same_body_and_the_same_headers(server, official):
    answer(server)
    [ours] = server.asked
    official.chat.completions.create(**ours)
    assert server.asked[1] == ours
    names = ("authorization", "content-type", "accept")
    assert [server.headers[0][name] for name in names] == [server.headers[1][name] for name in names]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_answer_is_read_as_the_rows(server, stream):
    got = answer(server, stream=stream)
    assert isinstance(got, Answered)
    assert got.answer_id == "chatcmpl-1"
    told = got.completion
    assert told.content == content_of(server.asked[0])
    assert (told.prompt_tokens, told.completion_tokens, told.total_tokens) == (1000, 50, 1050)
    assert (told.finish_reason, told.model_answered) == ("stop", "qwen3-vl")


RICH = USAGE | {
    "cost": 0.0121,
    "prompt_tokens_details": {"cached_tokens": 7, "audio_tokens": 96, "video_tokens": 774},
    "completion_tokens_details": {"reasoning_tokens": 30, "audio_tokens": 0},
}


def message(asked, **changes):
    made = completion(asked)
    made["choices"][0]["message"] |= changes
    return made


ANSWERS = {
    "plain": completion,
    "rich": lambda asked: completion(asked, usage=RICH),
    "reasoning": lambda asked: message(asked, reasoning_content="I see fur."),
    "refusal": lambda asked: message(asked, content=None, refusal="I can't."),
    "no usage": lambda asked: {name: value for name, value in completion(asked).items() if name != "usage"},
    "cut short": lambda asked: completion(
        asked, choices=[completion(asked)["choices"][0] | {"finish_reason": "length"}]
    ),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_the_official_client_reads_the_same_from_a_whole_answer(server, official, kind):
    ours = answer(server, lambda asked, _nth: whole(ANSWERS[kind](asked)))
    assert isinstance(ours, Answered)
    theirs = official.chat.completions.create(**server.asked[0])
    agrees(ours.completion, theirs, theirs.choices[0].message)


STREAMS = {
    "plain": chunks,
    "rich": lambda asked: chunks(asked, usage=RICH),
    "reasoning": lambda asked: chunks(
        asked, {"reasoning_content": "I see "}, {"reasoning_content": "fur."}, {"content": "é"}
    ),
    "refusal": lambda asked: chunks(asked, {"refusal": "I "}, {"refusal": "can't."}),
}


@pytest.mark.parametrize("kind", STREAMS)
def test_the_official_client_reads_the_same_from_a_stream(server, official, kind):
    ours = answer(server, lambda asked, _nth: streamed(*STREAMS[kind](asked)), stream=True)
    assert isinstance(ours, Answered)
    said, usage, last = {"content": "", "reasoning_content": "", "refusal": ""}, None, None
    for chunk in official.chat.completions.create(**server.asked[0]):
        usage, last = chunk.usage or usage, chunk
        for choice in chunk.choices:
            for name in said:
                said[name] += getattr(choice.delta, name, None) or ""
    told = ours.completion
    assert (told.content or "", told.reasoning or "", told.refusal or "") == tuple(said.values())
    assert json.loads(told.usage) == usage.model_dump(exclude_unset=True)
    assert (ours.answer_id, told.model_answered) == (last.id, last.model)


@pytest.mark.parametrize("kind", STREAMS)
def test_a_streams_response_is_a_completion_of_the_official_types(server, kind):
    ours = answer(server, lambda asked, _nth: streamed(*STREAMS[kind](asked)), stream=True).completion
    theirs = openai.types.chat.ChatCompletion.model_validate(orjson.loads(ours.response))
    agrees(ours, theirs, theirs.choices[0].message)


def agrees(ours, theirs, said):
    """One answer, as the dataset has it and as the official client does."""
    usage = theirs.usage
    assert (ours.content, ours.refusal) == (said.content, said.refusal)
    assert ours.reasoning == getattr(said, "reasoning_content", None)
    assert (ours.finish_reason, ours.model_answered) == (theirs.choices[0].finish_reason, theirs.model)
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert getattr(ours, name) == getattr(usage, name, None)
    asked, answered = getattr(usage, "prompt_tokens_details", None), getattr(usage, "completion_tokens_details", None)
    for name in ("cached_tokens", "audio_tokens", "video_tokens"):
        assert getattr(ours, name) == getattr(asked, name, None)
    assert ours.reasoning_tokens == getattr(answered, "reasoning_tokens", None)
    assert ours.cost == getattr(usage, "cost", None)


ERRORS = {
    401: (openai.AuthenticationError, AccountRefused, {"code": "invalid_api_key", "type": "invalid_request_error"}),
    403: (openai.PermissionDeniedError, Refused, {"code": "unsupported_country_region_territory"}),
    404: (openai.NotFoundError, Refused, {"code": "model_not_found", "type": "invalid_request_error"}),
    400: (openai.BadRequestError, Refused, {"code": None, "type": "invalid_request_error", "param": "messages"}),
    422: (openai.UnprocessableEntityError, Refused, {"code": "invalid", "type": "invalid_request_error"}),
    429: (openai.RateLimitError, Throttled, {"code": "rate_limit_exceeded", "type": "requests"}),
    500: (openai.InternalServerError, Ambiguous, {"code": None, "type": "server_error"}),
}


@pytest.mark.parametrize("status", ERRORS)
def test_the_official_client_raises_for_what_is_no_answer_here(server, official, status):
    raised, read, error = ERRORS[status]
    ours = answer(server, whole({"error": {"message": "No.", **error}}, status))
    assert isinstance(ours, read)
    with pytest.raises(raised) as caught:
        official.chat.completions.create(**server.asked[0])
    assert ours.problem.code == (caught.value.code or caught.value.type)
    assert ours.problem.message == caught.value.body["message"]


def test_an_error_amid_a_stream_is_the_end_of_an_attempt_for_both(server, official):
    def broken(asked, _nth):
        return streamed(*chunks(asked)[:4], {"error": {"code": 502, "message": "Provider disconnected"}}, done=False)

    ours = answer(server, broken, stream=True)
    assert ours == Failed(ours.problem, retryable=True)
    assert (ours.problem.code, ours.problem.message) == ("502", "Provider disconnected")
    with pytest.raises(openai.APIError, match="Provider disconnected"):
        list(official.chat.completions.create(**server.asked[0]))


def test_a_stream_that_breaks_off_may_have_been_billed(server):
    ours = answer(server, lambda asked, _nth: streamed(*chunks(asked)[:4], done=False, cut=True), stream=True)
    assert isinstance(ours, Ambiguous)


@pytest.mark.parametrize("usage", [True, False], ids=["with its usage", "without its usage"])
def test_a_stream_that_told_its_end_and_then_broke_is_not_paid_for_again(server, usage):
    def broken(asked, _nth):
        return streamed(*[one for one in chunks(asked) if usage or one["choices"]], done=False, cut=True)

    ours = answer(server, broken, stream=True)
    assert isinstance(ours, Answered)
    assert ours.completion.finish_reason == "stop"
    whole_one = answer(server, lambda asked, _nth: streamed(*chunks(asked)), stream=True)
    assert ours.completion.content == whole_one.completion.content
    assert (ours.completion.usage is not None) == usage


def test_a_reason_beside_each_piece_of_text_is_no_end(server):
    def broken(asked, _nth):
        told = chunks(asked)[:4]
        for one in told[1:]:
            one["choices"][0]["finish_reason"] = "stop"
        return streamed(*told, done=False, cut=True)

    assert isinstance(answer(server, broken, stream=True), Ambiguous)


def test_an_answer_that_breaks_off_may_have_been_billed(server):
    ours = answer(server, Reply(200, (b'{"id":"chatcmpl-1","cho',), cut=True))
    assert isinstance(ours, Ambiguous)


def test_a_stream_without_its_last_word_is_whole_where_it_told_why_it_ended(server):
    ours = answer(server, lambda asked, _nth: streamed(*chunks(asked), done=False), stream=True)
    assert isinstance(ours, Answered)
    assert ours.completion.content == content_of(server.asked[0])


@pytest.mark.parametrize("status", [400, 401, 429, 503])
def test_a_stream_that_is_refused_is_read_as_any_refusal(server, status):
    reply = whole({"error": {"message": "No.", "code": "no"}}, status)
    kinds = [type(answer(server, reply, stream=stream)) for stream in (False, True)]
    assert kinds[0] is kinds[1]


def test_a_whole_answer_where_a_stream_was_asked_for_is_an_answer(server):
    ours = answer(server, lambda asked, _nth: whole(completion(asked)), stream=True)
    assert isinstance(ours, Answered)
    assert ours.completion.content == content_of(server.asked[0])


def test_a_limit_says_when_to_come_back(server):
    ours = answer(server, whole({"error": {"message": "slow"}}, 429, **{"retry-after": "7"}))
    assert isinstance(ours, Throttled)
    assert ours.retry_after == 7


def test_nobody_there_is_nothing_sent():
    assert isinstance(submitted("http://127.0.0.1:1/v1")[0], NothingSent)


def test_no_generation_can_be_asked_for(server):
    _, asked, shown = submitted(server.base_url)
    assert isinstance(asked, Missing)
    assert KEY not in shown


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_echoed_key_does_not_come_in(server, stream):
    echo = f"You sent Bearer {KEY} and {json.dumps(KEY)[1:-1].replace('/', chr(92) + '/')}"
    refused = answer(server, whole({"error": {"message": echo}}, 400), stream=stream)
    assert KEY not in str(refused)
    pieces = [{"content": KEY[:9]}, {"content": KEY[9:]}]

    def said(asked, _nth):
        return streamed(*chunks(asked, *pieces)) if stream else whole(message(asked, content=echo))

    completed = answer(server, said, stream=stream)
    assert isinstance(completed, Answered)
    assert KEY not in str(completed)


def test_a_base_url_that_is_none_is_refused():
    with pytest.raises(SettingsError):
        OpenAiApi("localhost:8000", Secret(KEY), None, clock=lambda: 0.0)


FILE = "file:///videos/a%20b.mp4#size=5&sha256=" + "0" * 64


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_file_goes_out_inside_its_part_and_a_signed_url_instead_of_its_reference(server, stream):
    async def pieces():
        yield b"vid"
        yield b"eo"

    store = "s3://bucket/b.mp4"
    body = Request(0, "a", 1, "qwen3-vl", f'Not "{FILE}" itself', (FILE, store)).body()
    videos = {FILE: InlineVideo("video/mp4", 5, pieces), store: "https://bucket.example/b.mp4?X-Amz-Signature=1"}
    got, _, _ = submitted(server.base_url, stream=stream, body=body, videos=videos)
    assert isinstance(got, Answered)
    text, *parts = server.asked[0]["messages"][0]["content"]
    assert text["text"] == f'Not "{FILE}" itself'
    assert [part["video_url"]["url"] for part in parts] == [
        "data:video/mp4;base64," + b64encode(b"video").decode(),
        videos[store],
    ]
