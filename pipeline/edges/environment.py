"""What the process is told by its environment, read here and nowhere deeper; and what it tells a worker."""

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from pipeline.core.account import Secret
from pipeline.core.errors import SettingsError

KEY = "VIDBATCH_API_KEY"
KEY_FILE = "VIDBATCH_API_KEY_FILE"
KEY_COMMAND = "VIDBATCH_API_KEY_COMMAND"
SECRET_FILES = (KEY_FILE, "VIDBATCH_REDIS_PASSWORD_FILE", "VIDBATCH_REDIS_KEY_FILE", "VIDBATCH_NOTIFY_SECRET_FILE")
UNTOLD = (KEY, "VIDBATCH_REDIS_PASSWORD", "VIDBATCH_NOTIFY_SECRET")
"""Secrets of ours that are no business of a secret store's command."""

COMMAND_S = 10.0
MOST_SAID = 4_096


_said: dict[str, str] = {}


def process_environment() -> Mapping[str, str]:
    """This process's environment."""
    return os.environ


def key_from(environment: Mapping[str, str], *, anew: bool = False) -> Secret | None:
    """The API key from the file, or the command, that the environment names, or from there; nothing when there is none.

    What a command said holds for this process, unless it is to be asked `anew`. SettingsError when it can't be read, in
    words that hold nothing of what was.
    """
    if path := environment.get(KEY_FILE):
        try:
            text = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error if isinstance(error, OSError) else "it is no UTF-8"
            raise SettingsError(f"{KEY_FILE}: {path} can't be read: {why}") from None
    elif command := environment.get(KEY_COMMAND):
        if anew or command not in _said:
            _said[command] = said_by(command, environment)
        text = _said[command]
    else:
        text = environment.get(KEY, "").strip()
    return Secret(text) if text else None


def said_by(command: str, environment: Mapping[str, str]) -> str:
    """The one line that a secret store's command says. It gets no shell; SettingsError names its variable."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise SettingsError(f"{KEY_COMMAND}: can't be read as words: {error}") from None
    if not words:
        raise SettingsError(f"{KEY_COMMAND}: found no word; allowed is a command that prints the key")
    try:
        text, code = _run(words, environment)
    except TimeoutError:
        raise SettingsError(f"{KEY_COMMAND}: {words[0]} did not end within {COMMAND_S:g} s") from None
    except OSError as error:
        raise SettingsError(f"{KEY_COMMAND}: {words[0]} can't be run: {error.strerror}") from None
    if len(text) > MOST_SAID:
        raise SettingsError(f"{KEY_COMMAND}: {words[0]} printed more than {MOST_SAID} bytes; allowed is the key alone")
    if code:
        # what it says of its failure may hold what it was asked for
        raise SettingsError(f"{KEY_COMMAND}: {words[0]} ended with exit code {code}; try it by hand")
    if not text.strip():
        raise SettingsError(f"{KEY_COMMAND}: {words[0]} printed nothing; allowed is the key alone")
    return text.decode("utf-8", "replace").strip()


def _run(words: list[str], environment: Mapping[str, str]) -> tuple[bytes, int]:
    """What a command says, as far as anybody wants to know, and its exit code. TimeoutError for one that hangs."""
    told = {name: value for name, value in environment.items() if name not in UNTOLD}
    late = threading.Event()
    with subprocess.Popen(  # noqa: S603 - words that the owner of this environment wrote
        words, env=told, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:  # fmt: skip

        def end() -> None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        def end_late() -> None:
            late.set()
            end()

        watch = threading.Timer(COMMAND_S, end_late)
        watch.start()
        try:
            said = b"" if process.stdout is None else process.stdout.read(MOST_SAID + 1)
            if len(said) > MOST_SAID:
                end()
            code = process.wait()
        finally:
            watch.cancel()
    if late.is_set():
        raise TimeoutError
    return said, code


def open_to_others(environment: Mapping[str, str]) -> str | None:
    """A warning where the file of a secret can be read by other users of this machine.

    What a container is given is its own, whatever its mode.
    """
    for name in SECRET_FILES:
        path = environment.get(name)
        if not path or path.startswith("/run/secrets/"):
            continue
        with suppress(OSError):
            if Path(path).stat().st_mode & 0o077:
                return f"{name}: {path} can be read by other users of this machine: chmod 600 {path}"
    return None


def become_worker(environment: Mapping[str, str]) -> NoReturn:
    """Let a worker take this process's place, so that whoever supervises this one supervises the worker."""
    os.execve(sys.executable, [sys.executable, "-m", "workers"], environment)  # noqa: S606 - our own words
