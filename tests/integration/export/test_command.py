"""`vidbatch export`, as a person types it."""

import json
import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from pipeline.cli.main import main
from pipeline.core.errors import StorageError, UsageError


@pytest.fixture
def made(dataset, row):
    found = dataset()
    found.run("r1", row("a"), row("b", "failed"), row("c", rejected=True))
    found.run("r2", row("a"), row("d"))
    return found


@pytest.fixture
def export(tmp_path):
    """Calls the command in this process: what it printed, or raises what it raised."""

    def call(*words):
        result = CliRunner().invoke(main, ["export", *map(str, words)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def test_a_run_is_exported_and_counted(made, export, tmp_path):
    to = tmp_path / "labels.csv"
    said = export("r1", "--out", made.path, "--to", to)
    assert said.stdout == f"3 rows to {to} (1 completed, 1 failed, 1 rejected)\n"
    assert said.stderr == ""
    assert len(lines(to)) == 4


def test_answers_that_are_not_all_ok_are_counted(dataset, row, export, tmp_path):
    made = dataset()
    made.run("r1", row("a"), row("b", more={"answer_status": "truncated"}), row("c", "failed"))
    said = export(made.path, "--to", tmp_path / "x.csv")
    assert said.stdout.endswith("x.csv (2 completed, 1 failed; answers: 1 ok, 1 truncated)\n")


@pytest.mark.parametrize("latest", [(), ("--latest",)])
def test_a_whole_dataset_is_exported_by_its_path_or_by_out(made, export, tmp_path, latest):
    export(made.path, "--to", tmp_path / "one.jsonl", *latest)
    export("--out", made.path, "--to", tmp_path / "two.jsonl", *latest)
    assert lines(tmp_path / "one.jsonl") == lines(tmp_path / "two.jsonl")
    rows = [json.loads(line)["row_id"] for line in lines(tmp_path / "one.jsonl")]
    assert rows == (["a", "d", "b", "c"] if latest else ["a", "b", "c", "a", "d"])


def test_columns_are_chosen_and_ordered(made, export, tmp_path):
    export("r1", "--out", made.path, "--to", tmp_path / "x.csv", "--columns", "outcome, row_id")
    assert lines(tmp_path / "x.csv") == ["outcome,row_id", "completed,a", "failed,b", "rejected,c"]


def test_a_program_is_told_in_json(made, export, tmp_path):
    said = export("r1", "--out", made.path, "--to", tmp_path / "x", "--format", "webvtt", "--json")
    assert json.loads(said.stdout) == {
        "to": str(tmp_path / "x"),
        "format": "webvtt",
        "rows": 0,
        "outcomes": {"completed": 1, "failed": 1, "rejected": 1},
        "answer_statuses": {"ok": 1},
        "left_out": {"no timestamps in the answer": 1, "no answer": 2},
        "missing": 0,
        "unfinished": [],
    }


def test_what_is_left_out_and_what_is_missing_is_said_apart(dataset, row, export, tmp_path):
    made = dataset()
    made.run("r1", row("a"), row("b", None), unfinished=True)
    said = export("r1", "--out", made.path, "--to", tmp_path / "x", "--format", "webvtt")
    assert said.stdout == f"0 of 1 rows to {tmp_path / 'x'} (1 completed)\n"
    assert said.stderr.splitlines() == [
        "left out: 1 rows with no timestamps in the answer",
        "not finished: r1; 1 rows have no end yet and are not in the export",
    ]


@pytest.mark.parametrize(("name", "options"), [("x.csv", ()), ("x", ("--format", "huggingface"))])
def test_what_stands_there_is_replaced_only_by_force(made, export, tmp_path, name, options):
    to = tmp_path / name
    export("r2", "--out", made.path, "--to", to, *options)
    before = {path: path.read_bytes() for path in (to, *to.rglob("*")) if path.is_file()}
    with pytest.raises(UsageError, match=r"is there already; allowed is another name, or --force"):
        export("r1", "--out", made.path, "--to", to, *options)
    assert {path: path.read_bytes() for path in before} == before
    export("r1", "--out", made.path, "--to", to, "--force", *options)
    assert {path: path.read_bytes() for path in before} != before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_folder_is_never_replaced_by_a_file_nor_a_file_by_a_folder(made, export, tmp_path):
    (tmp_path / "x.csv").mkdir()
    (tmp_path / "y").write_text("mine")
    with pytest.raises(UsageError, match="found a folder"):
        export("r1", "--out", made.path, "--to", tmp_path / "x.csv", "--force")
    with pytest.raises(UsageError, match="found a file"):
        export("r1", "--out", made.path, "--to", tmp_path / "y", "--format", "webvtt", "--force")


@pytest.mark.parametrize("chosen", ["csv", "jsonl", "parquet", "duckdb", "huggingface", "fiftyone", "labelstudio"])
def test_an_export_that_fails_leaves_nothing_and_what_was_there(made, export, tmp_path, chosen):
    to = tmp_path / "x"
    export("r1", "--out", made.path, "--to", to, "--format", chosen)
    before = sorted(path.name for path in tmp_path.iterdir())
    [file] = made.out.run("r1").published.iterdir()
    whole = file.read_bytes()
    footer = pq.ParquetFile(file).metadata.serialized_size + 8
    file.write_bytes(bytes(len(whole) - footer) + whole[-footer:])
    with pytest.raises(StorageError):
        export("r1", "--out", made.path, "--to", to, "--format", chosen, "--force")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere", "--to", "x.csv"], "found nowhere; allowed is the folder of a dataset, or a run's id with --out"),
        (["--to", "x.csv"], "found neither RUN nor OUT"),
        (["r9", "--out", "OUT", "--to", "x.csv"], "holds no run r9; it holds r2, r1"),
        (["--out", "EMPTY", "--to", "x.csv"], "holds no run; there is nothing to export"),
        (["r1", "--out", "OUT", "--to", "x.xlsx"], "the name tells no format"),
        (
            ["r1", "--out", "OUT", "--to", "x.csv", "--columns", "row_id,nothing"],
            "found nothing; allowed are run, row_id",
        ),
        (["r1", "--out", "OUT", "--to", "x", "--format", "webvtt", "--columns", "row_id"], "found it with webvtt"),
    ],
)
def test_what_cannot_be_exported_is_told_with_what_is_allowed(made, export, tmp_path, words, told):
    places = {"OUT": made.path, "EMPTY": tmp_path / "empty", "x.csv": tmp_path / "x.csv"}
    with pytest.raises(UsageError, match=told):
        export(*(places.get(word, word) for word in words))
    assert not (tmp_path / "x.csv").exists()


