"""The only place that configures `logging`: one line for each record, without secrets, as text or as JSON.

A line is written by one call and is never longer than what a pipe takes in one piece, so that lines of several
processes, which share a worker's stderr, do not mix.
"""

import logging
import os
import re
import sys
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType
from typing import Any

import orjson

from pipeline.core.errors import SettingsError
from pipeline.core.log_events import CRASHED, FORMATS, LEVELS, LIBRARY
from pipeline.core.redaction import Redaction

OURS = "vidbatch"
"""Loggers under this name are ours; the level is theirs alone. Libraries are heard from WARNING on."""

LONGEST_LINE = 4096
"""Bytes that every pipe takes in one piece."""

LONGEST_VALUE = 1500
"""Characters of a message, of another value, or of the rest of a traceback that a line keeps."""

LONGEST_OF_TRACEBACK = 300
"""Characters that a traceback's own line keeps."""

_FIRST = ("time", "level", "event", "message", "logger", "worker", "pid", "role", "run", "row", "generation")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""What ends a line, moves a cursor, turns text around or can't be encoded."""

_NOTHING: Mapping[str, object] = MappingProxyType({})
_bound: ContextVar[Mapping[str, object]] = ContextVar("log_fields", default=_NOTHING)
_process: dict[str, object] = {}
_redaction = Redaction()


def hide(secrets: Iterable[str]) -> None:
    """Never tell these from now on, beside those that were named before."""
    global _redaction  # noqa: PLW0603 - one process has one set of secrets
    _redaction = _redaction.knowing(secrets)


def name_process(**fields: object) -> None:
    """Say these of every line of this process, and of those that are forked from it."""
    _process.update(fields)


@contextmanager
def told_with(**fields: object) -> Iterator[None]:
    """Say these of every line of what is done within."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def configure(environment: Mapping[str, str]) -> None:
    """Have this process log as its environment says. SettingsError names the variable."""
    form = _chosen(environment, "VIDBATCH_LOG_FORMAT", FORMATS, "text")
    level = _chosen(environment, "VIDBATCH_LOG_LEVEL", LEVELS, "info")
    handler = LineHandler()
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(OURS).setLevel(level.upper())
    logging.captureWarnings(True)
    sys.excepthook = _crash
    threading.excepthook = _thread_crash


def _chosen(environment: Mapping[str, str], name: str, allowed: tuple[str, ...], usual: str) -> str:
    value = environment.get(name, "").strip().lower() or usual
    if value not in allowed:
        raise SettingsError(f"{name}: found {environment[name]!r}; allowed are {', '.join(allowed)}")
    return value


def _crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger(OURS).critical(
        "nobody caught a %s", kind.__name__, exc_info=(kind, error, trace), extra={"event": CRASHED}
    )


def _thread_crash(hook: threading.ExceptHookArgs) -> None:
    if hook.exc_value is not None:
        _crash(hook.exc_type, hook.exc_value, hook.exc_traceback)


class LineHandler(logging.Handler):
    """Writes each record to stderr by one call."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line. A log that can't be written ends nothing."""
        try:
            line = self.format(record).encode("utf-8", "backslashreplace")
        except Exception as error:  # noqa: BLE001 - a line that can't be made must not end what it tells of
            line = f"a line of {record.name} can't be told: {type(error).__name__}".encode()
        try:
            os.write(2, line + b"\n")
        except OSError:
            return


class _Lines(logging.Formatter, ABC):
    """What both formats share: a record's fields, without secrets, within bounds."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        fields = told_of(record, _redaction)
        line = self.line(fields)
        for longest in (LONGEST_VALUE, LONGEST_VALUE // 3, 100, 20):
            if len(line.encode("utf-8", "backslashreplace")) < LONGEST_LINE:
                break
            fields = _cut(fields, longest)
            line = self.line(fields)
        return line.encode("utf-8", "backslashreplace")[: LONGEST_LINE - 1].decode("utf-8", "ignore")

    @abstractmethod
    def line(self, fields: Mapping[str, Any]) -> str:
        """These fields as one line."""


class JsonLines(_Lines):
    """One JSON object a line."""

    def line(self, fields: Mapping[str, Any]) -> str:
        """An object; whatever could break a line in some reader is escaped."""
        text = orjson.dumps(_encodable(fields), option=orjson.OPT_NON_STR_KEYS).decode()
        return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class TextLines(_Lines):
    """The same for people: time, level, logger, event and message, then the other fields as name=value."""

    def line(self, fields: Mapping[str, Any]) -> str:
        """Words; line breaks and other control characters are shown as escapes."""
        shown = dict(fields)
        begin = [str(shown.pop("time")), str(shown.pop("level")).upper(), str(shown.pop("logger"))]
        event, message = shown.pop("event"), shown.pop("message")
        rest = [f"{name}={_word(value)}" for name, value in shown.items()]
        line = " ".join([*begin, *([] if event == LIBRARY else [f"{event}:"]), str(message), *rest])
        return _UNSEEN.sub(lambda found: _escape(found[0]), line)


def told_of(record: logging.LogRecord, redaction: Redaction) -> dict[str, Any]:
    """What a record tells, by name and in order; no secrets."""
    own = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    told: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "event": LIBRARY,
        "message": _message(record),
        "logger": record.name,
        "pid": record.process,
        **_process,
        **_bound.get(),
        **own,
    }
    if record.exc_info and record.exc_info[1] is not None:
        told["exception"] = "".join(traceback.format_exception(record.exc_info[1]))
    elif record.exc_text:
        told["exception"] = record.exc_text
    order = [*(name for name in _FIRST if name in told), *(name for name in told if name not in _FIRST)]
    shown: dict[str, Any] = redaction.value({name: told[name] for name in order if told[name] is not None})
    if "exception" in shown:
        lines = [_within(line, LONGEST_OF_TRACEBACK) for line in shown["exception"].splitlines()]
        shown["exception"] = _end_of("\n".join(lines), LONGEST_VALUE)
    return {name: _bounded(value, LONGEST_VALUE) for name, value in shown.items()}


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - arguments that do not fit their message are told all the same
        return f"{record.msg!r} with {record.args!r} ({type(error).__name__})"


def _cut(fields: Mapping[str, Any], longest: int) -> dict[str, Any]:
    return {name: _bounded(value, longest) for name, value in fields.items()}


def _bounded(value: object, longest: int) -> object:
    if isinstance(value, str):
        return _within(value, longest)
    if isinstance(value, dict | list):
        packed = orjson.dumps(_encodable(value), option=orjson.OPT_NON_STR_KEYS).decode()
        return value if len(packed) <= longest else _within(packed, longest)
    return value


def _within(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"


def _end_of(text: str, longest: int) -> str:
    return text if len(text) < longest else f"…{text[1 - longest :]}"


def _encodable(value: Any) -> Any:  # noqa: ANN401 - what JSON holds
    """The same without halves of characters, which no encoding has."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_encodable(name): _encodable(one) for name, one in value.items()}
    return [_encodable(one) for one in value] if isinstance(value, list) else value


def _word(value: object) -> str:
    """A value behind `name=`: as it is where it is one plain word, else as JSON."""
    if isinstance(value, str) and value and not re.search(r"[\s\"'=]", value):
        return value
    return orjson.dumps(_encodable(value), option=orjson.OPT_NON_STR_KEYS).decode()


def _escape(character: str) -> str:
    plain = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
    code = ord(character)
    return plain.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")  # noqa: PLR2004 - one byte
