"""What faults of the API ask of a run besides the rules for all: the API made these ends, and the rows must tell them.

Pure, as the verdict is: evidence in, complaints out.
"""

from collections import Counter
from collections.abc import Iterable

from pipeline.core.lifecycle import Outcome
from pipeline.faultlab.verdict import Evidence

ATTEMPTS = 3
"""How often a generation is asked for that fails again and again; `core.policy` says why."""

ENOUGH = 5
"""Fewer rows that are hit would show nothing."""

_SHOWN = 3


def doubted_twice(evidence: Evidence) -> Iterable[str]:
    """A row may end as unknown only after two POSTs of it were left in doubt, and its log shows them."""
    for row in evidence.dataset:
        doubts = [outcome for _, outcome in row.log if outcome == Outcome.UNKNOWN]
        if row.outcome == Outcome.UNKNOWN and len(doubts) < 2:  # noqa: PLR2004 - the one that is resent, and the last
            yield f"row {row.row_index} is unknown after {len(doubts)} POSTs in doubt"


def owned_up(evidence: Evidence) -> Iterable[str]:
    """Whatever a row may have been billed for is said: a POST without an answer flags its row, and is in its log."""
    for row in evidence.dataset:
        silent = [post for post in evidence.posts.get(row.row_index, ()) if not post.answered]
        doubts = [known for known, outcome in row.log if outcome == Outcome.UNKNOWN or known is None]
        if len(doubts) < len(silent):
            yield f"row {row.row_index} has {len(silent)} POSTs without an answer, and {len(doubts)} in its log"


def in_doubt(evidence: Evidence) -> Iterable[str]:
    """Both of the above."""
    yield from few(doubted_twice(evidence))
    yield from few(owned_up(evidence))


def unknown_where_shared(evidence: Evidence) -> Iterable[str]:
    """A row whose POST was answered with another's id is unknown; so are, at most, the rows that bear that id too."""
    bearers: Counter[str | None] = Counter(
        known for row in evidence.dataset for known in {known for known, _ in row.log}
    )
    for row in evidence.dataset:
        is_unknown = row.outcome == Outcome.UNKNOWN
        if is_unknown and not any(bearers[known] > 1 for known, _ in row.log):
            yield f"row {row.row_index} is unknown, and nobody else bears its id"
        if not is_unknown and not all(post.answered for post in evidence.posts.get(row.row_index, ())):
            yield f"row {row.row_index} is {row.outcome}, and its id is of another row"


def few(complaints: Iterable[str]) -> Iterable[str]:
    """The first complaints of a kind, and how many more there are."""
    found = list(complaints)
    yield from found[:_SHOWN]
    if len(found) > _SHOWN:
        yield f"… and {len(found) - _SHOWN} more like it"


def expired_where_endless(evidence: Evidence) -> Iterable[str]:
    """Rows expire where the API never ends their generation, nowhere else, and keep its id."""
    yield from some_expired(evidence)
    yield from few(
        f"row {row.row_index} is {row.outcome}, its generation {'never ends' if endless else 'ended'}"
        for row in evidence.dataset
        for endless in [_own_post(evidence, row.row_index, row.generation_id, "open")]
        if endless != (row.outcome == Outcome.EXPIRED)
    )


def some_expired(evidence: Evidence) -> Iterable[str]:
    """Rows with a generation that is completed and never shown expire, and keep its id."""
    expired = [row for row in evidence.dataset if row.outcome == Outcome.EXPIRED]
    if len(expired) < ENOUGH:
        yield f"only {len(expired)} rows expired"
    yield from few(f"row {row.row_index} expired and does not keep its id" for row in expired if not row.generation_id)


def failed_as_told(evidence: Evidence) -> Iterable[str]:
    """A row fails only with a generation that failed, and its log names every one that it had."""
    for row in evidence.dataset:
        posts = evidence.posts.get(row.row_index, ())
        if row.outcome == Outcome.FAILED and not _own_post(evidence, row.row_index, row.generation_id, "failed"):
            yield f"row {row.row_index} failed with a generation that did not"
        if unnamed := {post.generation_id for post in posts} - {known for known, _ in row.log}:
            yield f"row {row.row_index} had generations that its log does not name: {', '.join(sorted(unnamed))}"


def failed_after_attempts(evidence: Evidence) -> Iterable[str]:
    """A row whose generations may be asked for again fails only with the last attempt."""
    yield from few(failed_as_told(evidence))
    yield from few(
        f"row {row.row_index} failed after {len(row.log)} of {ATTEMPTS} attempts"
        for row in evidence.dataset
        if row.outcome == Outcome.FAILED and len(row.log) != ATTEMPTS
    )


def failed_at_once(evidence: Evidence) -> Iterable[str]:
    """A row whose generation failed for good is not asked for again, and fails."""
    yield from few(failed_as_told(evidence))
    yield from few(
        f"row {row.row_index} is {row.outcome} although its generation failed for good"
        for row in evidence.dataset
        for posts in [evidence.posts.get(row.row_index, ())]
        if any(post.outcome == "failed" for post in posts) and (row.outcome != Outcome.FAILED or len(posts) > 1)
    )


def _own_post(evidence: Evidence, row_index: int, generation_id: str | None, outcome: str) -> bool:
    posts = evidence.posts.get(row_index, ())
    return any(post.generation_id == generation_id and post.outcome == outcome for post in posts)
