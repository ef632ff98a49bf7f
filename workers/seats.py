"""Seats of a worker by role: it takes no more tickets of a role than it was given shifts for.

Its children are one pool, and a shift may take minutes. So a queue whose seats are taken is not read from: its tickets
wait in Redis for whoever has a free seat, and none waits here for a child that shifts of other roles have in hand.
"""

from collections import Counter
from typing import Any

from celery import bootsteps
from celery.signals import task_received
from celery.worker import state
from celery.worker.consumer.tasks import Tasks

LOOK_S = 0.1
"""How soon a seat that became free is seen: half of the time between two heartbeats."""


class Seats(bootsteps.StartStopStep):  # type: ignore[misc]
    """Reads from the queues with free seats; begun anew with each connection, which reads from all of them.

    Only a ticket takes a seat, so while all queues are read there is nothing to look at until one comes.
    """

    requires = (Tasks,)
    _looking: Any = None

    def start(self, parent: Any) -> None:  # noqa: ANN401 - Celery's consumer
        """Look at each ticket that comes, and whether a seat became free."""
        task_received.connect(self._received, sender=parent, weak=False)
        self._look_on(parent)

    def stop(self, parent: Any) -> None:  # noqa: ANN401 - as above
        """Leave it to the next connection."""
        task_received.disconnect(self._received, sender=parent)
        self._rest()  # also told to stop when a connection ends before it began

    def _received(self, sender: Any, request: Any, **_: object) -> None:  # noqa: ANN401 - Celery's consumer and request
        """Before the next ticket is asked for: this one is not among those that are counted yet."""
        if not look(sender, request.name):
            self._look_on(sender)

    def _look_on(self, consumer: Any) -> None:  # noqa: ANN401 - as above
        if self._looking is None:
            self._looking = consumer.timer.call_repeatedly(LOOK_S, self._look, (consumer,))

    def _look(self, consumer: Any) -> None:  # noqa: ANN401 - as above
        if look(consumer):
            self._rest()

    def _rest(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None


def look(consumer: Any, coming: str = "") -> bool:  # noqa: ANN401 - Celery's consumer
    """Read from the queues of roles with a free seat, and from no others; whether those are all."""
    taken = Counter(request.name for request in {*state.reserved_requests, *state.active_requests})
    taken[coming] += 1
    reader = consumer.task_consumer
    for role, most in consumer.app.conf.vidbatch_seats.items():
        has_seat, reads = taken[f"vidbatch.{role}"] < most, reader.consuming_from(role)
        if reads and not has_seat:
            reader.cancel_by_queue(role)
        elif has_seat and not reads:
            reader.auto_declare = False  # Redis knows it since this connection began
            reader.add_queue(consumer.app.amqp.queues[role])
            reader.consume()
    return all(reader.consuming_from(role) for role in consumer.app.conf.vidbatch_seats)
