"""The reference says what the commands say."""

import click
import pytest

from pipeline.cli.reference import PROGRAM, render_reference, walk


@pytest.fixture
def main():
    from pipeline.cli.main import main

    return main


@pytest.fixture
def reference(root):
    return (root / "docs" / "reference.md").read_text(encoding="utf-8")


def commands(group):
    return walk((PROGRAM,), group.to_info_dict(click.Context(group)))


def test_the_reference_is_what_the_commands_make_it(main, reference):
    assert reference == render_reference(main), "run `make docs`"


def test_the_reference_names_every_command(main, reference):
    headings = {line.removeprefix("## ") for line in reference.splitlines() if line.startswith("## ")}
    assert headings == {" ".join(path) for path, _ in commands(main)}


def test_the_reference_names_every_option_in_its_long_form(main, reference):
    sections = {section.partition("\n")[0]: section for section in reference.split("\n## ")}
    missing = [
        f"{' '.join(path)} {name}"
        for path, command in commands(main)
        for param in command["params"]
        if param["param_type_name"] == "option" and "--help" not in param["opts"] and not param["hidden"]
        for name in param["opts"]
        if name.startswith("--") and f"`{name}`" not in sections[" ".join(path)]
    ]
    assert not missing


def test_every_command_and_option_explains_itself(main):
    silent = [" ".join(path) for path, command in commands(main) if not command["help"]]
    silent += [
        f"{' '.join(path)} {param['opts'][0]}"
        for path, command in commands(main)
        for param in command["params"]
        if param["param_type_name"] == "option" and not param["help"]
    ]
    assert not silent


@click.group
def sample():
    """Label videos."""


@sample.command
@click.argument("manifest", nargs=-1, required=True)
@click.argument("out", required=False)
@click.option("--limit", "-n", type=int, default=3, help="Rows at most,\n or a|b.", envvar="SAMPLE_LIMIT")
@click.option("--mode", type=click.Choice(["fast", "safe"]), multiple=True, help="How.")
@click.option("--state", default=lambda: "computed", help="Where.")
@click.option("--color/--no-color", default=True, help="Colour.")
@click.option("--secret", hidden=True)
def run(**_):
    """Do it.

    \b
    as written
    \f
    for programmers
    """


@sample.command(hidden=True)
def inner():
    """Not for people."""


def test_a_reference_is_rendered_from_the_commands_alone():
    assert (
        render_reference(sample)
        == """\
# Reference

Every command and every option. Written by `make docs` from the commands themselves; a test keeps it so.

## vidbatch

```
vidbatch [OPTIONS] COMMAND [ARGS]...
```

Label videos.

## vidbatch run

```
vidbatch run [OPTIONS] MANIFEST... [OUT]
```

Do it.

as written

| option | default | what it does |
| --- | --- | --- |
| `--limit`, `-n` `INTEGER` | `3` | Rows at most, or a\\|b. Environment: `SAMPLE_LIMIT`. |
| `--mode` `fast\\|safe` (may be repeated) |  | How. |
| `--state` `TEXT` |  | Where. |
| `--color`, `--no-color` |  | Colour. |
"""
    )


def test_a_reference_is_the_same_however_wide_the_terminal_is(monkeypatch):
    first = render_reference(sample)
    monkeypatch.setenv("COLUMNS", "20")
    assert render_reference(sample) == first
