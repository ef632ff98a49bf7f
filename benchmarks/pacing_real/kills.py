"""Twenty kills in one run with a cap: no counter may drift, and nothing may be spent above the cap and its bound."""

import random
import time

import psutil

from benchmarks.pacing_real.bills import Amount, billed, ledgered, saved_ids
from benchmarks.pacing_real.budget import POLL, Account, worth
from benchmarks.pacing_real.findings import Finding, at_least, at_most, told
from benchmarks.pacing_real.rates import first_post
from benchmarks.pacing_real.simulators import eventually
from benchmarks.pacing_real.stage import READY_S, Command, Stage
from pipeline.core.budget import Spending

SEED = 11
ROWS = 1_000
RPM = 1_200
SHARE = 0.8
KILLS = 20
WHOLE = (7, 14)
"""Which of the kills take the whole worker, which is then started again."""
EVERY_S = 2.0
ENDS_S = 150.0
SETTLED_S = 3.0
"""A child of this age has begun; so each kill is one of a process that may have rows in hand."""
ACCOUNT = Account(prices=(1.25, 10.0), latency="lognormal:0.6s,0.5", cost_reported=True, fail_rate=0.0)


def kills(stage: Stage) -> list[Finding]:
    """kill -9 of random worker children, and of the whole worker, until the cap is reached."""
    rng = random.Random(SEED)
    simulator = stage.simulate(seed=SEED, latency=ACCOUNT.latency, submit_delay="50ms")
    cap = int(SHARE * sum(worth("kills", row, ACCOUNT).tokens for row in range(ROWS)))
    command = stage.run("kills", ROWS, simulator, "--rpm", RPM, "--poll", POLL, "--max-total-tokens", cap)
    first_post(simulator)
    seen: list[Spending] = []
    struck = 0
    for number in range(1, KILLS + 1):
        struck += _strike(stage, rng, whole=number in WHOLE)
        _look_on(stage, command, seen, EVERY_S)
    at_work = not command.ended
    ends_by = time.monotonic() + ENDS_S
    while not command.ended and time.monotonic() < ends_by:
        _look_on(stage, command, seen, 1.0)
    code = command.ends(0)
    run = stage.look(command.run_id)
    posts, known, ledger = simulator.posts(), saved_ids(command), ledgered(command)
    unknown = billed(post for post in posts if post["id"] not in known)
    bill = billed(posts)
    highest = max((one.tokens + one.kept_tokens for one in seen), default=0)
    return [
        at_least("kills that struck, before the end", KILLS, struck if at_work else None, ".0f"),
        told("the command", f"exit code {code}; {len(posts)} generations, {len(posts) - len(known)} of unknown id"),
        _same("spent, and the bill of known generations", ledger.spent, billed(p for p in posts if p["id"] in known)),
        at_most(
            "tokens billed and unknown, above what is kept", 0, max(0, unknown.tokens - ledger.kept.tokens), ",.0f"
        ),
        told("kept for the unknown", f"{ledger.kept.tokens:,} tokens; their bill {unknown.tokens:,}"),
        at_most("rows in flight at the end", 0, run.in_flight if run else None, ".0f"),
        at_most("billed above the cap, in all", ledger.over.tokens, max(0, bill.tokens - cap), ",.0f"),
        at_most("spent and kept above the cap, at most", ledger.over.tokens, max(0, highest - cap), ",.0f"),
        told("left of the cap", f"{1 - (ledger.spent.tokens + ledger.kept.tokens) / cap:.1%} of {cap:,} tokens"),
    ]


def _strike(stage: Stage, rng: random.Random, *, whole: bool) -> int:
    """Kill one child, or everything; how often something was struck: 1, or 0 when nothing lived to be struck."""
    if whole:
        stage.kill_worker()
        stage.start_worker()
        return 1
    try:
        rng.choice(eventually(lambda: _settled(stage), "a child that has begun", READY_S)).kill()
    except psutil.NoSuchProcess:
        return 0
    return 1


def _settled(stage: Stage) -> list[psutil.Process]:
    stage.keep_worker()
    return [child for child in stage.children() if _age(child) > SETTLED_S]


def _age(child: psutil.Process) -> float:
    """Seconds since it was forked; 0 for one that is gone."""
    try:
        alive = child.status() != psutil.STATUS_ZOMBIE
        return time.time() - float(child.create_time()) if alive else 0.0
    except psutil.NoSuchProcess:
        return 0.0


def _look_on(stage: Stage, command: Command, seen: list[Spending], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        stage.keep_worker()
        run = stage.look(command.run_id)
        if run is not None:
            seen.append(run.spending)
        time.sleep(0.2)


def _same(name: str, ledger: Amount, bill: Amount) -> Finding:
    return Finding(
        name,
        "the same",
        f"{ledger.tokens:,} and {bill.tokens:,} tokens, {ledger.cost_micro:,} and {bill.cost_micro:,} millionths",
        ledger == bill,
    )
