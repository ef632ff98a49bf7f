"""`vidbatch verify`."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click
import orjson

from pipeline.cli import options
from pipeline.cli.screen import cost_text
from pipeline.core.errors import UsageError
from pipeline.core.verification import Difference
from pipeline.edges.out_folder import OutFolder
from pipeline.edges.places import Place
from pipeline.edges.run_folder import LocalRunFolder
from pipeline.flows.verify import Verdict, verify


@click.command(name="verify")
@click.argument("run_id", required=False, metavar="[RUN]")
@options.out
@options.json_output
def command(run_id: str | None, out: Place, as_json: bool) -> None:
    """Recompute a run's receipt from its files, and tell every difference.

    Without RUN, all finished runs of OUT are verified, and the others named. Nothing is changed. The exit code is 1 if
    anything differs.
    """
    folder = OutFolder(out)
    unfinished = [] if run_id else _unfinished(folder)
    verdicts = [verify(one) for one in _chosen(folder, run_id)]
    homeless = [] if run_id else [_homeless(name) for name in folder.homeless()]
    wrong = homeless + [one for verdict in verdicts for one in verdict.differences]
    if as_json:
        runs = [_as_object(verdict) for verdict in verdicts]
        click.echo(orjson.dumps({"verified": not wrong, "runs": runs, "unfinished": unfinished}))
    else:
        for line in (*_lines(verdicts, homeless), *map(_not_verified, unfinished)):
            click.echo(line, err=bool(wrong))
    sys.exit(1 if wrong else 0)


def _homeless(name: str) -> Difference:
    return Difference(name, f"no run has {'these annotations' if name.startswith('annotations/') else 'this table'}")


def _chosen(out: OutFolder, run_id: str | None) -> list[LocalRunFolder]:
    runs = {folder.run_id: folder for folder in out.runs()}
    if run_id is None:
        finished = [folder for folder in runs.values() if folder.finished]
        if not finished:
            open_ones = "".join(f"; {_not_verified(name)}" for name in _unfinished(out))
            raise UsageError(f"{out.path} holds no finished run; there is nothing to verify{open_ones}")
        return finished[::-1]
    if run_id not in runs:
        held = f"it holds {', '.join(runs)}" if runs else "it holds none"
        raise UsageError(f"{out.path} holds no run {run_id}; {held}")
    return [runs[run_id]]


def _unfinished(out: OutFolder) -> list[str]:
    """Ids of runs that are under way, oldest first; of a mere plan nothing is to be told."""
    under_way = [one.run_id for one in out.runs() if not one.finished and (one.begun or one.has_results)]
    return under_way[::-1]


def _not_verified(run_id: str) -> str:
    return f"run {run_id} is not finished, and is not verified"


def _lines(verdicts: list[Verdict], homeless: list[Difference]) -> Iterator[str]:
    for verdict in verdicts:
        yield from (str(one) for one in verdict.differences)
        if verdict.differences:
            yield f"run {verdict.run_id}: {len(verdict.differences)} differences"
        elif verdict.receipt:
            yield f"run {verdict.run_id}: {_totals(verdict.receipt)}; all of it is as the receipt says"
        yield from (f"run {verdict.run_id}: {one}" for one in verdict.news)
    yield from (str(one) for one in homeless)


def _totals(receipt: Mapping[str, Any]) -> str:
    rows, usage, twice = receipt["rows"], receipt["usage"], receipt["possible_duplicates"]
    ends = " + ".join(f"{count:,} {end}" for end, count in rows.items() if count and end != "manifest")
    return (
        f"{rows['manifest']:,} rows = {ends or 'none'}; {receipt['posts']:,} POSTs, "
        f"{twice['rows']:,} rows possibly billed twice; {usage['prompt_tokens'] or 0:,} tokens in, "
        f"{usage['completion_tokens'] or 0:,} out; cost: {cost_text(usage['cost'])}"
    )


def _as_object(verdict: Verdict) -> dict[str, Any]:
    return {
        "run_id": verdict.run_id,
        "verified": bool(verdict.receipt) and not verdict.differences,
        "differences": [{"file": one.file, "what": one.what} for one in verdict.differences],
        "news": list(verdict.news),
        "receipt": verdict.receipt or None,
    }
