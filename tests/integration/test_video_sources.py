"""Rows whose videos are files, inline, or in a store: each answer is about the very bytes that its row named."""

import base64
import os
import subprocess
import sys
from hashlib import sha256
from importlib import resources
from pathlib import Path

import httpx
import orjson
import pyarrow.parquet as pq
import pytest

from pipeline.simulator.digest import digest

CLIPS = resources.files("pipeline.simulator") / "clips"
VIDBATCH = str(Path(sys.executable).parent / "vidbatch")
WITHIN_S = 150


def clip(name):
    return (CLIPS / name).read_bytes()


@pytest.fixture
def library(tmp_path):
    """A folder of videos, one of them in a folder of its own, and a file beside it that is none of the library's."""
    root = tmp_path / "library"
    (root / "deep er").mkdir(parents=True)
    (root / "still.mp4").write_bytes(clip("still.mp4"))
    (root / "deep er" / "fäde.webm").write_bytes(clip("fade-with-tone.webm"))
    (tmp_path / "outside.mp4").write_bytes(clip("still.mp4"))
    return root


@pytest.fixture
def type_in(tmp_path, state):
    """Types a command in the test's folder: `type_in("run", …)` returns its exit code and what it said."""

    def run(*words, **variables):
        told = {**os.environ, "VIDBATCH_STATE": str(state), "VIDBATCH_API_KEY": "sk-test-0123456789", **variables}
        done = subprocess.run(
            [VIDBATCH, *map(str, words)], cwd=tmp_path, env=told, capture_output=True, timeout=WITHIN_S, check=False
        )
        return done.returncode, (done.stdout + done.stderr).decode()

    return run


def written(path, rows):
    path.write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    return path


def annotations(out):
    files = sorted((out / "annotations").rglob("*.parquet"))
    return {row["row_id"]: row for file in files for row in pq.read_table(file, partitioning=None).to_pylist()}


