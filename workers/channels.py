"""Celery's channels in Redis by their names, where they have one.

The transport subscribes to every channel as to a pattern. An ACL compares a pattern with its rules letter by letter, so
`&vidbatch:*` lets nobody subscribe to `vidbatch:celery:4:/0.celery.pidbox` that way; by its name it does.
"""

from importlib import import_module
from typing import Any

transport: Any = import_module("kombu.transport.redis")  # untyped, and it is patched here


def subscribe_by_name() -> None:
    """Let the transport's client subscribe to what is no pattern by its name."""
    client = transport.PrefixedRedisPubSub
    if getattr(client, "subscribes_by_name", False):
        return
    by_pattern, no_more = client.psubscribe, client.punsubscribe

    def psubscribe(self: Any, *topics: Any) -> Any:  # noqa: ANN401 - the client is untyped
        named, patterns = _apart(topics)
        if named:
            self.subscribe(*named)
        return by_pattern(self, *patterns) if patterns else None

    def punsubscribe(self: Any, *topics: Any) -> Any:  # noqa: ANN401
        named, patterns = _apart(topics)
        if named:
            self.unsubscribe(*named)
        return no_more(self, *patterns) if patterns else None

    client.psubscribe, client.punsubscribe, client.subscribes_by_name = psubscribe, punsubscribe, True


def _apart(topics: Any) -> tuple[list[str], list[str]]:  # noqa: ANN401
    every = [str(one) for topic in topics for one in (topic if isinstance(topic, list | tuple) else [topic])]
    return [one for one in every if "*" not in one], [one for one in every if "*" in one]
