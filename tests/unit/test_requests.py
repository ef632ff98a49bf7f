"""A row becomes exactly one request or one rejection, inside the limits of the contract."""

from decimal import Decimal

import orjson
import pytest

from pipeline.core.cells import Fault
from pipeline.core.errors import SettingsError
from pipeline.core.fingerprints import RowIds
from pipeline.core.prompts import Prompt, checked_text
from pipeline.core.requests import Defaults, RawRow, Rejection, Request, reject, to_request

VIDEO = "https://videos.example.com/a.mp4"


def judge(defaults=None, known=None, row_index=0, asked=None, **cells):
    raw = {"video_url": VIDEO, "prompt": "Describe."} | cells
    return to_request(
        raw,
        row_index=row_index,
        line=row_index + 2,
        file="m.csv",
        defaults=defaults or Defaults(),
        prompt=asked,
        known=known,
    )


def accepted(**cells):
    judged = judge(**cells)
    assert isinstance(judged, Request), judged
    return judged


def refused(**cells):
    judged = judge(**cells)
    assert isinstance(judged, Rejection), judged
    return judged


def test_a_plain_row_asks_the_recommended_model_and_nothing_optional():
    assert orjson.loads(accepted().body()) == {
        "model": "gemini-2.5-pro",
        "prompt": "Describe.",
        "video_urls": [VIDEO],
    }


def test_a_full_row_asks_for_every_field_in_a_fixed_order():
    request = accepted(
        system_prompt="Be brief.", temperature="0.5", max_tokens="100", reasoning="yes", model="gemini-2.5-flash"
    )
    assert request.body() == (
        b'{"model":"gemini-2.5-flash","prompt":"Describe.","video_urls":["https://videos.example.com/a.mp4"],'
        b'"max_tokens":100,"temperature":0.5,"system_prompt":"Be brief.","reasoning":true}'
    )


def test_the_hash_tells_what_is_asked_and_not_how_it_was_written():
    as_text = accepted(temperature="1", max_tokens="5", reasoning="no", id="a", camera="north")
    typed = accepted(temperature=1.0, max_tokens=5, reasoning=False, row_index=7)
    assert as_text.request_hash == typed.request_hash
    assert accepted(prompt="Describe!").request_hash != accepted().request_hash


def test_the_hash_never_changes_between_versions():
    assert accepted().request_hash == "93453d47037dc2d1dbe180139b3c804b80fd344ab0837d2d3dfc52d0670d41b1"


def test_defaults_fill_cells_that_are_empty_or_left_out():
    defaults = Defaults("m", "Be brief.", 0.5, 10, reasoning=True)
    request = accepted(
        defaults=defaults, asked=Prompt("All."), prompt="", model=None, temperature=" ", max_tokens="", reasoning=""
    )
    assert (request.model, request.prompt, request.system_prompt) == ("m", "All.", "Be brief.")
    assert (request.temperature, request.max_tokens, request.reasoning) == (0.5, 10, True)


def test_a_cell_wins_over_a_default_even_when_it_is_zero_or_false():
    defaults = Defaults(temperature=0.5, reasoning=True)
    request = accepted(defaults=defaults, temperature="0", reasoning="0")
    assert (request.temperature, request.reasoning) == (0.0, False)


@pytest.mark.parametrize(
    "bad",
    [{"temperature": 3}, {"max_tokens": 0}, {"model": ""}, {"system_prompt": "x" * 10_001}],
)
def test_a_default_outside_the_limits_is_refused_before_any_row(bad):
    with pytest.raises(SettingsError, match=next(iter(bad))):
        Defaults(**bad)


@pytest.mark.parametrize("bad", [" ", "", None, 5, "x" * 100_001])
def test_a_prompt_for_all_rows_is_looked_at_before_any_row(bad):
    with pytest.raises(SettingsError, match="--prompt: found"):
        checked_text(bad, "--prompt")


def test_a_prompt_with_a_name_is_asked_whatever_prompt_the_row_has():
    assert accepted(asked=Prompt("All."), prompt="Mine.").prompt == "Mine."
    request = accepted(asked=Prompt("All.", "all"), prompt="Mine.")
    assert (request.prompt, request.prompt_name) == ("All.", "all")
    assert refused(asked=Prompt("All.", "all"), video_url="x").prompt_name == "all"


def test_a_row_without_an_id_is_named_by_its_index():
    assert accepted(row_index=41).row_id == "41"
    assert accepted(row_index=41, id="").row_id == "41"


@pytest.mark.parametrize(("cell", "row_id"), [("clip 1", "clip 1"), (7, "7"), (7.0, "7"), (2**70, str(2**70))])
def test_an_id_is_text_or_a_whole_number(cell, row_id):
    assert accepted(id=cell).row_id == row_id


@pytest.mark.parametrize("cell", [1.5, True, ["a"], {"a": 1}, float("nan"), 1e300])
def test_any_other_id_is_a_rejection(cell):
    assert refused(id=cell).field == "id"


def test_the_second_use_of_an_id_is_a_rejection_that_names_it():
    known = RowIds()
    assert isinstance(judge(known=known, id="a"), Request)
    rejection = judge(known=known, id="a", row_index=1)
    assert (rejection.field, rejection.found, rejection.row_id) == ("id", "a", "a")


