"""Where a worker's API key comes from, looked at again while it works: a key is replaced without a restart."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.core.errors import KeyMissing, SettingsError
from pipeline.edges.environment import KEY_COMMAND, KEY_FILE, key_from

FILE_EVERY_S = 5.0
COMMAND_EVERY_S = 300.0
"""A secret store is asked over the network, and some are paid for by the call."""

REFUSED_EVERY_S = 15.0
"""The same while the API refuses the key."""


class KeySource:
    """A file or a command that holds the key; one that stands in the environment itself stays what it is."""

    def __init__(
        self, environment: Mapping[str, str], monotonic: Callable[[], float] = time.monotonic, *, fresh: bool = True
    ) -> None:
        """Not `fresh` is one whose key may be as old as the process that it was forked from."""
        self._environment = environment
        self._monotonic = monotonic
        self._file = environment.get(KEY_FILE, "")
        self._command = not self._file and bool(environment.get(KEY_COMMAND))
        self._read_at = monotonic() if fresh else float("-inf")
        self._state = self._state_of_file()
        self.key = key_from(environment)

    @property
    def is_command(self) -> bool:
        """Whether the key is asked of a command."""
        return self._command

    def look(self, *, refused: bool = False) -> bool:
        """Look again where it is time to; whether there is another key now. What can't be read changes nothing."""
        since = self._monotonic() - self._read_at
        if not self._due(since, refused=refused):
            return False
        self._read_at = self._monotonic()
        state = self._state_of_file()
        if self._file and state == self._state:
            return False
        try:
            key = key_from(self._environment, anew=True)
        except (SettingsError, KeyMissing):
            return False  # half written, or away for a moment: the next look tells
        if key is None:
            return False
        self._state = state
        changed = self.key is None or key.reveal() != self.key.reveal()
        self.key = key
        return changed

    def _due(self, since: float, *, refused: bool) -> bool:
        if self._file:
            return refused or since >= FILE_EVERY_S
        return self._command and since >= (REFUSED_EVERY_S if refused else COMMAND_EVERY_S)

    def _state_of_file(self) -> tuple[int, int, int] | None:
        if not self._file:
            return None
        try:
            found = Path(self._file).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
