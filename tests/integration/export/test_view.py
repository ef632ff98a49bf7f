"""An export has one row for each row of a manifest, with the end that holds."""

import itertools
import random

import pytest

from pipeline.core.lifecycle import Outcome
from pipeline.core.standing import newest
from pipeline.edges import export_view
from pipeline.edges.ends_file import read_ends

MORE_ROWS = 12


def told(rows, *names):
    return [tuple(row[name] for name in names) for row in rows]


@pytest.fixture
def nights(dataset, row):
    """Three runs: with duplicates, a rejection, a retry, rows answered before, and a row that only the first has."""
    made = dataset()
    shared = {"video": "https://example.org/same.mp4"}
    made.run(
        "r1",
        row("only-old"),
        row("b", "failed"),
        row("bad", rejected=True),
        row("d", carried={"shelf": "9"}),
        row("first", more=shared),
        row("second", more=shared),
    )
    made.run("r1b", row("b"), indexes=(1,), retry_of="r1", turn=1)
    made.run("r2", row("new"), row("d", carried={"shelf": "7"}), row("second", more=shared), row("b", "failed", "New?"))
    return made


def test_a_run_has_each_row_of_its_manifest_with_its_newest_end(nights, shown):
    rows, exported = shown(nights.out, "r1")
    assert told(rows, "run", "row_id", "row_index", "outcome", "duplicate_of", "shelf") == [
        ("r1", "only-old", 0, "completed", None, None),
        ("r1b", "b", 1, "completed", None, None),
        ("r1", "bad", 2, "rejected", None, None),
        ("r1", "d", 3, "completed", None, "9"),
        ("r1", "first", 4, "completed", None, None),
        ("r1", "second", 5, "completed", "first", None),
    ]
    assert (exported.outcomes, exported.missing, exported.unfinished) == ({"completed": 5, "rejected": 1}, 0, [])


def test_a_duplicate_has_the_answer_and_no_usage(nights, shown):
    rows, _ = shown(nights.out, "r1")
    assert rows[5]["content"] == "answer of second to What?"
    assert (rows[5]["cost"], rows[4]["cost"]) == (None, 0.25)


def test_a_rejection_says_where_it_stands_and_why(nights, shown):
    [rejected] = [row for row in shown(nights.out, "r1")[0] if row["outcome"] == "rejected"]
    assert rejected["error_code"] == "rejected"
    assert rejected["error_message"] == "m.csv:4: video_urls: found x; allowed is a URL"
    assert {rejected[name] for name in ("content", "cost", "attempts", "model")} == {None}


@pytest.mark.parametrize("own", ["shelf", "a/b~c", 'x".y', "cost", "$", "0"])
def test_a_rejected_row_has_its_own_carried_columns_unless_it_was_damaged(dataset, shown, row, own):
    made = dataset(carried=(own,))
    written = [{own: "it's"}, {own: 7}, {own: None}, {own: [1, "x"]}, {}]
    damaged = ['{"' + own, "[1]", f'"{own}"', "", "a line, that was no JSON", '{"x": "\\ud800"}']
    rows = [row(str(place), rejected=True, carried=one) for place, one in enumerate(written)]
    rows += [row(one, rejected=True, more={"row": one}) for one in damaged]
    made.run("r1", *rows)
    [name] = made.carried.values()
    for latest in (False, True):
        told_rows, exported = shown(made.out, "r1", latest=latest)
        assert [one[name] for one in told_rows] == ["it's", "7", None, '[1,"x"]', None] + [None] * len(damaged)
        assert exported.outcomes == {"rejected": len(rows)}


def test_answers_are_counted_by_what_they_are_worth(dataset, shown, row):
    made = dataset()
    shared = {"video": "https://example.org/same.mp4", "answer_status": "truncated"}
    made.run("r1", row("a"), row("b", more=shared), row("c", more=shared), row("d", "failed"), row("e", rejected=True))
    made.run("r2", row("a"), row("f", more={"answer_status": "empty"}))
    assert shown(made.out, "r1")[1].answer_statuses == {"ok": 1, "truncated": 2}
    assert shown(made.out, "r2")[1].answer_statuses == {"ok": 1, "empty": 1}
    assert shown(made.out, latest=True)[1].answer_statuses == {"ok": 1, "truncated": 2, "empty": 1}


