"""How values cross to the scripts and back: no connection, only encoding."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import orjson

from pipeline.core.answers import Problem
from pipeline.core.budget import Budget, Reservation, Spending
from pipeline.core.costs import MICRO, Price
from pipeline.core.counting import counted
from pipeline.core.errors import LedgerMismatch
from pipeline.core.lifecycle import Event, Outcome, State
from pipeline.core.limits import Limits
from pipeline.core.observations import pack_observed
from pipeline.core.pacing import AccountSeen, LaneSeen, Pace
from pipeline.core.permits import gap_us
from pipeline.core.plain import plain
from pipeline.core.policy import HOLDS, Policy
from pipeline.core.records import pack, pack_ending, saved_line, unpack
from pipeline.core.snapshot import RunSnapshot, RunState
from pipeline.core.steps import Step
from pipeline.edges.redis_keys import LEDGER_VERSION, ROLES
from pipeline.ports import Claimed, Commit, RunCard

MOST_CAP = 10**15
"""Lua writes larger numbers with an exponent; no cap of a person's comes near."""


def commit_arguments(commit: Commit) -> list[Any]:
    """The thirteen arguments of one row in commit.lua."""
    step = commit.step
    state, ending = step.state, step.ending
    observed = "" if step.observed is None else pack_observed(step.observed)
    wait = -1 if step.goes_first else step.wait_ms
    head = [commit.row_index, commit.token, step.source.value, state.value, wait, pack(step.record)]
    used = step.used
    sums = (used.prompt_tokens, used.completion_tokens, used.cost_micro)
    if state is State.DONE and ending is not None:
        return [*head, pack_ending(ending), ending.outcome.value, *sums, observed, _few(step)]
    return [*head, accepted_line(commit), "", *sums, observed, _few(step)]


def count_arguments(steps: Iterable[Step]) -> list[Any]:
    """What a group of steps counts, as commit.lua takes it: the number of arguments, then those."""
    counts = counted(steps)
    return [2 * len(counts), *(one for pair in counts.items() for one in pair)]


def _few(step: Step) -> bytes | str:
    """What few steps have, as a JSON object; empty for the others."""
    block = _block(step.account_problem, step.polling_works)
    few = {
        "like": step.counts_as,
        "hold": step.account_wait_ms,
        "block": block,
        "trouble": told(step.trouble),
        "doubt": step.doubt,
        "lane": step.lane,
        "keeps": step.keeps,
        "answered": step.answered,
    }
    told_of = {name: value for name, value in few.items() if value}
    return orjson.dumps(told_of) if told_of else ""


def accepted_line(commit: Commit) -> bytes:
    """The line that the writer saves of an id that was paid for; empty for any other step."""
    record = commit.step.record
    if commit.step.event not in {Event.ACCEPTED, Event.ADOPTED}:
        return b""
    return saved_line(commit.row_index, record)


def _block(problem: Problem | None, polling_works: bool) -> str:
    if problem is None:
        return ""
    return f"{'balance' if polling_works else 'key'} {told(problem)}"


def told(problem: Problem | None) -> str:
    """A problem in one line, for people; empty for none."""
    if problem is None:
        return ""
    status = f" (HTTP {problem.http_status})" if problem.http_status else ""
    return in_one_line(f"{problem.code}{status}: {problem.message}")


def in_one_line(text: str) -> str:
    """What a line on a screen can hold."""
    return plain(" ".join(text.split()))[:500]


def check_version(run_id: str, version: bytes | None) -> None:
    """LedgerMismatch for a ledger of another layout."""
    if version != str(LEDGER_VERSION).encode():
        found = "an unknown version" if version is None else f"version {version.decode()}"
        raise LedgerMismatch(
            f"the ledger of run {run_id} is of {found}, and this vidbatch works with version {LEDGER_VERSION}: "
            "finish the run with the vidbatch that began it"
        )


def read_snapshot(card: RunCard, meta: Mapping[bytes, bytes], reply: Sequence[Any]) -> RunSnapshot:
    """The values of snapshot.lua. LedgerMismatch for a ledger of another layout."""
    check_version(card.run_id, meta.get(b"version"))
    account = dict(zip(reply[2][::2], reply[2][1::2], strict=True))

    def number(name: str) -> int:
        return int(meta.get(name.encode(), 0))

    return RunSnapshot(
        run_id=card.run_id,
        led=card.detached or bool(reply[15]),
        key_fingerprint=card.key_fingerprint,
        media_roots=card.media_roots,
        recover_until=number("recover_until"),
        state=RunState(meta[b"state"].decode()),
        now_ms=reply[0],
        total=card.total,
        fed=number("fed"),
        ready=reply[3],
        ready_due=reply[4],
        submitting=reply[5],
        lapsed=reply[6],
        pending=reply[7],
        pending_due=reply[8],
        results=reply[9],
        accepted_unsaved=reply[10],
        results_bytes=number("results_bytes"),
        bodies_bytes=number("bodies_bytes"),
        accepted=number("accepted"),
        outcomes={outcome: number(f"o:{outcome}") for outcome in Outcome},
        prompt_tokens=number("prompt_tokens"),
        completion_tokens=number("completion_tokens"),
        cost=number("cost_micro") / MICRO,
        possible_duplicates=number("possible_duplicates"),
        double_ends=number("double_ends"),
        written=number("results_start"),
        parts=number("parts"),
        ids_saved=number("accepted_start"),
        shifts=dict(zip(ROLES, reply[11:15], strict=True)),
        reason=meta.get(b"reason", b"").decode(),
        polls_held=meta.get(b"polls") == b"0",
        guard=in_one_line(meta.get(b"guard", b"").decode()),
        trouble=meta.get(b"trouble", b"").decode(),
        trouble_since_ms=number("trouble_since"),
        doubt_since_ms=number("doubt_since"),
        late=reply[16],
        late_due=reply[17],
        account_blocked=account.get(b"blocked", b"").decode(),
        account_polls=account.get(b"polls", b"1") == b"1",
        account_wait_until_ms=int(account.get(b"wait_until", 0)),
        account=card.account,
        account_answered=int(account.get(b"answered", 0)),
        pace=read_pace(account.get(b"pace", b"")),
        bound=meta.get(b"bound", b"").decode(),
        limits=read_limits(meta.get(b"limits", b"")),
        budget=card.budget,
        spending=_spending(meta, reply[5] + reply[7]),
        priority=card.priority,
    )