def test_an_id_that_is_another_rows_index_is_a_rejection():
    known = RowIds()
    for row_index in range(3):
        assert isinstance(judge(known=known, row_index=row_index), Request)
    assert judge(known=known, row_index=3, id="1").field == "id"


def test_other_columns_are_carried_as_text():
    request = accepted(
        camera="north",
        empty="",
        none=None,
        number=3,
        ratio=0.5,
        yes=True,
        tags=["a", "é"],
        price=Decimal("1.20"),
        raw=b"\xff",
    )
    assert request.carried == {
        "camera": "north",
        "empty": "",
        "none": None,
        "number": "3",
        "ratio": "0.5",
        "yes": "true",
        "tags": '["a","é"]',
        "price": "1.20",
        "raw": "/w==",
    }


@pytest.mark.parametrize("prompt", ["x", "x" * 100_000, "é" * 100_000, "\nline\n"])
def test_a_prompt_inside_the_limits_is_sent_untouched(prompt):
    assert accepted(prompt=prompt).prompt == prompt


@pytest.mark.parametrize("prompt", ["", None, "  \n", "x" * 100_001, 5, 0, [], {}, False, ["a"], {"text": "a"}, "a\0b"])
def test_a_prompt_outside_the_limits_is_a_rejection(prompt):
    rejection = refused(prompt=prompt)
    assert rejection.field == "prompt"
    assert rejection.allowed


@pytest.mark.parametrize(
    ("field", "cell", "value"),
    [
        ("temperature", "0", 0.0),
        ("temperature", " 2.0 ", 2.0),
        ("temperature", Decimal("0.7"), 0.7),
        ("temperature", "1e-1", 0.1),
        ("max_tokens", "1", 1),
        ("max_tokens", "100.0", 100),
        ("max_tokens", 2048.0, 2048),
        ("max_tokens", "9007199254740993", 9007199254740993),
        ("reasoning", "TRUE", True),
        ("reasoning", "No", False),
        ("reasoning", 1, True),
        ("reasoning", False, False),
        ("system_prompt", "x" * 10_000, "x" * 10_000),
        ("model", " any-model-of-tomorrow ", "any-model-of-tomorrow"),
    ],
)
def test_a_field_inside_its_limits_is_read(field, cell, value):
    assert getattr(accepted(**{field: cell}), field) == value


@pytest.mark.parametrize(
    ("field", "cell"),
    [
        ("temperature", "2.01"),
        ("temperature", "-0.1"),
        ("temperature", "nan"),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("temperature", "1_0"),
        ("temperature", "0,5"),
        ("temperature", True),
        ("temperature", [1]),
        ("max_tokens", "0"),
        ("max_tokens", "1.5"),
        ("max_tokens", 2**63),
        ("max_tokens", 10**400),
        ("max_tokens", "many"),
        ("max_tokens", True),
        ("reasoning", "maybe"),
        ("reasoning", 2),
        ("reasoning", []),
        ("system_prompt", "x" * 10_001),
        ("system_prompt", 5),
        ("model", 5),
        ("model", "two\nlines"),
    ],
)
def test_a_field_outside_its_limits_is_a_rejection(field, cell):
    assert refused(**{field: cell}).field == field


def test_a_rejection_shows_the_row_as_it_was_written():
    rejection = refused(temperature="hot", camera="north", row_index=4)
    assert (rejection.file, rejection.row_index, rejection.line, rejection.found) == ("m.csv", 4, 6, "hot")
    assert orjson.loads(rejection.row) == {
        "video_url": VIDEO,
        "prompt": "Describe.",
        "temperature": "hot",
        "camera": "north",
    }


def test_a_rejection_is_of_bounded_size_and_valid_text():
    fault = Fault("row", "é" * 500, "less")
    rejection = reject(RawRow("m.jsonl", 1, text="é" * 100_000 + "\udcff"), fault, row_index=0)
    assert len(rejection.found) == 200
    assert len(rejection.row.encode()) <= 64_000
    assert reject(RawRow("m", 1), Fault("row", "\udcff", ""), row_index=0).found == "\\udcff"


def test_what_a_schema_asks_for_is_appended_to_every_prompt_and_counts_for_its_limit():
    defaults = Defaults(instruction="Answer with JSON.")
    assert accepted(defaults=defaults).prompt == "Describe.\n\nAnswer with JSON."
    assert accepted(defaults=defaults, asked=Prompt("All."), prompt="").prompt == "All.\n\nAnswer with JSON."
    fits = 100_000 - len("\n\nAnswer with JSON.")
    assert len(accepted(defaults=defaults, prompt="x" * fits).prompt) == 100_000
    rejection = refused(defaults=defaults, prompt="x" * (fits + 1))
    assert (rejection.field, rejection.found) == ("prompt", "99,982 and 19 characters")
    assert "together with what the schema appends" in rejection.allowed


def test_prompts_that_are_alike_stay_one_object_with_what_is_appended():
    defaults, asked = Defaults(instruction="Answer with JSON."), Prompt("All.")
    assert (
        accepted(defaults=defaults, asked=asked, prompt="").prompt
        is accepted(defaults=defaults, asked=asked, prompt="").prompt
    )
