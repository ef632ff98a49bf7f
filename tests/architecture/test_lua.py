"""Lua scripts run inside Redis, where no type checker sees them: each is headed by its contract."""

import re

HEADINGS = ("KEYS", "ARGV", "RETURNS")


def header(text):
    """The comment lines before the first line of code."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        lines.append(line)
    return lines


def body(text):
    return "\n".join(line.partition("--")[0] for line in text.splitlines())


def missing(text):
    named = {heading for heading in HEADINGS for line in header(text) if line.startswith(f"-- {heading}")}
    return [heading for heading in HEADINGS if heading not in named]


def test_every_script_is_headed_by_its_keys_arguments_and_answer(root):
    scripts = sorted((root / "pipeline" / "edges" / "lua").glob("**/*.lua"))
    assert {script.name: missing(script.read_text(encoding="utf-8")) for script in scripts} == {
        script.name: [] for script in scripts
    }


def test_no_script_reads_the_clock_of_its_host_or_makes_up_keys_at_random(root):
    scripts = sorted((root / "pipeline" / "edges" / "lua").glob("**/*.lua"))
    forbidden = re.compile(r"\b(os\.(time|clock|date)|math\.random)\b")
    assert [script.name for script in scripts if forbidden.search(body(script.read_text(encoding="utf-8")))] == []


def test_a_script_without_its_answer_is_found():
    assert missing("-- KEYS 1 ready\n-- ARGV 1 now\nreturn 1\n-- RETURNS 1\n") == ["RETURNS"]
