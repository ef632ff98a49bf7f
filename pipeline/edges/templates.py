"""Prompts as templates: `{{ column }}` stands for a row's cell. The only place that knows Jinja.

A template is the work of whoever types the command; what it is filled with is not, and is never a template. It can use
the row's cells and nothing else, and runs in Jinja's sandbox.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.core.cells import UnfitError
from pipeline.core.errors import SettingsError
from pipeline.core.prompts import NO_COLUMN, Prompt, Render, checked_names, checked_text
from pipeline.edges.imports import let_in

_SIGNS = ("{{", "{%", "{#")
_SHOWN = 10


def prompt_of(text: str, where: str, name: str | None = None) -> Prompt:
    """A prompt by its text, a template where it has the signs of one. SettingsError names `where` it was given."""
    checked = checked_text(text, where)
    return Prompt(checked, name, _render_of(checked, where) if any(sign in checked for sign in _SIGNS) else None)


def read_prompts(path: Path) -> list[Prompt]:
    """Several prompts, by name: a YAML (or JSON) file of `name: text`. SettingsError says what is wrong with it."""
    where = f"--prompts: {path}"
    try:
        content = _mapping(path.read_text(encoding="utf-8"), where)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{where} can't be read: {error}") from error
    checked_names(list(content), where)
    return [prompt_of(text, f"{where}, {name}", name) for name, text in content.items()]


def _mapping(text: str, where: str) -> dict[str, Any]:
    """Names and texts, as they stand there. A name that stands twice would silently lose its first prompt."""
    with let_in("yaml"):
        import yaml  # noqa: PLC0415 - only where somebody gave such a file

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise SettingsError(f"{where} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(root, yaml.MappingNode) or not root.value:
        raise SettingsError(f"{where}: found no prompt; allowed is one `name: text` or more")
    pairs = [(key, value) for key, value in root.value]
    for key, value in pairs:
        if not isinstance(key, yaml.ScalarNode) or not isinstance(value, yaml.ScalarNode):
            line = value.start_mark.line + 1
            raise SettingsError(f"{where}, line {line}: found a {value.id}; allowed is `name: text`")
    names = [str(key.value) for key, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SettingsError(f"{where}: two prompts are named {twice!r}; rename or remove one of them")
    return {str(key.value): value.value for key, value in pairs}


def _render_of(text: str, where: str) -> Render:
    import jinja2  # noqa: PLC0415 - only where a prompt is a template
    from jinja2 import meta  # noqa: PLC0415
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    environment = ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        finalize=_cell,
        keep_trailing_newline=True,
    )
    environment.globals.clear()
    try:
        template = environment.from_string(text)
        used = meta.find_undeclared_variables(environment.parse(text)) - {"row"}
    except jinja2.TemplateSyntaxError as error:
        raise SettingsError(
            f"{where}, line {error.lineno}: the template can't be read: {error.message}; a text that is to be taken as "
            "it stands goes between {% raw %} and {% endraw %}"
        ) from error

    def render(row: Mapping[str, object]) -> str:
        try:
            return template.render({"row": row, **row})
        except jinja2.UndefinedError as error:
            missing = sorted(used - row.keys())
            columns = ", ".join(sorted(row)[:_SHOWN])
            if missing:
                raise UnfitError(missing[0], NO_COLUMN, f"a column that the row has: {columns}") from None
            raise UnfitError("prompt", str(error), f"what the row has: {columns}") from None
        except Exception as error:  # noqa: BLE001 - a filter or an operator that this row's cell can't take
            found = f"{type(error).__name__}: {error}"
            raise UnfitError("prompt", found, "cells of which the prompt can be made") from None

    return render


def _cell(value: object) -> object:
    """An empty cell is nothing, in a file of any format."""
    return "" if value is None else value
