"""A finished run proves itself, by a receipt that can be made again from its files."""

import csv

import orjson
import pyarrow.parquet as pq

from pipeline.edges.run_folder import LocalRunFolder


def write(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "video_url", "prompt"), *rows])
    return path


def test_a_finished_run_is_verified_until_one_of_its_files_is_changed(terminal, here, simulator, tmp_path):
    api = simulator(latency="0.1s", fail_rate=0.4, fail_codes="generation_failed", seed=7)
    rows = [(f"v{i}", f"https://videos.example/{i}.mp4", f"Describe {i}.") for i in range(9)]
    videos = write(tmp_path / "videos.csv", [*rows, ("broken", "", "No video.")])
    ran = terminal("run", videos, "--out", "out", "--base-url", api.base_url, "--yes")
    assert ran.code == 1, ran.err
    out = tmp_path / "out"
    [run] = (out / "runs").glob("2*")
    receipt = orjson.loads((run / "receipt.json").read_bytes())
    assert receipt["rows"]["manifest"] == 10
    assert receipt["rows"]["rejected"] == 1
    assert sum(receipt["rows"].values()) == 20
    assert receipt["posts"] == api.summary()["posts_accepted"] > 9
    assert receipt["possible_duplicates"] == {"rows": 0, "posts": 0, "worst_case_cost": 0.0}

    good = here("verify", "--out", out)
    assert (good.code, good.err, len(good.out.splitlines())) == (0, "", 1)
    for told in (run.name, "10 rows = 1 rejected", "all of it is as the receipt says"):
        assert told in good.out
    as_json = orjson.loads(here("verify", run.name, "--out", out, "--json").out)
    assert (as_json["verified"], as_json["runs"][0]["receipt"]) == (True, receipt)

    unknown = here("verify", "other", "--out", out)
    assert unknown.code == 2
    assert run.name in unknown.err

    (out / "annotations" / "run=gone").mkdir()
    homeless = here("verify", "--out", out)
    assert homeless.code == 1
    assert "annotations/run=gone: no run has these annotations" in homeless.err
    (out / "annotations" / "run=gone").rmdir()

    line = b'{"late":[0,"task-after-the-end",1767225600000000,1,0],"e":null}\n'
    (run / "sent" / "spilled-later.jsonl").write_bytes(line)
    after = here("verify", "--out", out)
    assert (after.code, after.err) == (0, "")
    assert f"run {run.name}: 1 ids came after the run was done" in after.out

    [part] = out.glob("annotations/**/*.parquet")
    table = pq.read_table(part, partitioning=None)
    pq.write_table(table.slice(1), part)
    bad = here("verify", run.name, "--out", out)
    assert (bad.code, bad.out) == (1, "")
    assert f"{part.relative_to(out)}: rows 8, and the receipt says 9" in bad.err.splitlines()
    assert not orjson.loads(here("verify", "--out", out, "--json").out)["verified"]


def test_where_no_run_is_finished_there_is_nothing_to_verify(here, tmp_path):
    (tmp_path / "out").mkdir()
    said = here("verify", "--out", "out")
    assert said.code == 2
    assert "no finished run" in said.err


def test_a_run_that_is_not_finished_is_named_and_not_verified(here, tmp_path):
    for name in ("under-way", "lost-its-end", "only-planned"):
        folder = LocalRunFolder(tmp_path / "out", name)
        folder.describe({"run_id": name, "carried": {}, "token": "t", "rows": 1, "requests": 1})
    LocalRunFolder(tmp_path / "out", "under-way").begin("unix:///elsewhere", "1")
    said = here("verify", "--out", "out")
    assert said.code == 2
    assert "run under-way is not finished, and is not verified" in said.err
    assert "only-planned" not in said.err

    lost = LocalRunFolder(tmp_path / "out", "lost-its-end")
    lost.published.mkdir(parents=True)
    (lost.published / "part-00000.parquet").touch()
    said = here("verify", "--out", "out")
    assert said.code == 1
    assert "runs/lost-its-end/done.json: is not there: the run is not finished, or lost it" in said.err
    assert "run under-way is not finished, and is not verified" in said.err
    assert orjson.loads(here("verify", "--out", "out", "--json").out)["unfinished"] == ["under-way"]
