"""Follow one generation's stream to its end, and ask for what a stream does not tell."""

from pipeline.core.answers import Completed, QueryAnswer
from pipeline.core.following import ASK_AGAIN_S, ASKS, is_settled, joined
from pipeline.core.records import RowRecord
from pipeline.ports import Api, Clock


async def followed(api: Api, clock: Clock, record: RowRecord) -> QueryAnswer:
    """What became of a generation; where its stream does not say, what a poll says."""
    generation_id = record.generation_id or ""
    came = await api.follow(generation_id, record.stream)
    if is_settled(came):
        return came
    if not isinstance(came, Completed):
        return await api.query(generation_id)
    for ask in range(ASKS):
        if ask:
            await clock.sleep(ASK_AGAIN_S * 2**ask)
        asked = await api.query(generation_id)
        if isinstance(asked, Completed):
            return Completed(joined(came.completion, asked.completion))
    return came
