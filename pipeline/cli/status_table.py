"""All runs at a glance, by account: who uses what share of it, how long each still takes, and what it waits for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.cli.screen import Speed, cost_text
from pipeline.core.bounds import rate_words
from pipeline.core.snapshot import RunSnapshot, RunState
from pipeline.core.tickets import Role
from pipeline.core.waiting import duration
from pipeline.ports import WorkerCard

SURE_ROWS = 10
"""From so many ends within a look on, that look tells the speed; of fewer, the average since the run began does."""

HEADINGS = ("RUN", "STATE", "PRIORITY", "ROWS", "ROWS/S", "LEFT", "IN FLIGHT", "POSTS/MIN", "TOKENS", "COST")
TO_THE_LEFT = 2
"""Columns of words; the others are figures."""


@dataclass(frozen=True, slots=True)
class Stand:
    """How a run stands: what no worker has that it needs, what it waits for, and how fast it goes.

    `average` is its rows a second since its ledger was made, pauses included.
    """

    run: RunSnapshot
    lack: str
    waits: str
    speed: Speed | None = None
    looked_s: float = 0.0
    average: float | None = None

    @property
    def rows_per_s(self) -> float | None:
        """By the look where enough ended in it, else the average; nothing where neither tells anything."""
        if self.speed is not None and self.speed.rows * self.looked_s >= SURE_ROWS:
            return self.speed.rows
        return self.average

    @property
    def left_s(self) -> float | None:
        """Seconds that the rest takes at this speed; nothing for a run that stands still."""
        rest, rate = self.run.total - self.run.ended, self.rows_per_s
        stands = self.run.state is not RunState.RUNNING or not self.run.led or self.run.account_blocked
        return None if stands or not rate or not rest else rest / rate


def table(stands: Sequence[Stand]) -> Iterator[str]:
    """Lines for a terminal: each account with what holds for it, its runs, and under each what it waits for."""
    rows = [_cells(stand, stands) for stand in stands]
    widths = [max(len(row[place]) for row in [HEADINGS, *rows]) for place in range(len(HEADINGS))]
    accounts = dict.fromkeys(stand.run.account for stand in stands)
    for account in accounts:
        yield _of_account(account, [stand for stand in stands if stand.run.account == account])
        yield f"  {_line(HEADINGS, widths)}"
        for stand, row in zip(stands, rows, strict=True):
            if stand.run.account == account:
                yield f"  {_line(row, widths)}"
                if stand.waits:
                    yield f"    waits for {stand.waits}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.ljust(width) if place < TO_THE_LEFT else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()


def _of_account(account: str, stands: Sequence[Stand]) -> str:
    run = stands[0].run
    told = [f"{sum(stand.run.in_flight for stand in stands):,} in flight"]
    if posts := round(max(stand.speed.account_posts if stand.speed else 0.0 for stand in stands)):
        told.append(f"{posts:,} POSTs a minute now")
    told += [f"rate {words}"] if (words := rate_words(run.pace)) else []
    if run.account_wait_until_ms > run.now_ms:
        told.append(f"held back for {duration((run.account_wait_until_ms - run.now_ms) / 1000)} more")
    told += [f"refused: {run.account_blocked}"] if run.account_blocked else []
    return f"account {account or '-'}: {', '.join(told)}"


def _cells(stand: Stand, stands: Sequence[Stand]) -> tuple[str, ...]:
    run = stand.run
    share = f" {run.ended / run.total:.0%}" if run.total else ""
    of_account = sum(other.run.in_flight for other in stands if other.run.account == run.account)
    held = f" {run.in_flight / of_account:.0%}" if run.in_flight else ""
    return (
        run.run_id,
        run.state.value,
        str(run.priority),
        f"{run.ended:,}/{run.total:,}{share}",
        "-" if stand.rows_per_s is None else f"{stand.rows_per_s:,.1f}",
        "-" if stand.left_s is None else duration(stand.left_s),
        f"{run.in_flight:,}{held}",
        f"{stand.speed.posts:,.0f}" if stand.speed else "-",
        _short(run.prompt_tokens + run.completion_tokens),
        cost_text(run.cost or None) if run.prompt_tokens else "-",
    )


def _short(count: int) -> str:
    for size, name in ((10**9, "G"), (10**6, "M"), (10**4, "k")):
        if count >= size:
            return f"{count / (1000 if name == 'k' else size):,.1f}{name}"
    return f"{count:,}"


def hands(workers: Sequence[WorkerCard], version: int) -> str:
    """Who is at work, in one line."""
    ours = [worker for worker in workers if worker.ledger_version == version]
    if not ours:
        return "workers: none" if not workers else f"workers: {len(workers)}, all of another version"
    counts = ", ".join(f"{sum(role in worker.roles for worker in ours)} for {role}" for role in Role)
    others = len(workers) - len(ours)
    return f"workers: {len(ours)}, of which {counts}{f'; {others} of another version' if others else ''}"
