"""A schedule's book and its firings as JSON, as they are kept; schedules outlive versions of the ledger."""

from typing import Any

import orjson

from pipeline.core.errors import LedgerMismatch
from pipeline.core.schedules import Book, Cause, Firing, FiringState, Missed, Notice, Overlap, Schedule

FORMAT = 1
"""Of what is written here; what is read may be older, and never newer."""

HISTORY_KEPT = 500
"""Firings that are over, by schedule: more than a year of nights."""


def pack_book(book: Book) -> bytes:
    """A book as it is kept."""
    return orjson.dumps({"format": FORMAT, "revision": book.revision, "book": book})


def unpack_book(name: str, packed: bytes) -> Book:
    """What `pack_book` made. LedgerMismatch names the schedule whose book a newer version wrote, or nobody can read."""
    try:
        content = orjson.loads(packed)
        if (found := int(content["format"])) <= FORMAT:
            return _book(content["book"], content["revision"])
    except (KeyError, TypeError, ValueError) as error:
        raise LedgerMismatch(
            f"schedule {name}: its book can't be read ({error!r}): HDEL vidbatch:schedules {name} in Redis removes it"
        ) from error
    raise LedgerMismatch(
        f"schedule {name}: format: found {found}; allowed is up to {FORMAT}: a newer version of vidbatch keeps this "
        "schedule; change it, and have it fired, with that one"
    )


def _book(book: dict[str, Any], revision: int) -> Book:
    kept = book["schedule"]
    words = {"command": tuple(kept["command"]), "overlap": Overlap(kept["overlap"]), "missed": Missed(kept["missed"])}
    return Book(Schedule(**{**kept, **words}), book["next_ms"], tuple(map(_firing, book["firings"])), revision)


def pack_firing(firing: Firing) -> bytes:
    """A firing as the history keeps it."""
    return orjson.dumps(firing)


def unpack_firing(packed: bytes) -> Firing:
    """What `pack_firing` made."""
    return _firing(orjson.loads(packed))


def _firing(kept: dict[str, Any]) -> Firing:
    named = {"cause": Cause(kept["cause"]), "state": FiringState(kept["state"])}
    return Firing(**{**kept, **named, "notices": tuple(Notice(**notice) for notice in kept["notices"])})
