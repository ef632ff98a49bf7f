"""Whatever the cells hold, a manifest is read back as it was written, and no row is lost on its way to a plan."""

import csv
import tempfile
from pathlib import Path

import orjson
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from pipeline.core.errors import ManifestError
from pipeline.core.fingerprints import Fingerprints
from pipeline.core.requests import Defaults, Rejection, Request
from pipeline.edges.manifests import read_rows
from pipeline.edges.requests_file import RequestsWriter
from pipeline.edges.requests_reader import RequestsFile
from pipeline.flows.plan import plan

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
# A CSV reader can't tell a row of one empty cell from a blank line, so the first cell is never empty.
ROWS = st.lists(
    st.fixed_dictionaries({"video_url": TEXT.map("u".__add__), "prompt": TEXT, "camera": TEXT}), min_size=1, max_size=20
)
NAMES = ["video_url", "prompt", "camera"]
PROMPTLY = settings(max_examples=60, deadline=None)


def write_delimited(path, rows, delimiter):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, NAMES, delimiter=delimiter, quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)


def write(path, rows):
    match path.suffix:
        case ".csv":
            write_delimited(path, rows, ",")
        case ".tsv":
            write_delimited(path, rows, "\t")
        case ".jsonl":
            path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
        case ".parquet":
            parquet.write_table(pa.Table.from_pylist(rows), path)


@given(rows=ROWS, ending=st.sampled_from([".csv", ".tsv", ".jsonl", ".parquet"]))
@PROMPTLY
def test_rows_come_back_as_they_were_written(rows, ending):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"m{ending}"
        write(path, rows)
        found = list(read_rows([path]))
    assert [row.fault for row in found] == [None] * len(rows)
    assert [dict(row.values) for row in found] == rows


CELL = st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.lists(TEXT, max_size=3)
URL = st.sampled_from(["https://x.example/a.mp4", "https://youtu.be/abc", "s3://x/a.mp4", "", None])
ROW = st.dictionaries(
    st.sampled_from(["id", "model", "system_prompt", "temperature", "max_tokens", "reasoning", "camera"]), CELL
)


@given(
    rows=st.lists(
        st.builds(lambda row, url, prompt: {**row, "video_url": url, "prompt": prompt}, ROW, URL, CELL), max_size=20
    )
)
@PROMPTLY
def test_no_row_is_lost_and_requests_survive_their_file(rows):
    with tempfile.TemporaryDirectory() as folder:
        manifest, stored = Path(folder) / "m.jsonl", Path(folder) / "requests.parquet"
        manifest.write_bytes(b"{}\n" + b"".join(orjson.dumps(row) + b"\n" for row in map(written, rows)))
        kept = Kept()
        with RequestsWriter(stored, {}, row_group_rows=3) as writer:
            summary = plan(read_rows([manifest]), Defaults(), requests_sink=Both(kept, writer), rejects_sink=kept)
        with RequestsFile(stored) as file:
            requests = file.read(0, len(rows) + 1)
    assert [record.row_index for record in kept] == list(range(len(rows) + 1))
    assert summary.requests + summary.rejections == summary.rows == len(rows) + 1
    assert requests == [record for record in kept if isinstance(record, Request)]
    assert all(record.field and record.allowed for record in kept if isinstance(record, Rejection))
    assert len({request.row_id for request in requests}) == len(requests)


@given(st.binary(max_size=300), st.sampled_from(["video_url,prompt\n", "video_url\n"]))
@PROMPTLY
def test_any_bytes_below_a_header_are_rows_or_one_clear_error(content, header):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.csv"
        path.write_bytes(header.encode() + content)
        kept = Kept()
        try:
            summary = plan(read_rows([path]), Defaults(), requests_sink=kept, rejects_sink=kept)
        except ManifestError as error:
            told = str(error)
        else:
            told = f"{path}: {summary.rows} rows"
            assert summary.rows == len(kept)
    assert str(path) in told


@given(st.lists(st.binary(max_size=3)))
def test_fingerprints_agree_with_a_set(keys):
    seen, fingerprints = set(), Fingerprints()
    for key in keys:
        assert fingerprints.add(key) == (key not in seen)
        seen.add(key)
    assert len(fingerprints) == len(seen)


class Kept(list):
    def add(self, record, *_):
        self.append(record)


class Both:
    def __init__(self, *sinks):
        self.sinks = sinks

    def add(self, *record):
        for sink in self.sinks:
            sink.add(*record)


def written(row):
    """A row whose whole numbers JSON readers keep apart."""
    return {key: str(cell) if isinstance(cell, int) and abs(cell) >= 2**63 else cell for key, cell in row.items()}
