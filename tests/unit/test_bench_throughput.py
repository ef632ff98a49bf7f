"""The arithmetic and the tables of `make bench`."""

import pytest

from benchmarks.pacing_real.findings import Finding, at_most
from benchmarks.throughput.datasets import well_sized
from benchmarks.throughput.figures import Figure, Section, Table, bars, figure, hold, joined, markdown
from benchmarks.throughput.manifests import write_manifest
from benchmarks.throughput.measured import cpu_of, peak_of
from benchmarks.throughput.measuring import paces
from benchmarks.throughput.reports import Report, highest_peaks, report_of
from benchmarks.throughput.rounds import ratio
from pipeline.edges.manifests import read_rows


def process(pid, parent, program, *words, peak_kb=1024, cpu_s=1.0):
    return {
        "pid": pid,
        "parent": parent,
        "program": program,
        "words": list(words),
        "peak_kb": peak_kb,
        "cpu_s": cpu_s,
    }


def report(*processes, user_s=3.0, system_s=1.0) -> Report:
    times = {"started_at": 100.0, "wall_s": 2.0, "user_s": user_s, "system_s": system_s}
    return report_of({"pid": 10, "code": 0, "late": False, **times, "processes": processes})


TREE = (
    process(10, 1, "python3.11", "python", "vidbatch", "run", peak_kb=2048),
    process(11, 1, "valkey-server", "valkey-server unixsocket:/s", peak_kb=4096),
    process(12, 11, "valkey-server", "redis-aof-rewrite"),
    process(13, 10, "python3.11", "python", "-m", "workers"),
    process(14, 13, "python3.11", "python", "-m", "workers", peak_kb=3072),
    process(15, 13, "python3.11", "python", "-m", "workers"),
)


def test_a_figure_is_the_median_with_what_lies_around_it():
    assert figure([3.0, 1.0, 2.0]) == Figure(2.0, 1.0, 3.0)
    assert f"{figure([3.0, 1.0, 2.0]):.1f}" == "2.0 (1.0..3.0)"


def test_a_figure_that_did_not_vary_is_one_number():
    assert f"{figure([1.01, 1.02]):.1f}" == "1.0"


def test_a_ratio_needs_both_of_its_figures():
    assert ratio(3.0, 2.0) == 1.5
    assert ratio(None, 2.0) is None
    assert ratio(3.0, None) is None


def test_a_table_is_markdown_with_columns_of_one_width():
    table = Table("Rows", ("", "ms"), [("one", "1.5"), ("a|b", "10")], ["of five"])
    assert markdown(table).splitlines() == [
        "### Rows",
        "",
        "|     | ms  |",
        "|-----|-----|",
        "| one | 1.5 |",
        "| a/b | 10  |",
        "",
        "- of five",
    ]


def test_a_missed_bar_stands_in_the_table_and_fails_the_whole():
    sections = [Section("overhead", [at_most("ms", 0.7, 0.6), at_most("ms of another", 0.7, 0.9)], [])]
    assert [row[-1] for row in bars(sections).rows] == ["yes", "NO"]
    assert not hold(sections)


def test_a_figure_without_a_bar_fails_nothing():
    sections = [Section("overhead", [Finding("rows/s", "", "1,000")], [])]
    assert bars(sections).rows == [("overhead", "rows/s", "-", "1,000", "-")]
    assert hold(sections)


def test_a_figure_that_is_missing_misses_its_bar():
    assert not hold([Section("overhead", [at_most("ms", 0.7, None)], [])])


def test_a_run_that_slows_down_shows_it_by_tenths():
    assert paces(300, [100.0, 101.0, 103.0, 107.0]) == [100.0, 50.0, 25.0]


@pytest.mark.parametrize(
    ("sizes_mb", "well"),
    [((0.5,), True), ((300.0,), True), ((600.0,), False), ((300.0, 100.0), True), ((300.0, 10.0), False), ((), False)],
)
def test_files_are_neither_many_nor_huge(sizes_mb, well):
    assert well_sized(sizes_mb) is well


def test_manifests_hold_as_many_rows_as_asked_and_every_one_its_own_video(tmp_path):
    for name in ("few.csv", "few.parquet"):
        rows = list(read_rows([write_manifest(tmp_path / name, 1_234)]))
        assert len(rows) == len({row.values["video_url"] for row in rows}) == 1_234


def test_processes_are_told_apart_by_what_they_are():
    roles = [one.role for one in report(*TREE).processes]
    assert roles == ["command", "redis", "redis fork", "worker", "worker child", "worker child"]


def test_the_most_memory_is_told_by_role_over_all_runs():
    larger = process(10, 1, "python3.11", "python", "vidbatch", "run", peak_kb=5120)
    assert highest_peaks([report(*TREE), report(larger)]) == {
        "command": 5.0,
        "redis": 4.0,
        "redis fork": 1.0,
        "worker": 1.0,
        "worker child": 3.0,
    }


@pytest.mark.parametrize(("seen_s", "whole"), [(3.9, True), (4.2, True), (6.0, False)])
def test_cpu_that_was_seen_and_not_told_by_the_kernel_spoils_a_report(seen_s, whole):
    assert report(process(10, 1, "python3.11", "python", cpu_s=seen_s)).whole is whole


def test_cpu_is_read_from_behind_a_name_with_brackets():
    fields = ["S", *map(str, range(1, 11)), "150", "50", "7", "7"]
    assert cpu_of(f"123 (a ) b) {' '.join(fields)}") == 2.0


def test_a_process_without_memory_has_no_peak():
    assert peak_of("Name:\tpython\nVmHWM:\t   12345 kB\nVmRSS:\t 1 kB\n") == 12345
    assert peak_of("Name:\tpython\nState:\tZ (zombie)\n") == 0


def test_a_part_that_is_measured_anew_leaves_what_was_found_of_the_others():
    order = ["startup", "overhead", "scale"]
    first = joined("", {"scale": "- old\n\n### Bars", "startup": "- one"}, order)
    again = joined(first, {"scale": "- new", "overhead": "- two\n"}, order)
    assert [block.split() for block in again.split("\n## ")[1:]] == [
        ["startup", "-", "one"],
        ["overhead", "-", "two"],
        ["scale", "-", "new"],
    ]
    assert joined(again, {}, order) == again
