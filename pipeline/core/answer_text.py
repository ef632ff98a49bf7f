"""Finds the JSON in an answer's text: models put it between code fences, or words before and after it.

The work is bounded by the text's length, whatever stands in it: nothing is looked at more than a few times.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

MOST_FOUND = 32
"""Fenced blocks, or pieces of JSON among words, that are looked at in one text."""

_FENCE = "```"
_BEGINS = re.compile(r'\{(?=\s*+["}])|\[(?=\s*+[\[\]{"\-0-9tfn])')
"""Where an object or array may begin: after it stands what can follow in JSON, and not just any word."""

_STEP = re.compile(r'[{}\[\]]|"[^"\\]*+(?:\\.[^"\\]*+)*+("?)', re.DOTALL)
"""The next bracket, or a whole string with its last quote; without one the text ends within the string."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of JSON text: its value, or why it can't be read. `length` is that of its text."""

    length: int
    value: Any = None
    flaw: str | None = None


def read(text: str) -> Piece:
    """A text that is JSON as a whole."""
    try:
        return Piece(len(text), orjson.loads(text))
    except orjson.JSONDecodeError as error:
        return Piece(len(text), flaw=str(error))


def pieces(text: str, *, cut: bool = False) -> Iterator[list[Piece]]:
    """What may be the answer's JSON, in groups that are better first: all of it, what is fenced, what is among words.

    Within a group what comes later in the text is better, and goes first. A piece is never taken out of a larger one
    that is broken: a part of an answer may be valid, and is not what was asked for. Nor, of a text that was cut, is
    anything taken that something came after.
    """
    text = text.strip().removeprefix("\ufeff")
    whole = read(text)
    yield [whole]
    if whole.flaw is None:
        return
    if not cut:
        yield [read(block) for block in islice(_fenced(text), MOST_FOUND)][::-1]
    found = [*islice(_bracketed(text), MOST_FOUND)]
    yield [read(block) for block in (found[-1:] if cut else found[::-1])]


def _fenced(text: str) -> Iterator[str]:
    """What stands between one line of three backticks, with a word after them or not, and the next."""
    parts = text.split(_FENCE, 2 * MOST_FOUND)
    for block in parts[1:-1:2]:
        word, line, rest = block.partition("\n")
        yield rest if line and not word.strip().startswith(("{", "[", '"')) else block.strip().removeprefix("json")


def _bracketed(text: str) -> Iterator[str]:
    """Objects and arrays with all that is in them; where one never closes, the rest of the text as it is."""
    at = 0
    while (begins := _BEGINS.search(text, at)) is not None:
        end = _closed(text, begins.start())
        yield text[begins.start() : end]
        at = len(text) if end is None else end


def _closed(text: str, start: int) -> int | None:
    """Where what is opened at `start` is closed again."""
    depth = 0
    for step in _STEP.finditer(text, start):
        mark = text[step.start()]
        if mark == '"':
            if not step[1]:
                return None
            continue
        depth += 1 if mark in "{[" else -1
        if depth == 0:
            return step.end()
    return None