def _spending(meta: Mapping[bytes, bytes], in_flight: int) -> Spending:
    def number(name: bytes) -> int:
        return int(meta.get(name, 0))

    kept, reserved = number(b"kept"), Reservation(number(b"reserve_tokens"), number(b"reserve_micro"))
    return Spending(
        tokens=number(b"prompt_tokens") + number(b"completion_tokens"),
        cost_micro=number(b"cost_micro"),
        kept_tokens=kept * reserved.tokens,
        kept_cost_micro=kept * reserved.cost_micro,
        in_flight=in_flight,
        reserved=reserved,
        over_tokens=number(b"over_tokens"),
        over_cost_micro=number(b"over_micro"),
    )


def taken_over(reply: Sequence[Any], i: int) -> Claimed:
    """One row of claim_due.lua; a token begins with the time of its claim, and a row that nobody had has none."""
    before: bytes = reply[i + 2]
    return Claimed(
        row_index=int(reply[i]),
        token=reply[i + 1].decode(),
        record=unpack(reply[i + 3]),
        claimed_at_ms=int(before.split(b":", 1)[0]) if before else 0,
        before=before.decode(),
    )


def pack_card(card: RunCard) -> bytes:
    """Compact JSON of a run's card."""
    return orjson.dumps({**{name: getattr(card, name) for name in _CARD}, "policy": asdict(card.policy)})


def card_fields(card: RunCard) -> list[Any]:
    """What the scripts themselves read of a card, as pairs for meta; '' is none."""
    holds = "1" if card.policy.mode in HOLDS else ""
    return [*cap_fields(card.budget), "limits", pack_limits(card.limits), "holds", holds]


def cap_fields(budget: Budget) -> list[Any]:
    """Caps as pairs for meta; '' is none."""
    micro = "" if budget.cost is None else round(min(budget.cost * MICRO, MOST_CAP))
    tokens = "" if budget.tokens is None else min(budget.tokens, MOST_CAP)
    return ["max_micro", micro, "max_tokens", tokens]


def pack_limits(limits: Limits) -> bytes:
    """Limits as JSON."""
    return orjson.dumps(limits)


def read_limits(packed: bytes | None) -> Limits:
    """The reverse of `pack_limits`; nothing at all is no limit."""
    return Limits(**orjson.loads(packed)) if packed else Limits()


def pace_fields(found: bytes, pace: Pace) -> list[Any]:
    """An account's pace as pairs for its hash: what the scripts keep to, and the whole for people; '' is none."""
    cap, most = ("" if bound is None else bound for bound in (pace.cap, pace.most))
    head = ["found", found, "pace", orjson.dumps(pace), "cap", cap, "most", most, "tests", "1" if pace.tests else ""]
    return [*head, "gap", gap_us(pace.rate) or "", "poll_gap", gap_us(pace.poll_rate) or ""]


def read_pace(packed: bytes | None) -> Pace:
    """The pace that was last set; none before."""
    return Pace(**orjson.loads(packed)) if packed else Pace()


def read_account(reply: Sequence[Any]) -> AccountSeen:
    """The values of account.lua."""
    fields = dict(zip(reply[1][::2], reply[1][1::2], strict=True))

    def number(name: str) -> int:
        return int(fields.get(name.encode(), 0))

    def lane(prefix: str) -> LaneSeen:
        names = ("answered", "bound", "events", "event_at", "event_answered", "event_wait")
        return LaneSeen(*(number(prefix + name) for name in names))

    return AccountSeen(
        now_ms=reply[0],
        posts=lane(""),
        polls=lane("poll_"),
        in_flight=reply[2],
        event_in_flight=number("event_in_flight"),
        tests=number("tested_n"),
        tested=fields.get(b"tested", b"").decode(),
        tested_in_flight=number("tested_in_flight"),
        observed=number("observed"),
        limits=read_limits(fields.get(b"limits")),
        found=fields.get(b"found", b""),
    )


def unpack_card(packed: bytes) -> RunCard:
    """The reverse of `pack_card`. LedgerMismatch for a card that another version of vidbatch wrote."""
    try:
        values = orjson.loads(packed)
        values["policy"] = Policy(**values["policy"])
        values["limits"], values["budget"] = Limits(**values["limits"]), Budget(**values["budget"])
        values["models"], values["media_roots"] = tuple(values["models"]), tuple(values["media_roots"])
        values["prices"] = {model: Price(**price) for model, price in values["prices"].items()}
        return RunCard(**values)
    except (TypeError, ValueError, KeyError) as error:
        raise LedgerMismatch(f"a run's card is of another version of vidbatch: {error}") from error


_CARD = tuple(RunCard.__dataclass_fields__)
