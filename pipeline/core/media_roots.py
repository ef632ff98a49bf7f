"""Which folders a run's files lie in, and who may read them."""

from collections.abc import Iterable
from pathlib import PurePosixPath


def covers(own: Iterable[str], needed: Iterable[str]) -> bool:
    """Whether somebody who may read `own` folders may read all that are `needed`; real paths."""
    roots = [PurePosixPath(root) for root in own]
    return all(any(PurePosixPath(one).is_relative_to(root) for root in roots) for one in needed)


def lacking_roots(own: Iterable[str], needed: Iterable[str]) -> list[str]:
    """Those of the needed folders that `own` ones do not hold."""
    held = list(own)
    return [one for one in needed if not covers(held, [one])]
