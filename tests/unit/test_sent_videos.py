"""What becomes of references right before a POST: what is as planned goes out, all else is refused for nothing."""

import asyncio
import os
from base64 import b64decode
from hashlib import sha256

import orjson
import pytest

from pipeline.core.answers import Accepted, AccountRefused, NothingSent, Problem, Refused
from pipeline.core.policy import Policy
from pipeline.core.references import file_reference, inline_reference
from pipeline.edges import object_signing
from pipeline.edges.inline_videos import InlineVideos
from pipeline.edges.media_files import MediaFiles
from pipeline.edges.memory_uploads import MemoryUploads
from pipeline.edges.payload import BrokenBodyError, Payload, spliced
from pipeline.edges.sending_slots import SendingSlots
from pipeline.edges.sent_files import SentFiles
from pipeline.edges.shared_uploads import SharedUploads
from pipeline.edges.video_hashes import VideoHashes
from pipeline.edges.videos import Uploading, VideoApi

MP4 = b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + b"v" * 400_000
DIGEST = sha256(MP4).hexdigest()
SIZE = 400_024


class Inner:
    """An API that keeps what it was sent, as it would go over the wire."""

    def __init__(self, before=None):
        self.sent = []
        self._before = before or (lambda: None)

    async def submit(self, body, videos=None):
        self._before()
        body = spliced(body, videos or {})
        if isinstance(body, Payload):
            length, body = body.length, b"".join([piece async for piece in body])
            assert len(body) == length
        self.sent.append(orjson.loads(body))
        return Accepted("id")

    async def query(self, generation_id):
        return generation_id

    async def follow(self, generation_id, stream=""):
        return generation_id + stream


class Store:
    """Takes uploads; keeps their names and bytes."""

    def __init__(self, answer=None):
        self.files = []
        self._answer = answer

    async def upload(self, name, media_type, video):
        self.files.append((name, media_type, b"".join([piece async for piece in video])))
        return self._answer or f"https://store.example/{len(self.files)}.mp4"


class Clock:
    def monotonic(self):
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds):
        await asyncio.sleep(seconds)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "media"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(MP4)
    return folder


def body_of(*videos):
    return orjson.dumps({"model": "m", "prompt": "p", "video_urls": videos})


def reference(path, size=SIZE, digest=DIGEST):
    return file_reference(os.fsencode(path), size, digest)


def api_over(inner, root, *, run=None, store=None, slots=None, **policy):
    files = SentFiles(MediaFiles([str(root)]), InlineVideos(run or root.parent / "run"), VideoHashes())
    uploads = SharedUploads(MemoryUploads(lambda: 0.0), Clock())
    uploading = None if store is None else Uploading(store, uploads, "account")
    return VideoApi(inner, files, Policy(**policy), slots or SendingSlots(), uploading=uploading)


def submit(api, *bodies):
    async def all_of_them():
        return await asyncio.gather(*(api.submit(body) for body in bodies))

    return asyncio.run(all_of_them())


def test_a_file_goes_out_within_the_body(root):
    inner = Inner()
    api = api_over(inner, root)
    assert submit(api, body_of(reference(root / "a.mp4"), "https://a.example/b.mp4")) == [Accepted("id")]
    video, plain = inner.sent[0]["video_urls"]
    assert plain == "https://a.example/b.mp4"
    head, _, payload = video.partition(",")
    assert (head, b64decode(payload)) == ("data:video/mp4;base64", MP4)


def test_an_inline_video_goes_out_of_the_runs_folder(root, tmp_path):
    InlineVideos(tmp_path / "run").keep(DIGEST, MP4)
    inner = Inner()
    submit(api_over(inner, root), body_of(inline_reference("video/webm", len(MP4), DIGEST)))
    head, _, payload = inner.sent[0]["video_urls"][0].partition(",")
    assert (head, b64decode(payload)) == ("data:video/webm;base64", MP4)


