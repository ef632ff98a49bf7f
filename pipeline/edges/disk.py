"""How much room a folder has."""

import os
import shutil
from pathlib import Path

from pipeline.edges.places import Place


def free_bytes(place: Place) -> int | None:
    """Bytes that are free where a folder is, or would be made; nothing for an object store. OSError as the disk's."""
    if not isinstance(place, Path):
        return None
    return shutil.disk_usage(_there(place)).free


def may_write(place: Place) -> bool:
    """Whether a folder, or the one that it would be made in, takes files; an object store tells that only by trying."""
    return not isinstance(place, Path) or os.access(_there(place), os.W_OK | os.X_OK)


def _there(place: Path) -> Path:
    """The folder, or the nearest one above it that there is."""
    whole = place.absolute()
    return next(folder for folder in (whole, *whole.parents) if folder.exists())
