"""A file whose time says when a worker was last registered: how a health check sees it, without asking Redis."""

import time
from pathlib import Path

from pipeline.core.errors import SettingsError

HEALTH_FILE = "VIDBATCH_HEALTH_FILE"
FRESH_S = 15.0
"""A worker registers every second; three leases without that, and nobody counts on it."""


class AliveFile:
    """The file of one worker; SettingsError at once where it can't be written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            # one of an earlier life says nothing of this one
            path.unlink(missing_ok=True)
            path.touch()
            path.unlink()
        except OSError as error:
            raise SettingsError(f"{HEALTH_FILE}: {path} can't be written: {error.strerror or error}") from None

    def registered(self) -> None:
        """Say that Redis took the registration just now."""
        self._path.touch()


def looks_alive(path: Path) -> str:
    """Why the worker of this file does not look alive; nothing when it does."""
    try:
        age = time.time() - path.stat().st_mtime
    except OSError:
        return f"{path} is not there: no worker was registered yet"
    return "" if age <= FRESH_S else f"the worker was last registered {age:.0f} s ago"
