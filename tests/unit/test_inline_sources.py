"""Videos that stand in the manifest: their bytes are kept once, and a reference stands for them everywhere."""

from base64 import b64encode
from hashlib import sha256

import pytest

from pipeline.core.cells import UnfitError
from pipeline.core.other_sources import LARGEST_INLINE, Sources, without_payloads
from pipeline.core.references import asked_digest, has_references, read_reference, videos_in
from pipeline.core.requests import Defaults, Rejection, to_request
from pipeline.core.sources import videos_of

MP4 = b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + b"v" * 1000


def uri(video=MP4, kind="video/mp4"):
    return f"data:{kind};base64,{b64encode(video).decode()}"


def asked(**raw):
    return to_request({"prompt": "p", **raw}, row_index=0, line=1, file="v.csv", defaults=Defaults())


@pytest.mark.parametrize("extra", [b"", b"x", b"xy"])
def test_an_inline_video_is_kept_under_its_hash(extra):
    kept = {}
    found = videos_of({"video_url": uri(MP4 + extra)}, "m", "f", Sources(keep=kept.__setitem__))
    digest = sha256(MP4 + extra).hexdigest()
    assert found == (f"data:video/mp4;size={len(MP4 + extra)};sha256={digest}",)
    assert kept == {digest: MP4 + extra}


def test_several_may_stand_in_one_cell():
    one, two = uri(), uri(MP4 + b"x")
    both = videos_of({"video_urls": f"{one}|{two}|https://a.example/b.mp4"}, "m")
    assert [reference[:5] for reference in both] == ["data:", "data:", "https"]


@pytest.mark.parametrize(
    ("written", "allowed"),
    [
        (uri()[:-1], "whole base64"),
        (uri() + " ", None),
        (uri().replace("AAA", "A!A", 1), "nothing but base64"),
        ("data:video/mp4,abc", "an inline video as data:video/mp4;base64"),
        (uri(b"GIF89a" + b"x" * 100), "a video: this begins with 'GIF89ax"),
        (uri(MP4, "video/webm"), "this is an MP4"),
        (uri(MP4, "image/png"), "an inline video as"),
        ("data:video/mp4;base64," + "A" * (LARGEST_INLINE * 4 // 3 + 8), "at most"),
        ("data:video/mp4;size=3;sha256=" + "0" * 64, "an inline video as"),
    ],
)
def test_what_is_no_inline_video_is_a_fault_without_its_bytes(written, allowed):
    if allowed is None:
        assert videos_of({"video_url": written}, "m")
        return
    with pytest.raises(UnfitError) as unfit:
        videos_of({"video_url": written}, "m")
    assert allowed in unfit.value.fault.allowed
    assert len(str(unfit.value.fault.found)) < 300


def test_a_rejected_row_holds_no_base64():
    rejection = asked(video_url=uri(), temperature="hot", note="mine")
    assert isinstance(rejection, Rejection)
    assert b64encode(MP4).decode()[:80] not in rejection.row
    assert '"note":"mine"' in rejection.row
    assert without_payloads(uri()) in rejection.row


def test_rejected_rows_with_other_videos_are_told_apart():
    assert without_payloads(uri()) != without_payloads(uri(MP4 + b"xxx"))


def test_inline_and_file_of_the_same_bytes_ask_the_same():
    digest = sha256(MP4).hexdigest()
    inline = asked(video_url=uri())
    body = inline.body().replace(inline.video_urls[0].encode(), b"file:///a.mp4#size=1&sha256=" + digest.encode())
    assert asked_digest(body, (f"file:///a.mp4#size=1&sha256={digest}",)) == inline.request_hash


def test_plain_urls_ask_what_they_always_asked():
    request = asked(video_url="https://a.example/b.mp4")
    assert request.request_hash == sha256(request.body()).hexdigest()
    assert not has_references(request.body())
    assert has_references(asked(video_url="s3://bucket/ä.mp4").body())
    assert has_references(asked(video_url=uri()).body())


def test_an_object_is_named_as_it_was_written():
    request = asked(video_url="s3://bucket/films/a b?.mp4")
    assert request.video_urls == ("s3://bucket/films/a b?.mp4",)
    assert read_reference(videos_in(request.body())[0]).key == "films/a b?.mp4"


@pytest.mark.parametrize(
    "written", ["s3://bucket", "s3://bucket/", "s3://me:secret@bucket/a.mp4", "s3://bucket/a\n.mp4"]
)
def test_what_is_no_object_is_a_fault(written):
    with pytest.raises(UnfitError):
        videos_of({"video_url": written}, "m")
