"""Whether this worker was told to stop: one byte that children share with their main process."""

import mmap

_STOPPING = mmap.mmap(-1, 1)


def stop() -> None:
    """Tell the children, so that their shifts claim no more."""
    _STOPPING[0] = 1


def stopping() -> bool:
    """Whether this worker was told to stop."""
    return _STOPPING[0] == 1
