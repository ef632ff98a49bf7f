"""Manifests as real files, of every format and compression, whole and damaged."""

import gzip
import hashlib
import tracemalloc
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import islice

import orjson
import pyarrow as pa
import pytest
import zstandard
from pyarrow import parquet

from pipeline.core.errors import ManifestError
from pipeline.edges.manifests import digest_of, read_rows

CSV = 'id,video_url,prompt\na,https://x.example/1.mp4,"Two\nlines, one cell"\nb,https://x.example/2.mp4,"Say ""é"""\n'
ROWS = [
    {"id": "a", "video_url": "https://x.example/1.mp4", "prompt": "Two\nlines, one cell"},
    {"id": "b", "video_url": "https://x.example/2.mp4", "prompt": 'Say "é"'},
]
JSONL = b"".join(orjson.dumps(row) + b"\n" for row in ROWS)
PACKED = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}


@pytest.fixture
def write(tmp_path):
    def written(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return written


def read(*paths):
    return list(read_rows(paths))


def values(*paths):
    rows = read(*paths)
    assert all(row.fault is None for row in rows)
    return [dict(row.values) for row in rows]


def refusal(path):
    with pytest.raises(ManifestError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("ending", PACKED)
@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("m.csv", CSV.encode(), [2, 4]),
        ("m.csv", b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode(), [2, 4]),
        ("m.CSV", CSV.rstrip("\n").encode(), [2, 4]),
        ("m.tsv", CSV.replace("lines,", "lines\0").replace(",", "\t").replace("\0", ",").encode(), [2, 4]),
        ("m.jsonl", JSONL, [1, 2]),
        ("m.ndjson", b"\xef\xbb\xbf" + JSONL.replace(b"\n", b"\r\n"), [1, 2]),
    ],
)
def test_text_of_every_format_and_compression_is_read_with_its_lines(write, name, content, lines, ending):
    path = write(name + ending, PACKED[ending](content))
    rows = read(path)
    assert [row.line for row in rows] == lines
    assert {row.file for row in rows} == {str(path)}
    expected = [{key: cell.replace("\n", "\r\n") for key, cell in row.items()} for row in ROWS]
    assert [dict(row.values) for row in rows] in (ROWS, expected)


def test_old_line_ends_are_line_ends(write):
    path = write("m.csv", "video_url,prompt\rhttps://x.example/1.mp4,a\rhttps://x.example/2.mp4,b")
    assert [(row.line, row.values["prompt"]) for row in read(path)] == [(2, "a"), (3, "b")]


def test_parquet_is_read_by_row_number(tmp_path):
    path = tmp_path / "m.parquet"
    parquet.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=1)
    assert [row.line for row in read(path)] == [1, 2]
    assert values(path) == ROWS


def test_parquet_types_become_plain_cells(tmp_path):
    path = tmp_path / "m.parquet"
    table = pa.table(
        {
            "video_urls": pa.array([["u", "v"], None]),
            "model": pa.array(["m", None]).dictionary_encode(),
            "temperature": pa.array([Decimal("0.50"), None]),
            "at": pa.array([datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), None], pa.timestamp("ns", "UTC")),
            "day": pa.array([date(2026, 1, 2), None]),
            "long": pa.array([5, None], pa.duration("s")),
            "text": pa.array([b"text", None]),
            "image": pa.array([b"\xff\x00", None]),
            "note": pa.array([{"a": 1}, None]),
        }
    )
    parquet.write_table(table, path)
    first, second = values(path)
    assert first == {
        "video_urls": ["u", "v"],
        "model": "m",
        "temperature": "0.50",
        "at": "2026-01-02 03:04:05.000000000Z",
        "day": "2026-01-02",
        "long": 5,
        "text": "text",
        "image": b"\xff\x00",
        "note": {"a": 1},
    }
    assert set(second.values()) == {None}


def test_parquet_text_that_is_no_utf8_is_that_rows_fault(tmp_path):
    path = tmp_path / "m.parquet"
    broken = pa.Array.from_buffers(pa.string(), 2, pa.array([b"good", b"D\xe9cris"], pa.binary()).buffers())
    parquet.write_table(pa.table({"video_url": ["u", "v"], "prompt": broken}), path)
    good, bad = read(path)
    assert good.fault is None
    assert (bad.line, bad.fault.field, bad.fault.allowed) == (2, "prompt", "text in UTF-8")


