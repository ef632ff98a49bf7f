"""Manifests in an object store: each is fetched once to a file of this machine, and goes by its URL for people."""

import io
import threading
from pathlib import Path
from typing import TypeAlias

from pipeline.core.errors import ManifestError
from pipeline.edges import object_store
from pipeline.edges.files import matching, passing_folder
from pipeline.edges.places import SCHEME, ObjectPlace, object_place


class StoredManifest:
    """One object, with what readers of manifests ask of a path.

    It is fetched when it is first read. Whoever reads it again, for its digest and then for its rows, reads the same
    bytes, whatever is put under that name meanwhile. The file goes with the process.
    """

    def __init__(self, place: ObjectPlace) -> None:
        self._place = place
        self._here: Path | None = None
        self._fetching = threading.Lock()

    def __str__(self) -> str:
        return str(self._place)

    def __repr__(self) -> str:
        return f"StoredManifest({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoredManifest) and self._place == other._place

    def __hash__(self) -> int:
        return hash(self._place)

    @property
    def name(self) -> str:
        """The last part of its key."""
        return self._place.name

    @property
    def stem(self) -> str:
        """The same without its ending."""
        return self._place.stem

    @property
    def suffix(self) -> str:
        """Its ending, by which the format is known."""
        return self._place.suffix

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """To read from. ManifestError where there is no such object, StorageError where the store refuses."""
        if mode != "rb":
            raise ValueError("a manifest is opened only to be read")
        return self.here().open("rb")

    def here(self) -> Path:
        """The file of this machine; raises as `open` does."""
        with self._fetching:
            if self._here is None:
                file = passing_folder(self) / "manifest"
                try:
                    object_store.download(self._place.key, file)
                except FileNotFoundError:
                    raise ManifestError(f"{self} does not exist; check the URL.") from None
                self._here = file
            return self._here


ManifestPlace: TypeAlias = Path | StoredManifest


def manifests_of(written: str) -> list[ManifestPlace]:
    """What a command's argument names: an object, a file, or all files that match it as a pattern, by name.

    ManifestError where there is none, and for URLs that are not read; an object is not looked for yet.
    """
    if written.startswith("s3:"):
        place = object_place(written, "MANIFEST")
        if "*" in written or "/" not in place.key:
            raise ManifestError(f"MANIFEST: found {written}; allowed is {SCHEME}bucket/key of one manifest, no pattern")
        return [StoredManifest(place)]
    if "://" in written and not Path(written).exists():
        scheme = written.partition("://")[0]
        raise ManifestError(f"MANIFEST: found {scheme}://…; allowed are files and {SCHEME}bucket/key")
    return list(matching(written))


def file_of(manifest: ManifestPlace) -> Path:
    """The file of this machine that holds it; raises as `StoredManifest.open` does."""
    return manifest.here() if isinstance(manifest, StoredManifest) else manifest
