"""A worker reads from a role's queue only while it has a seat for another shift of that role."""

import time

import pytest
from celery import Celery
from celery.signals import task_received
from celery.worker import state
from kombu.asynchronous.timer import Timer
from kombu.entity import Queue

from pipeline.core.tickets import Role
from workers.seats import Seats, look

QUEUES = {"submit", "poll"}


class Consumer:
    """What is asked of Celery's."""

    def __init__(self, **parts):
        vars(self).update(parts)


class Ticket:
    """What Celery keeps of a message in hand."""

    def __init__(self, role):
        self.name = f"vidbatch.{role}"


@pytest.fixture
def worker():
    """What `look` asks of Celery's consumer, with a real reader of real queues, in memory."""
    app = Celery("seats", broker="memory://")
    app.conf.task_queues = [Queue(role.value) for role in Role]
    app.conf.vidbatch_seats = {"submit": 2, "poll": 1}
    app.amqp.queues.select(QUEUES)
    with app.connection_for_read() as connection:
        yield Consumer(app=app, task_consumer=app.amqp.TaskConsumer(connection), timer=Timer())
    state.reserved_requests.clear()


def reads(worker):
    return {role for role in Role if worker.task_consumer.consuming_from(role.value)}


def test_a_queue_whose_seats_are_taken_is_not_read_until_one_is_free(worker):
    tickets = [Ticket("submit"), Ticket("submit")]
    state.reserved_requests.add(tickets[0])
    look(worker)
    assert reads(worker) == QUEUES
    state.reserved_requests.add(tickets[1])
    look(worker)
    assert reads(worker) == {"poll"}
    state.reserved_requests.discard(tickets[0])
    look(worker)
    assert reads(worker) == QUEUES


def test_the_ticket_that_comes_counts_before_celery_counts_it(worker):
    look(worker, "vidbatch.poll")
    assert reads(worker) == {"submit"}


def test_a_role_that_the_worker_was_not_given_is_never_read(worker):
    for _ in range(2):
        look(worker)
    assert reads(worker) == QUEUES


def test_a_ticket_that_waited_is_delivered_once_there_is_a_seat(worker):
    came = []
    worker.task_consumer.register_callback(lambda _body, message: (came.append(message), message.ack()))
    look(worker, "vidbatch.poll")
    with worker.app.connection_for_write() as connection, connection.SimpleQueue("poll") as queue:
        queue.put({"run": "run-1"})
    connection = worker.task_consumer.channel.connection.client
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.1)
    look(worker)
    connection.drain_events(timeout=5)
    assert len(came) == 1


def goes_on(worker, holds):
    """The consumer's timer does what is due, until so."""
    ends = time.monotonic() + 5
    for _, entry in worker.timer:
        if entry is not None:
            worker.timer.apply_entry(entry)
        if holds():
            return
        assert time.monotonic() < ends


def test_a_worker_looks_for_free_seats_only_while_there_are_queues_that_it_does_not_read(worker):
    state.reserved_requests.add(ticket := Ticket("poll"))
    seats = Seats(worker)
    seats.start(worker)
    goes_on(worker, lambda: reads(worker) == {"submit"})
    state.reserved_requests.discard(ticket)
    goes_on(worker, lambda: reads(worker) == QUEUES)
    assert len(worker.timer) == 0
    task_received.send(sender=worker, request=Ticket("poll"))
    task_received.send(sender=worker, request=Ticket("poll"))
    assert (reads(worker), len(worker.timer)) == ({"submit"}, 1)
    seats.stop(worker)
    assert [entry for _, _, entry in worker.timer.queue if not entry.canceled] == []
