"""How much a shift has in hand, and for how long it takes more, by its role and how answers come."""

from pipeline.core.policy import FOLLOWS, HOLDS
from pipeline.core.tickets import Role
from workers.settings import HOLDING_SHIFT_S, SHIFT_S

WINDOW = {Role.SUBMIT: 96, Role.POLL: 256}
"""Rows in hand at a time: enough to hide the API's answer time; of those to be sent few enough that a crash leaves few
unknown."""

FOLLOWED = 2_048
"""Streams that one poll shift follows at a time."""

GATHER_S = {Role.SUBMIT: 0.02, Role.POLL: 0.05}
"""How long rows wait for others: each group costs Redis and us as much as several rows. The answer to a poll can wait,
an id that nobody else knows had better not."""


def window_of(role: Role, mode: str) -> tuple[int, float]:
    """Rows in hand at a time, and seconds in which a shift takes some: longer where each is held for long."""
    if role is Role.POLL and mode in FOLLOWS:
        return FOLLOWED, HOLDING_SHIFT_S
    if role is Role.SUBMIT and mode in HOLDS:
        return WINDOW[role], HOLDING_SHIFT_S
    return WINDOW.get(role, 1), SHIFT_S
