"""The API breaks while rows are sent: its answers to POSTs are errors, are lost, are nonsense, or never come.

What is left in doubt is sent again at most once, and says so.
"""

from dataclasses import replace
from functools import partial

from pipeline.core.lifecycle import Outcome
from pipeline.faultlab.demands import ENOUGH, in_doubt, unknown_where_shared
from pipeline.faultlab.fault import Family, Fault
from pipeline.faultlab.forwarder import Forwarder
from pipeline.faultlab.stage import Stage
from pipeline.faultlab.strikes import AFTER_BACKOFFS_S, begin, settled, strike
from pipeline.faultlab.verdict import Rules, ambiguous_answers

SERVER_ERRORS = (500, 502, 503)
AWAY_S = 3.0
YEARS_S = 10 * 365 * 86_400
NO_CHANNEL_S = 45.0
"""A row waits 15 s to 30 s for a channel, since the API's capacity does not come back sooner."""

BURST = 20
"""POSTs left in doubt: several in each group commit, and few enough for all to be sent again soon."""


async def _submit(stage: Stage, kind: str) -> None:
    """Every POST breaks in this way until enough of them have."""
    await begin(stage)
    await strike(stage, {f"{kind}_rate": 1.0}, kind, times=BURST)


async def _server_errors(stage: Stage, kind: str) -> None:
    """The first status comes often; each of the others once the back-off lets a few rows try again."""
    await begin(stage)
    for status in SERVER_ERRORS:
        times = ENOUGH if status == SERVER_ERRORS[0] else 1
        await strike(stage, {"error_status": status, f"{kind}_rate": 1.0}, kind, times=times)


async def _now_and_then(stage: Stage) -> None:
    """Some rows meet a second loss, and may not be sent a third time."""
    await begin(stage)
    await strike(stage, {"hangup_after_rate": 0.3}, "hangup_after", times=BURST, lasts_s=15.0)


async def _garbled(stage: Stage, kind: str) -> None:
    await begin(stage)
    rates = {"submit_garbled_rate": 1.0, "query_garbled_rate": 1.0}
    await strike(stage, {"garbled_kind": kind, **rates}, "submit_garbled", "query_garbled")


async def _silent(stage: Stage) -> None:
    """Nobody answers any more, and connections stay open; the fault is over when all are given up."""
    await begin(stage)
    await strike(stage, {"submit_silence_rate": 1.0, "query_silence_rate": 0.5}, "submit_silence", "query_silence")
    await settled(stage)


async def _no_channel(stage: Stage) -> None:
    await begin(stage)
    await strike(stage, {"no_channel_rate": 1.0}, "no_channel")


async def _same_id_twice(stage: Stage) -> None:
    await begin(stage)
    await strike(stage, {"duplicate_id_rate": 0.5}, "duplicate_id", times=3 * BURST)


async def _wrong_times(stage: Stage) -> None:
    await begin(stage)
    for skew in (YEARS_S, -YEARS_S):
        await strike(stage, {"created_skew_s": skew}, "POST 200", "GET 200", times=BURST)


async def _refuse(stage: Stage, *, abruptly: bool) -> None:
    """The API's door is closed: what is on the wire is answered still, or is reset; then nobody listens."""
    forwarder = await stage.beside.enter_async_context(Forwarder(stage.base_url))
    stage.base_url = forwarder.url
    await begin(stage)
    forwarder.close(abruptly=abruptly)
    await stage.until_run(lambda run: run.trouble != "", "the run has noticed that nobody listens")
    await strike(stage, {}, lasts_s=AWAY_S)
    await forwarder.open()


async def _slow(stage: Stage) -> None:
    """Answers take longer than a lease: rows in a living worker's hand may not be taken over."""
    await begin(stage)
    await strike(stage, {"submit_delay": "12s", "query_delay": "1s"}, "POST 200", times=BURST)


_IN_DOUBT = Rules(ambiguous_answers, frozenset({Outcome.COMPLETED, Outcome.UNKNOWN}), demand=in_doubt)
_IN_DOUBT_FOR_LONG = replace(_IN_DOUBT, recovers_within_s=AFTER_BACKOFFS_S)
_SHARED = Rules(outcomes=frozenset({Outcome.COMPLETED, Outcome.UNKNOWN}), demand=unknown_where_shared)

_NOTHING = (
    ("server-error-nothing-created", "error_before", "POSTs are answered with 500, 502, 503, and nothing is created"),
    ("server-error-created", "error_after", "POSTs are answered with 500, 502, 503, and the generation exists"),
)
"""Name, switch, meaning."""

_LOST = (
    ("answer-lost", "hangup_after", "the connection is closed unanswered, and the generation exists"),
    ("closed-before", "hangup_before", "the connection is closed unanswered, and nothing was created"),
    ("answer-reset", "submit_cut", "the connection is reset in the middle of the answer to a POST"),
)

_GARBLED = (
    ("html-bodies", "html", "POSTs and polls are answered 200 with a page of HTML"),
    ("truncated-json", "truncated", "POSTs and polls are answered 200 with half a JSON text"),
    ("invalid-json", "invalid", "POSTs and polls are answered 200 with what is no JSON"),
    ("empty-bodies", "empty", "POSTs and polls are answered 200 with nothing"),
)

FAULTS = (
    *(
        Fault(name, Family.API, meaning, partial(_server_errors, kind=kind), _IN_DOUBT_FOR_LONG)
        for name, kind, meaning in _NOTHING
    ),
    *(Fault(name, Family.API, meaning, partial(_submit, kind=kind), _IN_DOUBT) for name, kind, meaning in _LOST),
    *(Fault(name, Family.API, meaning, partial(_garbled, kind=kind), _IN_DOUBT) for name, kind, meaning in _GARBLED),
    Fault(
        "answers-lost-again",
        Family.API,
        "one answer in three is lost for a while, so that some rows lose two",
        _now_and_then,
        _IN_DOUBT,
    ),
    Fault(
        "connect-refused",
        Family.API,
        "nobody listens for a while; what was on the wire is answered",
        partial(_refuse, abruptly=False),
    ),
    Fault(
        "api-restarted",
        Family.API,
        "every connection is reset, and nobody listens for a while",
        partial(_refuse, abruptly=True),
        _IN_DOUBT,
    ),
    Fault(
        "read-timeout",
        Family.API,
        "POSTs and polls are not answered, and the connection stays open",
        _silent,
        _IN_DOUBT,
        deadline_s=300.0,
    ),
    Fault("slow-answers", Family.API, "POSTs are answered after longer than a lease", _slow),
    Fault(
        "no-channel",
        Family.API,
        "POSTs are answered 422, no channel is available now",
        _no_channel,
        Rules(recovers_within_s=NO_CHANNEL_S),
    ),
    Fault(
        "same-id-twice", Family.API, "POSTs are answered with the id of an earlier generation", _same_id_twice, _SHARED
    ),
    Fault("created-elsewhen", Family.API, "`created` is ten years ahead, then ten years back", _wrong_times),
)
