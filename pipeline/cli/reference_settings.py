"""The reference's tables of the environment and of `vidbatch.toml`, made from what reads them."""

import types
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, Literal, Union, get_args, get_origin

from pipeline.cli.configuration import ENVIRONMENT, OTHERS_ENVIRONMENT, PARAMETERS
from pipeline.cli.settings_file import SETTINGS, Price, Settings

_HEAD = """## Environment

An option that is typed goes before its variable, and that before `vidbatch.toml`.
"""
_OTHERS = """
Variables of others that are read, too:
"""
_FILE = """## vidbatch.toml

Looked for in the folder where a command is typed. A setting is the default of the option of its name.
"""
_PRICES = """
Prices of models, one table each, `[prices."gemini-2.5-pro"]`, in dollars (or your currency) a million tokens:
"""
_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", date: "a date"}


def render_settings(commands: Iterable[Mapping[str, Any]]) -> str:
    """Both sections as Markdown; `commands` are those of the reference, as click tells them."""
    options = [param for command in commands for param in command["params"] if param["param_type_name"] == "option"]
    parts = [
        _HEAD,
        _table(("variable", "option", "what it gives"), _variables(options)),
        _OTHERS,
        _table(("variable", "what it gives"), [(f"`{name}`", text) for name, text in OTHERS_ENVIRONMENT.items()]),
        "",
        _FILE,
        _table(("setting", "value", "what it is"), _settings(options)),
        _PRICES,
        _table(("setting", "value", "what it is"), _prices()),
    ]
    return "\n".join(parts) + "\n"


def _variables(options: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    named: dict[str, str] = {}
    for option in options:
        given = option.get("envvar") or ()
        for name in (given,) if isinstance(given, str) else given:
            named.setdefault(name, f"`{option['opts'][0]}`")
    return [(f"`{name}`", named.get(name, ""), text) for name, text in sorted(ENVIRONMENT.items())]


def _settings(options: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    named = {str(option["name"]): f"`{option['opts'][0]}`" for option in options}
    rows = []
    for name, field in Settings.model_fields.items():
        if name == "prices":
            continue
        own = SETTINGS.get(name) or f"as {named[PARAMETERS.get(name, name)]}"
        rows.append((f"`{name}`", _kind(field.annotation), own))
    return rows


def _prices() -> list[tuple[str, str, str]]:
    return [
        (f"`{name}`", _kind(field.annotation), field.description or "") for name, field in Price.model_fields.items()
    ]


def _kind(annotation: object) -> str:
    """A type in words; that a setting may be left out goes without saying."""
    if get_origin(annotation) in {Union, types.UnionType}:
        return " or ".join(_kind(one) for one in get_args(annotation) if one is not type(None))
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    plain = next((word for kind, word in _WORDS.items() if annotation is kind), None)
    return plain or _kind(get_args(annotation)[0])


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
