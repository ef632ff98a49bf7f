"""What becomes of steps that Redis could not be told: this machine's disk keeps them, and else the log."""

import logging
from collections.abc import Sequence

from pipeline.core.errors import StorageError
from pipeline.core.lead import place_of
from pipeline.core.spilling import SpillHead, is_spilled
from pipeline.edges.spill import SpillFolder
from pipeline.ports import Commit, RunCard
from workers.settings import WorkerSettings

_log = logging.getLogger("vidbatch.worker")


class Keeping:
    """Keeps what one process could not tell."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._spill = SpillFolder(settings.state)
        self._place = place_of(settings.redis_url)

    def __call__(self, card: RunCard, holder: str, commits: Sequence[Commit]) -> None:
        """Keep what must not end with a process; a line of the log is what remains where even the disk refuses."""
        kept = [commit for commit in commits if is_spilled(commit.step)]
        if not kept:
            return
        told = {"run": card.run_id, "rows": len(kept)}
        try:
            self._spill.keep(SpillHead(card.run_id, card.out, card.token, self._place), holder, kept)
            _log.warning(
                "the ledger could not be told of %d rows; they are kept in %s",
                len(kept),
                self._spill.path,
                extra={"event": "spilled", **told},
            )
        except StorageError as error:
            _log.critical(
                "neither the ledger nor the disk takes what is known of rows: %s",
                error,
                extra={"event": "spill_failed", **told},
            )
            for commit in kept:  # each by itself: a line that tells of all may be cut
                _log.critical(
                    "known of nobody but this line: %s",
                    commit.step.event.value,
                    extra={
                        "event": "row_untold",
                        "run": card.run_id,
                        "row": commit.row_index,
                        "generation": commit.step.record.generation_id,
                        "attempt": commit.step.record.attempts,
                    },
                )