def test_files_follow_each_other_as_one_manifest(write):
    paths = [write("1.csv", CSV), write("2.jsonl", JSONL)]
    assert values(*paths) == ROWS + ROWS


def test_a_file_larger_than_a_block_is_read_whole(write):
    urls = [f"https://x.example/{number:06}.mp4" for number in range(20_000)]
    expected = [(number + 2, url) for number, url in enumerate(urls)]
    text = ("video_url\n" + "\n".join(urls)).encode()
    for ending, pack in PACKED.items():
        assert [(row.line, row.values["video_url"]) for row in read(write(f"m.csv{ending}", pack(text)))] == expected


def test_frames_and_members_one_after_another_are_one_file(write):
    half = len(JSONL) // 2
    for ending in (".gz", ".zst"):
        pack = PACKED[ending]
        assert values(write(f"m.jsonl{ending}", pack(JSONL[:half]) + pack(JSONL[half:]))) == ROWS


def test_blank_lines_are_no_rows_but_count_as_lines(write):
    assert [row.line for row in read(write("m.csv", "video_url,prompt\n\nu,a\n\n\nv,b\n\n"))] == [3, 6]
    assert [row.line for row in read(write("m.jsonl", b"\n" + JSONL.replace(b"\n", b"\n\n")))] == [2, 4]


def test_a_header_alone_is_a_manifest_without_rows(write):
    assert read(write("m.csv", "video_url,prompt\n")) == []


def test_a_column_without_a_name_is_called_after_its_place(write):
    assert values(write("m.csv", ",video_url \n0,u\n")) == [{"column_1": "0", "video_url": "u"}]


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (b"u,a,b", "column 3"),
        (b"u", "prompt"),
        (b"u,D\xe9cris", "prompt"),
        (b"\xff,a", "video_url"),
        (b'u,"a" b', "row"),
    ],
)
def test_a_broken_csv_row_is_a_fault_and_the_next_row_is_read(write, row, field):
    before, broken, after = read(write("m.csv", b"video_url,prompt\nu,a\n" + row + b"\nv,\xc3\xa9\n"))
    assert (broken.line, broken.fault.field) == (3, field)
    assert broken.text == row.decode("utf-8", "surrogateescape") + "\n"
    assert before.fault is None
    assert after.fault is None
    assert (after.line, after.values) == (4, {"video_url": "v", "prompt": "é"})


@pytest.mark.parametrize("row", [b"{", b"[1]", b'"text"', b"null", b"{'a': 1}", b'{"a": NaN}', b'{"a": "\xff"}', b"\0"])
def test_a_broken_json_line_is_a_fault_and_the_next_row_is_read(write, row):
    broken, *rest = read(write("m.jsonl", b"{}\n" + row + b"\n" + JSONL))[1:]
    assert (broken.line, broken.fault.field) == (2, "row")
    assert broken.text == row.decode("utf-8", "surrogateescape")
    assert [row.line for row in rest] == [3, 4]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("m.csv", b"", "is empty"),
        ("m.jsonl", b" \n\n", "is empty"),
        ("m.csv.gz", gzip.compress(b"", mtime=0), "is empty"),
        ("m.csv", b"\xef\xbb\xbf", "is empty"),
        ("m.csv", CSV.encode("utf-16"), "UTF-16"),
        ("m.csv", CSV.encode("utf-16-be"), "NUL"),
        ("m.jsonl", JSONL.decode().encode("utf-32"), "UTF-32"),
        ("m.csv", b"vid\xe9o_url,video_url\nu,v\n", "not UTF-8"),
        ("m.csv", gzip.compress(CSV.encode(), mtime=0), "end in .gz"),
        ("m.csv", zstandard.compress(CSV.encode()), "end in .zst"),
        ("m.csv", b"PK\x03\x04rest", "spreadsheet"),
        ("m.csv", b"PAR1rest", "end in .parquet"),
        ("m.csv.gz", b"no gzip at all", "damaged"),
        ("m.csv.zst", b"no zstd at all", "damaged"),
        ("m.parquet", b"no parquet at all", "Parquet"),
        ("m.parquet", b"", "Parquet"),
        ("m.csv", b"video_url,prompt,prompt\nu,a,b\n", "two columns named 'prompt'"),
        ("m.csv", b"url,prompt\nu,a\n", "needs a column video_url"),
        ("m.csv", b"video_url;prompt\nu;a\n", "separated by commas"),
        ("m.tsv", b"video_url,prompt\nu,a\n", "separated by tabs"),
        ("m.csv", b'video_url,prompt\nu,"a\nb\n', "begins on line 2 is not closed"),
        ("m.xlsx", b"", ".csv, .tsv, .jsonl"),
        ("m", b"", ".csv, .tsv, .jsonl"),
        ("m.gz", b"", ".csv, .tsv, .jsonl"),
        ("m.parquet.gz", b"", ".csv, .tsv, .jsonl"),
        ("m.csv.zst.gz", b"", ".csv, .tsv, .jsonl"),
    ],
)
def test_a_file_that_cant_be_used_is_told_in_one_sentence(write, name, content, says):
    assert says in refusal(write(name, content))


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl.gz", "m.parquet"])
def test_a_missing_file_and_a_folder_are_told(tmp_path, name):
    path = tmp_path / name
    assert "does not exist" in refusal(path)
    path.mkdir()
    assert "is a folder" in refusal(path)


