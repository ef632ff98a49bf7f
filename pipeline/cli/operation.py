"""How a run is carried out, and what workers are told of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.cli.estimating import price_list
from pipeline.cli.planning import INLINE, MEDIA_ROOTS
from pipeline.cli.preparing import Prepared
from pipeline.cli.sharing import Share, shared
from pipeline.core.account import Secret, key_fingerprint
from pipeline.core.modes import FOXAPI
from pipeline.core.policy import Policy
from pipeline.edges.clock import time_of_day_us
from pipeline.ports import RunCard

ANSWERS = ("answer_schema", "answer_shape")
"""What run.json says of a schema that its answers have to fit."""


@dataclass(frozen=True, slots=True)
class Operation:
    """How to run, as against what to ask: none of it changes which run it is.

    Without a policy or a share the run keeps its own. Without a key nothing can be sent or asked for: enough to end a
    run that waits for no answer. `by` is when it should be through. `capped` tells that this command gave a cap, which
    the run's folder keeps.
    """

    redis_url: str | None
    workers: int
    policy: Policy | None
    detach: bool
    key: Secret | None
    environment: Mapping[str, str]
    capped: bool = False
    by: datetime | None = None
    share: Share | None = None
    media_roots: tuple[str, ...] = ()
    """Folders whose files the private worker may read."""


def new_epoch() -> str:
    """The name of a ledger that is made anew: no part of an earlier one has it, and parts sort by it."""
    return f"e{time_of_day_us():016}"


def card_of(prepared: Prepared, operation: Operation, known: RunCard | None = None) -> RunCard:
    """What the workers are told of this run. A ledger that is made anew gets a new epoch.

    `known` is the card that the ledger has: what this command does not give, policy, share or key, is kept. The caps
    are those of the run's folder, where whoever gives one keeps it first; so is how often answers are asked for again.
    """
    described: Mapping[str, Any] = prepared.described
    kept = "" if known is None else known.key_fingerprint
    fingerprint = kept if operation.key is None else key_fingerprint(operation.key.reveal())
    kept_policy = Policy(repairs=prepared.folder.repairs) if known is None else known.policy
    policy = operation.policy or kept_policy
    card = RunCard(
        run_id=prepared.folder.run_id,
        account="",
        base_url=described["base_url"],
        key_fingerprint=fingerprint,
        out=str(prepared.folder.out),
        token=described["token"],
        epoch=new_epoch(),
        total=described["requests"],
        policy=policy,
        detached=operation.detach,
        budget=prepared.folder.budget,
        models=tuple(described["models"]),
        prices=price_list(described["prices"]),
        api=described.get("api", FOXAPI),
        answers={name: described[name] for name in ANSWERS if name in described},
        media_roots=tuple(described.get(MEDIA_ROOTS, ())),
        inline=bool(described.get(INLINE)),
    )
    return shared(card, operation.share, known)
