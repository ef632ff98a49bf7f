"""`python -m workers`: one Celery worker, by its environment."""

import gc
import logging
import sys

from pipeline.core.errors import SettingsError
from pipeline.edges.embedded import leave_server
from pipeline.edges.environment import process_environment
from pipeline.edges.imports import keep_out_unused
from workers.settings import from_environment


def main() -> int:
    """Run the worker until it is told to stop; its exit code."""
    gc.disable()  # until all is loaded: what modules are made of is no garbage
    keep_out_unused()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    try:
        settings = from_environment()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    from workers.serving import serve  # noqa: PLC0415 - the app reads the environment that was just checked

    try:
        serve(settings)
    finally:
        leave_server(process_environment())
    return 0


if __name__ == "__main__":
    sys.exit(main())
