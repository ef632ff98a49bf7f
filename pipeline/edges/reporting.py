"""Makes a run's report in a process of its own, so that no worker carries what that takes, or waits for ever."""

import os
import subprocess
import sys

from pipeline.core.errors import StorageError
from pipeline.edges.run_folder import LocalRunFolder

WITHIN_S = 600.0
"""A report of 50,000 rows takes a second, one of ten million minutes; what takes longer is told instead."""

_WORDS = 300


def make_report(run: LocalRunFolder, within_s: float = WITHIN_S) -> None:
    """Write the run's `report.html`. StorageError, with the reason, where it can't be made in time or at all."""
    command = [sys.executable, "-m", "pipeline.edges.report_process", str(run.out), run.run_id]
    shown = {name: value for name, value in os.environ.items() if not name.startswith("VIDBATCH_API_KEY")}
    try:
        made = subprocess.run(  # noqa: S603 - our own words
            command, env=shown, stdin=subprocess.DEVNULL, capture_output=True, timeout=within_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise StorageError(f"it took longer than {within_s:g} s") from None
    except OSError as error:
        raise StorageError(f"its process can't be started: {error.strerror or error}") from error
    if made.returncode:
        said = made.stderr.decode(errors="replace").strip().splitlines()
        raise StorageError((said[-1] if said else f"its process ended with {made.returncode}")[:_WORDS])
