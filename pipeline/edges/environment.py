"""What the process is told by its environment, read here and nowhere deeper; and what it tells a worker."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from pipeline.core.account import Secret
from pipeline.core.errors import SettingsError


def process_environment() -> Mapping[str, str]:
    """This process's environment."""
    return os.environ


def key_from(environment: Mapping[str, str]) -> Secret | None:
    """The API key from the environment or the file that it names; nothing when there is none."""
    if path := environment.get("VIDBATCH_API_KEY_FILE"):
        try:
            text = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"VIDBATCH_API_KEY_FILE: {path} can't be read: {error}") from None
        return Secret(text) if text else None
    value = environment.get("VIDBATCH_API_KEY", "").strip()
    return Secret(value) if value else None


def become_worker(environment: Mapping[str, str]) -> NoReturn:
    """Let a worker take this process's place, so that whoever supervises this one supervises the worker."""
    os.execve(sys.executable, [sys.executable, "-m", "workers"], environment)  # noqa: S606 - our own words
