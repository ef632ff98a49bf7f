"""Manifests in an object store, of every format and compression, and what is said where one can't be had."""

import gzip

import orjson
import pyarrow as pa
import pytest
import zstandard
from pyarrow import parquet

from pipeline.core.errors import ManifestError, SettingsError, StorageError
from pipeline.core.other_sources import UnfitVideo
from pipeline.edges import object_client, object_store
from pipeline.edges.manifests import digest_of, read_rows
from pipeline.edges.planned_videos import PlannedVideos
from pipeline.edges.stored_manifest import manifests_of

CSV = b'id,video_url,prompt\na,https://x.example/1.mp4,"Say ""so"""\nb,https://x.example/2.mp4,Why?\n'
ROWS = [
    {"id": "a", "video_url": "https://x.example/1.mp4", "prompt": 'Say "so"'},
    {"id": "b", "video_url": "https://x.example/2.mp4", "prompt": "Why?"},
]
JSONL = b"".join(orjson.dumps(row) + b"\n" for row in ROWS)


def as_parquet():
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist(ROWS), sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.csv", CSV),
        ("m.CSV.gz", gzip.compress(CSV, mtime=0)),
        ("m.csv.zst", zstandard.compress(CSV)),
        ("m.tsv", CSV.replace(b",", b"\t")),
        ("m.jsonl", JSONL),
        ("m.ndjson.gz", gzip.compress(JSONL, mtime=0)),
        ("m.parquet", as_parquet()),
    ],
    ids=["csv", "csv.gz", "csv.zst", "tsv", "jsonl", "ndjson.gz", "parquet"],
)
def test_an_object_is_read_as_a_file_is_and_fetched_once(store, tmp_path, name, content):
    key = f"{store.bucket()}/nights/{name}"
    object_store.put(key, content)
    (tmp_path / name).write_bytes(content)
    [manifest] = manifests_of(f"s3://{key}")
    store.counts()
    assert digest_of([manifest]) == digest_of([tmp_path / name])
    object_store.put(key, b"something else by now")
    rows = list(read_rows([manifest]))
    assert [dict(row.values) for row in rows] == ROWS
    assert {row.file for row in rows} == {f"s3://{key}"}
    assert [row.line for row in rows] == [row.line for row in read_rows([tmp_path / name])]
    assert store.counts()["GET"] == 1


def test_what_is_wrong_with_it_is_told_by_its_url(store):
    bucket = store.bucket()
    object_store.put(f"{bucket}/m.csv", b"id,link\na,https://x.example/1.mp4\n")
    object_store.put(f"{bucket}/m.csv.gz", CSV)
    object_store.put(f"{bucket}/m.xlsx", b"PK")
    for name, what in {
        "gone.csv": "does not exist; check the URL",
        "m.csv": "needs a column video_url or video_urls; its columns are 'id', 'link'",
        "m.csv.gz": "is damaged or cut off",
        "m.xlsx": "is of a format that is not read here",
    }.items():
        with pytest.raises(ManifestError) as refused:
            list(read_rows(manifests_of(f"s3://{bucket}/{name}")))
        assert f"s3://{bucket}/{name} " in str(refused.value)
        assert what in str(refused.value)


def test_a_store_that_refuses_is_told_with_what_to_do(store, monkeypatch):
    [manifest] = manifests_of("s3://no-such-bucket/m.csv")
    with pytest.raises((ManifestError, StorageError), match=r"s3://no-such-bucket/m\.csv"):
        digest_of([manifest])
    key = f"{store.bucket()}/m.csv"
    object_store.put(key, CSV)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    object_client.forget()
    with pytest.raises(StorageError, match=rf"s3://{key}: http://127\.0\.0\.1:9 does not answer"):
        digest_of(manifests_of(f"s3://{key}"))


@pytest.mark.parametrize(
    ("written", "error"),
    [
        ("s3://bucket/*.csv", ManifestError),
        ("s3://bucket", ManifestError),
        ("s3:bucket/m.csv", SettingsError),
        ("s3://key:secret@bucket/m.csv", SettingsError),
        ("s3://bucket/m.csv?X-Amz-Signature=0123", SettingsError),
        ("gs://bucket/m.csv", ManifestError),
        ("https://key:secret@host.example/m.csv", ManifestError),
    ],
)
def test_what_is_no_address_of_one_manifest_is_refused(written, error):
    with pytest.raises(error, match=r"^MANIFEST: ") as refused:
        manifests_of(written)
    assert "secret" not in str(refused.value)
    assert "0123" not in str(refused.value)


def test_several_manifests_may_be_of_both_kinds(store, tmp_path):
    (tmp_path / "one.csv").write_bytes(CSV)
    key = f"{store.bucket()}/two.csv"
    object_store.put(key, CSV)
    both = [*manifests_of(str(tmp_path / "*.csv")), *manifests_of(f"s3://{key}")]
    assert [row.file for row in read_rows(both)] == [str(tmp_path / "one.csv")] * 2 + [f"s3://{key}"] * 2


def test_a_file_beside_a_manifest_in_a_store_is_no_file(store, tmp_path):
    key = f"{store.bucket()}/m.csv"
    object_store.put(key, CSV)
    sources = PlannedVideos(manifests_of(f"s3://{key}"), (str(tmp_path),)).sources
    with pytest.raises(UnfitVideo, match="path in full"):
        sources.local("clip.mp4", f"s3://{key}")
    with pytest.raises(UnfitVideo) as gone:
        sources.local(str(tmp_path / "clip.mp4"), f"s3://{key}")
    assert "path in full" not in str(gone.value)
