"""Copy some requests of a run into another run's plan, unchanged: same row index, same row id, same question."""

from collections.abc import Iterable, Sequence
from itertools import islice

from pipeline.flows.plan import PlanSummary, RequestsSink, Tally
from pipeline.ports import Requests

STEP_ROWS = 4_096


def repeat(requests: Requests, row_indexes: Iterable[int], sink: RequestsSink) -> PlanSummary:
    """Keep the requests of these rows, which come in order, and count them.

    KeyError for a row that was never asked: rows are taken from ends, so its plan is not the one that was asked.
    """
    tally, indexes = Tally(), iter(row_indexes)
    while step := list(islice(indexes, STEP_ROWS)):
        _copy(requests, step, sink, tally)
    return tally.summary()


def _copy(requests: Requests, step: Sequence[int], sink: RequestsSink, tally: Tally) -> None:
    found = requests.rows(step)
    for row_index in step:
        request = found[row_index]
        request_hash = request.request_hash
        sink.add(request, request_hash)
        tally.count_request(request, request_hash)
