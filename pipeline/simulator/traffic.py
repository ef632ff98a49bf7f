"""Counts of what came over the wire, by what became of it."""

from collections import Counter
from dataclasses import dataclass, field

from pipeline.simulator.arrivals import Arrivals


@dataclass(slots=True)
class Traffic:
    """Counts by status, or by the word for what came instead of a whole answer.

    The arrivals tell of each when it came and what it was told.
    `faults` counts what was injected, by the name of the switch without its `_rate`.
    `streams` are connections that follow a generation, those of POSTs included; `chunks` is what they were sent.
    """

    posts: int = 0
    queries: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    post_answers: Counter[str] = field(default_factory=Counter)
    query_answers: Counter[str] = field(default_factory=Counter)
    stream_answers: Counter[str] = field(default_factory=Counter)
    upload_answers: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    post_arrivals: Arrivals = field(default_factory=Arrivals)
    query_arrivals: Arrivals = field(default_factory=Arrivals)
    streams: int = 0
    open_streams: int = 0
    most_open_streams: int = 0
    chunks: int = 0

    def stream_opened(self) -> None:
        """Count a connection that follows from now on."""
        self.streams += 1
        self.open_streams += 1
        self.most_open_streams = max(self.most_open_streams, self.open_streams)