LOADED = "import sys, pipeline.cli.main as m; m.run.__globals__['sys'].exit = print; m.run(); print(*sys.modules)"


def test_neither_numpy_nor_pandas_is_loaded(made, tmp_path):
    words = ["export", str(made.path), "--to", str(tmp_path / "x"), "--format", "huggingface"]
    told = subprocess.run(
        [sys.executable, "-c", LOADED, *words], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    loaded = set(told.stdout.split())
    assert "duckdb" in loaded
    assert loaded.isdisjoint({"numpy", "pandas"})


@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.parametrize("chosen", ["csv", "fiftyone", "huggingface"])
@pytest.mark.parametrize("place", ["", "annotations", "annotations/x", "runs/new/x", ".."])
def test_nothing_is_written_into_a_dataset_or_in_its_place(made, export, force, chosen, place):
    before = sorted(made.path.rglob("*"))
    with pytest.raises(UsageError, match=r"--to .*: it (is in|holds) the dataset"):
        export(made.path, "--to", made.path / place, "--format", chosen, *force)
    assert sorted(made.path.rglob("*")) == before


def test_a_link_into_a_dataset_is_no_way_around(made, export, tmp_path):
    (tmp_path / "link").symlink_to(made.path / "annotations")
    with pytest.raises(UsageError, match="is in the dataset"):
        export(made.path, "--to", tmp_path / "link" / "x.parquet")


def test_a_folder_of_a_dataset_that_lies_elsewhere_is_its_own_all_the_same(made, export, tmp_path):
    (made.path / "annotations").rename(tmp_path / "big")
    (made.path / "annotations").symlink_to(tmp_path / "big")
    for place in ("big", "big/x.parquet"):
        with pytest.raises(UsageError, match="is in the dataset"):
            export(made.path, "--to", tmp_path / place, "--format", "parquet", "--force")


def test_an_export_that_holds_another_dataset_by_now_is_not_replaced(made, export, tmp_path):
    to = tmp_path / "x"
    export(made.path, "--to", to, "--format", "webvtt")
    (to / "other" / "runs").mkdir(parents=True)
    (to / "other" / "dataset.json").write_text("{}")
    with pytest.raises(UsageError, match=r"it holds the dataset .*other"):
        export(made.path, "--to", to, "--format", "webvtt", "--force")
    assert (to / "other" / "dataset.json").exists()


@pytest.mark.parametrize("chosen", ["csv", "webvtt"])
def test_a_link_stays_and_what_it_leads_to_is_replaced(made, export, tmp_path, chosen):
    real, link = tmp_path / "real", tmp_path / "link"
    link.symlink_to(real)
    export("r1", "--out", made.path, "--to", link, "--format", chosen)
    export("r2", "--out", made.path, "--to", link, "--format", chosen, "--force")
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "out", "real"]
    if chosen == "webvtt":
        assert (real / ".vidbatch-export").read_text() == "webvtt\n"


def test_what_is_no_file_is_not_replaced_by_one(made, export, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(UsageError, match="found neither a file nor a folder"):
        export(made.path, "--to", tmp_path / "pipe", "--format", "csv", "--force")
    assert (tmp_path / "pipe").is_fifo()
    with pytest.raises(UsageError, match="a link that leads nowhere"):
        export(made.path, "--to", tmp_path / "loop", "--format", "csv", "--force")


def test_the_current_folder_is_not_replaced(made, export, tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x.txt").touch()
    monkeypatch.chdir(tmp_path / "mine")
    with pytest.raises(UsageError, match="found a folder that no export made"):
        export(made.path, "--to", ".", "--format", "webvtt", "--force")


def test_only_a_folder_that_an_export_made_is_replaced(made, export, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    export(made.path, "--to", mine, "--format", "webvtt", "--force")  # it was empty
    export(made.path, "--to", mine, "--format", "webvtt", "--force")
    (mine / ".vidbatch-export").unlink()
    (mine / "thesis.txt").write_text("a year's work", encoding="utf-8")
    with pytest.raises(UsageError, match="found a folder that no export made"):
        export(made.path, "--to", mine, "--format", "webvtt", "--force")
    assert (mine / "thesis.txt").read_text(encoding="utf-8") == "a year's work"


def test_a_runs_id_without_its_dataset_says_what_is_missing(export, tmp_path):
    with pytest.raises(UsageError, match="is a run's id; add --out OUT"):
        export("20261128-041011-a8d248", "--to", tmp_path / "x.csv")
