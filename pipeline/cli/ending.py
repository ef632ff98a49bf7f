"""How a command that followed a run ends: what the person is told, what they can do next, and the exit code."""

import click
import orjson

from pipeline.cli.plan_text import summary_lines
from pipeline.cli.preparing import Prepared, cancel_words
from pipeline.cli.screen import Screen
from pipeline.cli.watching import Stop, Stopped
from pipeline.core.errors import LedgerMismatch
from pipeline.core.snapshot import RunSnapshot
from pipeline.core.summary import all_completed, summary_of

EXIT = {Stopped.INTERRUPTED: 130, Stopped.PAUSED: 4, Stopped.STORAGE: 5}
AGAIN = "run the same command again to go on"


def end(stop: Stop, prepared: Prepared, screen: Screen, *, as_json: bool) -> int:
    """Say how the run stands; the exit code."""
    if stop.why is Stopped.LEFT:
        told = "is with the fleet" if stop.reason == "detached" else "goes on"
        screen.say(f"run {prepared.folder.run_id} {told}; look at it with `vidbatch status {prepared.folder.run_id}`")
        return 0
    if stop.why is Stopped.FINISHED:
        return report(prepared, screen, as_json=as_json)
    match stop.why:
        case Stopped.INTERRUPTED:
            screen.say(f"interrupted{': ' + stop.reason if stop.reason else ''}; {AGAIN}")
        case Stopped.PAUSED:
            for line in pause_lines(stop, prepared):
                screen.say(line)
        case _:
            screen.say(f"stopped by the disk: {stop.reason}; when there is room, {AGAIN}")
    if as_json and stop.run is not None:
        content = {**summary_of(stop.run), "stopped": stop.why.value, "reason": stop.reason}
        click.echo(orjson.dumps(content))
    return EXIT[stop.why]


def pause_lines(stop: Stop, prepared: Prepared) -> list[str]:
    """Why the run waits for a person, and what that person can do."""
    run = stop.run
    if run is None:
        return [f"paused: {stop.reason}"]
    if run.account_blocked:
        return _account_lines(run)
    if run.polls_held:
        return [
            f"paused: {run.reason}: {run.guard}",
            "what was paid for is asked for with the key that paid: set that account's key, or wait until the API",
            f"finds its generations again; then {AGAIN}",
            f"if they are gone for good: end the run with `{cancel_words(prepared.folder)}`",
        ]
    if run.guard:
        return _guard_lines(run, prepared)
    return [f"paused: {stop.reason}", f"no row failed for it; when the cause is gone, {AGAIN}"]


def _account_lines(run: RunSnapshot) -> list[str]:
    cause = (
        "top up the account's balance"
        if run.account_polls
        else "set VIDBATCH_API_KEY, or the file of VIDBATCH_API_KEY_FILE, to a key that is accepted"
    )
    rest = run.total - run.ended
    return [
        f"paused: the API refuses the account: {run.account_blocked}",
        f"no row failed for it, {rest:,} are still to be done: {cause}, then {AGAIN}",
    ]


def _guard_lines(run: RunSnapshot, prepared: Prepared) -> list[str]:
    described = prepared.described
    cancel = cancel_words(prepared.folder)
    return [
        f"paused: {run.reason}, and none after them was sent; the API's words: {run.guard}",
        f"asked was {', '.join(described['models'])} at {described['base_url']}",
        f"if the address or the model is wrong: they are part of the run; end it with `{cancel}`,",
        "then give the right command, or give that one another --out",
        f"if the cause was elsewhere and is gone: {AGAIN}; rows that ended so stay ended",
    ]


def report(prepared: Prepared, screen: Screen, *, as_json: bool) -> int:
    """Say how a finished run came out; 0 when every row of the manifest completed."""
    summary = prepared.folder.summary()
    if summary is None:
        raise LedgerMismatch(
            f"the ledger of run {prepared.folder.run_id} is gone from Redis; {AGAIN}, from what is on disk"
        )
    described = prepared.described
    if as_json:
        click.echo(orjson.dumps({**summary, "rows": described["rows"], "rejections": described["rejections"]}))
    else:
        for line in summary_lines(described, summary, str(prepared.folder.out)):
            screen.say(line)
    return 0 if all_completed(summary["outcomes"]) and not described["rejections"] else 1
