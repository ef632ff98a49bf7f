"""Export: look whether it can be written, join the rows, write them, and say what they came to."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Protocol, TypeVar

from pipeline.core.exporting import Exported


class Rows(Protocol):
    """What an export holds."""

    @property
    def exported(self) -> Exported:
        """What the rows come to."""


View = TypeVar("View", bound=Rows)


def export(
    check: Callable[[], None],
    opened: AbstractContextManager[View],
    write: Callable[[View], Mapping[str, int]],
) -> Exported:
    """Write an export. `check` raises where nothing may be written; `write` tells rows that it had no place for."""
    check()
    with opened as view:
        left_out = write(view)
        return replace(view.exported, left_out=dict(left_out))
