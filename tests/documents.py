"""What stands in the documents: their blocks, and the commands that people are told to type."""

import re
import subprocess
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>```+)(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)(?P=fence) *$",
    re.MULTILINE | re.DOTALL,
)
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
HERE_DOCUMENT = re.compile(r"(<<-?\s*['\"]?(\w+)['\"]?[^\n]*\n).*?^\s*\2$", re.MULTILINE | re.DOTALL)
SHELL = frozenset({"", "sh", "console"})
"""Languages of blocks that may hold commands; those without one hold what is printed, too."""

_TOKEN = re.compile(
    r"""(?P<space>[ \t]+|\\\n)
    |(?P<comment>(?<![^\s;&|()])\#[^\n]*)
    |(?P<descriptor>\d*[<>]&\d|\d(?=[<>]))
    |(?P<operator>\n|[;&|()<>]+)
    |(?P<word>(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|\$\([^)]*\)|[^\s;&|()<>'"\\])+)
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_QUOTED = re.compile(r"""'([^']*)'|"((?:\\.|[^"\\])*)"|\\(.)""", re.DOTALL)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


@dataclass(frozen=True)
class Block:
    """What stands between two fences."""

    language: str
    text: str
    line: int
    file: str = ""
    """The name after the language, where the block is a file's content."""


@dataclass(frozen=True)
class Command:
    """A simple command: its words, without quotes, redirections and variables before it."""

    words: tuple[str, ...]
    line: int
    whole: bool = True
    """Whether it stands in a block, to be typed as it is; in running text options may be left out."""


def documents(root: Path) -> list[Path]:
    """Every Markdown file of the project."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"]
    names = subprocess.run(listing, cwd=root, check=True, capture_output=True, text=True).stdout.split("\0")
    return [root / name for name in sorted(names) if name and (root / name).is_file()]


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a document, in order."""
    found = [
        (one["info"].strip().partition(" "), textwrap.dedent(one["text"]), text.count("\n", 0, one.start("text")) + 1)
        for one in FENCE.finditer(text)
    ]
    return [Block(info[0], inside, line, info[2].strip()) for info, inside, line in found]


def prose(text: str) -> str:
    """A document without its blocks; lines keep their numbers."""
    return FENCE.sub(lambda found: "\n" * found[0].count("\n"), text)


def spans(text: str) -> Iterator[tuple[int, str]]:
    """What stands between backquotes in running text, with its line."""
    plain = prose(text)
    for found in SPAN.finditer(plain):
        yield plain.count("\n", 0, found.start()) + 1, " ".join(found[1].split())


def commands(text: str) -> Iterator[Command]:
    """Every command of a document: those of its blocks, and those between backquotes."""
    for block in blocks(text):
        if block.language in SHELL:
            yield from simple_commands(block.text, block.line)
    for line, span in spans(text):
        yield from (Command(one.words, line, whole=False) for one in simple_commands(span, line))


def simple_commands(script: str, first_line: int = 1) -> Iterator[Command]:
    """The simple commands of a script. What a console shows is read, too: its lines begin with a `$`."""
    script = HERE_DOCUMENT.sub(lambda found: found[1] + "\n" * (found[0].count("\n") - 1), script)
    words: list[str] = []
    line, began, to_a_file = first_line, first_line, False
    for token in _TOKEN.finditer(script + "\n"):
        kind, value = token.lastgroup, token[0]
        if kind == "word":
            if not words:
                began = line
            if not to_a_file:
                words.append(_QUOTED.sub(lambda found: found[1] or found[2] or found[3] or "", value))
            to_a_file = False
        elif kind == "operator":
            if set(value) <= {"<", ">"}:
                to_a_file = True
            else:
                if command := _without_what_comes_before(words):
                    yield Command(command, began)
                words, to_a_file = [], False
        line += value.count("\n")


def ours(command: Command) -> tuple[str, ...] | None:
    """What `vidbatch` is told, where this is such a command; also where a container's is."""
    words = command.words
    if words[0] in {"vidbatch", ".venv/bin/vidbatch"}:
        return words[1:]
    if words[:3] == ("docker", "compose", "run") and "vidbatch" in words:
        return words[words.index("vidbatch") + 1 :]
    return None


def _without_what_comes_before(words: Sequence[str]) -> tuple[str, ...]:
    rest = list(words)
    while rest and (rest[0] in {"$", "then", "do", "if", "until", "!", "exec", "time"} or _ASSIGNMENT.match(rest[0])):
        rest.pop(0)
    return tuple(rest)
