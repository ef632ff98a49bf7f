"""How many generations an account allows in flight, found from where it refused.

A refusal does not tell what was too much: requests a second, or generations at a time. So the number in flight at a
refusal is suspected to be the limit, and kept to, until a tester tells: accepted above it, it is none; refused though
nothing was sent for a while, it is one. A suspicion that keeps rows back for seconds is believed as well, since then
the rate is not what bounds. What is believed is refuted by a refusal well below it. Nothing here sets a rate.
"""

from dataclasses import dataclass, replace

FORGOTTEN_S = 5.0
"""A suspicion that does not bind is dropped after so long: until then the rate was cut, too, and explains all."""

BEYOND = 1.2
"""One that binds while the rate does not is raised by a `STEP` a second; past this it was none."""

NEAR = 0.85
"""A refusal at this share of the limit or above is about the same limit: generations that ended are noticed late."""

LOWERED = 0.45
"""A limit is lowered to half at once, perhaps; refusals that go on further below it are about the rate."""

STRIKES = 3
STRIKES_WITHIN_S = 20.0
"""So many refusals about a limit, each so soon after the one before, with requests accepted between: it is the rate."""

SHORTEST_HOLD_S = 60.0
LONGEST_HOLD_S = 600.0
"""A limit is probed above after it bound for so long; twice as long when a probe found it again."""

RAMP_S = 10.0
"""From the end of a hold until the limit is exceeded by `STEP` or one; twice the limit comes 3 times as late."""

STEP = 0.03

MOST_DOUBT = 4


@dataclass(frozen=True, slots=True)
class Flight:
    """What is known of the limit in flight. `cap` (0: none) is suspected, or `proven`.

    `bound_s` counts the seconds in which it was the bound, `age_s` those since it was set. `doubt` counts suspicions
    that were wrong: each makes the next one harder to believe. `refusals` counts testers, `strikes` refusals in a row.
    """

    cap: int = 0
    proven: bool = False
    bound_s: float = 0.0
    age_s: float = 0.0
    hold_s: float = SHORTEST_HOLD_S
    refusals: int = 0
    strikes: int = 0
    doubt: int = 0
    met_at: int = 0


UNSUSPECTED = Flight()


def cap_of(flight: Flight) -> int | None:
    """The number in flight to keep to now."""
    if not flight.cap:
        return None
    step = max(STEP * flight.cap, 1.0)
    if not flight.proven:
        return flight.cap + int(step * flight.bound_s)
    over = min(1e3, max(0.0, flight.bound_s - flight.hold_s) / RAMP_S)
    return flight.cap + int(step * over**3)


def suspected(flight: Flight, in_flight: int) -> Flight:
    """A limit that may have been the reason of a refusal."""
    again = NEAR * flight.met_at <= in_flight <= flight.met_at / NEAR
    met_at = max(1, in_flight)
    if flight.doubt and not again:
        return Flight(doubt=flight.doubt, met_at=met_at)
    if flight.cap and not flight.proven and flight.bound_s >= 2.0**flight.doubt and in_flight >= NEAR * flight.cap:
        return believed(flight, in_flight)
    return Flight(cap=met_at, doubt=flight.doubt, met_at=met_at, refusals=flight.refusals)


def believed(flight: Flight, in_flight: int) -> Flight:
    """A limit that was tested."""
    return Flight(cap=max(1, in_flight), proven=True, met_at=in_flight, doubt=flight.doubt)


def dropped(flight: Flight, *, wrong: bool) -> Flight:
    """No limit; `wrong` where a test told so."""
    return Flight(doubt=min(MOST_DOUBT, flight.doubt + wrong), met_at=flight.met_at)


def tested(flight: Flight, how: str, in_flight: int) -> Flight:
    """A tester came back, while so many were pending."""
    if not flight.cap or flight.proven:
        return flight
    if how == "accepted":
        return dropped(flight, wrong=True) if in_flight >= flight.cap else flight
    refusals = flight.refusals + 1
    if refusals > flight.doubt:
        return believed(flight, in_flight)
    return replace(suspected(flight, in_flight), refusals=refusals)


def explains(flight: Flight, in_flight: int, accepted: int) -> bool:
    """Whether a proven limit explains a refusal at `in_flight`, `accepted` requests after the last one."""
    if not flight.proven:
        return False
    if accepted == 0 or flight.met_at > flight.cap:
        return in_flight >= LOWERED * flight.met_at  # nothing came through: the limit itself was lowered
    striking = flight.strikes + 1 >= (STRIKES - min(1, flight.doubt)) and flight.age_s < STRIKES_WITHIN_S
    return in_flight >= min(flight.cap - 2, NEAR * flight.cap) and not striking


def met(flight: Flight, in_flight: int, accepted: int) -> Flight:
    """A proven limit after a refusal that it explains."""
    same = in_flight >= NEAR * flight.cap
    soon = flight.age_s < STRIKES_WITHIN_S
    hold_s = min(LONGEST_HOLD_S, 2 * flight.hold_s) if same and not soon else SHORTEST_HOLD_S
    cap = max(1, in_flight)
    return replace(
        flight,
        cap=cap,
        met_at=cap if accepted else flight.met_at,
        bound_s=0.0,
        age_s=0.0,
        hold_s=hold_s,
        strikes=flight.strikes + (accepted > 0) if same and soon else 0,
        doubt=max(0, flight.doubt - (same and not soon)),
    )


def passed(flight: Flight, seconds: float, in_flight: int, *, held_back: bool, paced: bool) -> Flight:
    """The same after some time; `held_back` while nothing may be sent, `paced` where the rate was a bound, too."""
    cap = cap_of(flight)
    if cap is None or held_back:
        return flight
    binds = in_flight >= cap - 1 and not (paced and not flight.proven)
    flight = replace(flight, bound_s=flight.bound_s + seconds * binds)
    if flight.proven or not binds:
        flight = replace(flight, age_s=flight.age_s + seconds)
    if flight.proven or flight.age_s < FORGOTTEN_S:
        wrong = not flight.proven and cap > BEYOND * flight.cap + 1
        return dropped(flight, wrong=True) if wrong else flight
    return dropped(flight, wrong=False)
