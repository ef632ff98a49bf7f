"""Follow one generation's stream to its end, and ask for what a stream does not tell."""

from collections.abc import Callable

from pipeline.core.answers import Completed, QueryAnswer
from pipeline.core.following import ASK_AGAIN_S, ASKS, is_settled, joined, seen_at_work
from pipeline.core.records import RowRecord
from pipeline.ports import Api, Clock


async def followed(
    api: Api, clock: Clock, record: RowRecord, now_ms: Callable[[], int]
) -> tuple[QueryAnswer, RowRecord]:
    """What became of a generation; where its stream does not say, what a poll says. And its record after that."""
    generation_id, began_ms = record.generation_id or "", now_ms()
    came = await api.follow(generation_id, record.stream)
    if not isinstance(came, Completed):
        return came if is_settled(came) else await api.query(generation_id), record
    return await _with_use(api, clock, generation_id, came), seen_at_work(record, began_ms, now_ms())


async def _with_use(api: Api, clock: Clock, generation_id: str, came: Completed) -> QueryAnswer:
    """A whole answer, with what it used: asked for where the stream did not tell it."""
    if is_settled(came):
        return came
    for ask in range(ASKS):
        if ask:
            await clock.sleep(ASK_AGAIN_S * 2**ask)
        asked = await api.query(generation_id)
        if isinstance(asked, Completed):
            return Completed(joined(came.completion, asked.completion))
    return came
