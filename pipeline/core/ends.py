"""Ended rows as columns: what the dataset says of how rows ended, without an object for each of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from pipeline.core.annotations import COMPLETION
from pipeline.core.costs import PriceList, cost_of
from pipeline.core.judging import Judging
from pipeline.core.records import UNFIT, ending_from, ending_packed, from_packed, pack
from pipeline.core.repairs import with_best

LOG = (
    *("generation_id", "submitted_at", "outcome", "prompt_tokens", "completion_tokens", "cost"),
    *("reasoning_tokens", "cached_tokens", "audio_tokens", "video_tokens", "credits", "cost_told"),
    *("answer_status", "content"),
)
"""Fields of an entry of the attempt log, in the order of `records.Attempt.packed`."""

_PROBLEM = {"error_code": "code", "error_type": "type", "error_message": "message", "http_status": "http_status"}
_NOTHING: dict[str, Any] = {}
_HEAD = b'{"i":'
_PLAIN = Judging()


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of the dataset by name, times in µs since 1970; what is left out is null.

    The attempt logs are told by how many entries each row has, and by the columns of all entries.
    """

    row_indexes: Sequence[int]
    cells: Mapping[str, Sequence[object]]
    log_sizes: Sequence[int]
    log: Mapping[str, Sequence[object]]


def in_order(items: Iterable[bytes]) -> list[bytes]:
    """Ended rows as the ledger gives them, `{"i": row index, "r": record, "e": ending}`, in the manifest's order."""
    return sorted(items, key=row_index_of)


def row_index_of(item: bytes) -> int:
    """The row of an ended row's JSON, read from its beginning where that is as the ledger writes it."""
    digits = item[len(_HEAD) : item.find(b",")]
    return int(digits) if item.startswith(_HEAD) and digits.isdigit() else int(orjson.loads(item)["i"])


def columns_of(
    items: Sequence[bytes],
    row_indexes: Sequence[int],
    models: Sequence[str],
    prices: PriceList,
    collected_us: int,
    judging: Judging = _PLAIN,
) -> Columns:
    """What is known of rows by their ends; `row_indexes` and `models` are theirs, in the same order."""
    wholes = [_settled(orjson.loads(item)) for item in items]
    records, endings = [whole["r"] for whole in wholes], [whole["e"] for whole in wholes]
    completions = [ending.get("c", _NOTHING) for ending in endings]
    cells: dict[str, Sequence[object]] = {name: [one.get(name) for one in completions] for name in COMPLETION}
    cells["cost"] = [_cost(one, prices, model) for one, model in zip(completions, models, strict=True)]
    cells |= judging.columns([ending.get("c") for ending in endings])
    cells["outcome"] = [ending["o"] for ending in endings]
    cells["generation_id"] = [record.get("g") for record in records]
    cells["attempts"] = [record.get("a", 0) for record in records]
    cells["polls"] = [record.get("p", 0) for record in records]
    cells["possible_duplicate"] = [record.get("q", False) for record in records]
    cells["submitted_at"] = [record.get("s") for record in records]
    cells["finished_at"] = [ending["t"] for ending in endings]
    cells["collected_at"] = [collected_us] * len(records)
    cells["latency_s"] = [_latency_s(record, ending) for record, ending in zip(records, endings, strict=True)]
    if any("e" in ending for ending in endings):
        problems = [ending.get("e", _NOTHING) for ending in endings]
        cells |= {name: [one.get(key) for one in problems] for name, key in _PROBLEM.items()}
    told = [one.get("cost") for one in completions]
    return Columns(row_indexes, cells, *_logs(records, cells | {"cost_told": told, "content": [None] * len(told)}))


def _settled(whole: dict[str, Any]) -> dict[str, Any]:
    """An ended row with the best of its answers: one that a person ended may have one that was asked for again."""
    if UNFIT not in whole["r"]:
        return whole
    record, ending = with_best(from_packed(whole["r"]), ending_from(whole["e"]))
    return {**whole, "r": orjson.loads(pack(record)), "e": ending_packed(ending)}


def _cost(told: Mapping[str, Any], prices: PriceList, model: str) -> float | None:
    if not told:
        return None
    return cost_of(told.get("cost"), told.get("prompt_tokens"), told.get("completion_tokens"), prices, model)


def _latency_s(record: Mapping[str, Any], ending: Mapping[str, Any]) -> float | None:
    accepted = record.get("s")
    return None if accepted is None or record.get("g") is None else (ending["t"] - accepted) / 1_000_000


def _logs(
    records: Sequence[Mapping[str, Any]], cells: Mapping[str, Sequence[object]]
) -> tuple[list[int], dict[str, Sequence[object]]]:
    """Every POST that was or may have been billed, in order; the one whose end this is comes last, or has its place."""
    sizes: list[int] = []
    entries: list[Sequence[object]] = []
    nothing = [None] * len(records)
    own = zip(*(cells.get(name, nothing) for name in LOG), strict=True)
    for record, kept in zip(records, own, strict=True):
        earlier: Sequence[Sequence[object]] = record.get("l", ())
        if not earlier:
            log: list[Sequence[object]] = [] if kept[0] is None else [kept]
        else:
            log = [kept if entry[0] == kept[0] is not None else _whole(entry) for entry in earlier]
            if kept[0] is not None and kept not in log:
                log.append(kept)
        entries.extend(log)
        sizes.append(len(log))
    columns: Iterable[Sequence[object]] = zip(*entries, strict=True) if entries else [()] * len(LOG)
    return sizes, dict(zip(LOG, columns, strict=True))


def _whole(entry: Sequence[object]) -> Sequence[object]:
    """An entry with the nulls that were left out."""
    return [*entry, *[None] * (len(LOG) - len(entry))]
