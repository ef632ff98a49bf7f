"""The live display of a run in a notebook: one output that is drawn anew; loaded only in a notebook's kernel."""

from collections.abc import Mapping
from io import StringIO
from typing import Any

from IPython.display import display
from rich.console import Console

from pipeline.cli.picture import picture
from pipeline.cli.screen import Speed
from pipeline.core.snapshot import RunSnapshot

WIDTH = 100


class Notebook:
    """The picture of a run and the lines that were said, as text in a cell's output."""

    def __init__(self) -> None:
        self._said: list[str] = []
        self._drawn = ""
        self._handle: Any = None

    def say(self, text: str) -> None:
        """One line above the picture."""
        self._said.append(text)
        self._draw()

    def show(self, run: RunSnapshot, speed: Speed, estimate: Mapping[str, Any] | None) -> None:
        """Draw the run as it is now."""
        console = Console(file=StringIO(), width=WIDTH, force_jupyter=False, force_terminal=False)
        with console.capture() as drawn:
            console.print(picture(run, speed, estimate))
        if drawn.get() != self._drawn:
            self._drawn = drawn.get()
            self._draw()

    def stop(self) -> None:
        """The picture goes; what was said stays."""
        self._drawn = ""
        self._draw()

    def _draw(self) -> None:
        content = {"text/plain": "\n".join([*self._said, self._drawn])}
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(content, raw=True)
