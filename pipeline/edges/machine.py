"""What this machine gives a process, and what it is made of."""

import platform
import resource
from importlib.metadata import PackageNotFoundError, version

SHOWN = ("celery", "kombu", "redis", "httpx", "aiohttp", "pyarrow")


def open_files() -> int:
    """How many files and connections a process that is started here may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 - 1 if soft == resource.RLIM_INFINITY else soft


def versions() -> str:
    """Python and the packages that matter, in one line."""
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {_version(name)}" for name in SHOWN)])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "is not there"
