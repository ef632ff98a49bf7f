"""What was seen of one run, as samples of its metrics."""

from collections.abc import Iterable, Iterator

from pipeline.core.bounds import bound_of
from pipeline.core.costs import MICRO
from pipeline.core.lifecycle import Outcome
from pipeline.core.snapshot import BUDGET_REACHED, PERSON_PAUSED, RunSnapshot, RunState
from pipeline.core.tickets import Role

Labels = tuple[str, ...]

BOUNDS = ("none", "rate", "in flight", "turn", "budget", "first rows", "back-off", "results", "account", "no leader")
PAUSES = ("person", "budget", "guard", "storage", "other")


def one_of(name: str, labels: Labels, words: Iterable[str], holds: str) -> Iterator[tuple[str, Labels, float]]:
    """A sample for each word: 1 for the one that holds, 0 for the others."""
    for word in words:
        yield name, (*labels, str(word)), float(word == holds)


def run_samples(run: RunSnapshot) -> Iterator[tuple[str, Labels, float]]:
    """All of a run's samples."""
    labels = (run.run_id, run.account)
    name = "vidbatch_run_"
    yield from one_of(f"{name}state", labels, RunState, run.state)
    yield from one_of(f"{name}paused", labels, PAUSES, paused_by(run))
    yield from one_of(f"{name}bound", labels, BOUNDS, bound_by(run))
    numbers = {**_rows(run), **_money(run), **_waiting(run)}
    for (metric, *words), value in numbers.items():
        yield name + metric, (*labels, *words), float(value)


def paused_by(run: RunSnapshot) -> str:
    """Why a run is paused, in one word; empty where it is not."""
    if run.state is not RunState.PAUSED:
        return ""
    if run.reason == PERSON_PAUSED:
        return "person"
    if run.reason.startswith(BUDGET_REACHED):
        return "budget"
    if run.reason.startswith("storage: "):
        return "storage"
    return "guard" if run.guard else "other"


def bound_by(run: RunSnapshot) -> str:
    """What cuts the sending of rows short; `none` where nothing does, or nothing is to be sent."""
    to_send = run.ready + run.total - run.fed
    if run.state is RunState.RUNNING and to_send:
        if run.account_blocked:
            return "account"
        if not run.led:
            return "no leader"
    bound = bound_of(run)
    return "none" if bound is None else bound.kind


def _rows(run: RunSnapshot) -> dict[tuple[str, ...], float]:
    states = {"unfed": run.total - run.fed, "ready": run.ready, "submitting": run.submitting}
    states |= {"pending": run.pending, "done": run.ended}
    due = {"send": run.ready_due, "poll": run.pending_due, "take over": run.lapsed, "late": run.late_due}
    found: dict[tuple[str, ...], float] = {("rows", state): rows for state, rows in states.items()}
    found |= {("rows_due", what): rows for what, rows in due.items()}
    found |= {("rows_ended_total", outcome): run.outcomes.get(outcome, 0) for outcome in Outcome}
    found |= {("shifts", role): run.shifts.get(role, 0) for role in Role}
    trouble_ms = run.now_ms - run.trouble_since_ms if run.trouble_since_ms else 0
    return found | {
        ("led",): run.led,
        ("priority",): run.priority,
        ("requests",): run.total,
        ("accepted_total",): run.accepted,
        ("trouble_seconds",): max(0, trouble_ms) / 1000,
        ("possible_duplicates_total",): run.possible_duplicates,
        ("double_ends_total",): run.double_ends,
        ("late_ids",): run.late,
    }


def _money(run: RunSnapshot) -> dict[tuple[str, ...], float]:
    spending = run.spending
    found: dict[tuple[str, ...], float] = {
        ("tokens_total", "prompt"): run.prompt_tokens,
        ("tokens_total", "completion"): run.completion_tokens,
        ("cost_total",): run.cost,
        ("reserved_tokens",): spending.kept_tokens + spending.in_flight * spending.reserved.tokens,
        ("reserved_cost",): (spending.kept_cost_micro + spending.in_flight * spending.reserved.cost_micro) / MICRO,
    }
    if run.budget.tokens is not None:
        found["budget_tokens",] = run.budget.tokens
    if run.budget.cost is not None:
        found["budget_cost",] = run.budget.cost
    return found


def _waiting(run: RunSnapshot) -> dict[tuple[str, ...], float]:
    return {
        ("window_bytes",): run.bodies_bytes,
        ("results_waiting",): run.results,
        ("results_waiting_bytes",): run.results_bytes,
        ("ids_waiting",): run.accepted_unsaved,
        ("results_written_total",): run.written,
        ("ids_saved_total",): run.ids_saved,
        ("parts_total",): run.parts,
    }
