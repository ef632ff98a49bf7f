"""Where OUT and its files are: a folder of this machine, or a prefix of an S3 bucket.

Code that works on OUT takes a `Place` and asks it what it would ask a `Path`: a local OUT is a `Path`. What differs
between the two, writing above all, is in `edges/files.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property, total_ordering
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from pipeline.core.errors import SettingsError
from pipeline.edges import object_store

SCHEME = "s3://"


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """What is known of an object without reading it."""

    st_size: int


@total_ordering
class ObjectPlace:
    """An object, or a folder of objects, with the methods of `Path` that OUT needs.

    A folder is nothing of its own: it is there while objects are below it. A listing is a request, whatever is done
    with it; what one listed is not asked for again.
    """

    def __init__(self, key: PurePosixPath, size: int | None = None) -> None:
        self._key = key
        self._size = size

    @property
    def key(self) -> str:
        """Bucket and name, as clients take it."""
        return str(self._key)

    def __str__(self) -> str:
        return f"{SCHEME}{self._key}"

    def __repr__(self) -> str:
        return f"ObjectPlace({str(self)!r})"

    def __truediv__(self, name: str) -> "ObjectPlace":
        return ObjectPlace(self._key / name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectPlace) and self._key == other._key

    def __lt__(self, other: "ObjectPlace") -> bool:
        return self._key < other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def name(self) -> str:
        """The last part of the name."""
        return self._key.name

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return self._key.stem

    @property
    def suffix(self) -> str:
        """The name's ending."""
        return self._key.suffix

    @cached_property
    def parent(self) -> "ObjectPlace":
        """The folder that it is in."""
        return ObjectPlace(self._key.parent)

    def with_name(self, name: str) -> "ObjectPlace":
        """The place beside, of that name."""
        return ObjectPlace(self._key.with_name(name))

    def relative_to(self, folder: "ObjectPlace") -> PurePosixPath:
        """Its name below a folder."""
        return self._key.relative_to(folder.key)

    def as_posix(self) -> str:
        """As text."""
        return str(self)

    def absolute(self) -> "ObjectPlace":
        """Itself: no place in a store depends on where a process is."""
        return self

    def exists(self) -> bool:
        """Whether there is an object of this name, or are some below it."""
        return object_store.looked_up(self.key) is not None

    def is_file(self) -> bool:
        """Whether there is an object of this name."""
        if self._size is not None:
            return True
        found = object_store.looked_up(self.key)
        return found is not None and found.size is not None

    def is_dir(self) -> bool:
        """Whether there are objects below it."""
        found = object_store.looked_up(self.key)
        return found is not None and found.size is None

    def stat(self) -> ObjectStat:
        """Its size. FileNotFoundError where there is no object."""
        if self._size is None:
            found = object_store.looked_up(self.key)
            if found is None or found.size is None:
                raise FileNotFoundError(f"{self} is not there")
            self._size = found.size
        return ObjectStat(self._size)

    def read_bytes(self) -> bytes:
        """All of it. FileNotFoundError where there is no object."""
        return object_store.get(self.key)

    def read_text(self, encoding: str = "utf-8") -> str:
        """The same as text."""
        return self.read_bytes().decode(encoding)

    def open(self, mode: str = "rb") -> object_store.ObjectReader:
        """To read from; writing goes through `edges/files.py`."""
        if mode != "rb":
            raise ValueError("an object is opened only to be read")
        return object_store.ObjectReader(self.key)

    def iterdir(self) -> Iterator["ObjectPlace"]:
        """What is in this folder."""
        return (ObjectPlace(PurePosixPath(one.key), one.size) for one in object_store.listing(self.key))

    def glob(self, pattern: str) -> Iterator["ObjectPlace"]:
        """What is in this folder under such names."""
        if "/" in pattern:
            raise ValueError("names of one folder can be asked for, not those of several")
        return (place for place in self.iterdir() if fnmatchcase(place.name, pattern))

    def rglob(self, pattern: str) -> Iterator["ObjectPlace"]:
        """What is anywhere below under such names."""
        below = object_store.listing(self.key, recursive=True)
        places = (ObjectPlace(PurePosixPath(one.key), one.size) for one in below)
        return (place for place in places if fnmatchcase(place.name, pattern))

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object."""
        if not missing_ok and not self.is_file():
            raise FileNotFoundError(f"{self} is not there")
        object_store.remove(self.key)


Place: TypeAlias = Path | ObjectPlace


def out_place(text: str) -> Place:
    """What `--out` names. SettingsError for an address of a store that can't be one."""
    if "://" not in text and not text.startswith("s3:"):
        return Path(text)
    return object_place(text, "--out")


def object_place(text: str, option: str) -> ObjectPlace:
    """An address of a store. SettingsError names the option, and repeats no address that may hold a key."""
    if not text.startswith(SCHEME):
        files = "a folder" if option == "--out" else "files"
        raise SettingsError(f"{option}: found {text.partition(':')[0]}:…; allowed are {files} and s3://bucket/prefix")
    bucket, _, prefix = text.removeprefix(SCHEME).partition("/")
    if "@" in bucket or ":" in bucket or "?" in text:
        raise SettingsError(
            f"{option}: an address is s3://bucket/prefix and nothing more: keys, region and endpoint are told by "
            "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL_S3"
        )
    parts = [part for part in prefix.split("/") if part]
    if not bucket or ".." in parts or "." in parts:
        raise SettingsError(f"{option}: found {text}; allowed is s3://bucket/prefix")
    return ObjectPlace(PurePosixPath(bucket, *parts))


def listed(folder: Place, pattern: str) -> list[Place]:
    """What is in a folder under such names, in order."""
    return sorted(folder.glob(pattern), key=str)


def below(folder: Place, pattern: str) -> list[Place]:
    """What is anywhere below a folder under such names, in order."""
    return sorted(folder.rglob(pattern), key=str)


def name_under(folder: Place, place: Place) -> str:
    """How a place is called seen from a folder that it is in."""
    if isinstance(folder, ObjectPlace) and isinstance(place, ObjectPlace):
        return str(place.relative_to(folder))
    return Path(str(place)).relative_to(str(folder)).as_posix()
