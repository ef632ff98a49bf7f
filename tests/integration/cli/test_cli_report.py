"""What a person sees of a finished run: its report in a real browser, and how it differs from another run."""

import csv
import importlib.util
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

HOSTILE = """<script>window.x=1</script> "><img src=x onerror="window.x=1"> {"kind": "fox"}"""
ROWS = 40
WIDTHS = (360, 768, 1280)


def _loaded(name):
    """A helper that stands beside the rings of tests, which are no packages."""
    place = Path(__file__).parents[2] / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"tests_{name}", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def browser():
    with _loaded("browser").chromium() as opened:
        yield opened


def write(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "video_url", "prompt"), *rows])
    return path


def videos(count, prompt="Describe."):
    return [(f"v{i}", f"https://videos.example/{i}.mp4", f"{prompt} {i}") for i in range(count)]


@pytest.fixture
def reported(terminal, simulator, tmp_path):
    """A run whose answers and ids are hostile, and some of whose rows fail; what its command said, and its folder."""
    api = simulator(latency="0.2s", fixed_content=HOSTILE, fail_rate=0.2, fail_codes="<b>broken</b>", seed=5)
    rows = [*videos(ROWS - 1), (HOSTILE, "https://videos.example/x.mp4", HOSTILE), ("none", "", HOSTILE)]
    given = write(tmp_path / "videos.csv", rows)
    ran = terminal("run", given, "--out", "out", "--base-url", api.base_url, "--yes")
    assert ran.code == 1, ran.err
    [run] = (tmp_path / "out" / "runs").glob("2*")
    return ran, run


def test_a_finished_run_names_its_report_which_a_browser_shows_as_text_at_every_width(
    reported, here, browser, tmp_path
):
    ran, run = reported
    page = run / "report.html"
    assert f"report: {page}" in ran.err
    assert f"receipt: {run / 'receipt.json'}" in ran.err
    assert here("verify", run.name, "--out", run.parents[1]).code == 0
    for width in WIDTHS:
        browser.open(page, width)
        assert browser.said() == []
        assert browser.asked_for() == [page.as_uri()]
        assert browser.found("typeof window.x") == "undefined"
        assert browser.found("document.querySelectorAll('script, main img').length") == 0
        assert browser.found("document.documentElement.scrollWidth <= window.innerWidth"), f"cut at {width} px"
        boxed = "[...document.querySelectorAll('table, td, th, article')]"
        whole = browser.found(f"{boxed}.every(one => one.scrollWidth <= one.clientWidth + 1)")
        assert whole, f"cut inside at {width} px"
        boxes = browser.found("[...document.querySelectorAll('svg')].map(one => one.getBoundingClientRect().toJSON())")
        assert len(boxes) == 5
        assert all(box["width"] > 150 and box["height"] > 20 and box["right"] <= width for box in boxes), boxes
    assert browser.found("document.body.innerText").count("<script>window.x=1</script>") > 3
    assert "of 41 rows have an answer that can be used" in browser.found("document.querySelector('h1').innerText")
    assert browser.printed().startswith(b"%PDF-")
    assert browser.said() == []

    again = here("report", run.name, "--out", run.parents[1], "--to", tmp_path / "shown" / "run.html")
    assert (again.code, again.out.strip()) == (0, str(tmp_path / "shown" / "run.html"))
    assert (tmp_path / "shown" / "run.html").read_bytes() == page.read_bytes()
    unknown = here("report", "other", "--out", run.parents[1])
    assert unknown.code == 2
    assert run.name in unknown.err


def test_two_runs_are_compared_row_by_row(terminal, here, simulator, tmp_path):
    api = simulator(latency="0.1s")
    out = tmp_path / "out"
    for name, rows in (("a", videos(6)), ("b", [*videos(4), *videos(7, "Count the foxes in")[4:]])):
        given = write(tmp_path / f"{name}.csv", rows)
        ran = terminal("run", given, "--out", out, "--base-url", api.base_url, "--yes")
        assert ran.code == 0, ran.err
    a, b = sorted(path.name for path in (out / "runs").glob("2*"))
    told = here("diff", a, b, "--out", out)
    assert told.code == 0, told.err
    assert "rows: 6 in both, 0 only in A, 1 only in B (matched by row_id)" in told.out
    assert "changed: 2; the same: 4" in told.out

    to = tmp_path / "changed.parquet"
    found = orjson.loads(here("diff", a, b, "--out", out, "--json", "--to", to).out)
    assert (found["rows"], found["changed"]) == ({"both": 6, "only_a": 0, "only_b": 1}, 2)
    assert found["outcomes"] == [{"a": "completed", "b": "completed", "rows": 6}]
    assert pq.read_table(to)["row_id"].to_pylist() == ["v4", "v5"]
    as_csv = here("diff", a, b, "--out", out, "--to", tmp_path / "changed.csv")
    assert f"changed rows: {tmp_path / 'changed.csv'}" in as_csv.out
    with (tmp_path / "changed.csv").open(encoding="utf-8") as file:
        assert [line["changed"] for line in csv.DictReader(file)] == ["content", "content"]
    to.write_bytes(b"")
    assert here("diff", a, b, "--out", out, "--to", to, "--force").code == 0
    assert pq.read_table(to).num_rows == 2

    for words, wanted in (
        ((a, b, "--to", tmp_path / "changed.csv"), "it is there already; allowed is another name, or --force"),
        ((a, b, "--to", out / "annotations" / "x.parquet", "--force"), "is in the dataset"),
        ((a, a), "two different runs"),
        ((a, "other"), f"{b}, {a}"),
        ((a, b, "--to", "x.txt"), ".csv"),
    ):
        wrong = here("diff", *words, "--out", out)
        assert wrong.code == 2
        assert wanted in wrong.err
