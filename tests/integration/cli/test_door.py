"""`pipeline.annotate`: what the command does, for programs and notebooks."""

import threading
from enum import StrEnum

import duckdb
import nbformat
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from nbclient import NotebookClient
from pydantic import BaseModel

import pipeline
from pipeline.core.errors import ManifestError, PausedError, SettingsError, UsageError

PROMPT = "What does the {{ species }} do?"


class Mood(StrEnum):
    CALM = "calm"
    WILD = "wild"


class Scene(BaseModel):
    """What a model is asked to fill in."""

    title: str
    mood: Mood
    seconds: float
    objects: list[str]


@pytest.fixture
def asked(monkeypatch, tmp_path, state, fleet, simulator):
    """Calls `annotate` with a fleet and a simulator behind it; `asked.api` are its books."""
    monkeypatch.chdir(tmp_path)
    told = {"STATE": str(state), "API_KEY": fleet.key, "REDIS": fleet.url, "POLL": "fixed:200ms"}
    for name, value in told.items():
        monkeypatch.setenv(f"VIDBATCH_{name}", value)
    api = simulator(latency="0.05s", failing_videos="broken", fail_codes="content_policy_violation")

    def annotate(rows, **options):
        return pipeline.annotate(rows, **{"out": "out", "prompt": PROMPT, "base_url": api.base_url, **options})

    annotate.api = api
    return annotate


def rows_of(*species):
    return [{"id": name, "video_url": f"https://videos.example/{name}.mp4", "species": name} for name in species]


def test_rows_come_back_with_typed_answers_in_their_order(asked, capsys, monkeypatch):
    monkeypatch.delenv("VIDBATCH_REDIS")  # with a server and workers of its own
    table = asked(rows_of("otter", "broken", "lynx"), schema=Scene, repair=1)
    assert isinstance(table, pa.Table)
    assert table["row_id"].to_pylist() == ["otter", "broken", "lynx"]
    assert table["outcome"].to_pylist() == ["completed", "failed", "completed"]
    assert table["species"].to_pylist() == ["otter", "broken", "lynx"]
    assert table["prompt"][0].as_py().startswith("What does the otter do?")
    answers = table["answer"].to_pylist()
    assert Scene.model_validate(answers[0]).mood in Mood
    assert answers[1] is None
    assert pa.types.is_struct(table["answer"].type)
    assert "rows/s" in capsys.readouterr().err
    again = asked(rows_of("otter", "lynx", "elk"), schema=Scene, progress=False)
    assert again["answer"].to_pylist()[:2] == [answers[0], answers[2]]
    assert asked.api.summary()["posts_received"] == 4
    assert capsys.readouterr().err == ""


def test_any_table_can_be_asked(asked):
    rows = rows_of("otter", "lynx")
    frame = pd.DataFrame(rows)
    tables = [pa.Table.from_pylist(rows), frame, pl.DataFrame(rows), duckdb.from_arrow(pa.Table.from_pylist(rows))]
    frame.to_csv("rows.csv", index=False)
    for given in (iter(rows), *tables, "rows.csv", ["rows.csv"]):
        assert asked(given, progress=False)["row_id"].to_pylist() == ["otter", "lynx"]
    assert asked.api.summary()["posts_received"] == 2


@pytest.mark.parametrize(
    ("rows", "options", "error", "told"),
    [
        (5, {}, ManifestError, "rows: found int"),
        ([5], {}, ManifestError, "found int as row 0"),
        ([], {"worker": 2}, SettingsError, "no option worker; allowed are account, "),
        (rows_of("otter"), {"temperature": 9}, SettingsError, "temperature"),
        (rows_of("otter"), {"workers": 0}, SettingsError, "workers"),
        (rows_of("otter"), {"schema": 5}, SettingsError, "schema: found 5"),
        (rows_of("otter"), {"prompt": "{{ kind }}"}, UsageError, "no row has a column"),
        ("none-*.csv", {}, ManifestError, "no file matches"),
    ],
)
def test_what_cant_be_used_is_told_before_anything_is_sent(asked, rows, options, error, told):
    with pytest.raises(error, match=told):
        asked(rows, **options)
    assert asked.api.summary()["posts_received"] == 0


def test_what_stops_a_run_is_an_exception_and_the_same_call_goes_on(asked):
    asked.api.set(balance=0.0)
    with pytest.raises(PausedError, match="the API refuses the account"):
        asked(rows_of("otter"))
    asked.api.set(balance=None)
    assert asked(rows_of("otter"))["outcome"].to_pylist() == ["completed"]


def test_it_works_beside_another_thread_and_leaves_none(asked):
    before = threading.active_count()
    assert asked(rows_of("otter"), progress=False).num_rows == 1
    assert threading.active_count() == before


def test_a_notebook_shows_how_it_goes_on(asked):
    options = f"out='out', prompt={PROMPT!r}, base_url={asked.api.base_url!r}"
    cells = [
        f"import pipeline\ntable = pipeline.annotate({rows_of('otter', 'lynx')!r}, {options})",
        "print(table['outcome'].to_pylist())",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=120).execute()
    shown, printed = ["".join(str(output) for output in cell["outputs"]) for cell in notebook["cells"]]
    assert "2 requests" in shown
    assert "rows: 2 = 2 completed" in shown
    assert "['completed', 'completed']" in printed
