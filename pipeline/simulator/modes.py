"""The four modes, and what is kept of a generation that is followed."""

from dataclasses import dataclass

from pipeline.simulator.billing import ASYNC, STREAM, SYNC, SYNC_STREAM
from pipeline.simulator.validation import Submission


@dataclass(slots=True)
class Streaming:
    """What is kept of a generation that is followed: how its words come, and what its connections went through."""

    content_chunks: int
    usage: str
    sync: bool
    begins: float = 0.0
    asked: int = 0
    connections: int = 0
    cuts: int = 0


def mode_of(submission: Submission) -> str:
    """Return the mode that a submission asks for."""
    if submission.sync:
        return SYNC_STREAM if submission.stream else SYNC
    return STREAM if submission.stream else ASYNC
