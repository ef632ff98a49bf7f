import asyncio
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from hashlib import sha256

import aiohttp
import httpx
import pytest

from pipeline.core.errors import SystemTrouble
from pipeline.simulator.clips import shipped_clips
from pipeline.simulator.digest import digest
from pipeline.simulator.facts import measure
from pipeline.simulator.server import serve
from pipeline.simulator.settings import SimulatorSettings, changed

KEY = {"Authorization": "Bearer sk-test"}
PROMPT = "What happens?"


@contextmanager
def process(*options):
    command = [sys.executable, "-m", "pipeline.simulator", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        # A process that never gets ready must not hold the test.
        watchdog = threading.Timer(20, running.kill)
        watchdog.start()
        try:
            line = running.stdout.readline()
            assert line.startswith("simulator ready http://127.0.0.1:"), running.stderr.read()
            yield running, line.split()[-1]
        finally:
            running.kill()
            watchdog.cancel()


def real(scene, **switches):
    async def act():
        server = await serve(changed(SimulatorSettings(), {"latency": "0s", **switches}))
        try:
            async with aiohttp.ClientSession(base_url=server.base_url, headers=KEY) as session:
                await scene(session, server.base_url)
        finally:
            await server.close()

    asyncio.run(asyncio.wait_for(act(), 30))


async def answered(session, *urls):
    body = {"model": "gemini-2.5-pro", "prompt": PROMPT, "video_urls": urls}
    async with session.post("/v1/llm/generations", json=body) as answer:
        task = await answer.json()
        assert answer.status == 200, task
    while task["status"] not in ("completed", "failed"):
        await asyncio.sleep(0.01)
        async with session.get(f"/v1/tasks/{task['id']}") as answer:
            task = await answer.json()
    return task


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_simulator_process_says_when_it_is_ready_and_ends_cleanly(number):
    with process("--fast", "--latency", "0s", "--fail-rate", "1") as (running, base_url):
        with httpx.Client(base_url=base_url, headers=KEY) as client:
            body = {"model": "gemini-2.5-pro", "prompt": PROMPT, "video_urls": ["https://a.example/v.mp4"]}
            task = client.post("/v1/llm/generations", json=body).json()
            assert client.get(f"/v1/tasks/{task['id']}").json()["status"] == "failed"
            running.send_signal(number)
            assert running.wait(10) == 0
        assert running.stderr.read() == ""


def test_options_that_can_not_be_used_end_with_2_and_a_sentence():
    command = [sys.executable, "-m", "pipeline.simulator", "--latency", "soon"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("latency: ")


def test_a_port_that_is_taken_is_said_in_words():
    async def scene(_session, base_url):
        port = int(base_url.rsplit(":", 1)[1])
        with pytest.raises(SystemTrouble, match=f"can't listen on 127.0.0.1:{port}"):
            await serve(changed(SimulatorSettings(), {"port": port}))

    real(scene)


def test_real_mode_downloads_decodes_and_proves_it_with_a_digest():
    async def scene(session, base_url):
        clips = shipped_clips()[:2]
        task = await answered(session, *[f"{base_url}/media/{clip.name}" for clip in clips])
        (completion,) = task["results"]
        lines = completion["choices"][0]["message"]["content"].split("\n")
        videos = [clip.read_bytes() for clip in clips]
        facts = [measure(video) for video in videos]
        assert lines == [*[fact.sentence() for fact in facts], f"digest: {digest(videos, PROMPT)}"]
        details = completion["usage"]["prompt_tokens_details"]
        assert details["video_tokens"] == sum(fact.video_tokens for fact in facts)
        assert details["audio_tokens"] == sum(fact.audio_tokens for fact in facts)

    real(scene)


def test_a_video_that_many_rows_ask_for_is_downloaded_once():
    downloads = []

    async def hand_out(reader, writer):
        downloads.append(await reader.readuntil(b"\r\n\r\n"))
        video = shipped_clips()[-1].read_bytes()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(video) + video)
        await writer.drain()
        writer.close()

    async def scene(session, _base_url):
        async with await asyncio.start_server(hand_out, "127.0.0.1", 0) as library:
            url = f"http://127.0.0.1:{library.sockets[0].getsockname()[1]}/v.mp4"
            tasks = await asyncio.gather(*(answered(session, url) for _ in range(20)))
        assert {task["status"] for task in tasks} == {"completed"}
        assert len(downloads) == 1
        assert b"sk-test" not in downloads[0]

    real(scene)


def test_what_can_not_be_downloaded_or_is_no_video_fails_the_generation(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")

    async def scene(session, base_url):
        for url in (f"{base_url}/media/none.mp4", f"{base_url}/media/text.mp4", "http://127.0.0.1:1/v.mp4"):
            task = await answered(session, url)
            assert (task["status"], task["results"]) == ("failed", None)
            assert (task["error"]["code"], task["error"]["type"]) == ("generation_failed", "task_error")
            assert "video" in task["error"]["message"]
        async with session.get("/admin/summary") as answer:
            summary = await answer.json()
        assert (summary["failed"], summary["prompt_tokens"], summary["open"]) == (3, 0, 0)

    real(scene, media_folder=str(tmp_path))


def test_a_video_beyond_the_bound_fails_the_generation():
    async def scene(session, base_url):
        task = await answered(session, f"{base_url}/media/still.mp4")
        assert (task["status"], "larger than" in task["error"]["message"]) == ("failed", True)

    real(scene, max_video_bytes=1000)


def test_a_simulator_closes_while_it_waits_for_a_video():
    async def scene(session, _base_url):
        silent = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}/v.mp4"
        body = {"model": "gemini-2.5-pro", "prompt": PROMPT, "video_urls": [url]}
        async with session.post("/v1/llm/generations", json=body) as answer:
            assert answer.status == 200
        await asyncio.sleep(0)
        silent.close()

    real(scene)


def test_an_inline_video_is_decoded_too():
    import base64

    async def scene(session, _base_url):
        video = shipped_clips()[-1].read_bytes()
        task = await answered(session, "data:video/mp4;base64," + base64.b64encode(video).decode())
        content = task["results"][0]["choices"][0]["message"]["content"]
        assert content.endswith(digest([video], PROMPT))
        assert sha256(video).hexdigest() not in content

    real(scene)