def broken(how, root):
    """Change what lies at the planned path after the plan."""
    path = root / "a.mp4"
    match how:
        case "changed":
            path.write_bytes(MP4[:-1] + b"!")
        case "longer":
            path.write_bytes(MP4 + b"!")
        case "gone":
            path.unlink()
        case "link out":
            path.rename(root.parent / "b.mp4")
            path.symlink_to(root.parent / "b.mp4")
        case "link inside":
            path.rename(root / "b.mp4")
            path.symlink_to(root / "b.mp4")
        case "pipe":
            path.unlink()
            os.mkfifo(path)
        case "no video":
            path.write_bytes(b"root:x:0:0".ljust(len(MP4)))


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        ("changed", "video_changed", f"planned with SHA-256 {DIGEST}; found "),
        ("longer", "video_changed", "planned with 400,024 bytes; found 400,025 bytes"),
        ("gone", "video_changed", "found none"),
        ("link out", "video_refused", "a link leads out"),
        ("link inside", "video_changed", "found a link to"),
        ("pipe", "video_refused", "a regular file"),
        ("no video", "video_refused", "this begins with 'root:x:0:0"),
    ],
)
@pytest.mark.parametrize("upload", [False, True])
def test_a_file_that_is_not_what_was_planned_is_refused_and_nothing_is_sent(root, how, code, words, upload):
    inner, store = Inner(), Store()
    planned = body_of(reference(root / "a.mp4"))
    broken(how, root)
    (answer,) = submit(api_over(inner, root, store=store, upload=upload), planned)
    assert isinstance(answer, Refused)
    assert answer.problem.code == code
    assert words in answer.problem.message, answer.problem.message
    assert (inner.sent, store.files) == ([], [])


@pytest.mark.parametrize(
    ("path", "words"), [("/etc/passwd", "outside"), ("/proc/self/environ", "outside"), ("{root}/../x.mp4", "outside")]
)
def test_what_a_plan_would_have_rejected_is_refused_again(root, path, words):
    (root.parent / "x.mp4").write_bytes(MP4)
    inner = Inner()
    (answer,) = submit(api_over(inner, root), body_of(reference(path.format(root=root))))
    assert isinstance(answer, Refused)
    assert answer.problem.code == "video_refused"
    assert words in answer.problem.message
    assert not inner.sent


def test_a_root_that_is_not_mounted_is_no_end_of_the_row(root):
    planned = body_of(reference(root / "a.mp4"))
    root.rename(root.parent / "elsewhere")
    (answer,) = submit(api_over(Inner(), root), planned)
    assert isinstance(answer, NothingSent)
    assert answer.problem.code == "video_unreadable"


def test_a_file_that_changes_while_it_is_sent_never_goes_out_whole(root):
    def change():
        with (root / "a.mp4").open("r+b") as file:
            file.seek(300_000)
            file.write(b"!")

    inner = Inner(before=change)
    with pytest.raises(BrokenBodyError):
        submit(api_over(inner, root), body_of(reference(root / "a.mp4")))
    assert not inner.sent


def test_files_of_a_row_count_together_against_the_limit(root):
    (root / "b.mp4").write_bytes(MP4)
    inner, store = Inner(), Store()
    api = api_over(inner, root, store=store, inline_limit=len(MP4))
    submit(api, body_of(reference(root / "a.mp4")))
    submit(api, body_of(reference(root / "a.mp4"), reference(root / "b.mp4")))
    assert inner.sent[0]["video_urls"][0].startswith("data:video/mp4;base64,")
    assert inner.sent[1]["video_urls"] == ["https://store.example/1.mp4"] * 2


def test_a_file_of_many_rows_is_uploaded_once(root):
    inner, store = Inner(), Store()
    answers = submit(api_over(inner, root, store=store, upload=True), *[body_of(reference(root / "a.mp4"))] * 50)
    assert answers == [Accepted("id")] * 50
    assert store.files == [(f"{DIGEST[:16]}.mp4", "video/mp4", MP4)]


