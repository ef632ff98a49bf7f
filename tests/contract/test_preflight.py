"""Looks at real URLs: what is asked, how often, and for how long."""

import asyncio
import contextlib
import time

import pytest

from pipeline.edges.http_probe import Probe
from pipeline.edges.preflight import Preflight

MP4 = b"\0\0\0\x18ftypisom" + b"v" * 200_000


class Host:
    """Serves by path; keeps which requests came."""

    def __init__(self):
        self.asked = []
        self.writers = []

    async def serve(self, reader, writer):
        self.writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, path, _ = head.split("\r\n")[0].split(" ")
            self.asked.append((method, path))
            assert "authorization" not in head.lower()
            status, kind, body, more = self._answer(method, path.partition("?")[0])
            if status:
                lines = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{more}\r\n"
                writer.write(lines.encode() + (b"" if method == "HEAD" else body))
                await writer.drain()
            else:
                await reader.read()
        writer.close()

    def _answer(self, method, path):
        match path:
            case "/a.mp4":
                return 200, "video/mp4", MP4, ""
            case "/no-head.mp4":
                return (405, "", b"", "") if method == "HEAD" else (200, "binary/octet-stream", MP4, "")
            case "/signed-for-get.mp4":
                return (403, "", b"", "") if method == "HEAD" else (200, "video/mp4", MP4, "")
            case "/page.mp4":
                return 200, "text/html", b"<html>not here</html>", ""
            case "/moved.mp4":
                return 302, "", b"", "location: /a.mp4\r\n"
            case "/away.mp4":
                return 302, "", b"", "location: file:///etc/passwd\r\n"
            case "/circle.mp4":
                return 302, "", b"", "location: /circle.mp4\r\n"
            case "/expired.mp4":
                return 403, "application/xml", b"<Error><Message>Request has expired</Message></Error>", ""
            case "/silent.mp4":
                return 0, "", b"", ""
        return 404, "text/plain", b"no", ""


def looked(*paths, within_s=8.0, times=1):
    host = Host()

    async def scenario():
        server = await asyncio.start_server(host.serve, "127.0.0.1", 0)
        base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        probe = Probe(within_s=within_s)
        ahead = Preflight(probe, time.time)
        try:
            urls = [path if "://" in path else base + path for path in paths] * times
            return await asyncio.gather(*(ahead.trouble_of(url) for url in urls))
        finally:
            await probe.close()
            server.close()
            for writer in host.writers:
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()

    problems = asyncio.run(asyncio.wait_for(scenario(), 60))
    return [problem and problem.code for problem in problems], host.asked


@pytest.mark.parametrize(
    ("path", "code", "asked"),
    [
        ("/a.mp4", None, ["HEAD"]),
        ("/no-head.mp4", None, ["HEAD", "GET"]),
        ("/signed-for-get.mp4", None, ["HEAD", "GET"]),
        ("/page.mp4", "preflight_not_a_video", ["HEAD", "GET"]),
        ("/moved.mp4", None, ["HEAD", "HEAD"]),
        ("/away.mp4", None, ["HEAD", "GET"]),
        ("/expired.mp4", "preflight_expired_url", ["HEAD", "GET"]),
        ("/gone.mp4", "preflight_dead", ["HEAD"]),
    ],
)
def test_a_url_is_asked_no_more_than_it_takes(path, code, asked):
    codes, seen = looked(path)
    assert codes == [code]
    assert [method for method, _ in seen] == asked


def test_a_circle_and_a_silent_host_hold_up_nobody_and_are_sent():
    began = time.monotonic()
    codes, _ = looked("/circle.mp4", "/silent.mp4", within_s=0.5)
    assert codes == [None, None]
    assert time.monotonic() - began < 20


def test_a_url_of_many_rows_is_looked_at_once():
    codes, asked = looked("/gone.mp4", times=50)
    assert codes == ["preflight_dead"] * 50
    assert len(asked) == 1


def test_a_host_that_is_not_there_is_dead_and_one_that_refuses_is_not():
    codes, _ = looked("http://127.0.0.1:1/a.mp4", "https://www.youtube.com/watch?v=abc")
    assert codes == [None, None]
    codes, _ = looked("http://no-such-host.invalid/a.mp4")
    assert codes[0] in {"preflight_dead", None}  # where the machine has no name server, nobody can tell
