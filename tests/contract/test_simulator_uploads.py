import asyncio
import base64
from contextlib import suppress
from hashlib import sha256
from io import BytesIO

import aiohttp
import orjson
import pytest

from pipeline.simulator.clips import shipped_clips
from pipeline.simulator.digest import digest
from pipeline.simulator.files import ranged
from pipeline.simulator.multipart import FileReader, NotMultipart, boundary_of
from tests import simulator_client

UPLOAD, SUBMIT = "/v1/files/upload/stream", "/v1/llm/generations"
PROMPT = "What happens?"
VIDEO = shipped_clips()[-1].read_bytes()


class Client(simulator_client.Client):
    async def upload(self, data, filename="clip.mp4", field="file", **more):
        form = aiohttp.FormData(quote_fields=False)
        form.add_field("purpose", "a field that is passed over")
        form.add_field(field, BytesIO(data), filename=filename, content_type="video/mp4")
        status, body, _ = await self.call("POST", UPLOAD, data=form, **more)
        return status, orjson.loads(body) if body.startswith(b"{") else body


def play(scene, **switches):
    simulator_client.play(Client, scene, within_s=30, **switches)


def test_an_uploaded_file_is_served_under_the_url_that_was_told():
    async def scene(client):
        status, told = await client.upload(VIDEO, "my clip.MP4")
        assert (status, told["filename"], told["size"]) == (200, "my clip.MP4", len(VIDEO))
        assert set(told) == {"id", "filename", "url", "size", "created"}
        assert told["url"].startswith(client.server.base_url)
        assert told["url"].endswith(".mp4")
        async with aiohttp.ClientSession() as anybody, anybody.get(told["url"]) as answer:
            assert (answer.status, answer.content_type, await answer.read()) == (200, "video/mp4", VIDEO)
        listed = await client.json("/admin/uploads")
        assert listed["count"] == 1
        assert listed["uploads"][0]["sha256"] == sha256(VIDEO).hexdigest()
        assert (await client.json("/admin/summary"))["uploads"] == 1

    play(scene)


def test_an_upload_needs_a_key_and_a_form_with_a_file():
    async def scene(client):
        assert (await client.upload(VIDEO, headers={"Authorization": "Bearer x"}))[0] == 401
        assert (await client.upload(VIDEO, field="video"))[0] == 422
        assert (await client.call("POST", UPLOAD, json={}))[0] == 422
        assert (await client.call("GET", UPLOAD))[0] == 405
        assert (await client.json("/admin/uploads"))["count"] == 0
        assert (await client.call("GET", "/files/file-0000000000000000.mp4"))[0] == 404

    play(scene)


def test_a_file_beyond_the_bound_is_refused_while_it_comes():
    async def scene(client):
        async def endless():
            for _ in range(100):
                yield b"x" * 100_000

        assert (await client.upload(b"x" * 2_000_000))[0] == 413
        with suppress(aiohttp.ClientError):
            status, _, _ = await client.call(
                "POST", UPLOAD, data=endless(), headers={"Content-Type": "multipart/form-data; boundary=b"}
            )
            assert status == 413

    play(scene, max_video_bytes=1_000_000)


def test_an_upload_expires():
    async def scene(client):
        _, told = await client.upload(VIDEO)
        await client.set(upload_kept=0)
        assert (await client.call("GET", told["url"]))[0] == 404
        assert (await client.json("/admin/uploads"))["count"] == 0

    play(scene)


@pytest.mark.parametrize(("rate", "status"), [("upload_throttle_rate", 429), ("upload_error_rate", 500)])
def test_an_upload_can_go_wrong_and_then_keeps_nothing(rate, status):
    async def scene(client):
        assert (await client.upload(VIDEO))[0] == status
        summary = await client.json("/admin/summary")
        assert (summary["faults"], summary["upload_answers"]) == ({rate.removesuffix("_rate"): 1}, {str(status): 1})
        await client.set(**{rate: 0})
        assert (await client.upload(VIDEO))[0] == 200
        assert (await client.json("/admin/uploads"))["count"] == 1

    play(scene, **{rate: 1})


def test_a_url_may_be_a_path():
    async def scene(client):
        _, told = await client.upload(VIDEO, "noname")
        assert told["url"] == f"/files/{told['id']}.bin"
        assert (await client.call("GET", told["url"]))[1] == VIDEO

    play(scene, upload_url_relative=True)


@pytest.mark.parametrize("large", [False, True])
def test_files_are_given_by_ranges(tmp_path, large):
    data = VIDEO if not large else b"".join(number.to_bytes(4, "big") for number in range(1_500_000))
    (tmp_path / "film.mp4").write_bytes(data)

    async def scene(client):
        _, told = await client.upload(data)
        for path in (told["url"], f"{client.server.base_url}/media/film.mp4"):
            status, body, headers = await client.call("GET", path)
            assert (status, body == data, headers["Accept-Ranges"]) == (200, True, "bytes")
            status, body, headers = await client.call("HEAD", path)
            assert (status, body, headers["Content-Length"]) == (200, b"", str(len(data)))
            status, body, headers = await client.call("GET", path, headers={"Range": "bytes=0-99"})
            assert (status, body, headers["Content-Range"]) == (206, data[:100], f"bytes 0-99/{len(data)}")
            status, body, _ = await client.call("GET", path, headers={"Range": f"bytes={len(data) - 700_000}-"})
            assert body == data[-700_000:] if large else status == 200
            status, _, headers = await client.call("GET", path, headers={"Range": f"bytes={len(data)}-"})
            assert (status, headers["Content-Range"]) == (416, f"bytes */{len(data)}")

    play(scene, media_folder=str(tmp_path))


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("", (0, 10)),
        ("bytes=2-3", (2, 4)),
        ("bytes=2-", (2, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-30", (0, 10)),
        ("bytes=8-100", (8, 10)),
        ("bytes=10-", None),
        ("bytes=-0", None),
        ("bytes=5-2", (0, 10)),
        ("bytes=0-1,3-4", (0, 10)),
        ("bytes=-", (0, 10)),
        ("seconds=1-2", (0, 10)),
    ],
)
def test_a_range_is_read_as_rfc_9110_says(asked, found):
    assert ranged(asked, 10) == found


