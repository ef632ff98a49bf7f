"""A report is made of a run's files alone; what comes from outside is text in it, wherever it stands."""

import subprocess
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pyarrow as pa
import pytest

from pipeline.core.errors import StorageError
from pipeline.edges import annotations_file, reporting
from pipeline.edges.report_facts import facts_of
from pipeline.edges.report_page import write_report
from pipeline.edges.run_folder import LocalRunFolder, range_name
from pipeline.edges.run_rows import rows_of

RUN = "run-1"
AT = datetime(2026, 1, 1, tzinfo=UTC)
HOSTILE = """<script>window.x=1</script>"><img src=x onerror="window.x=1">'--><svg onload=x>{{ 7*7 }}"""


@pytest.fixture
def folder(tmp_path):
    return LocalRunFolder(tmp_path / "out", RUN)


def describe(folder, rows, **more):
    described = {"run_id": RUN, "carried": {}, "rows": rows, "requests": rows, "rejections": 0, "base_url": "https://a"}
    folder.describe({**described, "manifests": ["videos.csv"], "models": {"m": rows}, "prices": {}, **more})


def row(index, **more):
    told = {
        "row_id": f"v{index}",
        "row_index": index,
        "model": "m",
        "prompt": "Describe.",
        "video_urls": [f"https://videos.example/{index}.mp4"],
        "outcome": "completed",
        "content": f"A fox, {index}.",
        "answer_status": "ok",
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "cost": 0.5,
        "attempts": 1,
        "polls": 2,
        "generation_id": f"g{index}",
        "submitted_at": AT + timedelta(seconds=index),
        "finished_at": AT + timedelta(seconds=index + 8),
        "latency_s": 8.0,
        "possible_duplicate": False,
        "attempt_log": [],
    }
    return {**told, **more}


def write(folder, rows, name, answers=None):
    """Annotations in a file; `answers` is the type of typed ones."""
    schema = folder._schema()
    if answers is not None:
        place = schema.get_field_index("answer")
        schema = schema.set(place, pa.field("answer", answers))
    annotations_file.write_part(name, schema, [annotations_file.table_of(rows, schema)])


def publish(folder, rows, answers=None):
    write(folder, rows, folder.published / "part-00000.parquet", answers)
    folder.finish({"run_id": RUN})


