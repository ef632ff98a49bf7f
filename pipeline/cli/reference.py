"""The reference of every command and option, made from the commands themselves so that the two can't disagree.

`python -m pipeline.cli.reference docs/reference.md` writes it; a test compares the file with what is made here. It
depends on nothing but the command tree: no terminal width, no environment, no version of click's help layout.
"""

import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

Info = Mapping[str, Any]
"""What click's `to_info_dict` tells of a command or a parameter."""

PROGRAM = "vidbatch"

_HEAD = """# Reference

Every command and every option. Written by `make docs` from the commands themselves; a test keeps it so.
"""
_SETTINGS = """Below: the [environment](#environment) and [vidbatch.toml](#vidbatchtoml).
"""


def render_reference(group: click.Group) -> str:
    """The whole reference as Markdown: one section a command, in the order of their names, nested ones included."""
    info = group.to_info_dict(click.Context(group, info_name=PROGRAM))
    sections = (_section(path, command) for path, command in walk((PROGRAM,), info))
    return "\n".join([_HEAD, *sections])


def whole_reference() -> str:
    """The reference of `vidbatch`: its commands, its environment and its settings file."""
    # rendering any other group needs neither this project's commands nor its settings
    from pipeline.cli.main import main  # noqa: PLC0415
    from pipeline.cli.reference_settings import render_settings  # noqa: PLC0415

    info = main.to_info_dict(click.Context(main, info_name=PROGRAM))
    told = render_settings([command for _, command in walk((PROGRAM,), info)])
    return render_reference(main).replace(_HEAD, f"{_HEAD}{_SETTINGS}", 1) + "\n" + told


def walk(path: tuple[str, ...], command: Info) -> Iterator[tuple[tuple[str, ...], Info]]:
    """The command and everything under it, by name; hidden ones stay hidden."""
    yield path, command
    for name, child in sorted(command.get("commands", {}).items()):
        if not child.get("hidden"):
            yield from walk((*path, name), child)


def write_reference(path: Path) -> None:
    """Write the reference of the `vidbatch` command to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(whole_reference(), encoding="utf-8")


def _section(path: tuple[str, ...], command: Info) -> str:
    shown = [param for param in command["params"] if not param.get("hidden")]
    blocks = [
        f"## {' '.join(path)}",
        f"```\n{_usage(path, command, shown)}\n```",
        _prose(command.get("help")),
        _table(
            [
                _option(param)
                for param in shown
                if param["param_type_name"] == "option" and "--help" not in param["opts"]
            ]
        ),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _usage(path: tuple[str, ...], command: Info, shown: list[Info]) -> str:
    arguments = [_argument(param) for param in shown if param["param_type_name"] == "argument"]
    nested = ["COMMAND [ARGS]..."] if command.get("commands") else []
    return " ".join([*path, "[OPTIONS]", *arguments, *nested])


def _argument(param: Info) -> str:
    name = str(param["name"]).upper()
    name = f"{name}..." if param["nargs"] != 1 else name
    return name if param["required"] else f"[{name}]"


def _prose(text: str | None) -> str:
    """Help text as Markdown: click's marks for "do not wrap" and "not in the long help" mean nothing here."""
    return inspect.cleandoc(text or "").split("\f")[0].replace("\b\n", "").strip()


def _option(param: Info) -> tuple[str, str, str]:
    names = ", ".join(f"`{name}`" for name in [*param["opts"], *param["secondary_opts"]])
    value = _value(param)
    notes = [" ".join(_prose(param.get("help")).split())]
    notes += ["Required."] if param["required"] else []
    notes += [f"Environment: {_variables(param)}."] if param.get("envvar") else []
    return f"{names} {value}".strip(), _default(param), " ".join(note for note in notes if note)


def _value(param: Info) -> str:
    """What follows the option: its choices, else the kind of value; nothing for a flag."""
    if param["is_flag"] or param["count"]:
        return ""
    kind = param["type"]
    several = " (may be repeated)" if param["multiple"] else ""
    if choices := kind.get("choices"):
        return f"`{'|'.join(str(getattr(choice, 'value', choice)) for choice in choices)}`{several}"
    return f"`{str(kind['name']).upper()}`{several}"


def _default(param: Info) -> str:
    """The default as typed; a computed one differs from machine to machine, and its help says where it comes from."""
    default = param["default"]
    default = getattr(default, "value", default)
    if isinstance(default, bool) or not isinstance(default, str | int | float) or default == "":
        return ""
    return f"`{default}`"


def _variables(param: Info) -> str:
    variables = param["envvar"]
    return ", ".join(f"`{name}`" for name in ([variables] if isinstance(variables, str) else variables))


def _table(rows: list[tuple[str, str, str]]) -> str:
    if not rows:
        return ""
    lines = [("option", "default", "what it does"), ("---", "---", "---"), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    write_reference(Path(sys.argv[1]))