def form(*parts, boundary=b"x-y"):
    return b"".join(b"--%b\r\n%b\r\n\r\n%b\r\n" % (boundary, *part) for part in parts) + b"--%b--\r\n" % boundary


FILE_HEAD = b'Content-Disposition: form-data; name="file"; filename="a.mp4"\r\nContent-Type: video/mp4'
TRICKY = b"\r\n--x-\r\n--x--\r--x-y\r\n\r\n--x-z" + bytes(range(256))


@pytest.mark.parametrize("content", [b"", b"a", TRICKY, TRICKY * 50])
def test_however_a_form_is_cut_its_file_is_the_same(content):
    body = form((b'Content-Disposition: form-data; name="note"', b"hello"), (FILE_HEAD, content))
    sizes = (1, 2, 3, 7, len(body)) if len(body) < 2000 else (13, 1000)
    for size in sizes:
        file = BytesIO()
        file.close = lambda: None
        reader = FileReader(boundary_of("multipart/form-data; boundary=x-y"), lambda file=file: file)
        for at in range(0, len(body), size):
            reader.feed(body[at : at + size])
        assert (reader.end(), file.getvalue()) == (sha256(content).hexdigest(), content)
        assert (reader.filename, reader.size) == ("a.mp4", len(content))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form at all",
        form((b'Content-Disposition: form-data; name="other"; filename="a"', b"x")),
        form((FILE_HEAD, b"x"), (FILE_HEAD, b"y")),
        form((b'Content-Disposition: form-data; name="file"', b"x")),
        form((FILE_HEAD, b"x"))[:-8],
        b"--x-y" + b" " * 20_000,
        b"--x-yz\r\n\r\n",
    ],
)
def test_what_is_no_form_with_one_file_is_said(body):
    def read():
        reader = FileReader(b"x-y", BytesIO)
        reader.feed(body)
        reader.end()

    with pytest.raises(NotMultipart):
        read()


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", ""])
def test_a_form_names_its_boundary(kind):
    with pytest.raises(NotMultipart):
        boundary_of(kind)
    assert boundary_of('multipart/form-data; charset=utf-8; boundary="a b"') == b"a b"


MODES = {"async": {}, "sync": {"sync": True}, "stream": {"stream": True}, "both": {"sync": True, "stream": True}}


async def content_of(client, mode, url):
    body = {"model": "gemini-2.5-pro", "prompt": PROMPT, "video_urls": [url], **MODES[mode]}
    status, answer, _ = await client.call("POST", SUBMIT, json=body)
    assert status == 200, answer
    if mode == "both":
        return joined(answer)
    found = orjson.loads(answer)
    if mode == "stream":
        return joined((await client.call("GET", found["stream"]["url"]))[1])
    while mode == "async" and not found["results"]:
        await asyncio.sleep(0.01)
        found = await client.json(f"/v1/tasks/{found['id']}")
    return (found if mode == "sync" else found["results"][0])["choices"][0]["message"]["content"]


def joined(body):
    data = [line[6:] for line in body.decode().split("\n") if line.startswith("data: {") and "choices" in line]
    return "".join(orjson.loads(chunk)["choices"][0]["delta"].get("content") or "" for chunk in data)


@pytest.mark.parametrize("mode", MODES)
def test_in_every_mode_an_answer_is_about_the_videos_own_bytes(mode):
    async def scene(client):
        _, told = await client.upload(VIDEO)
        inline = "data:video/mp4;base64," + base64.b64encode(VIDEO).decode()
        for url in (told["url"], inline, f"{client.server.base_url}/media/{shipped_clips()[-1].name}"):
            assert (await content_of(client, mode, url)).endswith(f"digest: {digest([VIDEO], PROMPT)}")
        posts = (await client.json("/admin/posts"))["posts"]
        assert all(post["answered"] and post["outcome"] == "completed" for post in posts)

    play(scene, fast=False)


def test_a_video_of_its_own_is_read_from_the_disk_and_one_that_expired_is_not_there():
    async def scene(client):
        _, told = await client.upload(VIDEO)
        elsewhere = told["url"].replace("127.0.0.1", "behind-a-proxy.example")
        assert digest([VIDEO], PROMPT) in await content_of(client, "sync", elsewhere)
        await client.set(upload_kept=0)
        body = {"model": "gemini-2.5-pro", "prompt": PROMPT, "video_urls": [told["url"] + "?again"], "sync": True}
        status, answer, _ = await client.call("POST", SUBMIT, json=body)
        assert (status, "404" in orjson.loads(answer)["error"]["message"]) == (200, True)

    play(scene, fast=False)


def test_a_stream_of_videos_that_are_none_ends_in_an_error_that_says_so():
    async def scene(client):
        _, told = await client.upload(b"no video at all")
        body = {"model": "gemini-2.5-pro", "prompt": PROMPT, "video_urls": [told["url"]], "sync": True, "stream": True}
        _, answer, _ = await client.call("POST", SUBMIT, json=body)
        assert answer.startswith(b"event: error\n")
        assert b"can't be decoded" in answer

    play(scene, fast=False)