def part(folder, rows, start, epoch="e1"):
    write(folder, rows, folder.path / "parts" / range_name(epoch, start, start + len(rows), "parquet"))


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words, self._raw = [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def reported(folder):
    return write_report(folder).read_text(encoding="utf-8")


def test_a_report_tells_rows_times_and_cost_of_a_run(folder):
    describe(folder, 3)
    publish(folder, [row(0), row(1), row(2, outcome="failed", answer_status=None, content=None, error_code="too_big")])
    page = Page(reported(folder))
    assert "2 of 3 rows have an answer that can be used, after 10 s and for $1.50." in page.text
    assert "1 failed · too_big" in page.text
    assert f"vidbatch retry {RUN} --out {folder.out} --code too_big" in page.text
    assert page.tags.count("svg") == 5
    assert page.text.count("A fox, 1.") == 1


def test_prices_and_times_are_written_as_people_write_them(folder):
    describe(folder, 1, prices={"m": {"input": 1.25, "output": 10.0}})
    publish(folder, [row(0)])
    text = reported(folder)
    assert "$1.25 in, $10 out per million tokens" in Page(text).text
    assert "8\u00a0s" in text


def test_what_comes_from_outside_is_text_wherever_it_stands(folder):
    describe(
        folder,
        3,
        manifests=[HOSTILE],
        base_url=HOSTILE,
        models={HOSTILE: 3},
        prices={HOSTILE: {"input": 1, "output": 2}},
    )
    told = {"row_id": HOSTILE, "model": HOSTILE, "prompt": HOSTILE, "prompt_name": HOSTILE, "video_urls": [HOSTILE]}
    answers = pa.struct([("kind", pa.string()), (HOSTILE, pa.string())])
    publish(
        folder,
        [
            row(0, **told, content=HOSTILE * 99, answer={"kind": HOSTILE, HOSTILE: HOSTILE}),
            row(1, **told, answer_status="invalid", answer_error=HOSTILE, content=HOSTILE),
            row(2, **told, outcome="failed", answer_status=None, error_code=HOSTILE, error_message=HOSTILE * 9),
        ],
        answers,
    )
    text = reported(folder)
    page = Page(text)
    assert page.text.count("window.x=1") > 20
    assert "49" not in page.text.replace("window", "")
    assert not {"script", "img", "iframe", "object", "form", "base"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    links = [value for name, value in page.attributes if name in {"src", "href", "xlink:href", "action", "data"}]
    assert links == ["data:,"]
    assert "default-src 'none'" in dict(page.attributes)["content"] or "default-src 'none'" in text
    assert "@import" not in text
    assert "url(" not in text


def test_a_report_is_the_same_each_time(folder):
    describe(folder, 40)
    publish(folder, [row(index) for index in range(40)])
    assert reported(folder) == reported(folder)


def test_a_run_under_way_is_told_by_its_parts_each_row_once(folder):
    describe(folder, 10)
    write(folder, [row(0), row(1)], folder.published / "part-00000.parquet")
    part(folder, [row(1), row(2)], 0)
    part(folder, [row(2), row(3)], 0, "e2")
    facts = facts_of(folder)
    assert (facts.finished, sum(group.rows for group in facts.groups)) == (False, 4)
    assert "This run is not finished" in reported(folder)


def test_a_run_of_which_nothing_ended_has_a_report(folder):
    describe(folder, 10)
    assert "Not finished: 0 of 10 rows" in Page(reported(folder)).text


def test_what_is_published_whole_is_not_read_twice(folder):
    describe(folder, 2)
    write(folder, [row(0), row(1)], folder.published / "part-00000.parquet")
    part(folder, [row(0), row(1)], 0)
    with rows_of(folder) as rows:
        assert rows.whole
        assert rows.duck.value("SELECT count(*) FROM rows") == 2


def test_a_run_in_which_nothing_was_ever_sent_has_a_report(folder):
    nothing = {"submitted_at": None, "latency_s": None, "generation_id": None, "polls": 0, "cost": None}
    describe(folder, 2)
    publish(folder, [row(index, outcome="cancelled", answer_status=None, **nothing) for index in range(2)])
    assert "0 of 2 rows have an answer" in Page(reported(folder)).text


def test_duplicates_are_told_and_what_they_took_is_counted_once(folder):
    describe(folder, 2, duplicates=1, requests=1)
    same = {"duplicate_of": "v0", "cost": None, "generation_id": None, "latency_s": None, "polls": None}
    publish(folder, [row(0), row(1, **same)])
    facts = facts_of(folder)
    assert (facts.duplicates, sum(facts.polls.values()), sum(facts.latency.counts.values())) == (1, 1, 1)
    assert "1 of these rows are the same request" in Page(reported(folder)).text


def test_rejected_rows_are_told_with_what_is_allowed(folder):
    describe(folder, 2, requests=1, rejections=1)
    publish(folder, [row(0)])
    path = folder.path / "rejects.parquet"
    cells = {"row_index": [1], "line": [3], "field": ["video_url"], "found": ["<b>"], "allowed": ["a URL"]}
    annotations_file.pq.write_table(pa.table(cells), path)
    page = Page(reported(folder))
    assert "1 rejected · video_url" in page.text
    assert "line 3" in page.text
    assert "found <b>; allowed is a URL" in page.text


def test_a_file_that_cannot_be_read_is_one_error(folder):
    describe(folder, 1)
    publish(folder, [row(0)])
    [path] = folder.published.iterdir()
    path.write_bytes(b"no parquet")
    with pytest.raises(StorageError):
        write_report(folder)
    with pytest.raises(StorageError, match="DuckDB"):
        reporting.make_report(folder)


def test_a_report_is_made_by_a_process_of_its_own_that_knows_no_key(folder, monkeypatch):
    describe(folder, 1)
    publish(folder, [row(0)])
    monkeypatch.setenv("VIDBATCH_API_KEY", "sk-secret")
    seen = {}

    def run(command, **options):
        seen.update(options["env"])
        return real(command, **options)

    real = subprocess.run
    monkeypatch.setattr(reporting.subprocess, "run", run)
    reporting.make_report(folder)
    assert folder.report_path.read_bytes() == write_report(folder).read_bytes()
    assert "VIDBATCH_API_KEY" not in seen
    assert "PATH" in seen


def test_a_report_that_takes_too_long_is_given_up(folder):
    describe(folder, 1)
    publish(folder, [row(0)])
    with pytest.raises(StorageError, match="it took longer than"):
        reporting.make_report(folder, within_s=0.01)
    assert not folder.report_path.exists()
