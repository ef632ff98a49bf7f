"""What a manifest's author or the API wrote reaches no terminal as anything but text."""

import csv

import pytest

ESC = "\x1b]0;owned\x07\x1b[2J\x9b31m\x08\x7f\u202e"
UNSEEN = "\x1b\x07\x08\x7f\x9b\u202e"


@pytest.fixture
def hostile(tmp_path):
    path = tmp_path / "hostile.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "video_url", "prompt", "model", f"extra{ESC}"])
        rows.writerow([f"a{ESC}", "https://v.example/1.mp4", f"Describe {ESC}", f"model{ESC}", ESC])
        rows.writerow([f"b{ESC}", f"ftp://{ESC}", f"Describe {ESC}", "", ESC])
        rows.writerow([f"c{ESC}", "https://v.example/2.mp4", "Describe", "", ESC])
    return path


@pytest.mark.parametrize("words", [(), ("--out", "out"), ("--json",)])
def test_a_plan_shows_cells_as_text(here, hostile, words):
    said = here("plan", hostile, *words)
    assert "rows" in said.out + said.err
    assert not set(UNSEEN) & set(said.out + said.err), (said.out, said.err)


def test_an_error_shows_names_as_text(here, tmp_path):
    for words in (("plan", f"absent{ESC}.csv"), ("status", f"run{ESC}", "--redis", f"{ESC}://x"), (f"no{ESC}",)):
        said = here(*words)
        assert said.code == 2
        assert not set(UNSEEN) & set(said.err), said.err
