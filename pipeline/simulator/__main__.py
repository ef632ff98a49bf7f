"""`python -m pipeline.simulator`: one simulator as a process; every switch of `SimulatorSettings` is an option."""

import argparse
import sys

from pipeline.core.errors import VidbatchError
from pipeline.simulator.server import run
from pipeline.simulator.settings import OPTIONS, SimulatorSettings, changed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline.simulator", argument_default=argparse.SUPPRESS)
    for option in OPTIONS:
        explanation = option.help.replace("%", "%%")
        if option.is_switch:
            parser.add_argument(option.flag, action=argparse.BooleanOptionalAction, help=explanation)
        else:
            parser.add_argument(option.flag, help=explanation)
    return parser


def _announce(base_url: str) -> None:
    sys.stdout.write(f"simulator ready {base_url}\n")
    sys.stdout.flush()


def main() -> int:
    """Serve until told to stop; 2 for options that can't be used, 5 when it can't listen."""
    arguments = vars(_parser().parse_args())
    try:
        settings = changed(SimulatorSettings(), arguments)
    except VidbatchError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    try:
        run(settings, _announce)
    except VidbatchError as error:
        sys.stderr.write(f"{error}\n")
        return 5
    return 0


if __name__ == "__main__":
    sys.exit(main())
