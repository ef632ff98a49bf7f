"""`python -m workers`: one Celery worker, by its environment."""

import logging
import os
import sys

from pipeline.core.errors import SettingsError
from pipeline.edges.embedded import leave_server
from pipeline.edges.environment import process_environment
from pipeline.edges.imports import keep_out_unused
from workers.settings import from_environment


def main() -> int:
    """Run the worker until it is told to stop; its exit code."""
    keep_out_unused()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    try:
        settings = from_environment()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    from workers.app import app  # noqa: PLC0415 - the app reads the environment that was just checked

    queues = ",".join(role.value for role in settings.roles)
    name = f"vidbatch-{os.getpid()}@%h"
    arguments = ["worker", "--pool=prefork", f"--concurrency={settings.children}", "-Q", queues, "-n", name]
    quiet = ["--without-mingle", "--without-gossip", "--without-heartbeat", "--loglevel=WARNING"]
    try:
        app.worker_main([*arguments, *quiet])
    finally:
        leave_server(process_environment())
    return 0


if __name__ == "__main__":
    sys.exit(main())
