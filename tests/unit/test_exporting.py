"""What an export is asked for, and in which order runs count."""

import pytest

from pipeline.core.errors import UsageError
from pipeline.core.exporting import (
    Format,
    check_columns,
    chosen_columns,
    file_stem,
    format_of,
    members_needed,
    members_of,
)


@pytest.mark.parametrize(
    ("name", "chosen"),
    [("a.csv", "csv"), ("a.JSONL", "jsonl"), ("a.ndjson", "jsonl"), ("a.parquet", "parquet"), ("a.duckdb", "duckdb")],
)
def test_a_name_tells_the_format(name, chosen):
    assert format_of(name, None) is Format(chosen)


def test_a_given_format_holds_where_the_name_tells_none_and_is_refused_where_it_tells_another():
    assert format_of("labels", "webvtt") == format_of("labels.v2", "webvtt") == "webvtt"
    assert format_of("labels.csv", "csv") == "csv"
    with pytest.raises(UsageError, match="the name tells csv and --format parquet"):
        format_of("labels.csv", "parquet")


def test_a_name_that_tells_nothing_is_refused_with_what_is_allowed():
    with pytest.raises(UsageError, match=r"--to labels: .*\.csv.*--format.*huggingface"):
        format_of("labels", None)


def test_columns_come_as_asked_and_once():
    assert chosen_columns(["a", "b", "c"], ["c", "a", "c"]) == ["c", "a"]
    assert chosen_columns(["a", "b"], None) == ["a", "b"]


def test_an_unknown_column_is_told_with_those_that_there_are():
    with pytest.raises(UsageError, match="found x, y; allowed are a, b"):
        chosen_columns(["a", "b"], ["x", "a", "y"])


def test_columns_are_not_chosen_for_formats_that_are_made_of_some():
    check_columns(Format.CSV, ["a"])
    check_columns(Format.WEBVTT, None)
    with pytest.raises(UsageError, match="webvtt"):
        check_columns(Format.WEBVTT, ["a"])


def order(described):
    return [one.run_id for one in members_of(described)]


def test_runs_count_by_their_ids():
    assert order({"3": {}, "1": {}, "2": {}}) == ["1", "2", "3"]


def test_within_a_family_turns_count_whatever_a_clock_said():
    described = {"5": {}, "4": {"retry_of": "5", "turn": 1}, "3": {"collects": "5", "turn": 2}, "6": {}}
    assert order(described) == ["5", "4", "3", "6"]


def test_a_retry_is_newer_than_a_run_that_came_before_it():
    described = {"1": {}, "2": {}, "3": {"retry_of": "1", "turn": 1}}
    assert order(described) == ["1", "2", "3"]
    assert [(one.root, one.derived, one.collects) for one in members_of(described)] == [
        ("1", False, False),
        ("2", False, False),
        ("1", True, False),
    ]


def test_a_run_whose_parent_is_gone_stands_alone():
    assert [one.derived for one in members_of({"2": {"retry_of": "1", "turn": 1}})] == [False]


def test_an_export_of_a_run_needs_its_family_and_those_that_answered_it():
    members = members_of({"1": {}, "2": {"retry_of": "1", "turn": 1}, "3": {}, "4": {}, "5": {"collects": "4"}})
    assert [one.run_id for one in members_needed(members, "4", {"2"})] == ["1", "2", "4", "5"]
    assert len(members_needed(members, None, ())) == 5


@pytest.mark.parametrize("row_id", ["../../etc/passwd", "a/b", "", ".", "\0", "CON", "x" * 500, "é☃", "a\nb", "-rf"])
def test_a_files_name_holds_nothing_of_an_id_that_could_harm(row_id):
    stem = file_stem(7, row_id, "p/q")
    assert stem.startswith("00000007")
    assert set(stem) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
    assert len(stem) <= 70


def test_names_tell_their_row():
    assert file_stem(3, "clip-9", None) == "00000003-clip-9"
    assert file_stem(3, "clip-9", "birds") == "00000003-clip-9-birds"
