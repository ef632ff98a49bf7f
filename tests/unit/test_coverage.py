"""Each row of a manifest stands in exactly one place; what does not is told with its file."""

from pipeline.core.coverage import Coverage


def faults(asked=(0, 1, 2), rejected=(), annotated=(0, 1, 2), rows=3, duplicates=None, reused=(), copies=None):
    """`duplicates` are their row indexes with their firsts'; `copies` say that they are one, by default those."""
    coverage = Coverage()
    coverage.asked("requests", asked)
    coverage.duplicated("duplicates", list(duplicates or {}), (duplicates or {}).values())
    coverage.reused("reused", reused)
    coverage.rejected("rejects", rejected)
    told = (duplicates or {}) if copies is None else copies
    for number, indexes in enumerate(annotated if annotated and isinstance(annotated[0], list) else [annotated]):
        coverage.annotated(f"part {number}", indexes, [index in told for index in indexes])
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
    assert faults(asked=(0, 2), annotated=(0, 2), rows=4) == ["requests: in no file of the plan: row 1 and 1 more"]


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
    coverage.annotated("part", [None, -1, 1 << 60], [False] * 3)
    assert len(coverage._marks._bytes) == 0
    assert [fault.what for fault in coverage.faults(requests="", annotations="", rows=None)] == [
        "no valid index: 3 rows"
    ]


def test_duplicates_and_reused_rows_have_their_places_too():
    assert faults(asked=(0, 3), duplicates={1: 0, 4: 0}, reused=(2,), annotated=[[0, 4], [1, 3]], rows=5) == []


def test_a_duplicate_without_an_annotation_or_with_two_is_told():
    found = faults(asked=(0,), duplicates={1: 0, 2: 0}, annotated=[[0, 1], [1]])
    assert found == [
        "part 1: twice in the run's annotations: row 1",
        "annotations: no annotation of a duplicate: row 2",
    ]


def test_an_annotation_of_a_reused_row_is_told():
    assert faults(asked=(0, 2), reused=(1,)) == ["part 0: answered by another run: row 1"]


def test_a_row_in_two_files_of_the_plan_is_told():
    assert faults(asked=(0, 1), duplicates={1: 0}, reused=(2, 2), annotated=(0,))[:2] == [
        "duplicates: a request, too: row 1",
        "reused: twice: row 2",
    ]


def test_a_reused_row_that_the_plan_lost_is_told():
    assert faults(asked=(0,), reused=(2,), annotated=(0,)) == ["requests: in no file of the plan: row 1"]


def test_a_duplicate_of_no_request_before_it_is_told():
    told = "duplicates: duplicates of no request before them"
    assert faults(asked=(0, 2), duplicates={1: 2}, annotated=(0, 1, 2)) == [f"{told}: row 1"]
    assert faults(asked=(0,), duplicates={1: 0, 2: 1}, annotated=(0, 1, 2)) == [f"{told}: row 2"]


def test_an_annotation_that_is_not_of_the_kind_of_its_row_is_told():
    found = faults(asked=(0, 2), duplicates={1: 0}, copies={2})
    assert found == [
        "part 0: a duplicate's, and does not say of which row: row 1",
        "part 0: a request's own, and says that it is a duplicate's: row 2",
    ]
