"""Following a generation: what one connection is sent, when, and what goes wrong with it.

Nobody waits for a chunk: the pacer wakes whoever has some to send. It must never hold more than one step of a stream.
"""

import math

from pipeline.simulator.chunks import Framing
from pipeline.simulator.faults import Dice, StreamFault, stream_fault
from pipeline.simulator.messages import Sink
from pipeline.simulator.state import State

# How long a client that does not read is left alone before it is looked at again.
_UNREAD_S = 0.05


class Pen:
    """Writes to a connection, in pieces of so many bytes, up to the byte after which it is cut."""

    def __init__(self, sink: Sink, piece_bytes: int, cut_after: int | None) -> None:
        self._sink = sink
        self._piece_bytes = piece_bytes
        self._left = cut_after
        self._held = b""

    def write(self, data: bytes) -> bool:
        """Write this much; False where the connection was cut in it, and is gone."""
        cut = self._left is not None and len(data) >= self._left
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        self._held += data
        self._give(whole=cut)
        if cut:
            self._sink.reset()
        return not cut

    def _give(self, *, whole: bool) -> None:
        size, held = self._piece_bytes or max(len(self._held), 1), self._held
        end = len(held) if whole else len(held) // size * size
        self._held = held[end:]
        if end:
            self._sink.write([held[at : min(at + size, end)] for at in range(0, end, size)])

    def finish(self, *, is_true: bool) -> None:
        """Write what is held back, and end the answer, which tells how the generation ended or is an untruth."""
        self._give(whole=True)
        self._sink.end(receipted=is_true)

    def flush(self) -> None:
        """Write what is held back."""
        self._give(whole=True)


class Follower:
    """One connection that is sent a generation's chunks as they fall due, from a certain one on."""

    def __init__(
        self, state: State, sequence: int, framing: Framing, *, first: int = 0, fault: StreamFault | None = None
    ) -> None:
        """`fault` is what goes wrong whatever the chances say."""
        self._state = state
        self._traffic = state.traffic
        self._generations = state.generations
        self._sequence = sequence
        self._framing = framing
        self._next = first
        self._fault = fault
        self._breaks_at: int | None = None
        self._gone = False

    def begin(self, sink: Sink) -> None:
        """Send to this connection from now on."""
        self._traffic.stream_opened()
        settings, streaming = self._state.settings, self._generations.streaming[self._sequence]
        streaming.connections += 1
        may_be_cut = settings.stream_cuts is None or streaming.cuts < settings.stream_cuts
        self._fault = self._fault or stream_fault(settings, self._dice(streaming.connections), may_be_cut=may_be_cut)
        self._sink = sink
        cut_after = settings.stream_cut_after_bytes or None
        self._pen = Pen(sink, settings.stream_piece_bytes, cut_after if may_be_cut else None)
        if settings.sync_limit is not None and streaming.sync:
            self._state.pacer.at(self._generations.accepted_at(self._sequence) + settings.sync_limit, self._break)
        self._generations.when_planned(self._sequence, lambda: self._state.pacer.at(self._state.clock(), self._start))

    def _dice(self, connection: int) -> Dice:
        return self._generations.dice(f"{self._sequence}/{connection}")

    def drop(self) -> None:
        """Send nothing any more: the connection is gone or has its end."""
        if not self._gone:
            self._gone = True
            self._traffic.open_streams -= 1

    def _break(self) -> None:
        if not self._gone:
            self.drop()
            self._sink.reset()

    def _start(self) -> None:
        """The videos were looked at: from now on it is known what will be said, and when."""
        self._script = self._generations.script(self._sequence)
        self._begins, self._ends = self._generations.times(self._sequence)
        if self._fault is not None:
            self._breaks_at = self._next + max(0, len(self._script) - self._next) // 2
        if self._ends < math.inf:
            self._wake()

    def _wake(self) -> None:
        if self._gone:
            return
        if not self._sink.is_open:
            self._state.pacer.at(self._state.clock() + _UNREAD_S, self._wake)
        elif self._wrote_what_is_due():
            self._go_on()

    def _wrote_what_is_due(self) -> bool:
        due = self._due()
        due = due if self._breaks_at is None else min(due, self._breaks_at)
        if due <= self._next:
            return True
        events = b"".join(self._framing.chunk(self._script.chunk(number)) for number in range(self._next, due))
        self._traffic.chunks += due - self._next
        self._next = due
        return self._wrote(events)

    def _due(self) -> int:
        """How many chunks are due: paced evenly over the generation's time."""
        now = self._generations.now()
        if now >= self._ends:
            return len(self._script)
        return max(0, int((now - self._begins) / (self._ends - self._begins) * len(self._script)))

    def _go_on(self) -> None:
        if self._breaks_at is not None and self._next >= self._breaks_at:
            self._go_wrong()
        elif self._next >= len(self._script) and self._generations.now() >= self._ends:
            self._end()  # the end may come between two looks at the clock: not before all was written
        else:
            share = min(self._next + 1, len(self._script)) / max(len(self._script), 1)
            self._state.pacer.at(self._begins + (self._ends - self._begins) * share, self._wake)

    def _wrote(self, data: bytes) -> bool:
        written = self._pen.write(data)
        if not written:
            self._was_cut()
        return written

    def _was_cut(self) -> None:
        self._generations.streaming[self._sequence].cuts += 1
        self._traffic.faults[StreamFault.CUT.value] += 1
        self.drop()

    def _go_wrong(self) -> None:
        """Do what the fault says, in the middle of what was left to send."""
        if self._fault is StreamFault.CUT:
            event = self._framing.chunk(self._script.chunk(self._next)) if self._next < len(self._script) else b""
            if self._wrote(event[: len(event) // 2]):
                self._pen.flush()
                self._sink.reset()
                self._was_cut()
            return
        self._traffic.faults[str(self._fault and self._fault.value)] += 1
        if self._fault is StreamFault.ERROR and self._wrote(self._framing.error("The stream was interrupted.")):
            self.drop()
            self._pen.finish(is_true=False)
        # In silence nothing wakes this connection again, and nothing closes it.

    def _end(self) -> None:
        failed = self._script.error
        last = self._framing.done(len(self._script)) if failed is None else self._framing.error(failed)
        if self._wrote(last):
            self.drop()
            self._pen.finish(is_true=True)
