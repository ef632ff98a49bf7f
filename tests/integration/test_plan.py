"""Planning with real manifests and real Parquet: nothing is lost, nothing is half written."""

import re
from pathlib import Path

import orjson
import pytest
from pyarrow import parquet

from pipeline.core import cells, sources
from pipeline.core.errors import ManifestError, StorageError, UsageError
from pipeline.core.requests import COLUMNS, DEFAULT_MODEL, Defaults, RawRow, Request
from pipeline.edges.manifests import read_rows
from pipeline.edges.requests_file import RejectsWriter, RequestsWriter
from pipeline.edges.requests_reader import RequestsFile
from pipeline.edges.templates import prompt_of
from pipeline.flows.plan import plan

MANIFESTS = Path(__file__).parents[2] / "manifests"


class Kept(list):
    def add(self, record, *_):
        self.append(record)


def planned(*rows, **options):
    requests, rejects = Kept(), Kept()
    summary = plan(rows, Defaults(), requests_sink=requests, rejects_sink=rejects, **options)
    return summary, requests, rejects


def row(line, **values):
    return RawRow("m.csv", line, {"video_url": f"https://x.example/{line}.mp4", "prompt": "Describe."} | values)


def plan_files(folder, manifest, row_group_rows=4096, **options):
    with (
        RequestsWriter(folder / "requests.parquet", {"run": "r1"}, row_group_rows) as requests,
        RejectsWriter(folder / "rejects.parquet", row_group_rows) as rejects,
    ):
        return plan(manifest, Defaults(), requests_sink=requests, rejects_sink=rejects, **options)


def sample_requests(count):
    return [
        Request(
            row_index=2 * number,
            row_id=f"row {number}",
            line=number + 2,
            model="gemini-2.5-pro",
            prompt=f"Prompt {number % 3}",
            video_urls=tuple(f"https://x.example/{number}-{part}.mp4" for part in range(number % 3 + 1)),
            system_prompt=None if number % 2 else "Be brief.",
            temperature=None if number % 3 else 0.1 * number,
            max_tokens=None if number % 4 else number + 1,
            reasoning=(None, True, False)[number % 3],
            carried={"camera": f"cam-{number}", "none": None} if number % 5 else {},
        )
        for number in range(count)
    ]


@pytest.fixture
def stored(tmp_path):
    requests = sample_requests(50)
    path = tmp_path / "requests.parquet"
    with RequestsWriter(path, {"digest": "é"}, row_group_rows=8) as writer:
        for request in requests:
            writer.add(request, request.request_hash)
    with RequestsFile(path) as file:
        yield file, requests


BAD_CSV = (
    "3 video_url, 4 video_urls, 5 video_urls, 6 video_urls, 7 video_urls, 8 video_urls, 9 video_url, 10 video_url,"
    " 11 video_url, 12 video_url, 13 video_url, 14 video_url, 15 video_url, 16 video_url, 17 video_url, 19 prompt,"
    " 20 prompt, 21 temperature, 22 temperature, 23 temperature, 24 max_tokens, 25 max_tokens, 26 reasoning, 27 id,"
    " 31 model, 32 column 11, 33 prompt, 34 prompt, 35 row"
)
BAD_JSONL = (
    "2 row, 3 row, 4 prompt, 5 video_urls, 6 video_urls, 7 prompt, 8 id, 9 model, 10 system_prompt, 11 temperature,"
    " 12 max_tokens, 13 reasoning"
)


@pytest.mark.parametrize(("name", "rejected"), [("bad-rows.csv", BAD_CSV), ("bad-rows.jsonl", BAD_JSONL)])
def test_the_bad_rows_example_gives_exactly_the_named_rejections(tmp_path, name, rejected):
    summary = plan_files(tmp_path, read_rows([MANIFESTS / name]))
    rejects = parquet.read_table(tmp_path / "rejects.parquet").to_pylist()
    assert ", ".join(f"{each['line']} {each['field']}" for each in rejects) == rejected
    with RequestsFile(tmp_path / "requests.parquet") as file:
        good = file.read(0, 100)
    assert all(request.carried["expect"] == "a request" for request in good)
    indexes = [each["row_index"] for each in rejects] + [request.row_index for request in good]
    assert sorted(indexes) == list(range(summary.rows))
    assert (summary.requests, summary.rejections) == (len(good), len(rejects))
    assert summary.rejections_by_field["prompt"] == rejected.count("prompt") - rejected.count("system_prompt")


