"""What a person sees while a run goes on: a live display on a terminal, plain lines elsewhere."""

import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import click

from pipeline.cli.interrupts import Interrupts
from pipeline.core.bounds import sending_words
from pipeline.core.costs import money
from pipeline.core.snapshot import PERSON_PAUSED, RunSnapshot, RunState
from pipeline.core.spending import Cap, caps_of, spent_words
from pipeline.core.waiting import person_paused, waits_for

if TYPE_CHECKING:
    from pipeline.cli.notebook import Notebook
    from pipeline.cli.picture import Live

PLAIN_EVERY_S = 5.0
RATE_OVER_S = 15.0


class Rate:
    """What a counter gained a second, over the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, now: float, count: int) -> float:
        """The rate, with this look included."""
        if self._seen and count < self._seen[-1][1]:
            self._seen.clear()  # the ledger was made anew
        self._seen.append((now, count))
        while len(self._seen) > 2 and now - self._seen[0][0] > RATE_OVER_S:  # noqa: PLR2004 - a rate takes two looks
            self._seen.popleft()
        first_at, first = self._seen[0]
        return (count - first) / (now - first_at) if now > first_at else 0.0


@dataclass(frozen=True, slots=True)
class Speed:
    """Rows that end a second, and POSTs that are accepted a minute, of the run and of its whole account."""

    rows: float = 0.0
    posts: float = 0.0
    account_posts: float = 0.0


class Speedometer:
    """The speed of a run, by looks at it."""

    def __init__(self) -> None:
        self._rows, self._posts, self._account = Rate(), Rate(), Rate()

    def add(self, now: float, run: RunSnapshot) -> Speed:
        """The speed, with this look included; `now` in seconds of any clock that only grows."""
        posts, account = self._posts.add(now, run.accepted), self._account.add(now, run.account_answered)
        return Speed(self._rows.add(now, run.ended), posts * 60, account * 60)


class Screen:
    """Shows snapshots on stderr, so that stdout stays a program's."""

    estimate: Mapping[str, Any] | None = None
    """What the plan said that the run will take, as `run.json` keeps it."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self.interrupts = Interrupts()
        self._speed = Speedometer()
        self._live: Live | Notebook | None = None
        self._last_plain = 0.0
        self._waited = False
        self._last_line = ""

    def __enter__(self) -> Self:
        """Begin to draw."""
        if sys.stderr.isatty() and not self._quiet:
            from pipeline.cli.picture import Live  # noqa: PLC0415 - what draws is loaded where somebody looks

            self._live = Live()
        elif not self._quiet and _in_notebook():
            from pipeline.cli.notebook import Notebook  # noqa: PLC0415 - there is a kernel, so what it needs is there

            self._live = Notebook()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, text: str) -> None:
        """One line for the person."""
        if self._quiet:
            return
        if self._live is not None:
            self._live.say(text)
        else:
            click.echo(text, err=True)

    def show(self, run: RunSnapshot) -> None:
        """Draw the run as it is now; one in which nothing is to be sent has nothing to show."""
        if not run.total:
            return
        now = time.monotonic()
        speed = self._speed.add(now, run)
        if self._live is not None:
            self._live.show(run, speed, self.estimate)
        elif not self._quiet and (now - self._last_plain >= PLAIN_EVERY_S or bool(waits(run)) != self._waited):
            self._last_plain, self._waited = now, bool(waits(run))  # that a run begins to wait is told at once
            line = plain_line(run, speed, self.estimate)
            if line != self._last_line:
                self._last_line = line
                self.say(line)


def _in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    return "ipykernel" in sys.modules and hasattr(sys.modules["ipykernel"], "kernelapp")


def plain_line(run: RunSnapshot, speed: Speed | None = None, estimate: Mapping[str, Any] | None = None) -> str:
    """The run in one line; without a speed where there was one look only."""
    ended = ", ".join(f"{count} {outcome}" for outcome, count in run.outcomes.items() if count)
    parts = [f"{run.ended}/{run.total} rows", ended or "none ended yet", f"{run.in_flight} in flight"]
    parts += [] if speed is None else [f"{speed.rows:.1f} rows/s"]
    parts += [f"{run.prompt_tokens + run.completion_tokens:,} tokens", spent(run, estimate)]
    parts += [] if speed is None else [left(run, speed.rows)]
    sending = "" if speed is None else sending_words(run, speed.posts, speed.account_posts)
    return " · ".join([*parts, *([sending] if sending else []), *waits(run)])


def cost_text(cost: float | None) -> str:
    """A cost, or that none is known."""
    return "unknown" if cost is None else money(cost)


def spent(run: RunSnapshot, estimate: Mapping[str, Any] | None) -> str:
    """What the run cost so far, of what it will cost as far as that is told, and what it may cost at most."""
    cost = "unknown" if run.prompt_tokens and not run.cost else spent_words(run, estimate)
    return ", ".join([cost, *(_cap_words(cap) for cap in caps_of(run.budget, run.spending))])


def _cap_words(cap: Cap) -> str:
    kept = f" ({cap.words(cap.kept)} of it kept for rows in doubt)" if cap.kept else ""
    return f"at most {cap.words(cap.cap)}{kept}"


def left(run: RunSnapshot, rate: float) -> str:
    """How long the rest takes at this rate."""
    rest = run.total - run.ended
    if rest == 0:
        return "finishing"
    if rate <= 0 or run.state is RunState.PAUSED:
        return "time left unknown"
    seconds = int(rest / rate)
    hours, minutes = divmod(seconds // 60, 60)
    return f"about {hours} h {minutes} min left" if hours else f"about {minutes} min {seconds % 60} s left"


def waits(run: RunSnapshot) -> list[str]:
    """What the run waits for, and in which state; nothing while it goes on."""
    if run.account_blocked:
        return [f"the account is refused: {run.account_blocked}"]
    if run.state is RunState.PAUSED and run.reason == PERSON_PAUSED:
        return [person_paused(run)]
    stands = [] if run.state is RunState.RUNNING else [f"{run.state}{': ' + run.reason if run.reason else ''}"]
    if run.trouble:
        return [*stands, f"waiting: {run.trouble}"]
    still = not stands and (not run.led or _all_sent(run))
    return [f"waiting for {waits_for(run, '')}"] if still else stands


def _all_sent(run: RunSnapshot) -> bool:
    """Whether the run is in its tail, where it stands still for as long as the slowest generation takes."""
    return run.ready + run.submitting == 0 and run.fed >= run.total and run.pending + run.late > 0
