"""Does what a document tells a reader to do: its `sh` blocks as they stand, in order, in what looks like a checkout.

A block without a language tells what the block before it prints: each of its lines has to come, in that order, where
`…` stands for anything. Blocks of other languages are for the eye.
"""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.documents import Block, blocks

ROOT = Path(__file__).resolve().parents[1]
CHECKOUT = ("Makefile", "pyproject.toml", "requirements.lock", "requirements-dev.lock", "pipeline", "manifests", "docs")
STAMPS = (".made", ".installed", ".installed-dev")
MARK = "@@ line "
PIECE = re.compile(r"(\S+)")


@contextmanager
def checkout() -> Iterator[Path]:
    """A folder that looks like a checkout where `make setup` is done; whatever is left running in it is ended."""
    # A short path of our own: the private server's socket lies below, and its path ends at 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="vb-", dir="/tmp"))
    try:
        for name in CHECKOUT:
            (folder / name).symlink_to(ROOT / name)
        environment = folder / ".venv"
        environment.mkdir()
        for path in Path(sys.prefix).iterdir():
            if path.name not in STAMPS:
                (environment / path.name).symlink_to(path)
        for name in STAMPS:
            (environment / name).touch()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Reader:
    """What somebody who follows a document has, and does of their own accord."""

    has: Mapping[str, str] = field(default_factory=dict)
    """Variables, from the beginning."""
    does_before: Mapping[str, str] = field(default_factory=dict)
    """Commands of their own, before the first block that holds this text."""
    types_instead: Mapping[str, str] = field(default_factory=dict)
    """What a command does here, as a function of the shell."""
    looks_at: str = ""
    """Commands at the end, which have to succeed as well."""


def walk(text: str, folder: Path, within_s: float, reader: Reader) -> str:
    """Type the document's blocks into one shell; AssertionError where one fails, or does not print what it should."""
    for block in blocks(text):
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")
    todo = [block for block in blocks(text) if block.language in {"sh", ""}]
    typed = [block for block in todo if block.language == "sh"]
    script = ["set -eu", *(f"{name}() {{ {body}; }}" for name, body in reader.types_instead.items())]
    for block in typed:
        script.append(f"printf '\\n{MARK}%s\\n' {block.line}")
        for where, does in reader.does_before.items():
            if block is next(one for one in typed if where in one.text):
                script.append(does)
        script.append(block.text)
    said = _typed("\n".join([*script, reader.looks_at]), folder, within_s, _environment(folder, reader.has))
    parts = {int(line): rest for line, _, rest in (part.partition("\n") for part in said.split(MARK)[1:])}
    ran = Block("", "", 0)
    for block in todo:
        if block.language == "sh":
            ran = block
        else:
            assert ran.line, f"line {block.line} is printed by nothing; say `text` where it is no output"
            missing = first_missing(block.text, parts[ran.line])
            assert missing is None, f"line {block.line}: {missing!r} is not in what line {ran.line} printed:\n{said}"
    return said


def _environment(folder: Path, has: Mapping[str, str]) -> dict[str, str]:
    """What a reader's shell knows: nothing of ours but what the text says that they have."""
    ours = ("VIDBATCH_", "PIP_", "AWS_", "PYTEST", "CELERY")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**clean, "HOME": str(folder), "VIDBATCH_STATE": str(folder / ".state"), **has}


def first_missing(told: str, said: str) -> str | None:
    """The first line that does not come, after those before it; nothing where all do."""
    rest = " ".join(said.split())
    for line in told.splitlines():
        words = line.split()
        if not words:
            continue
        found = re.search(r"\s?".join(re.escape(word).replace("…", ".*?") for word in words), rest)
        if found is None:
            return line
        rest = rest[found.end() :]
    return None


def _typed(script: str, folder: Path, within_s: float, environment: Mapping[str, str]) -> str:
    """What one shell and everything in it said; AssertionError unless it ended with 0, in time."""
    keyboard, terminal = pty.openpty()
    os.write(keyboard, b"y\n" * 4)  # who asks on a terminal is told yes
    said = folder / "said"
    try:
        with said.open("ab") as out:
            shell = subprocess.Popen(
                ["bash", "-c", script],
                cwd=folder,
                env=dict(environment),
                stdin=terminal,
                stdout=out,
                stderr=out,
                process_group=0,  # no session of its own: with a terminal at its end, workers would be hung up on
            )
            try:
                code: int | str = shell.wait(within_s)
            except subprocess.TimeoutExpired:
                code = f"no end within {within_s:g} s"
            finally:
                _end(shell.pid)
                shell.wait()
    finally:
        os.close(keyboard)
        os.close(terminal)
    text = said.read_text(encoding="utf-8", errors="replace")
    assert code == 0, f"{code}:\n{text}"
    assert "Traceback" not in text, text
    return text


def _end(group: int) -> None:
    """End what the shell left running: workers leave in good order, whatever does not is killed."""
    tick = threading.Event()
    for how, within_s in ((signal.SIGTERM, 40.0), (signal.SIGKILL, 10.0)):
        deadline = time.monotonic() + within_s
        with suppress(ProcessLookupError):
            os.killpg(group, how)
            while time.monotonic() < deadline:
                os.killpg(group, 0)
                tick.wait(0.05)
            continue
        return
