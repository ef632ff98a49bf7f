"""`python -m workers`: one Celery worker, by its environment."""

import gc
import logging
import sys
from importlib import import_module

from pipeline.core.errors import LedgerRefused, SettingsError
from pipeline.edges.embedded import leave_server
from pipeline.edges.embedded_worker import called
from pipeline.edges.environment import open_to_others, process_environment
from pipeline.edges.imports import keep_out_unused
from pipeline.edges.log_secrets import secrets_of
from pipeline.edges.logs import configure, hide
from pipeline.edges.redis_look import see_that_it_lets_us_in
from pipeline.edges.redis_place import redis_place
from workers.settings import from_environment

_log = logging.getLogger("vidbatch.worker")


def main() -> int:
    """Run the worker until it is told to stop; its exit code."""
    gc.disable()  # until all is loaded: what modules are made of is no garbage
    keep_out_unused("psutil")  # Celery would look at memory with it, when a debugger asks
    try:
        if not called(_load):
            return 0
        hide(secrets_of(process_environment()))
        configure(process_environment())
        settings = from_environment()
        if settings.key is not None:
            hide([settings.key.reveal()])
        if said := open_to_others(process_environment()):
            _log.warning("%s", said, extra={"event": "readable_secret"})
        if not redis_place(settings.redis_url).is_private:
            see_that_it_lets_us_in(settings.redis_url)
        from workers.serving import serve  # noqa: PLC0415 - it takes a second, and what is wrong is told before

        serve(settings)
        _log.info("gone", extra={"event": "worker_stopped"})
    except SettingsError as error:
        if logging.getLogger().handlers:
            _log.error("%s", error, extra={"event": "settings_wrong"})
        else:
            sys.stderr.write(f"{error}\n")
        return 2
    except LedgerRefused as error:
        # whoever starts it again waits longer each time, and finds the same until a person has changed something
        _log.error("%s", error, extra={"event": "redis_refuses"})
        return 5
    finally:
        leave_server(process_environment())
    return 0


def _load() -> None:
    """Load what every worker needs, whatever it will be told."""
    import_module("workers.serving")


if __name__ == "__main__":
    sys.exit(main())