def everything_written(*folders):
    return [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


@pytest.fixture
def kinds(store, library):
    """A video of each kind of source, with the file that it is; "http" is asked of the API given."""
    bucket = store.bucket()
    object_url = f"{store.url}/{bucket}/films/bars one.mp4"
    assert httpx.put(object_url, content=clip("bars-one-cut.mp4"), trust_env=False).is_success
    inline = "data:video/webm;base64," + base64.b64encode(clip("bars-one-cut.webm")).decode()
    return lambda api: {
        "http": (f"{api.base_url}/media/fade-with-tone.mp4", "fade-with-tone.mp4"),
        "inline": (inline, "bars-one-cut.webm"),
        "absolute": (str(library / "still.mp4"), "still.mp4"),
        "relative": ("library/deep er/fäde.webm", "fade-with-tone.webm"),
        "url": ((library / "deep er" / "fäde.webm").as_uri(), "fade-with-tone.webm"),
        "store": (f"s3://{bucket}/films/bars one.mp4", "bars-one-cut.mp4"),
    }


def asked_of(kinds, path):
    """A manifest with a row for each kind, and one with two of them."""
    rows = [{"id": name, "video_url": url, "prompt": f"Describe {name}."} for name, (url, _) in kinds.items()]
    rows.append({"id": "both", "video_urls": [kinds["absolute"][0], kinds["store"][0]], "prompt": "Compare."})
    return written(path / "videos.jsonl", rows)


def each_is_about_its_own_bytes(found, kinds):
    assert {row["outcome"] for row in found.values()} == {"completed"}
    for name, (_, file) in kinds.items():
        assert found[name]["content"].endswith(digest([clip(file)], f"Describe {name}."))
    assert found["both"]["content"].endswith(digest([clip("still.mp4"), clip("bars-one-cut.mp4")], "Compare."))
    assert len(found) == len(kinds) + 1


@pytest.mark.parametrize(
    ("mode", "uploads"),
    [
        ("stream", False),
        pytest.param("sync-stream", True, marks=pytest.mark.slow),
        *[
            pytest.param(mode, up, marks=pytest.mark.slow)
            for mode, up in (("sync", True), ("sync", False), ("stream", True))
        ],
        pytest.param("sync-stream", False, marks=pytest.mark.slow),
        pytest.param("async", True, marks=pytest.mark.slow),
    ],
)
def test_every_kind_of_source_goes_through_every_mode(simulator, kinds, library, type_in, tmp_path, mode, uploads):
    api = simulator(fast=False, latency="0.1s")
    manifest = asked_of(kinds(api), tmp_path)
    words = ("run", manifest, "--base-url", api.base_url, "--media-root", library, "--yes", "--mode", mode)
    code, said = type_in(*words, *["--upload"] * uploads, "--out", tmp_path / "out")
    assert code == 0, said
    each_is_about_its_own_bytes(annotations(tmp_path / "out"), kinds(api))
    summary = api.summary()
    assert (summary["posts_accepted"], summary["uploads"]) == (7, 3 * uploads)


def test_every_kind_of_source_is_answered_about_its_own_bytes(simulator, kinds, library, type_in, tmp_path, state):
    api = simulator(fast=False, latency="0.1s")
    known = kinds(api)
    manifest = asked_of(known, tmp_path)
    out = tmp_path / "out"

    common = ("run", manifest, "--base-url", api.base_url, "--media-root", library, "--yes", "--poll", "fixed:100ms")
    code, said = type_in(*common, "--out", out)
    assert code == 0, said

    found = annotations(out)
    each_is_about_its_own_bytes(found, known)
    still = sha256(clip("still.mp4")).hexdigest()
    assert found["absolute"]["video_urls"] == [
        f"file://{library}/still.mp4#size={len(clip('still.mp4'))}&sha256={still}"
    ]
    assert found["store"]["video_urls"] == [known["store"][0]]
    payload = base64.b64encode(clip("bars-one-cut.webm"))[:200]
    told = [path for path in everything_written(out, state) if path != manifest]
    assert not [path for path in told if payload in path.read_bytes() or b"X-Amz-Signature=" in path.read_bytes()]

    # the same again has nothing to send, and a file that changed is asked anew
    assert "nothing was sent" in type_in(*common, "--out", out)[1]
    before = len(api.posts())
    (library / "still.mp4").write_bytes(clip("bars-three-cuts.mp4"))
    code, said = type_in(*common, "--out", out)
    assert code == 0, said
    assert len(api.posts()) == before + 2, said


def test_a_file_in_many_rows_is_uploaded_once_by_two_workers(simulator, library, type_in, tmp_path):
    api = simulator(fast=False, latency="0.1s")
    rows = [{"id": f"v{i}", "video_url": "library/still.mp4", "prompt": f"Describe {i}."} for i in range(50)]
    manifest = written(tmp_path / "videos.jsonl", rows)
    words = ("--base-url", api.base_url, "--media-root", library, "--upload", "--yes", "--poll", "fixed:100ms")
    code, said = type_in("run", manifest, "--out", tmp_path / "out", "--workers", 2, *words)
    assert code == 0, said
    found = annotations(tmp_path / "out")
    assert len(found) == 50
    assert all(found[f"v{i}"]["content"].endswith(digest([clip("still.mp4")], f"Describe {i}.")) for i in range(50))
    assert api.summary()["uploads"] == 1, api.summary()


def test_refused_sources_are_rejected_by_the_command_with_their_reasons(library, type_in, tmp_path):
    os.mkfifo(library / "pipe.mp4")
    (library / "link.mp4").symlink_to(tmp_path / "outside.mp4")
    (library / "text.mp4").write_text("no video at all")
    named = ["/etc/passwd", "file:///proc/self/environ", "../../x.mp4", "library/link.mp4", "library/text.mp4"]
    manifest = written(
        tmp_path / "v.jsonl", [{"video_url": url, "prompt": "p"} for url in [*named, "library/pipe.mp4"]]
    )
    code, said = type_in("plan", manifest, "--offline", "--media-root", library)
    assert code == 1
    for reason in ("outside", "a link leads out", "this begins with 'no video at all'", "1 more"):
        assert reason in said, said
    assert "a folder that --media-root names, and none is given" in type_in("plan", manifest, "--offline")[1]
    code, said = type_in("plan", manifest, "--offline", VIDBATCH_MEDIA_ROOT=f"{library}{os.pathsep}{tmp_path}")
    assert "a link leads out" not in said, said


def test_a_run_goes_on_only_where_its_files_may_be_read(simulator, library, type_in, tmp_path):
    api = simulator(latency="0.1s")
    manifest = written(tmp_path / "videos.jsonl", [{"video_url": "library/still.mp4", "prompt": "p"}])
    words = ("run", manifest, "--out", tmp_path / "out", "--base-url", api.base_url, "--yes")
    code, said = type_in(*words, "--media-root", library, VIDBATCH_API_KEY="")
    assert code == 4, said
    (planned,) = [described.parent for described in (tmp_path / "out").glob("runs/*/run.json")]
    (planned / "begun").write_text("{}")
    code, said = type_in(*words)
    assert code == 2, said
    assert f"--media-root: run {planned.name} sends files of {library}; found none" in said


def test_a_plan_is_looked_at_before_it_is_paid_for(simulator, library, type_in, tmp_path):
    api = simulator(fast=False, latency="0.1s")
    urls = [f"{api.base_url}/media/still.mp4", f"{api.base_url}/media/absent.mp4", "library/still.mp4"]
    manifest = written(tmp_path / "v.jsonl", [{"video_url": url, "prompt": "p"} for url in [*urls, urls[1]]])
    words = ("plan", manifest, "--offline", "--preflight", "--media-root", library)
    code, said = type_in(*words)
    assert code == 1
    assert "preflight: 3 videos looked at, 1 gone" in said, said
    code, said = type_in(*words, "--max-duration", "0.1", "--json")
    told = orjson.loads(said)["preflight"]
    assert told["by_code"] == {"preflight_too_long": 2, "preflight_dead": 1}, said
    code, said = type_in("plan", manifest, "--offline", "--max-duration", "0.1")
    assert (code, "--max-duration: found without --preflight" in said) == (2, True), said
    out, before = tmp_path / "out", len(api.posts())
    common = ("--base-url", api.base_url, "--yes", "--media-root", library, "--poll", "fixed:100ms")
    code, said = type_in("run", manifest, "--out", out, "--preflight", *common)
    assert code == 1, said
    found = annotations(out)
    assert {row["error_code"] for row in found.values() if row["outcome"] == "refused"} == {"preflight_dead"}
    assert len(api.posts()) - before == 2


@pytest.mark.slow
def test_files_that_were_moved_are_not_asked_for_at_their_old_place(simulator, library, type_in, tmp_path):
    api = simulator(latency="0.1s")
    here = written(tmp_path / "here.jsonl", [{"id": "a", "video_url": "library/still.mp4", "prompt": "p"}])
    there = written(tmp_path / "there.jsonl", [{"id": "a", "video_url": "library/moved.mp4", "prompt": "p"}])
    common = ("--out", tmp_path / "out", "--base-url", api.base_url, "--yes", "--media-root", library)
    assert type_in("run", here, *common, VIDBATCH_API_KEY="")[0] == 4
    (planned,) = [described.parent for described in (tmp_path / "out").glob("runs/*/run.json")]
    (planned / "begun").write_text("{}")
    (library / "still.mp4").rename(library / "moved.mp4")
    code, said = type_in("run", there, *common)
    assert code == 2, said
    assert f"holds the unfinished run {planned.name}" in said
    code, said = type_in("run", here, *common)
    assert "1 refused" in said, said
    code, said = type_in("run", there, *common)
    assert (code, len(api.posts())) == (0, 1), said
