"""`vidbatch diff`."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import orjson

from pipeline.cli import options
from pipeline.cli.diff_text import diff_lines
from pipeline.cli.family import the_run
from pipeline.core.comparing import Comparison
from pipeline.core.errors import UsageError
from pipeline.edges.export_files import free_file
from pipeline.edges.out_folder import OutFolder
from pipeline.edges.places import Place
from pipeline.edges.run_folder import LocalRunFolder

ENDINGS = (".csv", ".parquet")


@click.command(name="diff")
@click.argument("run_a", metavar="RUN_A")
@click.argument("run_b", metavar="RUN_B")
@options.out
@click.option(
    "--to",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the changed rows to this file, as its ending says: .csv or .parquet.",
)
@click.option("--force", is_flag=True, help="Replace what stands at --to.")
@options.json_output
def command(run_a: str, run_b: str, out: Place, to: Path | None, force: bool, as_json: bool) -> None:
    """Compare RUN_A and RUN_B of one OUT: the same videos, another prompt or model.

    Rows are matched by their row_id, and by prompt_name where both runs have several prompts.
    """
    if to is not None and to.suffix not in ENDINGS:
        raise UsageError(f"--to: found {to.name!r}; allowed are names that end in {' or '.join(ENDINGS)}")
    if to is not None:
        to = free_file(to, out, force=force)
    folder = OutFolder(out)
    a, b = the_run(folder, run_a), the_run(folder, run_b)
    if run_a == run_b:
        raise UsageError(f"RUN_A and RUN_B: found {run_a} twice; allowed are two different runs")
    told = _compare(folder, a, b, to)
    if as_json:
        click.echo(orjson.dumps(told))
        return
    for line in diff_lines(told):
        click.echo(line)


def _compare(out: OutFolder, a: LocalRunFolder, b: LocalRunFolder, to: Path | None) -> dict[str, Any]:
    """Everything that is found, as plain values."""
    from pipeline.edges.run_pairs import pairs_of  # noqa: PLC0415 - nobody waits for it who mistyped a run

    found = Comparison()
    with ExitStack() as stack:
        pairs = stack.enter_context(pairs_of(out, a, b))
        keep = None
        if to is not None:
            from pipeline.edges.changes_file import changes_writer  # noqa: PLC0415 - only where it is asked for

            keep = stack.enter_context(changes_writer(to))
        for pair in pairs:
            what = found.add(pair)
            if what and keep is not None:
                keep(pair, what)
        whole, named = pairs.whole, pairs.named
    return {
        **{name: _described(run, is_whole) for name, run, is_whole in zip("ab", (a, b), whole, strict=True)},
        **found.described(),
        "matched_by": ["row_id", "prompt_name"] if named else ["row_id"],
        "samples": list(_samples(found)),
        "changes": str(to) if to else None,
    }


def _described(run: LocalRunFolder, whole: bool) -> dict[str, Any]:
    described = run.described()
    receipt = run.receipt() or {}
    return {
        "run_id": run.run_id,
        "finished": whole,
        "models": described.get("models", {}),
        "prompt_names": described.get("prompt_names", []),
        "typed": "answer_schema" in described,
        "usage": receipt.get("usage"),
    }


def _samples(found: Comparison) -> Iterator[dict[str, Any]]:
    for pair, what in found.samples:
        sides = {name: _shown(side) for name, side in (("a", pair.a), ("b", pair.b))}
        yield {"row_id": pair.row_id, "prompt_name": pair.prompt_name, "changed": list(what), **sides}


def _shown(side: Any) -> dict[str, Any]:  # noqa: ANN401 - core.comparing.Side
    return {"outcome": side.outcome, "answer_status": side.status, "answer": side.answer, "content": side.content}
