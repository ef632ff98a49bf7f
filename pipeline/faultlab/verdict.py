"""What a fault cost, judged: the manifest, the dataset and the API's own books held against each other.

Pure: evidence in, a finding out. It reads no file and asks nobody, so that what counts as lost, doubled or wrong is
tested without breaking anything. Money decides: a POST too many that nobody owns up to fails a fault, whatever else
went well.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.core.lifecycle import Outcome

GROUP_ROWS = 64
"""One uncommitted group: answers that a process has read and not yet recorded."""

RECOVERS_WITHIN_S = 30.0
"""From the moment that a fault is over until its rows are on their way again and others end."""

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Row:
    """One annotation. `own` says that request and answer are this very row's; `log` has (generation id, outcome)."""

    row_index: int
    outcome: str
    own: bool
    flagged: bool
    generation_id: str | None
    log: tuple[tuple[str | None, str], ...]

    @property
    def failed_before(self) -> int:
        """Earlier generations that are known to have failed: the POST after each of them was meant."""
        return sum(outcome == Outcome.FAILED and known != self.generation_id for known, outcome in self.log)


@dataclass(frozen=True, slots=True)
class Post:
    """One POST that the API accepted; `received_at` in unix seconds, `answered` when its whole 200 went out.

    `outcome` is how its generation stands: open, completed or failed.
    """

    generation_id: str
    received_at: float
    answered: bool
    outcome: str = "completed"


