import asyncio
import re
from contextlib import asynccontextmanager
from hashlib import sha256

import aiohttp
import orjson
import pytest

from pipeline.simulator.app import App
from pipeline.simulator.digest import digest
from pipeline.simulator.media import Shelf
from pipeline.simulator.messages import Request
from pipeline.simulator.server import serve
from pipeline.simulator.settings import SimulatorSettings, changed

KEY = {"Authorization": "Bearer sk-test"}
URL = "https://a.example/v.mp4"
QUESTION = {"model": "gemini-2.5-pro", "prompt": "Describe the video.", "video_urls": [URL]}
TASK_FIELDS = {"id", "object", "type", "model", "status", "progress", "created", "stream", "results", "error"}


class Client:
    def __init__(self, base_url, session):
        self._base_url, self._session = base_url, session

    async def call(self, method, path, *, headers=KEY, **more):
        async with self._session.request(method, self._base_url + path, headers=headers, **more) as answer:
            body = await answer.read()
            is_json = answer.content_type == "application/json"
            return answer.status, await answer.json() if is_json else body, answer.headers

    async def submit(self, **fields):
        status, body, _ = await self.call("POST", "/v1/llm/generations", json={**QUESTION, **fields})
        return status, body

    async def query(self, generation_id, query=""):
        status, body, _ = await self.call("GET", f"/v1/tasks/{generation_id}{query}")
        return status, body

    async def set(self, **switches):
        status, body, _ = await self.call("POST", "/admin/settings", json=switches, headers={})
        assert status == 200, body

    async def summary(self):
        return (await self.call("GET", "/admin/summary", headers={}))[1]

    async def answered(self, **fields):
        _, task = await self.submit(**fields)
        return (await self.query(task["id"]))[1]


@asynccontextmanager
async def simulator(**switches):
    server = await serve(changed(SimulatorSettings(), {"fast": True, "latency": "0s", "seed": 1, **switches}))
    try:
        async with aiohttp.ClientSession() as session:
            yield Client(server.base_url, session)
    finally:
        await server.close()


def play(scene, **switches):
    async def act():
        async with simulator(**switches) as client:
            await scene(client)

    asyncio.run(asyncio.wait_for(act(), 20))


def test_a_post_is_answered_with_a_pending_task():
    async def scene(client):
        status, task = await client.submit()
        assert (status, set(task)) == (200, TASK_FIELDS)
        assert re.fullmatch(r"task-llmrouter-\d+-[0-9a-z]{8}", task["id"])
        assert (task["object"], task["type"], task["status"]) == ("llm.generation.task", "llm", "pending")
        assert (task["progress"], task["stream"], task["results"], task["error"]) == (0, None, None, None)

    play(scene)


def test_a_completed_task_holds_a_whole_chat_completion():
    async def scene(client):
        task = await client.answered()
        assert (task["status"], task["progress"], task["error"]) == ("completed", 100, None)
        (completion,) = task["results"]
        usage, choice = completion["usage"], completion["choices"][0]
        assert (completion["object"], choice["finish_reason"]) == ("chat.completion", "stop")
        assert choice["message"]["content"].endswith("\ndigest: " + digest([URL.encode()], QUESTION["prompt"]))
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        details = usage["prompt_tokens_details"]
        assert usage["prompt_tokens"] == details["video_tokens"] + details["audio_tokens"] + 5
        expected = (usage["prompt_tokens"] * 1.25 + usage["completion_tokens"] * 10) / 1e6
        assert usage["cost"] == pytest.approx(expected)

    play(scene)


def test_the_same_question_costs_the_same_every_time():
    async def scene(client):
        one, other = await client.answered(), await client.answered()
        assert one["id"] != other["id"]
        assert one["results"][0]["usage"] == other["results"][0]["usage"]

    play(scene)


def test_a_generation_goes_from_pending_over_processing_to_completed():
    async def scene(client):
        _, task = await client.submit()
        seen = []
        while not seen or seen[-1] != "completed":
            _, found = await client.query(task["id"])
            assert (found["results"] is not None) == (found["status"] == "completed")
            if found["status"] not in seen:
                seen.append(found["status"])
        assert seen == ["pending", "processing", "completed"]

    play(scene, latency="300ms")


