"""Prompts that are made of a row's cells, and files of several prompts."""

import pytest

from pipeline.core.cells import UnfitError
from pipeline.core.errors import SettingsError
from pipeline.core.prompts import NO_COLUMN
from pipeline.edges.templates import prompt_of, read_prompts

ROW = {"species": "otter", "duration_s": 12.5, "frame rate": "25", "note": None, "row": "7", "tag": "{{ species }}"}


def made(text, row=ROW):
    return prompt_of(text, "--prompt").of(row)


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("What does the {{species}} do?", "What does the otter do?"),
        ("{{ duration_s | round | int }} s", "12 s"),
        ("{{ note }}!", "!"),
        ("{{ habitat | default('anywhere') }}", "anywhere"),
        ("{% if species == 'otter' %}Swims?{% else %}Walks?{% endif %}\n", "Swims?\n"),
        ("{{ row }}", "7"),
        ("{{ tag }}", "{{ species }}"),
        ("{% raw %}{{ species }}{% endraw %}", "{{ species }}"),
        ("<b> & {braces}", "<b> & {braces}"),
    ],
)
def test_a_prompt_is_made_of_cells(text, prompt):
    assert made(text) == prompt


def test_columns_of_any_name_can_be_used():
    assert made("{{ row['frame rate'] }}", {"frame rate": "25"}) == "25"


@pytest.mark.parametrize("text", ["{{ habitat }}", "{{ habitat.name }}", "{{ species }} {{ habitat }}"])
def test_a_column_that_is_missing_is_named(text):
    with pytest.raises(UnfitError) as unfit:
        made(text)
    assert (unfit.value.fault.field, unfit.value.fault.found) == ("habitat", NO_COLUMN)
    assert "species" in unfit.value.fault.allowed


@pytest.mark.parametrize(
    "text",
    [
        "{{ species.__class__.__mro__ }}",
        "{{ species.name }}",
        "{{ species + 1 }}",
        "{{ duration_s / 0 }}",
        "{{ row.update({'a': 1}) }}",
    ],
)
def test_what_a_row_cant_be_made_into_is_its_fault(text):
    with pytest.raises(UnfitError) as unfit:
        made(text, {"species": "otter", "duration_s": 1.0})
    assert unfit.value.fault.field == "prompt"


@pytest.mark.parametrize("text", ["{{ species", "{% if %}", "{{ species | nothing }}", "{% include 'a' "])
def test_a_template_that_cant_be_read_is_told_before_any_row(text):
    with pytest.raises(SettingsError, match="--prompt, line 1: the template can't be read"):
        prompt_of(text, "--prompt")


def test_several_prompts_have_names(tmp_path):
    file = tmp_path / "prompts.yaml"
    file.write_text(
        "what: What does the {{ species }} do?\n'how long': |\n  For how\n  long?\n3: Why?\n", encoding="utf-8"
    )
    prompts = read_prompts(file)
    assert [prompt.name for prompt in prompts] == ["what", "how long", "3"]
    assert [prompt.of(ROW) for prompt in prompts] == ["What does the otter do?", "For how\nlong?\n", "Why?"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "found no prompt"),
        ("- a\n- b\n", "found no prompt"),
        ("a: 1\nb: [x]\n", "line 2: found a sequence"),
        ("a: x\na: y\n", "two prompts are named 'a'"),
        ("a: 'x\n", "is no YAML"),
        ("a:\n", "prompts.yaml, a: found nothing"),
        ("'': x\n", "name ''"),
        ("a: '{{ x'\n", "prompts.yaml, a, line 1"),
        ("a: !!python/object:os.system x\n", None),
        ("\xff", None),
    ],
)
def test_a_file_of_prompts_that_cant_be_used_is_named(tmp_path, text, told):
    file = tmp_path / "prompts.yaml"
    file.write_text(text, encoding="latin-1")
    if told is None and text.startswith("a"):
        assert [prompt.text for prompt in read_prompts(file)] == ["x"]  # text, whatever it calls itself
        return
    with pytest.raises(SettingsError, match=told or "can't be read"):
        read_prompts(file)