@pytest.mark.parametrize("name", ["videos.csv", "videos.jsonl"])
def test_the_good_examples_become_requests_to_the_last_row(tmp_path, name):
    summary = plan_files(tmp_path, read_rows([MANIFESTS / name]))
    assert (summary.rows, summary.requests, summary.rejections) == (3, 3, 0)


def test_the_schema_of_a_row_says_what_the_core_checks():
    schema = orjson.loads((MANIFESTS / "row.schema.json").read_bytes())
    columns = schema["properties"]
    assert set(columns) == COLUMNS
    assert columns["prompt"]["maxLength"] == cells.LONGEST_PROMPT
    assert columns["system_prompt"]["maxLength"] == cells.LONGEST_SYSTEM_PROMPT
    assert columns["temperature"]["maximum"] == cells.HIGHEST_TEMPERATURE
    assert columns["video_urls"]["maxItems"] == sources.MOST_VIDEOS
    assert columns["model"]["default"] == DEFAULT_MODEL
    assert all(ending in schema["$defs"]["video"]["description"] for ending in sources.EXTENSIONS)
    patterns = [re.compile(one["pattern"]) for one in schema["$defs"]["video"]["anyOf"]]
    kinds = ["https://x.example/a.mp4", "s3://bucket/a.mp4", "data:video/mp4;base64,AAAA", "a b.mp4", "file:///a.mp4"]
    assert [[bool(pattern.search(kind)) for pattern in patterns].index(True) for kind in kinds] == [0, 1, 2, 3, 4]
    assert not any(pattern.search("ftp://x.example/a.mp4") for pattern in patterns)


def test_the_summary_counts_what_is_asked():
    summary, requests, rejects = planned(
        row(2, camera="north"),
        row(3, model="other", day="1", video_urls=["https://x.example/a.mp4"] * 3, video_url=None),
        row(4, temperature=9),
        row(5, camera="south"),
    )
    assert (summary.rows, summary.requests, summary.rejections) == (4, 3, 1)
    assert [request.row_index for request in requests] == [0, 1, 3]
    assert summary.first_rejections == tuple(rejects)
    assert dict(summary.rejections_by_field) == {"temperature": 1}
    assert summary.carried_columns == ("camera", "day")
    assert dict(summary.models) == {"gemini-2.5-pro": 2, "other": 1}
    assert (summary.prompt_characters, summary.videos) == (27, 5)


def test_where_all_rows_are_rejected_their_columns_are_the_manifests():
    bad = [row(2, video_url="x", shelf="1"), row(3, video_url="", day=2)]
    assert planned(*bad)[0].carried_columns == ("shelf", "day")
    assert planned(*bad, row(4, camera="c"))[0].carried_columns == ("camera",)


def test_the_digest_tells_which_requests_in_which_order():
    one, two = row(2), row(3)
    digest = planned(one, two)[0].requests_digest
    assert planned(one, two)[0].requests_digest == digest
    assert planned(two, one)[0].requests_digest != digest
    assert planned(one)[0].requests_digest != digest


def test_the_second_row_of_an_id_is_rejected():
    _, requests, (rejection,) = planned(row(2, id="a"), row(3, id="b"), row(4, id="a"))
    assert [request.row_id for request in requests] == ["a", "b"]
    assert (rejection.line, rejection.field) == (4, "id")


def test_strict_stops_at_the_first_rejection_and_says_where():
    with pytest.raises(UsageError) as caught:
        planned(row(2), row(3, temperature="hot"), row(4), strict=True)
    for word in ("m.csv", "line 3", "temperature", "'hot'", "0 to 2"):
        assert word in str(caught.value)