def test_an_answer_is_cut_at_max_tokens_and_a_thinker_may_say_nothing():
    async def scene(client):
        cut = (await client.answered(max_tokens=10))["results"][0]
        assert cut["choices"][0]["finish_reason"] == "length"
        assert cut["usage"]["completion_tokens"] == 10
        thinker = (await client.answered(max_tokens=5, reasoning=True))["results"][0]
        assert (thinker["choices"][0]["message"]["content"], thinker["choices"][0]["finish_reason"]) == ("", "length")
        assert thinker["usage"]["completion_tokens_details"]["reasoning_tokens"] == 5

    play(scene)


def test_inline_videos_are_answered_and_never_kept():
    async def scene(client):
        inline = "data:video/mp4;base64,AAAA"
        task = await client.answered(video_urls=[inline])
        content = task["results"][0]["choices"][0]["message"]["content"]
        assert content.endswith(digest([inline.encode()], QUESTION["prompt"]))
        _, books, _ = await client.call("GET", "/admin/posts", headers={})
        kept = f"data:video/mp4;sha256={sha256(inline.encode()).hexdigest()}"
        assert books["posts"][0]["video_urls"] == [kept]

    play(scene)


@pytest.mark.parametrize("authorization", [None, "Bearer", "Bearer sk-", "Bearer other", "Basic sk-test"])
def test_without_a_key_nothing_is_created_or_told(authorization):
    async def scene(client):
        headers = {} if authorization is None else {"Authorization": authorization}
        for method, path in (("POST", "/v1/llm/generations"), ("GET", "/v1/tasks/x"), ("GET", "/v1/account/credits")):
            status, body, _ = await client.call(method, path, headers=headers)
            assert (status, body["error"]["type"]) == (401, "authentication_error")
            assert "code" not in body["error"]
        assert (await client.summary())["posts_accepted"] == 0

    play(scene)


def test_accepted_keys_change_while_it_runs():
    async def scene(client):
        await client.set(keys=["sk-other"])
        assert (await client.submit())[0] == 401
        await client.set(keys=["sk-test"], auth_error_status=403)
        assert (await client.submit())[0] == 200

    play(scene)


def test_unknown_paths_ids_and_methods_have_json_errors():
    async def scene(client):
        for path in ("/v1/llm/generation", "/", "/v1/tasks/task-llmrouter-1776874565-yq3szvcu", "/media/none.mp4"):
            status, body, _ = await client.call("GET", path)
            assert (status, body["error"]["type"]) == (404, "not_found")
        assert (await client.call("GET", "/v1/llm/generations"))[0] == 405

    play(scene)


def test_a_body_beyond_the_bound_gets_a_proxys_html():
    async def scene(client):
        status, body, headers = await client.call("POST", "/v1/llm/generations", data=b"x" * 5000)
        assert (status, headers["Content-Type"]) == (413, "text/html")
        assert b"413" in body

    play(scene, max_body_bytes=1000)


@pytest.mark.parametrize(
    ("switches", "status", "kind", "created"),
    [
        ({"submit_throttle_rate": 1}, 429, "rate_limit_error", 0),
        ({"max_open": 0}, 429, "rate_limit_error", 0),
        ({"balance": 0}, 402, "insufficient_quota", 0),
        ({"no_channel_rate": 1}, 422, "service_unavailable_error", 0),
        ({"error_before_rate": 1}, 500, "server_error", 0),
        ({"error_after_rate": 1, "error_status": 503}, 503, "server_error", 1),
    ],
)
def test_each_switch_answers_a_post_as_the_contract_says(switches, status, kind, created):
    async def scene(client):
        await client.set(**switches)
        answered, body = await client.submit()
        assert (answered, body.get("error") and body["error"]["type"]) == (status, kind)
        summary = await client.summary()
        assert (summary["posts_received"], summary["posts_accepted"]) == (1, created)
        assert summary["post_answers"] == {str(status): 1}
        assert summary["refused"] == ({} if created else {str(status): 1})

    play(scene)


def test_a_bad_gateway_speaks_html():
    async def scene(client):
        status, body, headers = await client.call("POST", "/v1/llm/generations", json=QUESTION)
        assert (status, headers["Content-Type"]) == (502, "text/html")
        assert b"Bad Gateway" in body

    play(scene, error_before_rate=1, error_status=502)


@pytest.mark.parametrize(("switch", "created"), [("hangup_before_rate", 0), ("hangup_after_rate", 1)])
def test_a_lost_answer_may_or_may_not_have_created_a_generation(switch, created):
    async def scene(client):
        await client.set(**{switch: 1})
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await client.submit()
        summary = await client.summary()
        assert (summary["posts_accepted"], summary["post_answers"]) == (created, {"hangup": 1})

    play(scene)