def test_parquet_without_a_video_column_is_told(tmp_path):
    path = tmp_path / "m.parquet"
    parquet.write_table(pa.table({"url": ["u"]}), path)
    assert "needs a column video_url" in refusal(path)


@pytest.mark.parametrize("ending", [".gz", ".zst"])
@pytest.mark.parametrize("harm", ["cut off", "damaged"])
def test_a_compressed_file_that_breaks_off_is_told_with_the_line_reached(write, ending, harm):
    lines = b"".join(b'{"video_url": "https://x.example/%d.mp4"}\n' % (number * 7919) for number in range(60_000))
    packed = PACKED[ending](lines)
    middle = len(packed) // 2
    rest = b"" if harm == "cut off" else b"\0" * 4096 + packed[middle + 4096 :]
    path = write(f"m.jsonl{ending}", packed[:middle] + rest)
    line = int(refusal(path).split("after line ")[1].split(":")[0])
    assert line > 1000


def test_a_damaged_parquet_page_is_told(tmp_path):
    path = tmp_path / "m.parquet"
    parquet.write_table(pa.table({"video_url": [f"https://x.example/{n * 7919}.mp4" for n in range(5000)]}), path)
    content = bytearray(path.read_bytes())
    content[100:4000] = b"\xff" * 3900
    path.write_bytes(content)
    assert "Parquet" in refusal(path) or "can't be read" in refusal(path)


def test_a_large_manifest_is_read_in_little_memory(write):
    path = write("m.csv.gz", gzip.compress(b"video_url,prompt\n" + b"https://x.example/1.mp4,Describe.\n" * 400_000))
    tracemalloc.start()
    try:
        rows = sum(1 for _ in islice(read_rows([path]), 100_000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rows == 100_000
    assert peak < 4 << 20


def test_a_line_without_an_end_does_not_fill_the_memory(write, monkeypatch):
    monkeypatch.setattr("pipeline.edges.texts.LONGEST_LINE", 1 << 20)
    assert "line of more than 1 MB" in refusal(write("m.jsonl.gz", gzip.compress(b"x" * (8 << 20))))


def test_the_digest_of_one_file_is_that_of_its_bytes(write):
    assert digest_of([write("m.csv", CSV)]) == hashlib.sha256(CSV.encode()).hexdigest()


def test_the_digest_tells_where_one_file_ends(write):
    split = [[write("1.jsonl", b"ab"), write("2.jsonl", b"c")], [write("3.jsonl", b"a"), write("4.jsonl", b"bc")]]
    assert digest_of(split[0]) != digest_of(split[1])
    assert digest_of(split[0]) != digest_of(split[0][::-1])
