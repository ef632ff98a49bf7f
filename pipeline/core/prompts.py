"""What rows are asked: one prompt for all of them, a template over their cells, or several that have names."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.core import cells
from pipeline.core.cells import UnfitError
from pipeline.core.errors import SettingsError

NO_COLUMN = "no such column"
"""What stands in a row where a prompt uses a column that the row does not have."""

LONGEST_NAME = 100

Render = Callable[[Mapping[str, object]], str]
"""The prompt of a row, by its cells; `cells.UnfitError` where it can't be made of them."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt: its text as it was written, and how a row's own is made of it where it is a template.

    One that has a name is asked of every row; one without is for rows that have no prompt of their own.
    """

    text: str
    name: str | None = None
    render: Render | None = None

    def of(self, row: Mapping[str, object]) -> str:
        """The prompt of this row; `cells.UnfitError` as above."""
        return self.text if self.render is None else self.render(row)


NO_PROMPT: Sequence[Prompt | None] = (None,)
"""Every row brings its own."""


def checked_text(text: object, where: str) -> str:
    """The text of a prompt as somebody gave it. SettingsError where no row could be asked so."""
    try:
        checked = cells.prompt(text)
    except UnfitError as unfit:
        found = unfit.fault.found if isinstance(unfit.fault.found, str) else type(unfit.fault.found).__name__
        raise SettingsError(f"{where}: found {found!r}; allowed is {unfit.fault.allowed}") from None
    if checked is None:
        raise SettingsError(f"{where}: found nothing; allowed is text of 1 to {cells.LONGEST_PROMPT:,} characters")
    return checked


def checked_names(names: Sequence[str], where: str) -> None:
    """SettingsError for a name that can't be a value of the column `prompt_name`."""
    for name in names:
        if not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
            raise SettingsError(
                f"{where}: the prompt's name {name[:LONGEST_NAME]!r} can't be used; allowed are 1 to {LONGEST_NAME} "
                "printable characters"
            )