def test_polls_can_be_throttled_broken_or_lied_to():
    async def scene(client):
        _, task = await client.submit()
        for switch, status in (("query_throttle_rate", 429), ("query_error_rate", 500), ("query_missing_rate", 404)):
            await client.set(**{switch: 1})
            assert (await client.query(task["id"]))[0] == status
            await client.set(**{switch: 0})
        assert (await client.query(task["id"]))[0] == 200

    play(scene)


def test_a_limit_a_minute_lets_its_burst_through():
    async def scene(client):
        tasks = [await client.submit() for _ in range(3)]
        assert [status for status, _ in tasks] == [200, 200, 429]
        polls = [(await client.query(tasks[0][1]["id"]))[0] for _ in range(3)]
        assert polls == [200, 200, 429]

    play(scene, submit_per_minute=0, query_per_minute=0, burst=2)


def test_the_admin_answers_only_this_machine():
    app = App(SimulatorSettings(), Shelf([]), None, clock=lambda: 0.0, wall=lambda: 0.0)
    for method, path in (
        ("GET", "/admin/posts"),
        ("GET", "/admin/arrivals"),
        ("POST", "/admin/settings"),
        ("POST", "/admin/reset"),
    ):
        answer = app.handle(Request(method, path, "", None, b"{}", from_loopback=False))
        assert (answer.status, orjson.loads(answer.body)["error"]["type"]) == (403, "permission_error")


def test_a_429_says_when_to_come_back_if_told_to():
    async def scene(client):
        _, _, headers = await client.call("POST", "/v1/llm/generations", json=QUESTION)
        assert headers["Retry-After"] == "3"

    play(scene, submit_throttle_rate=1, retry_after=3)


def test_a_failed_generation_has_an_error_and_bills_nothing_unless_told_to():
    async def scene(client):
        task = await client.answered()
        assert (task["status"], task["results"]) == ("failed", None)
        assert (task["error"]["code"], task["error"]["type"]) == ("timeout", "task_error")
        assert (await client.summary())["cost"] == 0
        await client.set(failed_are_billed=True)
        await client.answered()
        summary = await client.summary()
        assert (summary["failed"], summary["cost"] > 0) == (2, True)

    play(scene, fail_rate=1, fail_codes="timeout")


def test_stuck_generations_fill_the_limit_in_flight():
    async def scene(client):
        answers = [(await client.submit())[0] for _ in range(4)]
        assert answers == [200, 200, 200, 429]
        summary = await client.summary()
        assert (summary["open"], summary["max_open"], summary["completed"]) == (3, 3, 0)

    play(scene, stuck_rate=1, max_open=3)


def test_a_slow_post_is_answered_late_but_created_at_once():
    async def scene(client):
        post = asyncio.ensure_future(client.submit())
        created = 0
        while not created:
            created = (await client.summary())["posts_accepted"]
        assert not post.done()
        assert (await post)[0] == 200

    play(scene, submit_delay="400ms")


def test_switches_on_the_shape_of_answers():
    async def scene(client):
        task = await client.answered()
        assert task["usage"] == {"credits_reserved": 1.0, "user_group": "default"}
        (completion,) = task["results"]
        assert "cost" not in completion["usage"]
        assert completion["model"] == "gemini-2.5-pro-0605"
        assert completion["choices"][0]["message"]["content"] == "Nothing to see."
        status, hidden = await client.query(task["id"], "?sync_upstream=true")
        assert (status, hidden["status"], hidden["results"]) == (200, "completed", None)

    play(
        scene,
        credits_reported=True,
        cost_reported=False,
        answered_model="gemini-2.5-pro-0605",
        fixed_content="Nothing to see.",
        refresh_hides_results=True,
    )


def test_models_and_credits_are_listed():
    async def scene(client):
        _, models, _ = await client.call("GET", "/v1/configs/llm_generations_models")
        assert [model["id"] for model in models["data"]] == ["gemini-2.5-pro", "nemotron-3-nano-omni"]
        await client.answered()
        _, credit, _ = await client.call("GET", "/v1/account/credits")
        assert credit["credits"] == pytest.approx(10 - credit["used"])

    play(scene, balance=10)


