"""What a run spent, by its own ledger and by the simulator's books, in tokens and millionths."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from benchmarks.pacing_real.stage import Command, prompt_of

MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Amount:
    """Tokens of prompts and answers, and money in millionths of the currency."""

    tokens: int = 0
    cost_micro: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.tokens + other.tokens, self.cost_micro + other.cost_micro)

    def of(self, in_tokens: bool) -> int:
        """The amount in the unit of a cap."""
        return self.tokens if in_tokens else self.cost_micro


@dataclass(frozen=True, slots=True)
class Ledgered:
    """A run's spending by its own count: settled, kept for what may have been billed, over what was reserved."""

    spent: Amount
    kept: Amount
    over: Amount


def billed(posts: Iterable[Mapping[str, Any]]) -> Amount:
    """The bill of these generations; each one's cost is rounded as a ledger of whole millionths must."""
    total = Amount()
    for post in posts:
        tokens = post["prompt_tokens"] + post["completion_tokens"]
        total += Amount(tokens, round(post["cost"] * MICRO))
    return total


def by_run(posts: Iterable[Mapping[str, Any]], names: Iterable[str]) -> dict[str, list[Mapping[str, Any]]]:
    """The accepted POSTs of each run, told apart by its prompt."""
    found: dict[str, list[Mapping[str, Any]]] = {name: [] for name in names}
    run_of = {sha256(prompt_of(name).encode()).hexdigest(): name for name in found}
    for post in posts:
        found[run_of[post["prompt_sha256"]]].append(post)
    return found


def ledgered(command: Command) -> Ledgered:
    """What the command's own words, or the receipt of a run that is finished, say of its budget."""
    told = command.told.get("budget")
    if told is None:
        receipt = command.out / "runs" / command.run_id / "receipt.json"
        told = orjson.loads(receipt.read_bytes())["budget"]
    return Ledgered(*(_amount(told[name]) for name in ("spent", "kept", "over")))


def _amount(told: Mapping[str, float]) -> Amount:
    return Amount(int(told["tokens"]), round(told["cost"] * MICRO))


def saved_ids(command: Command) -> set[str]:
    """Ids of the generations that the run knows of: those that its writer saved."""
    files = (command.out / "runs" / command.run_id / "sent").glob("*.jsonl")
    lines = (orjson.loads(line) for file in files for line in file.read_bytes().splitlines())
    return {(line["late"] if isinstance(line, dict) else line)[1] for line in lines}
