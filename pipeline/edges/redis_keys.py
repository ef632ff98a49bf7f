"""The names of the ledger's keys in Redis, and nothing else.

All begin with one prefix, so that a Redis that is shared with others stays readable. The version is that of the
ledger's layout: workers of another version leave the run alone.
"""

from dataclasses import dataclass

PREFIX = "vidbatch:"
LEDGER_VERSION = 4
RUNS = f"{PREFIX}runs"
ACCOUNTS = f"{PREFIX}accounts"
WORKERS = f"{PREFIX}worker:"
LOCKS = f"{PREFIX}lock:{LEDGER_VERSION}:"
"""Each version has a heartbeat of its own: one that looks after its own runs alone would keep the others waiting."""
BEAT = f"{PREFIX}heartbeat:{LEDGER_VERSION}"
"""Who looked after the runs last, and when."""
UPLOADS = f"{PREFIX}upload:"
"""Where an account's uploaded files lie, by their hash."""
SEALS = f"{PREFIX}seals:"
"""Addresses to which a key may be sent, by its fingerprint."""
QUEUES = f"{PREFIX}celery:{LEDGER_VERSION}:"
"""Celery's keys stand apart from the ledger's, and tickets go to workers of the version that issued them."""
IDENTITY = f"{PREFIX}identity"
SCHEDULES = f"{PREFIX}schedules"
"""Books of schedules by name; they outlive the ledger's versions, and have a format of their own."""
RUN_PREFIX = f"{PREFIX}run:"
ROLES = ("submit", "poll", "write", "control")


@dataclass(frozen=True, slots=True)
class RunKeys:
    """The keys of one run."""

    run_id: str

    def __call__(self, name: str) -> str:
        """The key of one structure of the run: meta, ready, submitting, pending, bodies, records, tokens, …."""
        return f"{RUN_PREFIX}{self.run_id}:{name}"

    def every(self) -> list[str]:
        """All keys of the run, to forget them."""
        names = ["meta", "ready", "submitting", "pending", "bodies", "records", "tokens", "results", "accepted", "done"]
        names += ["late", "timetables", "kept"]
        names += [f"{kind}:{role}" for kind in ("shifts", "tickets") for role in ROLES]
        return [self(name) for name in names]


def account_key(account: str) -> str:
    """The hash of an account: block, back-off, pace, and what was counted."""
    return f"{PREFIX}account:{account}"


def account_observed_key(account: str) -> str:
    """The list of what the account's ended generations told."""
    return f"{PREFIX}account:{account}:observed"


def account_counts_key(account: str) -> str:
    """The hash of what is counted of the account for whoever watches: `core.counting` names it."""
    return f"{PREFIX}account:{account}:counts"


def account_runs_key(account: str) -> str:
    """The set of the account's runs."""
    return f"{PREFIX}account:{account}:runs"


def schedule_history_key(name: str) -> str:
    """The hash of a schedule's firings that are over, by id."""
    return f"{PREFIX}schedule:{name}:history"
