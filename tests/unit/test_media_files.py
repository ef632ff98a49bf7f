"""Which files may be read: only videos, only inside the media roots, and nothing of any other but its first bytes."""

import os
from pathlib import Path

import pytest

from pipeline.core.containers import HEADER
from pipeline.core.errors import SettingsError, UsageError
from pipeline.core.other_sources import NO_ROOT, UnfitVideo
from pipeline.core.requests import Defaults, RawRow, Rejection
from pipeline.edges import media_files
from pipeline.edges.media_files import MediaFiles, UnreadableNow, real_roots
from pipeline.edges.planned_videos import PlannedVideos
from pipeline.flows.plan import plan

MP4 = b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + b"v" * 100
WEBM = b"\x1a\x45\xdf\xa3\x93\x42\x82\x84webm" + b"v" * 100


class Sink(list):
    def add(self, *kept):
        self.append(kept[0])


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "media"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.mp4").write_bytes(MP4)
    (tmp_path / "x.mp4").write_bytes(MP4)
    return folder


def planned(manifest, video, roots, **cells):
    """The one request of a manifest that names this video, or its rejection."""
    requests, rejects = Sink(), Sink()
    videos = PlannedVideos([manifest], [os.path.realpath(root) for root in roots])
    plan(
        [RawRow(str(manifest), 1, {"video_url": video, "prompt": "p", **cells})],
        Defaults(),
        requests_sink=requests,
        rejects_sink=rejects,
        sources=videos.sources,
    )
    return (requests + rejects)[0]


@pytest.mark.parametrize(
    "written", ["sub/../a.mp4", "./a.mp4", "{root}/a.mp4", "file://{root}/a.mp4", "file:{root}/%61.mp4"]
)
def test_a_file_inside_a_root_is_named_by_its_real_path_size_and_hash(root, written):
    request = planned(root / "videos.csv", written.format(root=root), [root])
    assert request.video_urls[0].startswith(f"file://{root}/a.mp4#size={len(MP4)}&sha256=")


def test_a_reference_of_a_dataset_can_be_asked_again(root):
    reference = planned(root / "videos.csv", "a.mp4", [root]).video_urls[0]
    assert planned(root.parent / "other.csv", reference, [root]).video_urls == (reference,)


def test_the_same_bytes_elsewhere_ask_the_same(root):
    (root / "sub" / "copy of a.mp4").write_bytes(MP4)
    one, other = (planned(root / "v.csv", name, [root]) for name in ("a.mp4", "sub/copy of a.mp4"))
    assert one.video_urls != other.video_urls
    assert one.request_hash == other.request_hash
    (root / "sub" / "copy of a.mp4").write_bytes(MP4 + b".")
    assert planned(root / "v.csv", "sub/copy of a.mp4", [root]).request_hash != one.request_hash


def unreadable(root):
    os.mkfifo(root / "pipe.mp4")
    (root / "empty.mp4").touch()
    (root / "text.mp4").write_text("root:x:0:0:root:/root:/bin/bash\n" * 9000)
    (root / "called.webm").write_bytes(MP4)
    (root / "picture.mp4").write_bytes(b"\0\0\0\x18ftypheic" + b"h" * 100)
    (root / "link.mp4").symlink_to(root.parent / "x.mp4")
    (root / "stairs").symlink_to(root.parent)
    (root / "folder.mp4").mkdir()
    (root / "notes.txt").write_bytes(MP4)
    with (root / "huge.mp4").open("wb") as huge:
        huge.write(MP4)
        huge.truncate(2_000_000_001)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("/etc/passwd", "this one is outside, at /etc/passwd"),
        ("file:///proc/self/environ", "this one is outside"),
        ("../x.mp4", "this one is outside"),
        ("../../x.mp4", "this one is outside"),
        ("file:///%2e%2e/etc/passwd", "this one is outside"),
        ("link.mp4", "a link leads out"),
        ("stairs/x.mp4", "a link leads out"),
        ("pipe.mp4", "a regular file"),
        ("folder.mp4", "a regular file"),
        ("./", "a regular file: this is a folder"),
        ("~/a.mp4", "in full: ~ does not stand for a home folder"),
        ("empty.mp4", "not empty"),
        ("text.mp4", "this begins with 'root:x:0:0:root:'"),
        ("picture.mp4", "a video: this begins with 00 00"),
        ("called.webm", "this is an MP4 or MOV video"),
        ("absent.mp4", "there is none of this name"),
        ("a.mp4/b.mp4", "there is none of this name"),
        ("notes.txt", "whose name ends in"),
        ("huge.mp4", "at most 2,000,000,000 bytes"),
        ("a\u0000.mp4", "without NUL"),
        ("file:///a%00.mp4", "without %00"),
        ("file://elsewhere/a.mp4", "a file of this machine"),
        ("C:\\a.mp4", "an http(s) URL"),
    ],
)
def test_what_is_not_to_be_read_is_rejected_with_its_reason(root, monkeypatch, written, reason):
    unreadable(root)
    read = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda *given: read.append(given[1]) or pread(*given))
    rejection = planned(root / "videos.csv", written, [root])
    assert isinstance(rejection, Rejection)
    assert reason in rejection.allowed, rejection.allowed
    assert rejection.field == "video_url"
    assert sum(read) <= HEADER


def test_process_files_are_empty_even_where_all_is_allowed():
    with pytest.raises(UnfitVideo) as refused, MediaFiles(["/"]).opened("/proc/self/environ"):
        pass
    assert "whose name ends in" in refused.value.allowed


def test_without_a_root_no_file_is_looked_at(root):
    with pytest.raises(UsageError) as refused:
        planned(root / "videos.csv", "a.mp4", [])
    assert NO_ROOT in str(refused.value)


def test_a_folder_that_becomes_a_link_after_it_was_resolved_leads_nowhere(root, monkeypatch):
    (root / "sub" / "a.mp4").write_bytes(MP4)
    resolved = os.path.realpath(root / "sub" / "a.mp4")
    (root / "sub" / "a.mp4").unlink()
    (root / "sub").rmdir()
    (root / "sub").symlink_to(root.parent)
    (root.parent / "a.mp4").write_bytes(MP4)
    monkeypatch.setattr(media_files.os.path, "realpath", lambda _path: resolved)
    with pytest.raises(UnfitVideo) as refused, MediaFiles([str(root)]).opened(resolved):
        pass
    assert "there is none of this name" in refused.value.allowed or "link" in refused.value.allowed


def test_a_root_that_is_not_there_may_come_back(tmp_path):
    with pytest.raises(UnreadableNow), MediaFiles([str(tmp_path / "mount")]).opened(str(tmp_path / "mount" / "a.mp4")):
        pass


def test_a_root_that_a_command_names_must_be_there(tmp_path):
    (tmp_path / "file").touch()
    for path in ("absent", "file"):
        with pytest.raises(SettingsError, match=r"--media-root: found .*; allowed is a folder"):
            real_roots([tmp_path / path], "--media-root")
    (tmp_path / "link").symlink_to(tmp_path)
    assert real_roots([tmp_path / "link", tmp_path], "--media-root") == (str(Path(os.path.realpath(tmp_path))),)
