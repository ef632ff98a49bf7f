"""The reference says what the commands say, and what they read."""

import re

import click
import pytest

from pipeline.cli.configuration import ENVIRONMENT, OTHERS_ENVIRONMENT
from pipeline.cli.reference import PROGRAM, render_reference, walk, whole_reference
from pipeline.cli.settings_file import Price, Settings
from pipeline.edges.embedded_worker import WORKER_CALL

BESIDE_COMMANDS = {"Environment", "vidbatch.toml"}


@pytest.fixture
def main():
    from pipeline.cli.main import main

    return main


@pytest.fixture
def reference(root):
    return (root / "docs" / "reference.md").read_text(encoding="utf-8")


def commands(group):
    return walk((PROGRAM,), group.to_info_dict(click.Context(group)))


@pytest.fixture(scope="module")
def sources(root):
    """The project's own modules, but for the tables of variables themselves."""
    modules = [path for folder in ("pipeline", "workers") for path in (root / folder).rglob("*.py")]
    return {path: path.read_text(encoding="utf-8") for path in modules if path.name != "configuration.py"}


def section(reference, title):
    return reference.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_the_reference_is_what_the_commands_make_it(reference):
    assert reference == whole_reference(), "run `make docs`"


def test_the_reference_names_every_command(main, reference):
    headings = {line.removeprefix("## ") for line in reference.splitlines() if line.startswith("## ")}
    assert headings - BESIDE_COMMANDS == {" ".join(path) for path, _ in commands(main)}


def test_the_reference_names_every_variable_that_is_read_anywhere(main, sources, reference):
    read = {name for text in sources.values() for name in re.findall(r"['\"](VIDBATCH_[A-Z_]+[A-Z])\b", text)}
    read.add(WORKER_CALL)
    for _, command in commands(main):  # names that are made, of options' names
        read |= {name for param in command["params"] for name in [param.get("envvar")] if isinstance(name, str)}
    assert read == ENVIRONMENT.keys()
    told = section(reference, "Environment")
    assert [name for name in ENVIRONMENT | OTHERS_ENVIRONMENT if f"| `{name}` |" not in told] == []


def test_the_reference_names_every_variable_of_others_that_is_asked_for(sources):
    asked = r"(?:environ(?:ment)?(?:\.get\(|\[)|_(?:REGIONS|ENDPOINTS|SECRETS) = \()([^)\]]+)[)\]]"
    named = {
        name
        for text in sources.values()
        for inside in re.findall(asked, text)
        for name in re.findall(r"\"([A-Z][A-Z0-9_]+)\"", inside)
    }
    assert {"AWS_REGION", "XDG_STATE_HOME"} <= named, "the pattern finds what is there"
    assert {name for name in named if not name.startswith("VIDBATCH_")} - {"HOME", "PATH"} <= OTHERS_ENVIRONMENT.keys()


def test_the_reference_names_every_setting(reference):
    told = section(reference, "vidbatch.toml")
    names = [*(name for name in Settings.model_fields if name != "prices"), *Price.model_fields]
    assert [name for name in names if f"| `{name}` |" not in told] == []
    assert all(field.description for field in Price.model_fields.values())


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