def test_an_upload_that_is_refused_ends_or_holds_the_row_as_its_post_would(root):
    told = AccountRefused(Problem("insufficient_quota", "empty"), polling_works=True)
    inner = Inner()
    assert submit(api_over(inner, root, store=Store(told), upload=True), body_of(reference(root / "a.mp4"))) == [told]
    assert not inner.sent


def test_an_api_without_uploads_takes_what_fits_into_a_body(root):
    (answer,) = submit(api_over(Inner(), root, inline_limit=1000), body_of(reference(root / "a.mp4")))
    assert isinstance(answer, Refused)
    assert "this API takes no uploads" in answer.problem.message


def test_rows_wait_for_a_slot_and_give_it_back_whatever_becomes_of_them(root):
    slots, inner = SendingSlots(1), Inner()
    good = body_of(reference(root / "a.mp4"))
    bad = body_of(reference(root / "absent.mp4"))

    async def all_of_them():
        api = api_over(inner, root, slots=slots)
        return await asyncio.wait_for(asyncio.gather(*(api.submit(body) for body in (good, bad, good, bad))), 20)

    assert [type(answer) for answer in asyncio.run(all_of_them())] == [Accepted, Refused, Accepted, Refused]


def test_a_slot_is_free_again_once_the_body_went_out(root):
    """The answer of a POST that is held open may take minutes."""
    slots = SendingSlots(1)
    free = []

    class Patient(Inner):
        async def submit(self, body, videos=None):
            answer = await super().submit(body, videos)
            free.append(not slots._free.locked())
            return answer

    submit(api_over(Patient(), root, slots=slots), body_of(reference(root / "a.mp4")))
    assert free == [True]


@pytest.fixture
def no_aws(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    object_signing.forget()
    yield monkeypatch
    object_signing.forget()


def test_an_object_is_signed_right_before_it_is_sent(root, no_aws):
    no_aws.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    no_aws.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    no_aws.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1/")
    inner = Inner()
    submit(api_over(inner, root), body_of("s3://bucket/films/a b.mp4"))
    (url,) = inner.sent[0]["video_urls"]
    assert url.startswith("http://127.0.0.1:1/bucket/films/a%20b.mp4?X-Amz-Algorithm=")
    assert "X-Amz-Signature=" in url


def test_without_credentials_an_object_waits_and_says_why(root, no_aws):
    (answer,) = submit(api_over(Inner(), root), body_of("s3://bucket/a.mp4"))
    assert isinstance(answer, NothingSent)
    assert "AWS_ACCESS_KEY_ID" in answer.problem.message


def test_polls_and_streams_pass_through(root):
    api = api_over(Inner(), root)

    async def both():
        return await api.query("id"), await api.follow("id", "/stream")

    assert asyncio.run(both()) == ("id", "id/stream")


@pytest.mark.parametrize("policy", [{}, {"upload": True}], ids=["inline", "uploaded"])
def test_a_row_that_is_cut_before_its_post_was_not_sent(root, policy):
    class Watched(SendingSlots):
        asked = 0

        async def taken(self):
            self.asked += 1
            if self.asked > 1:
                waited.set()
            return await super().taken()

    waited = asyncio.Event()

    async def cut():
        slots = Watched(1)
        other = await slots.taken()
        inner, store = Inner(), Store()
        api = api_over(inner, root, store=store, slots=slots, **policy)
        sending = asyncio.ensure_future(api.submit(body_of(reference(root / "a.mp4"))))
        await waited.wait()
        sending.cancel()
        answer = await sending
        other.give_back()
        assert await api.submit(body_of(reference(root / "a.mp4"))) == Accepted("id")
        return answer, len(inner.sent)

    answer, posts = asyncio.run(cut())
    assert isinstance(answer, NothingSent)
    assert (answer.problem.code, posts) == ("not_begun", 1)
