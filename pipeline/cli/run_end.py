"""`python -m pipeline.cli.run_end RUN OUT`: what OUT says of a run, as one JSON object, for whoever waits for its end.

In a process of its own, since what reads OUT is heavy, and not to be loaded where it is asked for.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from pipeline.cli.ending import report_code, report_object
from pipeline.cli.preparing import found
from pipeline.core.errors import VidbatchError
from pipeline.core.lifecycle import Outcome
from pipeline.edges.imports import keep_out_unused
from pipeline.edges.places import out_place
from pipeline.edges.run_folder import LocalRunFolder


def told(run_id: str, out: str) -> dict[str, Any]:
    """The fields of `ports.RunEnd`. An OUT that can't be read knows no run."""
    folder = LocalRunFolder(out_place(out), run_id)
    try:
        if not (folder.path / "run.json").exists():
            return {"known": False, "said": f"{out} does not hold it, as it is seen from here"}
        summary = folder.summary()
        if summary is None:
            return {"known": True}
        run = found(folder)
        code, whole = report_code(run, summary), report_object(run, summary)
    except (VidbatchError, OSError) as error:
        return {"known": False, "said": str(error)}
    return {"known": True, "exit_code": code, "said": _line(whole), "summary": whole}


def _line(summary: Mapping[str, Any]) -> str:
    """How the rows ended, in one line."""
    ends = {name: count for name, count in summary["outcomes"].items() if count and name != Outcome.COMPLETED}
    ends |= {name: count for name in ("rejections", "reused") if (count := summary.get(name, 0))}
    others = "".join(f", {count:,} {name}" for name, count in ends.items())
    return f"{summary['outcomes'].get(Outcome.COMPLETED, 0):,} of {summary['rows']:,} rows completed{others}"


def main() -> None:
    """Print it; the folder is the schedule's, in which a relative OUT is looked for."""
    keep_out_unused()
    run_id, out = sys.argv[1:]
    sys.stdout.buffer.write(
        orjson.dumps(told(run_id, out if "://" in out else str(Path.cwd() / out))) + os.linesep.encode()
    )


if __name__ == "__main__":
    main()
