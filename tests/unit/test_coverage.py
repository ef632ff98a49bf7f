"""Each row of a manifest stands in exactly one place; what does not is told with its file."""

from pipeline.core.coverage import Coverage


def faults(asked=(0, 1, 2), rejected=(), annotated=(0, 1, 2), rows=3):
    coverage = Coverage()
    coverage.asked("requests", asked)
    coverage.rejected("rejects", rejected)
    for number, indexes in enumerate(annotated if annotated and isinstance(annotated[0], list) else [annotated]):
        coverage.annotated(f"part {number}", indexes)
    found = coverage.faults(requests="requests", annotations="annotations", rows=rows)
    return [f"{fault.file}: {fault.what}" for fault in found]


def test_a_run_whose_rows_all_have_one_place_has_no_fault():
    assert faults(asked=(0, 2), rejected=(1,), annotated=[[2], [0]]) == []


def test_a_run_without_rows_has_no_fault():
    assert faults(asked=(), annotated=(), rows=0) == []


def test_a_row_in_two_files_is_told_of_the_second():
    assert faults(annotated=[[0, 1], [1, 2, 0]]) == ["part 1: twice in the run's annotations: row 1 and 1 more"]


def test_a_row_without_an_annotation_is_told():
    assert faults(annotated=(1,)) == ["annotations: no annotation: row 0 and 1 more"]


def test_a_row_that_is_nowhere_is_told_wherever_it_is():
    assert faults(asked=(0, 2), annotated=(0, 2), rows=4) == [
        "requests: neither a request nor a rejection: row 1 and 1 more"
    ]


def test_a_run_of_some_rows_need_not_have_all():
    assert faults(asked=(5, 900), annotated=(900, 5), rows=None) == []


def test_a_row_that_is_request_and_rejection_is_told():
    assert "rejects: a request, too: row 1" in faults(rejected=(1,))


def test_a_plan_with_a_row_twice_is_told():
    assert faults(asked=(0, 1, 1, 2)) == ["requests: twice: row 1"]
    assert faults(asked=(0, 2), rejected=(1, 1), annotated=(0, 2)) == ["rejects: twice: row 1"]


def test_an_annotation_of_no_request_is_told():
    assert faults(annotated=(0, 1, 2, 9)) == ["part 0: never asked: row 9"]


def test_an_index_that_can_be_no_row_takes_no_memory():
    coverage = Coverage()
    coverage.annotated("part", [None, -1, 1 << 60])
    assert len(coverage._marks._bytes) == 0
    assert [fault.what for fault in coverage.faults(requests="", annotations="", rows=None)] == [
        "no valid index: 3 rows"
    ]
