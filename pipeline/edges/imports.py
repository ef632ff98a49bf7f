"""What a process of ours never loads, though a package that it uses would if it could."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType

UNUSED = frozenset({"pandas", "numpy", "yaml", "httpx._main"})
"""pyarrow looks for numpy when it is loaded, and for pandas at the first value that it is given; kombu looks for yaml,
and httpx for what its own command draws with. Together over a second of CPU and 80 MB in each process, for types and
formats that nothing here has. Only our own commands and workers keep them out; a program that imports us does not."""


class _Absent:
    """Says of some packages that they are not installed."""

    def __init__(self, names: frozenset[str]) -> None:
        self.names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Nothing, so that others are asked. ModuleNotFoundError for a package that is kept out."""
        del path, target
        if fullname in self.names:
            raise ModuleNotFoundError(f"{fullname} is not used by vidbatch's own processes", name=fullname)
        return None


def keep_out_unused(*more: str) -> None:
    """Let imports of what is not used fail in this process, as where it is not installed; of `more`, too."""
    if not any(isinstance(finder, _Absent) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Absent(UNUSED.union(more)))


@contextmanager
def let_in(*names: str) -> Iterator[None]:
    """Import these all the same, where a person gave something that needs them."""
    keeping = [(finder, finder.names) for finder in sys.meta_path if isinstance(finder, _Absent)]
    for finder, kept_out in keeping:
        finder.names = kept_out.difference(names)
    try:
        yield
    finally:
        for finder, kept_out in keeping:
            finder.names = kept_out
