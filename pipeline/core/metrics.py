"""The metrics that are exported: names, kinds, labels and what each one means, as a table.

`core.measures` fills them from what was seen, `docs/metrics.md` lists them. Names follow Prometheus: base units, and
`_total` for what only ever grows. A run's id is a label only while the ledger knows the run.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What Prometheus takes a metric for."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `help` is one sentence for people."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


def _named(section: str, labels: tuple[str, ...], *rows: tuple[str, Kind, str, tuple[str, ...]]) -> list[Metric]:
    return [Metric(f"{section}_{name}", kind, text, (*labels, *own)) for name, kind, text, own in rows]


_G, _C, _H = Kind.GAUGE, Kind.COUNTER, Kind.HISTOGRAM

FLEET = _named(
    "vidbatch",
    (),
    ("up", _G, "1 where the ledger was read for this answer, 0 where Redis was away or too slow.", ()),
    (
        "build_info",
        _G,
        "1, with the versions of the exporter and of the ledger's layout.",
        ("version", "ledger_version"),
    ),
    ("read_seconds", _G, "How long reading the ledger took.", ()),
    ("runs", _G, "Runs that the ledger knows, by what they are doing.", ("state",)),
    ("workers", _G, "Living worker processes that serve a role.", ("role",)),
    ("worker_shifts", _G, "Shifts that the living workers of a role can hold at a time.", ("role",)),
    ("workers_of_other_versions", _G, "Living worker processes whose ledger has another layout.", ()),
    ("tickets_waiting", _G, "Tickets that no worker has taken from its queue yet.", ("role",)),
    ("heartbeat_age_seconds", _G, "Since a heartbeat looked after all runs; endless where none ever did.", ()),
    ("heartbeat_holder_info", _G, "1, with the worker whose heartbeat acted last.", ("worker",)),
    ("clock_skew_seconds", _G, "By how much the clock of Redis is ahead of the exporter's.", ()),
)

REDIS = _named(
    "vidbatch_redis",
    (),
    ("info", _G, "1, with the server's version.", ("version",)),
    ("ping_seconds", _G, "How long one PING took.", ()),
    ("memory_bytes", _G, "Memory that the server's data takes.", ()),
    ("memory_limit_bytes", _G, "Its maxmemory; 0 is none.", ()),
    ("evicts", _G, "1 where the server removes keys when its memory is full: it must not.", ()),
    ("evicted_keys_total", _C, "Keys that the server removed to make room.", ()),
    ("clients", _G, "Open connections.", ()),
    ("commands_total", _C, "Commands that the server did.", ()),
    ("uptime_seconds", _G, "Since the server was started.", ()),
    ("aof_enabled", _G, "1 where the server appends to a file what it is told.", ()),
    ("aof_bytes", _G, "Size of that file.", ()),
    ("aof_ok", _G, "1 where the last write to that file, and its last rewriting, went well.", ()),
    ("aof_delayed_fsyncs_total", _C, "Times at which the disk was too slow for the file.", ()),
)

ACCOUNTS = [
    *_named(
        "vidbatch",
        ("account",),
        ("posts_total", _C, "POSTs whose fate is recorded, by that; throttled are answers with 429.", ("answer",)),
        ("posts_adopted_total", _C, "Lost POSTs whose answer came after all, before their row was sent again.", ()),
        ("polls_total", _C, "Polls, by what they found; throttled are answers with 429.", ("answer",)),
        (
            "congestion_events_total",
            _C,
            "Refusals for too many requests, each with all others of its back-off.",
            ("lane",),
        ),
        (
            "claims_cut_total",
            _C,
            "Claims that got fewer rows than they wanted, since the rate had no more permits.",
            ("lane",),
        ),
        ("rows_ended_total", _C, "Rows that ended, by outcome.", ("outcome",)),
        ("rows_again_total", _C, "Rows that are to be sent once more, by why.", ("why",)),
        ("possible_duplicates_total", _C, "Rows that ended and may have been billed twice.", ()),
        ("stale_steps_total", _C, "Steps that came too late: their row was somebody else's by then.", ()),
        ("tokens_total", _C, "Tokens of answers that came, failed rows' unknown ones left out.", ("kind",)),
        ("token_details_total", _C, "Of those, tokens of some kinds, as the API tells them.", ("kind",)),
        ("cost_total", _C, "What answers cost, in the currency of the prices.", ()),
        ("generation_latency_seconds", _H, "From a generation's acceptance until its end was seen.", ()),
        (
            *("answer_lag_seconds", _H),
            "From the last look that found nothing to the one that brought the answer: so long it lay ready at most.",
            (),
        ),
    ),
    *_named(
        "vidbatch_account",
        ("account",),
        ("in_flight", _G, "Rows that are being sent, or were and have not ended.", ()),
        ("in_flight_limit", _G, "The most that may be in flight, where it was given or found.", ("by",)),
        ("pace_per_second", _G, "Requests a second that claims keep to.", ("lane",)),
        ("pace_by", _G, "1 for what sets the rate: starting, searching, found, given or tokens.", ("lane", "by")),
        ("limit_per_minute", _G, "The strictest limit that was given to the account or its runs.", ("of",)),
        ("backoff_seconds", _G, "How long nothing is asked any more, since the API refused.", ("lane",)),
        ("blocked", _G, "1 where nothing is sent until a person sees to the key or the balance.", ("why",)),
    ),
]

RUNS = _named(
    "vidbatch_run",
    ("run", "account"),
    ("state", _G, "1 for what the run is doing.", ("state",)),
    ("paused", _G, "1 for why the run is paused.", ("why",)),
    ("led", _G, "1 where a command leads the run or it needs none: else nothing is sent.", ()),
    ("priority", _G, "Its share of the account's limits against other runs; 10 is usual.", ()),
    ("requests", _G, "Rows that are to be asked.", ()),
    ("rows", _G, "Rows by where they stand; done ones have an outcome.", ("state",)),
    ("rows_due", _G, "Of these, rows whose time has come: to be sent, to be polled, or to be taken over.", ("what",)),
    ("rows_ended_total", _C, "Rows that ended, by outcome.", ("outcome",)),
    ("accepted_total", _C, "POSTs that the API accepted.", ()),
    ("bound", _G, "1 for what cuts the sending of rows short just now.", ("bound",)),
    ("trouble_seconds", _G, "Since when the API has not answered as it should; 0 where it does.", ()),
    ("possible_duplicates_total", _C, "Rows that ended and may have been billed twice.", ()),
    ("double_ends_total", _C, "Ends of rows that had ended: counted, and never written.", ()),
    ("late_ids", _G, "Accepted ids whose row went on without them, and that are still asked for.", ()),
    ("tokens_total", _C, "Tokens that are spent.", ("kind",)),
    ("cost_total", _C, "Money that is spent, in the currency of the prices.", ()),
    ("budget_tokens", _G, "The cap on tokens, where there is one.", ()),
    ("budget_cost", _G, "The cap on money, where there is one.", ()),
    ("reserved_tokens", _G, "Tokens that rows in flight, and those that never told, may have used.", ()),
    ("reserved_cost", _G, "The same in money.", ()),
    ("window_bytes", _G, "Request bodies that are in Redis.", ()),
    ("results_waiting", _G, "Ended rows that are not on disk yet.", ()),
    ("results_waiting_bytes", _G, "The same in bytes; at 64 MiB sending stops.", ()),
    ("ids_waiting", _G, "Accepted ids that are not on disk yet.", ()),
    ("results_written_total", _C, "Ended rows that were written to parts.", ()),
    ("ids_saved_total", _C, "Accepted ids that were saved.", ()),
    ("parts_total", _C, "Parts that were written.", ()),
    ("shifts", _G, "Shifts at work for the run, and tickets on their way.", ("role",)),
)

SCHEDULES = _named(
    "vidbatch_schedule",
    ("schedule",),
    ("next_timestamp_seconds", _G, "When it fires next.", ()),
    ("paused", _G, "1 where a person paused it.", ()),
    ("open_firings", _G, "Firings that are not over, by where they stand.", ("state",)),
    ("waits_for_person", _G, "1 where the run of an open firing is held until somebody acts.", ()),
    ("notices_waiting", _G, "Messages to its URL that did not arrive yet.", ()),
    ("last_state", _G, "1 for how the last firing that is over came out: ended, skipped or missed.", ("state",)),
    ("last_exit_code", _G, "Exit code of the last firing that ended.", ()),
    ("last_timestamp_seconds", _G, "When the last firing was over.", ()),
)

SECTIONS = {"Fleet": FLEET, "Redis": REDIS, "Accounts": ACCOUNTS, "Runs": RUNS, "Schedules": SCHEDULES}
METRICS = tuple(metric for section in SECTIONS.values() for metric in section)


def as_markdown() -> Iterator[str]:
    """The table for people, one section after the other."""
    for title, metrics in SECTIONS.items():
        yield from ("", f"### {title}", "", "| metric | kind | labels | meaning |", "|---|---|---|---|")
        for one in metrics:
            labels = ", ".join(f"`{label}`" for label in one.labels)
            yield f"| `{one.name}` | {one.kind} | {labels} | {one.help} |"
