"""What the documents tell people to type is what the commands take: real commands, options, values and variables."""

import re
from pathlib import Path

import click
import pytest
import yaml

from pipeline.cli.configuration import ENVIRONMENT
from tests.documents import blocks, commands, documents, ours, simple_commands, spans

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in documents(ROOT)}
COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")

PLACEHOLDER = re.compile(r"[…$<>]|^[A-Z][A-Z_]*$")
"""What a reader puts something else in the place of: `RUN`, `OUT`, `$run`, `redis://…`."""

FOREIGN_OPTIONS: dict[str, str] = {}
"""Options of other programs that the documents name by themselves, and whose they are."""

USAGE = "[OPTIONS]"
"""What the reference has in place of options."""


def parse(words, *, whole):
    """What is wrong with a command line; nothing where click takes it."""
    from pipeline.cli.main import main

    command, path, rest = main, ["vidbatch"], list(words)
    while isinstance(command, click.Group):
        if not rest or rest[0].startswith("-"):
            return [] if set(rest) <= {"--help", "--version"} else [f"{rest[0]}: no option of {' '.join(path)}"]
        name = rest.pop(0)
        if PLACEHOLDER.search(name) and not whole:
            return []
        found = command.get_command(click.Context(command), name)
        if found is None:
            return [f"{name}: no command of {' '.join(path)}"]
        command, path = found, [*path, name]
    return list(_wrong(command, path, rest, whole=whole))


def _wrong(command, path, rest, *, whole):
    abridged = not whole or any("…" in word for word in rest)
    after = rest[rest.index("--") + 1 :] if "--" in rest else []
    context = click.Context(command, info_name=" ".join(path))
    try:
        given, left, _ = command.make_parser(context).parse_args(list(rest))
    except click.UsageError as error:
        yield f"{' '.join(path)}: {error.format_message()}"
        return
    if left and left != ["…"]:
        yield f"{' '.join(path)}: too much: {left}"
    for param in command.params:
        values = given.get(param.name)
        if not isinstance(values, str | int | float | list | tuple) or values in (
            (),
            [],
        ):  # click has a mark of its own
            if param.required and not abridged:
                yield f"{' '.join(path)}: {param.human_readable_name} is missing"
            continue
        if isinstance(param, click.Option) and not isinstance(param.type, click.Path | click.File):
            for value in values if param.multiple else [values]:
                yield from _refused(param, value, context)
    if path[-2:] == ["schedule", "add"] and after:
        yield from parse(after, whole=whole)


def _refused(param, value, context):
    if not isinstance(value, str) or PLACEHOLDER.search(value):
        return
    try:
        param.type(value, param=param, ctx=context)
    except click.BadParameter as error:
        yield f"{param.opts[0]}: {error.message}"


def wrong_commands(text):
    return [
        f"line {command.line}: {told}"
        for command in commands(text)
        if (words := ours(command)) is not None and USAGE not in words
        for told in parse(words, whole=command.whole)
    ]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_in_a_document_is_one_that_vidbatch_takes(name):
    assert wrong_commands(DOCUMENTS[name]) == []


def test_every_command_in_the_compose_file_s_comments_is_one_that_vidbatch_takes():
    told = [line.partition("#")[2].strip() for line in COMPOSE.splitlines() if line.lstrip().startswith("#")]
    found = [command for line in told for command in simple_commands(line) if ours(command)]
    assert found, "the compose file says how it is used"
    assert [wrong for one in found for wrong in parse(ours(one), whole=False)] == []


def test_every_option_that_a_document_names_is_one(root):
    from pipeline.cli.main import main

    known = {
        name for command in _all(main) for param in command.params for name in (*param.opts, *param.secondary_opts)
    }
    known |= {"--help", "--version", *FOREIGN_OPTIONS}
    unknown = [
        f"{document}:{line}: {option}"
        for document, text in DOCUMENTS.items()
        for line, span in spans(text)
        if (option := span.split()[0].partition("=")[0]).startswith("--") and option not in known
    ]
    assert unknown == []


def _all(command):
    yield command
    for name in command.list_commands(click.Context(command)) if isinstance(command, click.Group) else ():
        yield from _all(command.get_command(click.Context(command), name))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_variable_in_a_document_is_read(name):
    named = set(re.findall(r"VIDBATCH_[A-Z_]+[A-Z]", DOCUMENTS[name]))
    of_compose = set(re.findall(r"\$\{(VIDBATCH_[A-Z_]+)", COMPOSE))
    assert named - ENVIRONMENT.keys() - of_compose == set()


def test_every_target_of_make_that_a_document_names_exists(root):
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    lost = [
        f"{document}:{command.line}: make {word}"
        for document, text in DOCUMENTS.items()
        for command in commands(text)
        if command.words[0] == "make"
        for word in command.words[1:]
        if "=" not in word and word not in targets
    ]
    assert lost == []


def test_every_service_that_a_document_names_is_in_the_compose_file():
    services = yaml.safe_load(COMPOSE)["services"]
    named = [
        (document, command)
        for document, text in DOCUMENTS.items()
        for command in commands(text)
        if command.words[:3] in {("docker", "compose", "logs"), ("docker", "compose", "restart")}
        or command.words[:3] == ("docker", "compose", "run")
    ]
    lost = [
        f"{document}:{command.line}: {word}"
        for document, command in named
        for word in command.words[3:4]
        if not word.startswith("-")
        if word not in services
    ]
    assert lost == []


def test_commands_are_found_in_blocks_and_in_running_text():
    text = """Type `vidbatch status` or

```sh
url=$(cat trial/url)
FOO=1 .venv/bin/vidbatch run a.csv --prompt "What # is
that?" \\
    --base-url "$(cat url)" > log 2>&1 || test $? -eq 1   # and a comment
cat > x <<END
vidbatch nonsense
END
vidbatch watch RUN & echo $!
```

```json
vidbatch nothing
```

```console
$ docker compose run --rm vidbatch plan b.csv
  vidbatch: printed
```
"""
    assert [(one.line, ours(one), one.whole) for one in commands(text) if ours(one)] == [
        (5, ("run", "a.csv", "--prompt", "What # is\nthat?", "--base-url", "$(cat url)"), True),
        (11, ("watch", "RUN"), True),
        (19, ("plan", "b.csv"), True),
        (1, ("status",), False),
    ]
    assert [(block.language, block.line) for block in blocks(text)] == [("sh", 4), ("json", 15), ("console", 19)]


@pytest.mark.parametrize(
    ("words", "whole", "told"),
    [
        ("run videos.csv --out labels", True, None),
        ("run videos.csv --prompts-file x --out y", True, "--prompts-file"),
        ("run --out y", True, "is missing"),
        ("run … --max-cost 20", True, None),
        ("run", False, None),
        ("rum videos.csv", True, "no command"),
        ("run videos.csv --out y --mode fast", True, "--mode"),
        ("run videos.csv --out y --workers 0", True, "--workers"),
        ("run videos.csv --out y --workers $N", True, None),
        ("status RUN TWO", True, "too much"),
        ("--version", True, None),
        ("--quiet", True, "no option"),
    ],
)
def test_what_is_wrong_with_a_command_is_told(words, whole, told):
    wrong = parse(words.split(), whole=whole)
    assert (told is None) == (wrong == [])
    assert told is None or told in wrong[0]
