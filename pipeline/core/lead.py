"""Who leads a run: the one command that plans, supervises and shows it.

A run that nobody leads is collected but not sent, so that no money is spent behind a person's back; a run that was
handed to the fleet needs no leader.
"""

LEAD_S = 10.0
"""A command that died led its run until then; on the same machine its death is seen at once."""


def lead_lock(run_id: str) -> str:
    """The name of the lock that the leading command holds."""
    return f"coordinator:{run_id}"
