"""Text of strangers as nothing but text: what would move a cursor, turn a line around or hide is written out."""

import re

# what moves a cursor, ends a line or turns text around; joiners and marks of a script are part of its text
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_OURS = re.compile("(\x1b\\[(?:[0-2]|3[0-7]|9[0-7])m)")
"""What the command line itself makes: colours, bold, dim, and their end. In a cell, too, it is no more than that."""


def plain(text: str) -> str:
    """The text with every control character but tab and newline in an escape of JSON, which reads it as the same."""
    return text if text.isascii() and text.isprintable() else _UNSEEN.sub(_written, text)


def plain_but_colours(text: str) -> str:
    """The same, but for the colours that a terminal is told."""
    if "\x1b" not in text:
        return plain(text)
    return "".join(part if place % 2 else plain(part) for place, part in enumerate(_OURS.split(text)))


def _written(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
