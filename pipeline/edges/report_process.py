"""`python -m pipeline.edges.report_process OUT RUN`: makes one report, in a process that is for nothing else."""

import sys

from pipeline.core.errors import VidbatchError
from pipeline.edges.imports import keep_out_unused


def main(out: str, run_id: str) -> int:
    """Make it; 1, and why on stderr, where it can't be made."""
    keep_out_unused()  # before anything is loaded that would load what is not used
    from pipeline.edges.places import out_place  # noqa: PLC0415
    from pipeline.edges.report_page import write_report  # noqa: PLC0415
    from pipeline.edges.run_folder import LocalRunFolder  # noqa: PLC0415

    try:
        write_report(LocalRunFolder(out_place(out), run_id))
    except VidbatchError as error:
        print(error, file=sys.stderr)  # noqa: T201 - to the process that started this one
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
