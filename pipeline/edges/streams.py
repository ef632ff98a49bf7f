"""Streams of events as answers: one connection's events gathered, and a POST that is answered with a stream."""

from collections.abc import Callable, Mapping

from pipeline.core.answers import Ambiguous, Answered, Completion, Failed, Problem, SubmitAnswer
from pipeline.core.reading import RETRYABLE_FAILURES
from pipeline.core.reading_posts import read_whole
from pipeline.core.sse import SseEvent, SseParser
from pipeline.core.stream_answer import StreamAnswer, StreamState
from pipeline.edges.http import DoorError, HttpDoor, HttpReply, HttpStream
from pipeline.edges.masking import Masking
from pipeline.edges.payload import Payload

_ENDS_WITHIN_S = 1.0
"""After the last event comes nothing but the end of the body; one that does not come costs the connection."""


Hear = Callable[[StreamAnswer], None]
"""Looks at an answer as it is being written."""


async def gathered(stream: HttpStream, answer: StreamAnswer, mask: Masking, hear: Hear | None = None) -> Problem | None:
    """Take a connection's events until the answer is whole or the connection ends; what broke it off, if anything.

    The stream is closed. `answer` tells how far it came; `hear` is called after each piece.
    """
    parser = SseParser()
    try:
        while (piece := await stream.next()) is not None:
            for event in parser.feed(piece):
                masked = SseEvent(event.name, mask.data(event.data)) if isinstance(event, SseEvent) else event
                if answer.take(masked) is not StreamState.GOING_ON:
                    if answer.state is StreamState.WHOLE:
                        await stream.finish(_ENDS_WITHIN_S)
                    return None
            if hear is not None:
                hear(answer)
    except DoorError as error:
        return error.problem
    finally:
        await stream.close()
    return None


def completion_in(answer: StreamAnswer, mask: Masking) -> Completion:
    """What the dataset keeps of a whole answer; the key may have come in pieces."""
    return read_whole(mask.data(answer.whole()))[0]


async def posted(
    door: HttpDoor, url: str, headers: Mapping[str, str], body: bytes | Payload, mask: Masking
) -> HttpReply | SubmitAnswer:
    """Send one POST that is to be answered with a stream, and read that to its end; a whole reply where none came.

    Raises as the door does, for what happens before the stream begins.
    """
    came = await door.stream("POST", url, headers, body)
    if isinstance(came, HttpReply):
        return came
    answer = StreamAnswer()
    broke = await gathered(came, answer, mask)
    if answer.state is StreamState.WHOLE or answer.is_ended or (broke is None and answer.is_finished):
        # whatever broke after the end of the text: the answer is paid for, and to ask again is paid again
        return Answered(*read_whole(mask.data(answer.whole())))
    if answer.state is StreamState.FAILED and answer.problem is not None:
        problem = mask.problem(answer.problem)
        return Failed(problem, retryable=problem.code in RETRYABLE_FAILURES)
    if broke is not None:
        return Ambiguous(mask.problem(broke))
    return Ambiguous(Problem("bad_answer", f"The stream of the answer {answer.state.value}.", None, 200))