@dataclass(frozen=True, slots=True)
class Moment:
    """How the run stood when a fault struck: rows by state, POSTs in flight, and the processes that it hit.

    `at` is in unix seconds. `in_flight` counts POSTs that the API had received and whose id was not recorded yet,
    `unanswered` those of them that it had not answered; `fed` and `ended` are counts of rows.
    """

    at: float
    submitting: frozenset[int] = frozenset()
    pending: frozenset[int] = frozenset()
    in_flight: int = 0
    unanswered: int = 0
    processes: int = 0
    fed: int = 0
    ended: int = 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of a run after its end. Keys of `posts` are row indexes; `complaints` came up on the way."""

    rows: int
    dataset: Sequence[Row]
    rejected: Collection[int]
    posts: Mapping[int, Sequence[Post]]
    moments: Sequence[Moment] = ()
    double_ends: int = 0
    recovery_s: float | None = None
    complaints: Sequence[str] = ()

    @property
    def unanswered_posts(self) -> int:
        """POSTs that created a generation and were not answered with its id."""
        return sum(not post.answered for posts in self.posts.values() for post in posts)


Allowance = Callable[[Evidence], int]
"""How many POSTs beyond one a row a fault may cost, by the evidence."""


def nothing(_: Evidence) -> int:
    """The fault may cost no POST."""
    return 0


def what_was_on_the_wire(evidence: Evidence) -> int:
    """POSTs unanswered when the fault struck, and one uncommitted group for each process that it hit."""
    return sum(moment.unanswered + GROUP_ROWS * moment.processes for moment in evidence.moments)


def what_was_in_flight(evidence: Evidence) -> int:
    """POSTs whose id was not recorded when the fault struck: exact where all that was hit had been frozen."""
    return sum(moment.in_flight for moment in evidence.moments)


def ambiguous_answers(evidence: Evidence) -> int:
    """Generations whose id never went out: nobody but the API can know of them."""
    return evidence.unanswered_posts


Demand = Callable[[Evidence], Iterable[str]]
"""What else a fault asks of the evidence: a complaint for each thing that is not as it must be."""


def no_more(_: Evidence) -> Iterable[str]:
    """Nothing else is asked."""
    return ()


@dataclass(frozen=True, slots=True)
class Rules:
    """What a fault may do to a run. `resends_pending` where the API itself ends generations that were pending.

    `recovers_within_s` is longer where the API's own answer makes rows wait.
    """

    allowance: Allowance = nothing
    outcomes: frozenset[Outcome] = frozenset({Outcome.COMPLETED})
    resends_pending: bool = False
    demand: Demand = no_more
    recovers_within_s: float = RECOVERS_WITHIN_S


@dataclass(frozen=True, slots=True)
class Finding:
    """What one fault came to; `reasons` is empty when it passed. `kept_in` names the folder of a failed one."""

    fault: str
    rows: int
    lost: int = 0
    duplicated: int = 0
    wrong_row: int = 0
    extra_posts: int = 0
    allowed: int = 0
    in_flight: int = 0
    recovery_s: float | None = None
    took_s: float = 0.0
    reasons: tuple[str, ...] = ()
    kept_in: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.reasons


@dataclass(slots=True)
class _Audit:
    """The comparisons behind a finding, each made once."""

    evidence: Evidence
    rules: Rules
    reasons: list[str] = field(default_factory=list)

    def complain(self, what: str, rows: Collection[int]) -> int:
        """Note rows that something is wrong with; how many they are."""
        if rows:
            shown = ", ".join(map(str, sorted(rows)[:_SHOWN]))
            self.reasons.append(f"{what}: {shown}{' …' if len(rows) > _SHOWN else ''} ({len(rows)})")
        return len(rows)

    def ends(self) -> tuple[int, int, int]:
        """Rows lost, rows that have two ends, and rows with something that is another row's."""
        evidence = self.evidence
        ends = Counter(row.row_index for row in evidence.dataset) + Counter(evidence.rejected)
        lost = self.complain("rows with no end", set(range(evidence.rows)) - ends.keys())
        twice = self.complain("rows with more than one end", {row for row, count in ends.items() if count > 1})
        wrong = {row.row_index for row in evidence.dataset if not row.own or self._never_asked(row)}
        if evidence.double_ends:
            self.reasons.append(f"{evidence.double_ends} rows ended twice in the ledger")
        ended_otherwise = {row.row_index for row in evidence.dataset if row.outcome not in self.rules.outcomes}
        named = ", ".join(sorted({row.outcome for row in evidence.dataset} - set(self.rules.outcomes)))
        self.complain(f"rows that ended as {named}", ended_otherwise)
        return lost, twice, self.complain("rows with another row's answer", wrong)

    def _never_asked(self, row: Row) -> bool:
        ids = {post.generation_id for post in self.evidence.posts.get(row.row_index, ())}
        return row.outcome == Outcome.COMPLETED and row.generation_id not in ids

    def payment(self) -> tuple[int, int]:
        """POSTs that no known end justifies, and how many of them the fault may cost."""
        extra = self._extra()
        rows = {row.row_index: row for row in self.evidence.dataset}
        silent = {index for index in extra if index in rows and not self._says_so(rows[index])}
        self.complain("rows that were paid for twice and do not say so", silent)
        self.complain("rows that were pending and were sent again", self._pending_sent_again())
        posts, allowed = sum(extra.values()), self.rules.allowance(self.evidence)
        if posts > allowed:
            self.reasons.append(f"{posts} extra POSTs where {allowed} are allowed")
        return posts, allowed

    def _extra(self) -> dict[int, int]:
        meant = {row.row_index: 1 + row.failed_before for row in self.evidence.dataset}
        counts = {index: len(posts) - meant.get(index, 1) for index, posts in self.evidence.posts.items()}
        return {index: count for index, count in counts.items() if count > 0}

    def _says_so(self, row: Row) -> bool:
        return row.flagged or len(row.log) >= len(self.evidence.posts[row.row_index])

    def _pending_sent_again(self) -> set[int]:
        if self.rules.resends_pending:
            return set()
        return {
            index
            for moment in self.evidence.moments
            for index in moment.pending
            if any(post.received_at > moment.at for post in self.evidence.posts.get(index, ()))
        }

    def recovery(self) -> None:
        """Complain when the run took too long to get over it."""
        took, allowed = self.evidence.recovery_s, self.rules.recovers_within_s
        if took is not None and took > allowed:
            self.reasons.append(f"it took {took:.1f} s to recover, where {allowed:.0f} are allowed")


def judge(fault: str, rules: Rules, evidence: Evidence) -> Finding:
    """The finding of one fault whose run has ended."""
    audit = _Audit(evidence, rules, list(evidence.complaints))
    lost, duplicated, wrong_row = audit.ends()
    extra, allowed = audit.payment()
    audit.recovery()
    audit.reasons += rules.demand(evidence)
    return Finding(
        fault=fault,
        rows=evidence.rows,
        lost=lost,
        duplicated=duplicated,
        wrong_row=wrong_row,
        extra_posts=extra,
        allowed=allowed,
        in_flight=sum(moment.in_flight for moment in evidence.moments),
        recovery_s=evidence.recovery_s,
        reasons=tuple(audit.reasons),
    )
