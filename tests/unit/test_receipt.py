"""A receipt says what a run amounts to; what it may have cost at worst is told, never guessed away."""

import pytest

from pipeline.core.receipt import Doubt, FileFound, Found, PartFound, Sums, UsageKey, UsageSums, receipt_of
from pipeline.core.verification import came_after, differences

KEY = UsageKey("m", None, "completed")
FILE = FileFound("annotations/run=r/part-00000.parquet", 2, 10, "ab")
PART = PartFound(FILE, Sums(3, 2, cost=0.1), Sums(3, 2, cost=0.3))


def found(**values):
    usage = {KEY: UsageSums(2, 3, Sums(3, 2, cost=0.1 + 0.2))}
    described = {"run_id": "r", "rows": 2}
    given = {"parts": [PART], "usage": usage, "usage_table": usage, "outcomes": {"completed": 2}, **values}
    return Found(described, **given)


def test_sums_without_a_figure_stay_without_one():
    assert Sums() + Sums() == Sums()
    assert Sums(1, cost=0.0) + Sums(2, 3, video_tokens=4) == Sums(3, 3, video_tokens=4, cost=0.0)


@pytest.mark.parametrize(
    ("doubt", "worst"),
    [
        (Doubt(), 0.0),
        (Doubt(posts=2, own_cost=0.5), 0.5),
        (Doubt(posts=3, own_cost=0.5, unpriced=1, completed_cost=4.0, completed_priced=2), 2.5),
        (Doubt(posts=1, unpriced=1), None),
    ],
)
def test_the_worst_case_is_the_rows_own_cost_else_the_mean_else_unknown(doubt, worst):
    assert doubt.worst_case == worst


def test_the_same_files_have_the_same_receipt():
    receipt = receipt_of(found(), 0)
    assert receipt == receipt_of(found(), 0)
    assert differences(receipt, found()) == []


def test_sums_of_floats_in_another_order_are_no_difference():
    receipt = receipt_of(found(), 0)
    assert receipt["usage"]["cost"] != 0.3
    usage = {KEY: UsageSums(2, 3, Sums(3, 2, cost=0.3))}
    assert differences(receipt, found(usage_table=usage)) == []


def test_a_cost_that_is_another_is_a_difference_however_small_it_is():
    usage = {KEY: UsageSums(2, 3, Sums(3, 2, cost=0.300001))}
    told = [str(one) for one in differences(receipt_of(found(), 0), found(usage_table=usage))]
    assert told == ["runs/r/receipt.json: usage.cost is 0.30000000000000004, and the files say 0.300001"]


def test_a_number_is_no_flag_and_no_text():
    receipt = receipt_of(found(flagged=1), 0)
    receipt["possible_duplicates"]["rows"] = True
    assert len(differences(receipt, found(flagged=1))) == 1


EARLY, LATER = (FileFound(f"runs/r/sent/{name}.jsonl", 1, 9, "cd") for name in ("early", "later"))


@pytest.mark.parametrize(
    ("unplaced", "late"),
    [
        ({}, 0),
        ({frozenset({LATER.name}): 3}, 3),
        ({frozenset({EARLY.name}): 2, frozenset({EARLY.name, LATER.name}): 1, frozenset({LATER.name}): 4}, 4),
    ],
)
def test_ids_that_only_a_later_file_names_came_after_the_end_and_are_no_difference(unplaced, late):
    before = {files: count for files, count in unplaced.items() if EARLY.name in files}
    receipt = receipt_of(found(sent=[EARLY], unplaced=before), 0)
    now = found(sent=[EARLY, LATER], unplaced=unplaced)
    assert (differences(receipt, now), came_after(receipt, now)) == ([], late)


def test_a_file_of_ids_that_the_receipt_knows_and_that_is_gone_is_a_difference():
    told = [str(one) for one in differences(receipt_of(found(sent=[EARLY]), 0), found(sent=[LATER]))]
    assert told == ["runs/r/sent/early.jsonl: is not there or can't be read; the receipt says 1 rows"]


def test_what_became_of_the_caps_is_the_ledgers_and_taken_as_it_stands():
    budget = {"caps": {"cost": 5.0, "tokens": None}, "spent": {"tokens": 3, "cost": 4.9}}
    receipt = receipt_of(found(), 0, budget)
    assert receipt["budget"] == budget
    assert differences(receipt, found()) == []
    del receipt["budget"]
    assert differences(receipt, found()) == [], "receipts of earlier versions have none"
