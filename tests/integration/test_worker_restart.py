"""What kombu 5.7.0 does when Redis ends under a pending pop, without and with the remedy of `workers.restart`."""

import gc
from contextlib import suppress

import kombu
import pytest
from redis.connection import AbstractConnection

from workers import restart

transport = restart.transport


@pytest.fixture
def original(monkeypatch):
    """Kombu as it came, whatever was installed before; what a test installs goes with the test."""
    patched = transport.Channel.close
    cells = {
        name: cell.cell_contents
        for name, cell in zip(patched.__code__.co_freevars, patched.__closure__ or (), strict=True)
    }
    monkeypatch.setattr(transport.Channel, "close", cells.get("close", patched))


@pytest.fixture
def busy(redis_server, redis_url):
    """A worker's connection: a pop under way, one message not acknowledged, and the channel of remote control."""
    path = redis_url.removeprefix("unix://")
    connection = kombu.Connection(f"redis+socket://{path}", transport_options={"socket_timeout": 5})
    channel = connection.default_channel
    queue = kombu.Queue("tickets", channel=channel)
    queue.declare()
    kombu.Producer(channel).publish({"run": "r"}, routing_key="tickets")
    taken = []
    kombu.Consumer(channel, [queue], callbacks=[lambda _, message: taken.append(message)]).consume()
    mailbox = kombu.Queue("worker.pidbox", kombu.Exchange("pidbox", "fanout", durable=False), auto_delete=True)
    kombu.Consumer(connection.channel(), [mailbox]).consume()
    while not taken:
        connection.drain_events(timeout=10)
    connection.transport.cycle.on_poll_start()
    assert channel._in_poll
    yield connection, channel
    with suppress(Exception):
        connection.close()
    for left in gc.get_objects():  # a channel whose close failed leaves its connections to whichever test comes next
        if isinstance(left, AbstractConnection):
            left.disconnect()


def lose(connection, redis_server):
    """What Celery's consumer does once Redis is gone."""
    redis_server.kill()
    with suppress(Exception):
        connection.collect()
    connection.close()


def test_without_the_remedy_the_second_close_ends_the_worker(original, busy, redis_server):
    connection, _ = busy
    assert kombu.__version__ == restart.AFFECTED, "is the remedy still needed?"
    with pytest.raises(AttributeError, match="hostname"):
        lose(connection, redis_server)


def test_with_the_remedy_the_pending_pop_is_settled_and_the_channel_closes(original, busy, redis_server):
    connection, channel = busy
    assert restart.survive_redis_restart()
    lose(connection, redis_server)
    assert channel.closed
    assert channel._in_poll is None


def test_the_remedy_is_installed_once(original):
    assert restart.survive_redis_restart()
    installed = transport.Channel.close
    assert restart.survive_redis_restart()
    assert transport.Channel.close is installed


def test_the_remedy_is_left_out_where_kombu_is_another(original, monkeypatch):
    untouched = transport.Channel.close
    monkeypatch.setattr(kombu, "__version__", "5.7.1")
    assert not restart.survive_redis_restart()
    assert transport.Channel.close is untouched
