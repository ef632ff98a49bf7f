"""Keep a worker alive when Redis restarts under kombu 5.7.0.

That version closes a Redis channel twice on connection loss. The first close fails half-way, in reading the answer of
the blocking pop that was under way, and leaves the channel open with no connection; the second then raises
AttributeError, which Celery takes for unrecoverable, and the worker exits. Here the pending pop is settled before the
channel closes, so that the first close goes through.
"""

from importlib import import_module
from typing import Any

import kombu

transport: Any = import_module("kombu.transport.redis")  # untyped, and it is patched here

AFFECTED = "5.7.0"


def survive_redis_restart() -> bool:
    """Install the remedy where it is needed; whether it was."""
    if kombu.__version__ != AFFECTED:
        return False
    if getattr(transport.Channel.close, "settles_pop", False):
        return True
    close = transport.Channel.close

    def settle_and_close(channel: Any) -> None:  # noqa: ANN401 - kombu's channel is untyped
        if channel._in_poll:  # noqa: SLF001 - kombu keeps the pending pop private
            _settle(channel)
        close(channel)

    vars(settle_and_close)["settles_pop"] = True
    transport.Channel.close = settle_and_close
    return True


def _settle(channel: Any) -> None:  # noqa: ANN401
    try:
        channel._brpop_read()  # noqa: SLF001 - reads the answer, or learns that the connection is gone
    except (transport.Empty, *channel.connection_errors):
        return
    finally:
        channel._in_poll = None  # noqa: SLF001
