"""Who leads a run: the one command that plans, supervises and shows it.

A run that nobody leads is collected but not sent, so that no money is spent behind a person's back; a run that was
handed to the fleet needs no leader.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

LEAD_S = 10.0
"""A command that died led its run until then; on the same machine its death is seen at once."""


def lead_lock(run_id: str) -> str:
    """The name of the lock that the leading command holds."""
    return f"coordinator:{run_id}"


def moved(begun: Mapping[str, str], place: str, identity: str) -> bool:
    """Whether a run would go on in another ledger than the one that it was begun in.

    `begun` is what was noted then: the ledger's `place` and its `identity`. The same place with another identity is a
    ledger that lost its data, the same identity at another place is one server under two names: both may go on.
    """
    return bool(begun) and begun.get("identity") != identity and begun.get("place") != place


def place_of(redis_url: str) -> str:
    """A Redis URL without user and password, for people and files."""
    parts = urlsplit(redis_url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"
