"""How a command that followed a run ends: what the person is told, what they can do next, and the exit code."""

from collections.abc import Iterator, Mapping
from typing import Any

import click
import orjson

from pipeline.cli.family import family
from pipeline.cli.plan_text import summary_lines
from pipeline.cli.preparing import Prepared
from pipeline.cli.screen import Screen
from pipeline.cli.watching import DETACHED, Stop, Stopped
from pipeline.cli.wording import again_words, cancel_words, report_words
from pipeline.core import advice
from pipeline.core.errors import LedgerMismatch
from pipeline.core.snapshot import RunSnapshot, RunState
from pipeline.core.spending import budget_lines, budget_object, receipt_lines
from pipeline.core.standing import COLLECTS, REPAIRABLE, RETRY_OF, Remains
from pipeline.core.summary import REPORT_TROUBLE, all_completed, summary_of
from pipeline.core.waiting import waits_for
from pipeline.edges.out_folder import OutFolder
from pipeline.edges.run_folder import LocalRunFolder

EXIT = {Stopped.INTERRUPTED: 130, Stopped.BUDGET: 3, Stopped.PAUSED: 4, Stopped.STORAGE: 5}
AGAIN = "run the same command again to go on"


def end(stop: Stop, prepared: Prepared, screen: Screen, *, as_json: bool) -> int:
    """Say how the run stands; the exit code."""
    if stop.why is Stopped.LEFT:
        _leave(stop, prepared, screen, as_json=as_json)
        return 0
    if stop.why is Stopped.FINISHED:
        return report(prepared, screen, as_json=as_json)
    match stop.why:
        case Stopped.INTERRUPTED:
            screen.say(f"interrupted{': ' + stop.reason if stop.reason else ''}; {AGAIN}")
            _say_waits(stop, screen)
        case Stopped.BUDGET if stop.run is not None:
            for line in budget_lines(stop.run):
                screen.say(line)
        case Stopped.PAUSED:
            for line in pause_lines(stop, prepared):
                screen.say(line)
        case _:
            screen.say(f"stopped by the disk: {stop.reason}; when there is room, {AGAIN}")
    if as_json and stop.run is not None:
        content = {**summary_of(stop.run), **_where(prepared), "stopped": stop.why.value, "reason": stop.reason}
        content["budget"] = budget_object(stop.run)
        click.echo(orjson.dumps(content))
    return EXIT[stop.why]


def _leave(stop: Stop, prepared: Prepared, screen: Screen, *, as_json: bool) -> None:
    """Say what becomes of a run that this command leaves to others."""
    paused = stop.run is not None and stop.run.state is RunState.PAUSED
    told = "is with the fleet" if stop.reason == DETACHED else "stays paused" if paused else "goes on"
    screen.say(f"run {prepared.folder.run_id} {told}; look at it with `vidbatch status {prepared.folder.run_id}`")
    if not stop.reason:
        _say_waits(stop, screen)
    elif as_json:
        click.echo(orjson.dumps({**_where(prepared), "state": DETACHED}))


def _where(prepared: Prepared) -> dict[str, str]:
    return {"run_id": prepared.folder.run_id, "out": str(prepared.folder.out)}


def _say_waits(stop: Stop, screen: Screen) -> None:
    """Name what the run waits for, unless all that it waits for is its command."""
    if stop.run is not None and not stop.run.quiet:
        screen.say(f"it waits for {waits_for(stop.run, '')}")


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
    if as_json:
        click.echo(orjson.dumps(report_object(prepared, summary)))
    else:
        budget = receipt_lines((prepared.folder.receipt() or {}).get("budget"))
        lines = summary_lines(prepared.described, summary, str(prepared.folder.out))
        for line in (*lines, *file_lines(prepared.folder, summary), *budget, *left_lines(prepared, summary)):
            screen.say(line)
    return report_code(prepared, summary)


def report_object(prepared: Prepared, summary: Mapping[str, Any]) -> dict[str, Any]:
    """A finished run for programs, with what became of the rows that are no requests."""
    described = prepared.described
    derived = {name: described[name] for name in (RETRY_OF, COLLECTS) if name in described}
    plan = {name: described.get(name, 0) for name in ("rows", "rejections", "duplicates", "reused")}
    return {**summary, **_where(prepared), "state": RunState.FINISHED.value, **plan, **derived}


def report_code(prepared: Prepared, summary: Mapping[str, Any]) -> int:
    """The exit code of a finished run: 0 when every row of the manifest completed, by now."""
    good = all_completed(summary["outcomes"]) or not _left(prepared)
    good = good and all_completed(prepared.described.get("reused_outcomes", {}))
    return 0 if good and not prepared.described["rejections"] else 1


def _left(prepared: Prepared) -> bool:
    """Whether rows did not complete by now, in later runs either."""
    return bool(family(OutFolder(prepared.folder.out), prepared.folder).remains().counts)


def file_lines(folder: LocalRunFolder, summary: Mapping[str, Any]) -> Iterator[str]:
    """Where a finished run is told of: the report, or why there is none, and the receipt."""
    if folder.report_path.exists():
        yield f"report: {folder.report_path}"
    elif trouble := summary.get(REPORT_TROUBLE):
        yield f"no report: {trouble}; the dataset is whole all the same, and `{report_words(folder)}` makes one"
    if folder.receipt_path.exists():
        yield f"receipt: {folder.receipt_path}"


def left_lines(prepared: Prepared, summary: Mapping[str, Any]) -> list[str]:
    """What can be done for rows that have no answer that fits, here or in a run that was derived from this one."""
    complete = all_completed(summary["outcomes"])
    if complete and not any(summary.get("answer_statuses", {}).get(status) for status in REPAIRABLE):
        return []
    relatives = family(OutFolder(prepared.folder.out), prepared.folder)
    if (unfinished := relatives.unfinished()) is not None:
        words = again_words(unfinished, unfinished.described())
        return [f"run {unfinished.run_id} works on some of these rows and is not finished: `{words}` goes on"]
    left = relatives.remains()
    mended = [] if left.counts or left.unfit else ["all answers fit by now, in later runs"]
    by_now = mended if complete else [] if left.counts else ["all of them completed by now, in later runs"]
    return [*by_now, *remains_lines(left, prepared.folder)]


def remains_lines(left: Remains, folder: LocalRunFolder) -> list[str]:
    """The commands that help rows that are left by now; asking again costs, collecting does not."""
    return advice.remains_lines(left, folder.run_id, str(folder.out))