def test_a_row_that_was_answered_before_has_that_answer_and_its_own_carried_columns(nights, shown):
    rows, exported = shown(nights.out, "r2")
    assert told(rows, "run", "row_id", "row_index", "outcome", "shelf") == [
        ("r2", "new", 0, "completed", None),
        ("r1", "d", 1, "completed", "7"),
        ("r1", "second", 2, "completed", None),
        ("r2", "b", 3, "failed", None),
    ]
    assert rows[2]["content"] == "answer of first to What?"
    assert exported.missing == 0


def test_all_runs_come_one_after_the_other(nights, shown):
    rows, _ = shown(nights.out)
    assert told(rows, "row_index") == [(index,) for index in (0, 1, 2, 3, 4, 5, 0, 1, 2, 3)]


def test_latest_has_each_row_once_and_old_ones_last(nights, shown):
    rows, exported = shown(nights.out, latest=True)
    assert told(rows, "run", "row_id", "row_index", "outcome", "prompt") == [
        ("r2", "new", 0, "completed", "What?"),
        ("r1", "d", 1, "completed", "What?"),
        ("r1", "second", 2, "completed", "What?"),
        ("r1b", "b", 3, "completed", "What?"),
        ("r1", "only-old", 0, "completed", "What?"),
        ("r1", "bad", 2, "rejected", None),
        ("r1", "first", 4, "completed", "What?"),
    ]
    assert exported.rows == 7


def test_latest_of_a_run_has_its_rows(nights, shown):
    rows, _ = shown(nights.out, "r1", latest=True)
    assert told(rows, "row_id", "row_index") == [
        ("only-old", 0),
        ("b", 1),
        ("bad", 2),
        ("d", 3),
        ("first", 4),
        ("second", 5),
    ]
    assert rows[3]["shelf"] == "7"


def test_a_row_that_was_cancelled_before_it_was_sent_stands_where_it_stood(dataset, shown, row):
    made = dataset()
    made.run("r1", row("a", "expired"), row("b", "refused"), row("c"))
    made.run("r2", *(row(name, "cancelled") for name in "abcd"), refresh=True)
    assert told(shown(made.out, latest=True)[0], "run", "row_id", "outcome") == [
        ("r1", "a", "expired"),
        ("r1", "b", "refused"),
        ("r1", "c", "completed"),
        ("r2", "d", "cancelled"),
    ]
    assert {row["outcome"] for row in shown(made.out, "r2")[0]} == {"cancelled"}


def test_a_newer_answer_takes_the_place_of_an_older_one(dataset, shown, row):
    made = dataset()
    made.run("r1", row("a"), row("b"))
    made.run("r2", row("b", prompt="New?"), row("a"))
    rows, _ = shown(made.out, latest=True)
    assert told(rows, "run", "row_id", "content") == [
        ("r2", "b", "answer of b to New?"),
        ("r1", "a", "answer of a to What?"),
    ]


def test_prompts_of_other_names_are_other_rows(dataset, shown, row):
    made = dataset()
    made.run("r1", row("a", prompt_name="x"), row("a", prompt="Why?", prompt_name="y"))
    made.run("r2", row("a", prompt="Who?", prompt_name="y"))
    rows, _ = shown(made.out, latest=True)
    assert told(rows, "run", "row_id", "prompt_name") == [("r2", "a", "y"), ("r1", "a", "x")]


def test_a_rejected_row_with_anothers_id_stays_a_row_of_its_own(dataset, shown, row):
    made = dataset()
    made.run("r1", row("a"), row("a", rejected=True), row("a", rejected=True))
    assert told(shown(made.out, "r1", latest=True)[0], "row_index", "outcome") == [
        (0, "completed"),
        (1, "rejected"),
        (2, "rejected"),
    ]


def test_a_row_that_is_rejected_by_now_keeps_the_answer_that_it_has(dataset, shown, row):
    made = dataset()
    made.run("r1", row("a"))
    made.run("r2", row("b"), row("a", rejected=True))
    assert told(shown(made.out, latest=True)[0], "run", "row_id", "row_index", "outcome") == [
        ("r2", "b", 0, "completed"),
        ("r1", "a", 1, "completed"),
    ]
    assert told(shown(made.out, "r2")[0], "outcome") == [("completed",), ("rejected",)]


