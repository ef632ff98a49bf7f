"""A plan in words: what it will cost and by which price, what the caps mean for it, and whether it ends in time."""

from datetime import datetime, timedelta, timezone

import orjson
import pytest
from click.testing import CliRunner

from pipeline.cli.estimating import refuse_unpriced
from pipeline.cli.main import main
from pipeline.cli.plan_text import cap_lines, plan_lines, promise_lines, summary_lines
from pipeline.core.budget import Budget
from pipeline.core.errors import SettingsError
from pipeline.edges.annotations_file import schema_of, table_of, write_part

PRICE = {"input": 1.25, "output": 10.0, "source": "a list price", "as_of": "2026-05-01"}
ESTIMATE = {"rows": 10, "counted": 10, "priced": 10, "tokens": [50, 100, 400], "cost": [0.5, 2.0, 8.0], "basis": []}
NOW = datetime(2026, 11, 22, 22, 0, tzinfo=timezone(timedelta(hours=1)))


def described(**values):
    plan = {"rows": 10, "requests": 10, "rejections": 0, "models": {"m": 10}, "videos": 10, "base_url": "https://api"}
    return {**plan, "created_at": "2026-11-22T21:00:00+00:00", "prices": {"m": PRICE}, **values}


def told(**values):
    return "\n".join(plan_lines(described(**values), [], ""))


def test_one_of_a_kind_is_told_as_one():
    told_one = told(rows=1, requests=1, duplicates=1, prompt_names=["a"], videos=1)
    assert "1 row (1 row of the manifest, each with 1 prompt): 1 request, 1 duplicate of them, 0 rejected" in told_one
    assert "; 1 video; " in told_one
    assert "10 rows: 8 requests, 2 duplicates of them, 0 rejected" in told(requests=8, duplicates=2)


@pytest.mark.parametrize(
    ("more", "line"), [({}, []), ({"answer_schema": {}}, ["answers: 10 ok, each as its schema has it"])]
)
def test_that_all_answers_are_ok_is_told_where_they_have_a_schema(more, line):
    summary = {"outcomes": {"completed": 10}, "prompt_tokens": 1, "completion_tokens": 1, "cost": None}
    summary |= {"possible_duplicates": 0, "answer_statuses": {"ok": 10, "invalid": 0}}
    lines = list(summary_lines(described(**more), summary, "out"))
    assert [one for one in lines if one.startswith("answers:")] == line


def test_a_price_is_shown_with_who_told_it_and_when():
    assert "price of m: $1.25 in, $10 out per million tokens (a list price, as of 2026-05-01)\n" in told() + "\n"
    long = {**PRICE, "input_long": 2.5, "output_long": 15.0, "long_prompt_tokens": 200_000}
    assert "$10 out per million tokens, $2.5 and $15 above 200,000 tokens of prompt (a" in told(prices={"m": long})


def test_an_old_price_is_called_old():
    assert "that is old: look it up again" in told(created_at="2027-06-01T00:00:00+00:00")
    assert "old" not in told(created_at="2027-04-30T00:00:00+00:00")


def test_a_price_of_an_earlier_version_has_no_source_and_is_shown_all_the_same():
    bare = {"input": 1.0, "output": 2.0, "input_long": None, "output_long": None, "long_prompt_tokens": None}
    assert "price of m: $1 in, $2 out per million tokens" in told(prices={"m": bare}).splitlines()


def test_a_model_without_a_price_is_named():
    assert "no price is configured for m: its cost is shown only where the API tells it" in told(prices={})


@pytest.mark.parametrize(
    ("cost", "line"),
    [
        (9.0, "cap: $9.00 (--max-cost); the estimate is below it"),
        (4.0, "cap: $4.00 (--max-cost); the estimate's upper end is above it"),
        (1.0, "cap: $1.00 (--max-cost); by the estimate it is reached after about 5 of 10 rows"),
        (0.1, "cap: $0.1000 (--max-cost); by the estimate it is reached after about 0 of 10 rows"),
    ],
)
def test_a_cap_is_held_against_the_estimate(cost, line):
    assert list(cap_lines(Budget(cost=cost), described(estimate=ESTIMATE))) == [line]


