"""How much room a folder has."""

import shutil
from pathlib import Path

from pipeline.edges.places import Place


def free_bytes(place: Place) -> int | None:
    """Bytes that are free where a folder is, or would be made; nothing for an object store. OSError as the disk's."""
    if not isinstance(place, Path):
        return None
    whole = place.absolute()
    there = next(folder for folder in (whole, *whole.parents) if folder.exists())
    return shutil.disk_usage(there).free
