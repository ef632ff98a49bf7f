"""Whatever a command says, a manifest's author and the API speak with it: nothing of theirs reaches a terminal raw."""

from collections.abc import Callable
from typing import Any

import click

from pipeline.core.plain import plain_but_colours


def guard_echo() -> None:
    """Let `click.echo`, and click's own messages, write what is no text in escapes of JSON; colours of ours stay."""
    if not getattr(click.echo, "is_plain", False):
        guarded = _plain(click.echo)
        for module in (click, click.exceptions, click.utils):
            vars(module)["echo"] = guarded


def _plain(echo: Callable[..., None]) -> Callable[..., None]:
    def plain_echo(message: Any = None, *args: Any, **how: Any) -> None:  # noqa: ANN401 - as click has it
        if isinstance(message, bytes):
            message = message.decode("utf-8", "replace")
        echo(None if message is None else plain_but_colours(str(message)), *args, **how)

    vars(plain_echo)["is_plain"] = True
    return plain_echo