def test_a_cap_is_held_against_no_estimate_that_counts_only_some_rows():
    partly = {**ESTIMATE, "counted": 9, "tokens": [50, 100, 400]}
    assert list(cap_lines(Budget(tokens=60), described(estimate=partly))) == ["cap: 60 tokens (--max-total-tokens)"]
    assert list(cap_lines(Budget(tokens=60), described())) == ["cap: 60 tokens (--max-total-tokens)"]


def test_whether_a_run_ends_in_time_is_told_where_its_rate_was_given():
    given = {"max_cost": None, "max_total_tokens": None, "by": NOW + timedelta(minutes=5)}
    [known] = promise_lines({**given, "rpm": 1.0}, described(), NOW)
    assert known == "by 22:05: about 5 rows won't be done; at this rate the last one is about 22:10"
    for rate in ({}, {"rpm": None}, {"rpm": "auto"}):
        [unknown] = promise_lines({**given, **rate}, described(), NOW)
        assert unknown == "by 22:05: without --rpm the run tells whether the rate suffices, once it has found one"
    assert list(promise_lines({**given, "by": None}, described(), NOW)) == []


@pytest.mark.parametrize(
    ("limits", "found", "told"),
    [
        ({"tpm": 20.0}, None, "by 22:05: at this rate every row is done, the last one about 22:05"),
        ({"tpm": 10.0}, None, "by 22:05: about 5 rows won't be done; at this rate the last one is about 22:10"),
        ({"tpm": 10.0, "rpm": 600.0}, None, "about 5 rows won't be done"),
        ({"tpm": 1e6, "rpm": 1.0}, None, "about 5 rows won't be done"),
        ({"tpm": 10.0}, 600.0, "about 5 rows won't be done"),
        ({"tpm": 1e6}, 600.0, "at this rate every row is done, the last one about 22:00"),
        ({"tpm": "auto"}, 600.0, "at this rate every row is done"),
    ],
)
def test_tokens_a_minute_bound_a_run_by_what_the_estimate_says_of_a_row(limits, found, told):
    given = {"max_cost": None, "max_total_tokens": None, "by": NOW + timedelta(minutes=5), **limits}
    [line] = promise_lines(given, described(estimate=ESTIMATE), NOW, lambda: found)
    assert told in line


@pytest.mark.parametrize("estimate", [None, {**ESTIMATE, "counted": 9}, {**ESTIMATE, "counted": 0, "tokens": None}])
def test_where_nobody_knows_what_a_row_takes_tokens_a_minute_are_left_to_the_run(estimate):
    given = {"max_cost": None, "max_total_tokens": None, "by": NOW + timedelta(minutes=5), "tpm": 1_000.0}
    unknown = (
        "by 22:05: the tokens a minute may bound it, and what a row takes is not known yet: the run tells whether they "
        "suffice"
    )
    plan = described(estimate=estimate)
    assert list(promise_lines(given, plan, NOW)) == [unknown]
    assert list(promise_lines({**given, "rpm": 600.0}, plan, NOW)) == [unknown]
    [late] = promise_lines({**given, "rpm": 1.0}, plan, NOW)
    assert late == "by 22:05: about 5 rows won't be done; at this rate the last one is about 22:10"


def test_money_is_capped_only_where_every_model_has_a_price():
    refuse_unpriced(Budget(tokens=5), ["m"], {}, fixed=False)
    refuse_unpriced(Budget(cost=5.0), ["m"], {"m": PRICE}, fixed=False)
    with pytest.raises(SettingsError, match=r'for n, .*\[prices\."n"\] with input .*--max-total-tokens'):
        refuse_unpriced(Budget(cost=5.0), ["m", "n"], {"m": PRICE}, fixed=False)
    with pytest.raises(SettingsError, match="keeps the prices that it was planned with, or cap the tokens"):
        refuse_unpriced(Budget(cost=5.0), ["n"], {}, fixed=True)


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Types `vidbatch plan` of a manifest with these lines, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def type_in(lines, *words):
        (tmp_path / "videos.csv").write_text("\n".join(["video_url,prompt,duration_s", *lines]), encoding="utf-8")
        return CliRunner().invoke(main, ["plan", "videos.csv", *words])

    return type_in


