"""The ids that were paid for, as a run keeps them under `sent/`: read line by line, never judged here."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import orjson

from pipeline.core.errors import StorageError
from pipeline.core.late import LateId, is_late, read_late
from pipeline.core.rows import Rows
from pipeline.edges.places import Place, listed


def saved_ids(folder: Place) -> Iterator[list[Any]]:
    """Accepted ids, late ones too: [row index, generation id, accepted at µs, attempt, resubmits]."""
    for file in id_files(folder):
        for line in content(file):
            yield _saved(line, file)


def open_ids(folder: Place, ended: Rows, within: range | None = None) -> Iterator[list[Any]]:
    """The same of rows that have no end yet: the others are passed over without being looked at any further."""
    for file in id_files(folder):
        for line in content(file):
            row_index = _row_of(line, file)
            if row_index not in ended and (within is None or row_index in within):
                yield _saved(line, file)


def _row_of(line: bytes, file: Place) -> int:
    """The row of an accepted id, read from the beginning of its line."""
    begin = line[1 : line.find(b",")]
    return int(begin) if begin.isdigit() else int(_saved(line, file)[0])


def late_ids(folder: Place) -> dict[int, list[LateId]]:
    """By row, the ids that their row went on without, each once and with its ending where that is known."""
    return by_row(read_late(line) for line in _lines(folder) if is_late(line))


def by_row(late: Iterable[LateId]) -> dict[int, list[LateId]]:
    """Late ids by their row, each id once: as it was told last, but never without an ending that was told before."""
    found: dict[int, dict[str, LateId]] = {}
    for one in late:
        ids = found.setdefault(one.row_index, {})
        if one.generation_id not in ids or one.ending is not None:
            ids[one.generation_id] = one
    return {row_index: list(ids.values()) for row_index, ids in found.items()}


def saved_pairs(file: Place) -> Iterator[tuple[int, str]]:
    """Row index and generation id of every accepted id in a file."""
    for line in content(file):
        row_index, generation_id, *_ = _saved(line, file)
        yield row_index, generation_id


def by_files(files: Sequence[Place], wanted: Collection[int]) -> Counter[frozenset[Place]]:
    """How many (row index, generation id) with one of these hashes just these files name."""
    naming: dict[tuple[int, str], set[Place]] = {}
    for file in files if wanted else ():
        for pair in saved_pairs(file):
            if hash(pair) in wanted:
                naming.setdefault(pair, set()).add(file)
    return Counter(frozenset(named) for named in naming.values())


def _saved(line: bytes, file: Place) -> list[Any]:
    try:
        whole = orjson.loads(line)
        ids: list[Any] = whole["late"] if is_late(line) else whole
    except (ValueError, KeyError) as error:
        raise StorageError(f"{file} holds a line that is no accepted id: {error}") from error
    return ids


def id_files(folder: Place) -> list[Place]:
    """The files of ids at this moment; others may come."""
    return listed(folder, "*.jsonl")


def _lines(folder: Place) -> Iterator[bytes]:
    for file in id_files(folder):
        yield from content(file)


def content(file: Place) -> list[bytes]:
    """The lines of one file. StorageError when it can't be read."""
    try:
        return file.read_bytes().splitlines()
    except OSError as error:
        raise StorageError(f"{file} can't be read: {error.strerror or error}") from error
