"""What a person sees while a run goes on: a live display on a terminal, plain lines elsewhere."""

import time
from collections import deque
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.core.lifecycle import Outcome
from pipeline.core.snapshot import PERSON_PAUSED, RunSnapshot, RunState
from pipeline.core.waiting import person_paused, waits_for

PLAIN_EVERY_S = 5.0
RATE_OVER_S = 15.0


class Rate:
    """Rows a second over the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, now: float, ended: int) -> float:
        """The rate, with this look included."""
        self._seen.append((now, ended))
        while len(self._seen) > 2 and now - self._seen[0][0] > RATE_OVER_S:  # noqa: PLR2004 - a rate takes two looks
            self._seen.popleft()
        first_at, first = self._seen[0]
        return (ended - first) / (now - first_at) if now > first_at else 0.0


class Screen:
    """Shows snapshots on stderr, so that stdout stays a program's."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True)
        self._quiet = quiet
        self._rate = Rate()
        self._live: Live | None = None
        self._last_plain = 0.0
        self._waited = False
        self._last_line = ""

    def __enter__(self) -> Self:
        """Begin to draw."""
        if self.console.is_terminal and not self._quiet:
            self._live = Live(console=self.console, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, text: str) -> None:
        """One line for the person."""
        if not self._quiet:
            self.console.print(Text(text), soft_wrap=True)

    def show(self, run: RunSnapshot) -> None:
        """Draw the run as it is now."""
        now = time.monotonic()
        rate = self._rate.add(now, run.ended)
        if self._live is not None:
            self._live.update(picture(run, rate))
        elif not self._quiet and (now - self._last_plain >= PLAIN_EVERY_S or bool(_waits(run)) != self._waited):
            self._last_plain, self._waited = now, bool(_waits(run))  # that a run begins to wait is told at once
            line = plain_line(run, rate)
            if line != self._last_line:
                self._last_line = line
                self.console.print(Text(line), soft_wrap=True)


def plain_line(run: RunSnapshot, rate: float) -> str:
    """The run in one line."""
    ended = ", ".join(f"{count} {outcome}" for outcome, count in run.outcomes.items() if count)
    parts = [f"{run.ended}/{run.total} rows", ended or "none ended yet", f"{run.in_flight} in flight"]
    parts += [f"{rate:.1f} rows/s", f"{run.prompt_tokens + run.completion_tokens:,} tokens", cost_text(_told_cost(run))]
    return " · ".join([*parts, left(run, rate), *_waits(run)])


def money(cost: float) -> str:
    """A cost, with the digits that matter."""
    return f"${cost:,.2f}" if cost >= 1 else f"${cost:.4f}"


def cost_text(cost: float | None) -> str:
    """A cost, or that none is known."""
    return "unknown" if cost is None else money(cost)


def left(run: RunSnapshot, rate: float) -> str:
    """How long the rest takes at this rate."""
    rest = run.total - run.ended
    if rest == 0:
        return "finishing"
    if rate <= 0:
        return "time left unknown"
    seconds = int(rest / rate)
    hours, minutes = divmod(seconds // 60, 60)
    return f"about {hours} h {minutes} min left" if hours else f"about {minutes} min {seconds % 60} s left"


def _told_cost(run: RunSnapshot) -> float | None:
    """What the API told; nothing when it tells no cost, which the dataset then has by the configured price."""
    return None if run.prompt_tokens and not run.cost else run.cost


def _waits(run: RunSnapshot) -> list[str]:
    if run.account_blocked:
        return [f"the account is refused: {run.account_blocked}"]
    if run.state is RunState.PAUSED and run.reason == PERSON_PAUSED:
        return [person_paused(run)]
    stands = [] if run.state is RunState.RUNNING else [f"{run.state}{': ' + run.reason if run.reason else ''}"]
    if run.trouble:
        return [*stands, f"waiting: {run.trouble}"]
    return [f"waiting for {waits_for(run, '')}"] if not stands and _all_sent(run) else stands


def _all_sent(run: RunSnapshot) -> bool:
    """Whether the run is in its tail, where it stands still for as long as the slowest generation takes."""
    return run.ready + run.submitting == 0 and run.fed >= run.total and run.pending + run.late > 0


def picture(run: RunSnapshot, rate: float) -> RenderableType:
    """The run as a terminal shows it: a bar, figures, counts by state, and what it waits for."""
    states = Table.grid(padding=(0, 2))
    states.add_row("unsent", "submitting", "pending", *(outcome.value for outcome in Outcome), style="dim")
    unsent = run.total - run.ended - run.in_flight
    states.add_row(*(f"{count:,}" for count in (unsent, run.submitting, run.pending, *run.outcomes.values())))
    tokens = f"{run.prompt_tokens:,} tokens in, {run.completion_tokens:,} out · cost {cost_text(_told_cost(run))}"
    figures = Text(f"{run.ended:,} of {run.total:,} rows · {rate:.1f} rows/s · {left(run, rate)} · {tokens}")
    bar = Table.grid(expand=True)  # a bar alone ends no line, and what follows it would be cut off
    bar.add_row(ProgressBar(total=max(1, run.total), completed=run.ended))
    lines: list[RenderableType] = [bar, figures, states]
    lines += [Text(wait, style="yellow") for wait in _waits(run)]
    return Group(*lines)