def test_an_unfinished_run_has_the_rows_that_ended_and_says_how_many_did_not(dataset, shown, row):
    made = dataset()
    made.run("r1", row("a"), row("b", None), row("c", "failed"), unfinished=True)
    rows, exported = shown(made.out, "r1")
    assert told(rows, "row_id", "outcome") == [("a", "completed"), ("c", "failed")]
    assert (exported.missing, list(exported.unfinished)) == (1, ["r1"])


def test_a_row_that_two_parts_and_a_published_file_hold_is_shown_once(dataset, shown, row):
    made = dataset()
    folder = made.run("r1", row("a"), row("b"), row("c"), unfinished=True)
    [part] = (folder.path / "parts").iterdir()
    part.with_name("part-e2-000000000000-000000000003.parquet").write_bytes(part.read_bytes())
    assert told(shown(made.out, "r1")[0], "row_id") == [("a",), ("b",), ("c",)]
    folder.published.mkdir(parents=True)
    (folder.published / "part-00000.parquet").write_bytes(part.read_bytes())
    assert told(shown(made.out, "r1")[0], "row_id") == [("a",), ("b",), ("c",)]


def test_a_run_without_any_end_has_no_row_and_all_columns(dataset, shown, row):
    made = dataset()
    made.run("r1", row("a", None), unfinished=True)
    rows, exported = shown(made.out, "r1")
    assert (rows, exported.missing) == ([], 1)


def test_a_run_of_rejections_alone_has_them(dataset, shown, row):
    made = dataset()
    made.run("r1", row("a", rejected=True))
    assert told(shown(made.out)[0], "row_id", "outcome") == [("a", "rejected")]


def test_rows_are_in_order_over_several_stretches(dataset, shown, monkeypatch, row):
    monkeypatch.setattr(export_view, "STRETCH_ROWS", 3)
    made = dataset()
    made.run("r1", *(row(str(index)) for index in range(10)))
    made.run("r2", *(row(str(index), prompt=f"Since {index % 2}?") for index in range(9, -1, -1)))
    rows, _ = shown(made.out, latest=True)
    assert told(rows, "row_id", "run") == [(str(index), "r2") for index in range(9, -1, -1)]


@pytest.mark.parametrize("seed", range(6))
def test_the_end_that_holds_is_the_one_that_standing_tells(dataset, shown, seed, row):
    """Of families as they come about: a row that completed is never asked again."""
    dice, made = random.Random(seed), dataset()
    outcomes = [one.value for one in Outcome]
    ends = {index: dice.choice(outcomes) for index in range(MORE_ROWS)}

    def one(index, outcome):
        untouched = {
            "generation_id": dice.choice([None, f"task-{index}"]),
            "possible_duplicate": dice.choice([0, 1]) > 0,
        }
        return row(str(index), outcome, more={} if outcome == "completed" else untouched)

    folders = [made.run("r0", *(one(index, end) for index, end in ends.items()))]
    collecting = set()
    for turn in range(1, 4):
        again = [index for index, end in ends.items() if end != "completed" and dice.random() < 0.6]
        if not again:
            break
        link = dice.choice(["retry_of", "collects"])
        ends |= {index: dice.choice(outcomes) for index in again}
        rows = [one(index, ends[index]) for index in again]
        folders.append(made.run(f"r{turn}", *rows, indexes=tuple(again), **{link: "r0", "turn": turn}))
        collecting |= {turn} if link == "collects" else set()
    last = len(folders) - 1
    wanted = newest(
        [read_ends(folder.published) for folder in reversed(folders)], None, {last - turn for turn in collecting}
    )
    assert told(shown(made.out, "r0")[0], "row_index", "outcome") == sorted(
        (end.row_index, end.outcome) for end in wanted
    )


def test_ids_of_two_prompts_are_not_mixed_up_by_what_stands_in_them(dataset, shown, row):
    made = dataset()
    pairs = list(itertools.product(["a", "a'b", 'a"b', "a;--"], ["p", "q'"]))
    made.run("r1", *(row(row_id, prompt=name, prompt_name=name) for row_id, name in pairs))
    rows, _ = shown(made.out, latest=True)
    assert told(rows, "row_id", "prompt_name") == pairs