def test_a_limit_plans_the_first_rows_only():
    def endless():
        line = 1
        while True:
            line += 1
            yield row(line)

    requests = Kept()
    summary = plan(endless(), Defaults(), requests_sink=requests, rejects_sink=Kept(), limit=3)
    assert summary.rows == len(requests) == 3


def test_progress_hears_the_rows_and_the_end():
    heard = []
    planned(*map(row, range(2500)), progress=heard.append)
    assert heard == [1024, 2048, 2500]


def test_only_the_first_rejections_stay_in_memory():
    summary, _, rejects = planned(*(row(line, temperature=9) for line in range(100)))
    assert len(rejects) == summary.rejections == 100
    assert len(summary.first_rejections) == 10


def test_requests_come_back_equal(stored):
    file, requests = stored
    assert file.total == 50
    assert file.metadata == {"digest": "é"}
    assert file.read(0, 100) == requests


@pytest.mark.parametrize(("position", "count"), [(0, 0), (0, 8), (7, 2), (3, 30), (49, 5), (50, 5), (99, 1)])
def test_a_stretch_of_requests_is_read_by_position(stored, position, count):
    file, requests = stored
    assert file.read(position, count) == requests[position : position + count]


def test_requests_are_found_by_row_index_and_rejected_rows_are_left_out(stored):
    file, requests = stored
    assert file.rows([98, 4, 50, 4, 5, 1000, 0]) == {index: requests[index // 2] for index in (98, 4, 50, 0)}


def test_only_a_few_row_groups_stay_decoded(stored):
    file, requests = stored
    for request in requests:
        assert file.rows([request.row_index]) == {request.row_index: request}
    assert len(file._held) <= 4


def test_a_plan_without_requests_is_a_file_without_rows(tmp_path):
    plan_files(tmp_path, [])
    with RequestsFile(tmp_path / "requests.parquet") as file:
        assert (file.total, file.read(0, 5), file.rows([0])) == (0, [], {})
    assert parquet.read_table(tmp_path / "rejects.parquet").num_rows == 0


def test_a_plan_that_fails_leaves_no_file_and_no_half_file(tmp_path):
    manifest = tmp_path / "m.csv"
    manifest.write_text('video_url,prompt\nhttps://x.example/1.mp4,a\nhttps://x.example/2.mp4,"open\n')
    with pytest.raises(ManifestError):
        plan_files(tmp_path, read_rows([manifest]), row_group_rows=1)
    assert [path.name for path in tmp_path.iterdir()] == ["m.csv"]


def test_an_old_file_stays_until_the_new_one_is_whole(tmp_path):
    plan_files(tmp_path, [row(2)])
    with pytest.raises(UsageError):
        plan_files(tmp_path, [row(2), row(3), row(4, temperature=9)], strict=True)
    with RequestsFile(tmp_path / "requests.parquet") as file:
        assert file.total == 1


def test_long_prompts_make_small_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.edges.requests_file.ROW_GROUP_CHARACTERS", 1000)
    plan_files(tmp_path, [row(line, prompt=f"{line}" * 600) for line in range(10, 20)])
    assert parquet.ParquetFile(tmp_path / "requests.parquet").num_row_groups == 10


def test_a_prompt_that_all_rows_share_is_stored_and_read_once(tmp_path):
    prompt = "".join(chr(33 + number * 7919 % 90) for number in range(90_000))
    plan_files(tmp_path, [row(line, prompt=prompt) for line in range(2000)])
    assert (tmp_path / "requests.parquet").stat().st_size < 500_000
    with RequestsFile(tmp_path / "requests.parquet") as file:
        assert len({id(request.prompt) for request in file.read(0, 2000)}) == 1


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError):
        plan_files(tmp_path / "missing", [])
    with pytest.raises(StorageError):
        RequestsFile(tmp_path / "requests.parquet")


def test_a_damaged_requests_file_is_a_storage_error(tmp_path):
    (tmp_path / "requests.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(StorageError):
        RequestsFile(tmp_path / "requests.parquet")


def asked(*prompts):
    return [prompt_of(text, "--prompt", name) for name, text in prompts]


def test_every_row_is_asked_each_of_several_prompts():
    rows = [row(2, id="a", kind="cat"), row(3, id="b", kind="dog"), row(4, id="a", kind="owl"), row(5, video_url="x")]
    summary, requests, rejects = planned(*rows, prompts=asked(("what", "What is the {{ kind }}?"), ("why", "Why?")))
    assert [(one.row_index, one.row_id, one.prompt_name, one.prompt) for one in requests] == [
        (0, "a", "what", "What is the cat?"),
        (1, "a", "why", "Why?"),
        (2, "b", "what", "What is the dog?"),
        (3, "b", "why", "Why?"),
    ]
    told = [(one.row_index, one.field, one.prompt_name) for one in rejects]
    assert told == [(4, "id", "what"), (5, "id", "why"), (6, "video_url", "what"), (7, "video_url", "why")]
    assert (summary.rows, summary.requests, summary.rejections) == (8, 4, 4)


def test_a_row_that_lacks_a_column_of_the_prompt_is_rejected():
    prompts = asked((None, "What is the {{ kind }}?"))
    rows = [row(2, kind="cat", prompt=""), row(3, prompt=""), row(4, prompt="Mine.")]
    _, requests, rejects = planned(*rows, prompts=prompts)
    assert [one.prompt for one in requests] == ["What is the cat?", "Mine."]
    assert [(one.line, one.field, one.found) for one in rejects] == [(3, "kind", "no such column")]
    assert "video_url" in rejects[0].allowed


@pytest.mark.parametrize("count", [1, 99, 100, 5_000])
def test_a_column_that_no_row_has_is_an_error_before_the_manifest_is_read_through(count):
    read = 0

    def rows():
        nonlocal read
        for line in range(2, count + 2):
            read += 1
            yield row(line, prompt="")

    prompts = asked((None, "What is the {{ kind }}?"))
    with pytest.raises(UsageError, match=r"uses \{\{ kind \}\}, and no row has a column of that name.*video_url"):
        plan(rows(), Defaults(), requests_sink=Kept(), rejects_sink=Kept(), prompts=prompts)
    assert read <= 100


def test_the_digest_tells_what_is_asked_and_what_the_dataset_will_say_of_it():
    digests = {
        planned(*rows, prompts=prompts)[0].requests_digest
        for rows, prompts in [
            ([row(2)], [None]),
            ([row(2, id="a")], [None]),
            ([row(2, place="shelf")], [None]),
            ([row(2, prompt="Else.")], [None]),
            ([row(2, prompt="Else.")], asked(("a", "Describe."))),
        ]
    }
    assert len(digests) == 5
    turned = RawRow("m.csv", 2, {"place": "shelf", "prompt": "Describe.", "video_url": "https://x.example/2.mp4"})
    assert planned(turned)[0].requests_digest in digests


def test_one_of_several_prompts_that_no_row_fits_stops_the_plan():
    prompts = asked(("good", "Describe."), ("typo", "What is the {{ kint }}?"))
    with pytest.raises(UsageError, match=r"the prompt 'typo' uses \{\{ kint \}\}"):
        planned(row(2, kind="cat"), row(3, kind="dog"), prompts=prompts)


def test_a_rejected_row_makes_a_manifest_another_one():
    assert planned(row(2))[0].requests_digest != planned(row(2), row(3, video_url="x"))[0].requests_digest


def test_a_forgotten_option_that_explains_every_row_is_a_mistake_of_the_command():
    files = [row(line, video_url=f"films/{line}.mp4") for line in range(2, 5)]
    with pytest.raises(UsageError, match=r"no row can be asked, the first being m\.csv, line 2, .* --media-root names"):
        planned(*files)
    summary, requests, rejects = planned(*files, row(5))
    assert (summary.rejections, len(requests), len(rejects)) == (3, 1, 3)
    with pytest.raises(UsageError, match=r"no row can be asked, .* with --model: this API has no default"):
        plan([row(2)], Defaults(fallback_model=None), requests_sink=Kept(), rejects_sink=Kept())