def test_the_books_hold_every_accepted_post_with_what_it_billed():
    async def scene(client):
        urls = [f"https://a.example/{number}.mp4" for number in range(25)]
        tasks = [await client.answered(video_urls=[url]) for url in urls]
        await client.submit(model="unknown")
        _, first, _ = await client.call("GET", "/admin/posts?offset=0&limit=20", headers={})
        _, rest, _ = await client.call("GET", "/admin/posts?offset=20&limit=20", headers={})
        posts = first["posts"] + rest["posts"]
        assert (first["count"], [post["sequence"] for post in posts]) == (25, list(range(25)))
        assert [post["id"] for post in posts] == [task["id"] for task in tasks]
        assert [post["video_urls"] for post in posts] == [[url] for url in urls]
        assert {post["prompt_sha256"] for post in posts} == {sha256(QUESTION["prompt"].encode()).hexdigest()}
        assert {(post["outcome"], post["polls"]) for post in posts} == {("completed", 1)}
        summary = await client.summary()
        assert (summary["posts_received"], summary["refused"], summary["polls"]) == (26, {"422": 1}, 25)
        for task, post in zip(tasks, posts, strict=True):
            usage = task["results"][0]["usage"]
            assert usage["cost"] == post["cost"]
            assert usage["prompt_tokens"] == post["prompt_tokens"]
        assert summary["cost"] == pytest.approx(sum(post["cost"] for post in posts))
        assert summary["completion_tokens"] == sum(post["completion_tokens"] for post in posts)

    play(scene)


def test_every_request_is_told_with_its_time_and_what_it_was_told():
    async def arrivals(client, kind, page=""):
        return (await client.call("GET", f"/admin/arrivals?kind={kind}{page}", headers={}))[1]

    async def scene(client):
        _, task = await client.submit()
        await client.submit()
        await client.set(submit_per_minute=None, hangup_after_rate=1)
        with pytest.raises(aiohttp.ClientError):
            await client.submit()
        await client.query(task["id"])
        await client.query("task-llmrouter-1-nothing0")
        posts = await arrivals(client, "posts")
        assert (posts["count"], [row[1:] for row in posts["arrivals"]]) == (3, [[200, None], [429, 3.0], [0, None]])
        times = [row[0] for row in posts["arrivals"]]
        assert times == sorted(times)
        polls = await arrivals(client, "polls")
        assert [row[1:] for row in polls["arrivals"]] == [[200, None], [404, None]]
        assert times[-1] <= polls["arrivals"][0][0]
        assert (await arrivals(client, "posts", "&offset=1&limit=1"))["arrivals"] == [posts["arrivals"][1]]
        for wrong in ("parts", "", "posts&offset=x"):
            assert "error" in await arrivals(client, wrong)
        await client.call("POST", "/admin/reset", headers={})
        assert await arrivals(client, "posts") == {"count": 0, "arrivals": []}

    play(scene, submit_per_minute=0, burst=1, retry_after=3)


def test_a_reset_forgets_generations_and_keeps_switches():
    async def scene(client):
        await client.set(cost_reported=False)
        _, task = await client.submit()
        await client.call("POST", "/admin/reset", headers={})
        assert (await client.summary())["posts_received"] == 0
        assert (await client.query(task["id"]))[0] == 404
        assert "cost" not in (await client.answered())["results"][0]["usage"]

    play(scene)


def test_the_admin_refuses_what_it_does_not_know_and_tells_no_key():
    async def scene(client):
        for body in (b"{", b"[]", b'{"colour":1}', b'{"fail_rate":2}', b'{"port":1}'):
            status, answer, _ = await client.call("POST", "/admin/settings", data=body, headers={})
            assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
        assert (await client.call("GET", "/admin/posts?limit=many", headers={}))[0] == 400
        assert (await client.call("GET", "/admin/nothing", headers={}))[0] == 404
        status, shown, _ = await client.call("POST", "/admin/settings", json={"keys": "sk-test"}, headers={})
        assert (status, shown["keys"]) == (200, ["***"])

    play(scene)


def test_shipped_clips_are_served_whatever_the_query_says():
    async def scene(client):
        status, body, headers = await client.call("GET", "/media/still.mp4?v=3", headers={})
        assert (status, headers["Content-Type"], len(body) > 500) == (200, "video/mp4", True)
        status, nothing, headers = await client.call("HEAD", "/media/still.mp4", headers={})
        assert (status, nothing, int(headers["Content-Length"])) == (200, b"", len(body))
        assert (await client.call("GET", "/media/..%2Fserver.py", headers={}))[0] == 404

    play(scene)
