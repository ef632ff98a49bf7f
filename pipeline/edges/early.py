"""Publishing while a run goes on: only rows of which nothing that may still come can change the annotation.

A row is left in its part until the end when a POST of it has no id that we know, when an id of it came late, when it
stands in two parts, when another row bears its id, or when it was accepted so lately that a row which was sent together
with it may yet turn out to bear its id (`core.corrections`). Of all others the end would publish just the same row.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.corrections import ORDER_CLEAR
from pipeline.core.lifecycle import Outcome
from pipeline.core.rows import Rows
from pipeline.edges import publishing
from pipeline.edges.annotations_file import batches, published_files, without
from pipeline.edges.arrow import numbers
from pipeline.edges.bearers import Bearers, batches_of, bearers_of
from pipeline.edges.files import unfinished
from pipeline.edges.merging import Holders, Merge, Stretch
from pipeline.edges.places import Place
from pipeline.edges.publishing import Publication
from pipeline.edges.sent_ids import id_files, late_ids, saved_ids

EARLY = 1.5
"""Parts are published before the end when they take so many times the size of a file."""

_OLD_ENOUGH = 2 * ORDER_CLEAR
"""How much older than the newest row one must be; the ids of all that was accepted before that are on disk by now."""

_SURE = [outcome.value for outcome in (Outcome.COMPLETED, Outcome.FAILED, Outcome.REFUSED)]
_COLUMNS = ("row_index", "outcome", "possible_duplicate", "submitted_at", "attempt_log")


class _StoppedError(Exception):
    """Told to stop between two stretches: nothing of the file that was being written is kept."""


def is_due(publication: Publication, least: float = 0.0) -> float:
    """How many bytes wait in parts that no file names, if they are enough to publish some early; else nothing.

    `least` is how many there must be at least, whatever the usual bound is.
    """
    bound = max(least, EARLY * publishing.FILE_BYTES)
    if sum(part.stat().st_size for part in publication.parts) < bound:
        return 0.0  # as of most runs, without a look at what is published
    named = publishing.names_in(published_files(publication.into))
    waiting = sum(part.stat().st_size for part in publication.parts if part.name not in named)
    return waiting if waiting >= bound else 0.0


def publish_early(publication: Publication, stop: Callable[[], bool]) -> bool:
    """Publish rows that nothing can change any more, if they fill a file; whether they did.

    Each file appears by itself. Told to stop, it stops; a file that another process put meanwhile stays.
    """
    files = published_files(publication.into)
    holders = Holders()
    for file in files:
        for batch in batches(file, ("row_index",)):
            holders.published(numbers(batch["row_index"]))
    doubted, until = _doubted(publication, files, holders)
    for number, part in enumerate(publication.parts, 1):
        for batch in batches(part, ("row_index", "submitted_at")):
            sure = without(batch, _places(batch, doubted, until))
            holders.hold(numbers(sure["row_index"]), number)
    merge = Merge(publication.parts, holders, publication.schema)
    stretches = list(merge.stretches())
    if sum(stretch.packed for stretch in stretches) < publishing.FILE_BYTES:
        return False

    def table(stretch: Stretch) -> Any:  # noqa: ANN401 - pyarrow has no types
        if stop():
            raise _StoppedError
        return merge.table(stretch)

    try:
        with unfinished(publication.scratch) as folder:
            return publishing.put(publication, files, folder, publishing.shared_out(stretches), merge.names, table)
    except _StoppedError:
        return False


def _places(batch: Any, doubted: Rows, until: int) -> list[int]:  # noqa: ANN401 - pyarrow has no types
    """The places of rows that stay in their part."""
    clear = set(doubted.places_outside(numbers(batch["row_index"])))
    fresh = pc.fill_null(pc.greater(_accepted(batch), until), False).to_pylist()
    return [place for place, is_fresh in enumerate(fresh) if is_fresh or place not in clear]


def _doubted(publication: Publication, files: Sequence[Place], holders: Holders) -> tuple[Rows, int]:
    """Rows that may be corrected yet, and the time, in µs, up to which rows were accepted long enough ago."""
    doubted, seen, bearers = Rows(late_ids(publication.sent)), Rows(), Bearers()
    newest = 0
    for batch in batches_of(files):
        bearers.take_up(batch)
    for part in publication.parts:
        for whole in batches(part, _COLUMNS):
            batch = without(whole, holders.places_published(numbers(whole["row_index"])))
            indexes = numbers(batch["row_index"])
            again = seen.add_all(indexes)
            doubted.add_all([indexes[place] for place in again])
            doubted.add_all(list(_open_ends(batch)))
            bearers.take_up(without(batch, again) if again else batch)
            newest = max(newest, pc.max(_accepted(batch)).as_py() or 0)
    unplaced = bearers.unplaced(id_files(publication.sent))
    for row_index, generation_id, *_ in saved_ids(publication.sent) if unplaced else ():
        if hash((row_index, generation_id)) in unplaced:
            doubted.add(row_index)
            bearers.ids.add_all((generation_id,))
    if shared := bearers.ids.repeated():
        for batch in batches_of(publication.parts):
            doubted.add_all([row_index for row_index, *_ in bearers_of(batch, shared)])
    return doubted, newest - _OLD_ENOUGH // timedelta(microseconds=1)


def _accepted(batch: Any) -> Any:  # noqa: ANN401
    """When rows were accepted, in µs; null for one that never was."""
    return batch["submitted_at"].cast(pa.int64())


def _open_ends(batch: Any) -> Iterator[int]:  # noqa: ANN401
    """Rows of which a POST may have been billed under an id that nobody knows."""
    sure = pc.and_(pc.is_in(batch["outcome"], pa.array(_SURE)), pc.invert(batch["possible_duplicate"]))
    yield from numbers(batch["row_index"].filter(pc.invert(pc.fill_null(sure, False))))
    log = batch["attempt_log"]
    nameless = pc.is_null(pc.struct_field(log.flatten(), "generation_id"))
    yield from numbers(batch["row_index"].take(pc.list_parent_indices(log).filter(nameless)))
