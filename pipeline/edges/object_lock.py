"""One holder at a time, by objects alone: for what few do, and rarely.

A store whose answers are consistent (those of S3 are: a listing shows what was put before) is what Lamport's bakery
needs: whoever comes says so, takes a number above all that stand there, and waits until nobody is before it. A claim is
an object; it is put again every few seconds, and one that stays as it is for long enough is of a process that died.

So two never hold it at once, unless one of them stood still, or could not reach the store, for `DEAD_S`.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Thread
from uuid import uuid4

from pipeline.core.errors import StorageError
from pipeline.edges import object_store
from pipeline.edges.places import ObjectPlace

RENEWED_S = 3.0
DEAD_S = 15.0
LOOK_S = 0.25

_CHOOSING = "choosing"


@dataclass(slots=True)
class _Seen:
    """A claim of somebody else's, and when it was last another one."""

    content: bytes
    since: float


@contextmanager
def alone(folder: ObjectPlace) -> Iterator[None]:
    """Be the only holder of this lock, which is a folder of claims. StorageError when the store refuses."""
    me = uuid4().hex
    choosing, over = folder / f"{_CHOOSING}-{me}", Event()
    object_store.put(choosing.key, b"")
    claim = folder / f"{_next_number(folder):09}-{me}"
    _renew(claim)
    renewing = Thread(target=_keep, args=(claim, over), daemon=True)
    renewing.start()
    try:
        choosing.unlink(missing_ok=True)
        _wait(folder, claim.name)
        yield
    finally:
        over.set()
        renewing.join()
        with suppress(StorageError):  # then it dies of itself
            claim.unlink(missing_ok=True)


def _next_number(folder: ObjectPlace) -> int:
    numbers = (place.name.partition("-")[0] for place in folder.iterdir())
    return 1 + max((int(number) for number in numbers if number.isdigit()), default=0)


def _wait(folder: ObjectPlace, mine: str) -> None:
    """Return when nobody is before this claim."""
    seen: dict[str, _Seen] = {}
    while before := [place for place in folder.iterdir() if _is_before(place.name, mine)]:
        for place in before:
            if _is_dead(place, seen):
                place.unlink(missing_ok=True)
        time.sleep(LOOK_S)


def _is_before(name: str, mine: str) -> bool:
    return name < mine or name.startswith(_CHOOSING)


def _is_dead(place: ObjectPlace, seen: dict[str, _Seen]) -> bool:
    """Whether a claim stayed as it is for too long, by the clock of who looks."""
    try:
        content = place.read_bytes()
    except FileNotFoundError:
        return False
    now = time.monotonic()
    known = seen.setdefault(place.name, _Seen(content, now))
    if known.content != content:
        seen[place.name] = _Seen(content, now)
    return now - seen[place.name].since > DEAD_S


def _renew(claim: ObjectPlace) -> None:
    object_store.put(claim.key, uuid4().hex.encode())


def _keep(claim: ObjectPlace, over: Event) -> None:
    while not over.wait(RENEWED_S):
        with suppress(StorageError):  # the next one may get through; after `DEAD_S` others take it
            _renew(claim)
