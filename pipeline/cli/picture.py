"""The live display of a run on a terminal; loaded only where somebody looks."""

from collections.abc import Mapping
from typing import Any

from rich import live
from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.cli.screen import Speed, left, spent, waits
from pipeline.core.bounds import sending_words
from pipeline.core.lifecycle import Outcome
from pipeline.core.plain import plain
from pipeline.core.snapshot import RunSnapshot


class Live:
    """The picture of a run, drawn anew a few times a second, and lines above it."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._live = live.Live(console=self._console, refresh_per_second=5, transient=True)
        self._live.start()

    def say(self, text: str) -> None:
        """One line above the picture."""
        self._console.print(Text(plain(text)), soft_wrap=True)

    def show(self, run: RunSnapshot, speed: Speed, estimate: Mapping[str, Any] | None) -> None:
        """Draw the run as it is now."""
        self._live.update(picture(run, speed, estimate))

    def stop(self) -> None:
        """Leave the terminal as it was."""
        self._live.stop()


def picture(run: RunSnapshot, speed: Speed, estimate: Mapping[str, Any] | None = None) -> RenderableType:
    """The run as a terminal shows it: a bar, figures, counts by state, how it is sent, and what it waits for."""
    states = Table.grid(padding=(0, 2))
    states.add_row("unsent", "submitting", "pending", *(outcome.value for outcome in Outcome), style="dim")
    unsent = run.total - run.ended - run.in_flight
    states.add_row(*(f"{count:,}" for count in (unsent, run.submitting, run.pending, *run.outcomes.values())))
    tokens = f"{run.prompt_tokens:,} tokens in, {run.completion_tokens:,} out · cost {spent(run, estimate)}"
    figures = f"{run.ended:,} of {run.total:,} rows · {speed.rows:.1f} rows/s · {left(run, speed.rows)} · {tokens}"
    bar = Table.grid(expand=True)  # a bar alone ends no line, and what follows it would be cut off
    bar.add_row(ProgressBar(total=max(1, run.total), completed=run.ended))
    lines: list[RenderableType] = [bar, Text(figures), states]
    if sending := sending_words(run, speed.posts, speed.account_posts):
        lines.append(Text(f"sending: {sending}"))
    lines += [Text(wait, style="yellow") for wait in waits(run)]
    return Group(*lines)