TIMED = "https://videos.example/1.mp4,Describe.,30"
UNTIMED = "https://videos.example/2.mp4,Describe.,"


def test_a_plan_estimates_by_the_seconds_that_the_manifest_tells(plan):
    shown = plan([TIMED, UNTIMED])
    assert shown.exit_code == 0, shown.output
    assert "estimate for 1 of 2 rows, the rest unknown: about 9,702 tokens" in shown.output
    assert "30 s of video at 290 (up to 640) tokens a second" in shown.output


def test_a_plan_learns_from_the_dataset_that_it_is_shown_and_writes_nothing_there(plan, tmp_path):
    folder = tmp_path / "out" / "annotations" / "run=1"
    folder.mkdir(parents=True)
    cells = {"model": "gemini-2.5-pro", "outcome": "completed", "prompt_tokens": 1_000, "completion_tokens": 0}
    schema = schema_of([], "1")
    write_part(folder / "part-00000.parquet", schema, [table_of([{**cells, "cost": 0.5}] * 8, schema)])
    before = sorted(tmp_path.glob("out/**/*"))
    shown = plan([f"https://videos.example/{n}.mp4,Describe.," for n in range(4)], "--out", "out", "--json")
    estimate = orjson.loads(shown.output)["estimate"]
    assert estimate["cost"] == [2.0, 2.0, 2.0]
    assert estimate["tokens"] == [4_000, 4_000, 4_000]
    assert sorted(tmp_path.glob("out/**/*")) == before


def test_a_plan_reckons_with_tokens_a_minute(plan):
    assert "won't be done" in plan([TIMED], "--by", "1h", "--tpm", "1").output
    assert "the run tells whether they suffice" in plan([UNTIMED], "--by", "1h", "--tpm", "1").output


def test_a_plan_tells_programs_what_caps_and_deadline_mean(plan):
    told = orjson.loads(
        plan(
            [f"https://videos.example/{n}.mp4,Describe.,30" for n in range(600)],
            "--rpm",
            "1",
            "--by",
            "1h",
            "--max-total-tokens",
            "9",
            "--json",
        ).output
    )
    assert told["caps"] == {"cost": None, "tokens": 9}
    assert told["forecast"]["late_rows"] in range(540, 543)
    assert told["forecast"]["by"][:16] == told["by"][:16]
    bare = orjson.loads(plan([TIMED], "--json").output)
    assert (bare["caps"], bare["by"], bare["forecast"]) == ({"cost": None, "tokens": None}, None, None)


def test_tokens_a_second_may_be_written_down(plan, tmp_path):
    (tmp_path / "vidbatch.toml").write_text("tokens_per_second = 640\n", encoding="utf-8")
    assert "30 s of video at 640 tokens a second (tokens_per_second in vidbatch.toml)" in plan([TIMED]).output


def test_a_cap_on_money_without_a_price_is_refused_when_planning_and_a_written_price_helps(plan, tmp_path):
    refused = plan([TIMED], "--model", "m", "--max-cost", "5")
    assert isinstance(refused.exception, SettingsError)
    assert "vidbatch.toml" in str(refused.exception)
    (tmp_path / "vidbatch.toml").write_text("[prices.m]\ninput = 1\noutput = 2\n", encoding="utf-8")
    assert plan([TIMED], "--model", "m", "--max-cost", "5").exit_code == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--max-cost", "0"], "--max-cost: found 0"),
        (["--max-cost", "-1"], "--max-cost"),
        (["--max-cost", "nan"], "--max-cost"),
        (["--max-cost", "inf"], "--max-cost"),
        (["--max-total-tokens", "0"], "--max-total-tokens"),
        (["--by", "soon"], "--by: found 'soon'"),
    ],
)
def test_a_cap_of_nothing_and_a_time_that_is_none_are_refused(plan, words, named):
    refused = plan([TIMED], *words)
    assert isinstance(refused.exception, SettingsError)
    assert named in str(refused.exception)
