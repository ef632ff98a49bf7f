"""How many rows a shift has in hand at a time, and for how long it takes some."""

from pipeline.core.policy import FOLLOWS, HOLDS
from pipeline.core.tickets import Role
from workers.settings import HOLDING_SHIFT_S, SHIFT_S

WINDOW = {Role.SUBMIT: 96, Role.POLL: 256}
"""Rows in hand at a time: enough to hide the API's answer time; of those to be sent few enough that a crash leaves few
unknown."""

FOLLOWED = 2_048
"""Streams that one poll shift follows at a time."""


def window_of(role: Role, mode: str) -> tuple[int, float]:
    """Rows in hand at a time, and seconds in which a shift takes some: longer where each is held for long."""
    if role is Role.POLL and mode in FOLLOWS:
        return FOLLOWED, HOLDING_SHIFT_S
    if role is Role.SUBMIT and mode in HOLDS:
        return WINDOW[role], HOLDING_SHIFT_S
    return WINDOW.get(role, 1), SHIFT_S
