"""What a run came to, as plain values for people and programs."""

from collections.abc import Mapping
from typing import Any

from pipeline.core.lifecycle import Outcome
from pipeline.core.snapshot import RunSnapshot


def summary_of(run: RunSnapshot) -> dict[str, Any]:
    """Rows by outcome, tokens and cost, as the ledger counted them."""
    return {
        "run_id": run.run_id,
        "requests": run.total,
        "outcomes": {outcome.value: run.outcomes.get(outcome, 0) for outcome in Outcome},
        "prompt_tokens": run.prompt_tokens,
        "completion_tokens": run.completion_tokens,
        "cost": run.cost,
        "possible_duplicates": run.possible_duplicates,
        "accepted": run.accepted,
        "double_ends": run.double_ends,
    }


def all_completed(outcomes: Mapping[str, int]) -> bool:
    """Whether every request completed."""
    return all(count == 0 for outcome, count in outcomes.items() if outcome != Outcome.COMPLETED)
