"""The first process of a container of the tests: makes its file system, drops every right, and starts the service.

Run as `unshare --mount --uts --pid --fork … python container_init.py SPEC.json`, as root of the machine. What Docker
does is done by the kernel's own means: a root that is read-only; volumes, secrets and tmpfs mounted where the file
says; a user without capabilities who can't gain any; and, with `init`, a first process that passes on signals.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

DEVICES = ("null", "zero", "full", "random", "urandom")
SYSTEM_FILES = ("alternatives", "group", "ld.so.cache", "localtime", "nsswitch.conf", "passwd", "ssl")
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def main(spec: dict[str, Any]) -> None:
    """Become the container."""
    root = Path(spec["root"])
    _mount("--make-rprivate", "/")
    _mount("-t", "tmpfs", "-o", "mode=755,size=16m", "tmpfs", str(root))
    _system(root, spec["shown"])
    for path, mode in spec["folders"].items():
        _made(root, path).chmod(mode)
    for path, options in spec["tmpfs"]:
        _mount("-t", "tmpfs", *(("-o", options) if options else ()), "tmpfs", str(_made(root, path)))
    for source, target, writable in spec["mounts"]:
        _bind(Path(source), root, target, writable=writable)
    for path in spec["shown"]:
        _bind(Path(path), root, path)
    if spec["read_only"]:
        _mount("-o", "remount,ro", str(root))
    os.chroot(root)
    os.chdir(spec["folder"])
    socket.sethostname(spec["hostname"])
    command = [*dropped(spec["user"]), *spec["command"]]
    if spec["init"]:
        sys.exit(_look_after(command, spec["environment"]))
    os.execvpe(command[0], command, spec["environment"])


def dropped(user: str) -> list[str]:
    """The words that let a command run as `user` ("uid:gid"), without any capability, now and later."""
    uid, _, gid = user.partition(":")
    who = ["/usr/bin/setpriv", "--reuid", uid, "--regid", gid, "--clear-groups"]
    return [*who, "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"]


def _system(root: Path, shown: list[str]) -> None:
    """What an image would bring: programs and libraries of this machine, and nothing that holds data."""
    for name in ("bin", "lib", "lib32", "lib64", "libx32", "sbin", "usr"):
        path = Path("/", name)
        if path.is_symlink():
            (root / name).symlink_to(path.readlink())
        elif path.is_dir():
            _bind(path, root, str(path))
    for name in SYSTEM_FILES:
        if Path("/etc", name).exists():
            _bind(Path("/etc", name), root, f"/etc/{name}")
    _mount("-t", "proc", "proc", str(_made(root, "/proc")))
    _mount("-t", "tmpfs", "-o", "mode=755,size=1m", "tmpfs", str(_made(root, "/dev")))
    for device in DEVICES:
        _bind(Path("/dev", device), root, f"/dev/{device}", writable=True)
    _mount("-t", "tmpfs", "-o", "mode=1777,size=64m", "tmpfs", str(_made(root, "/dev/shm")))
    (root / "dev/fd").symlink_to("/proc/self/fd")
    _made(root, "/run")


def _made(root: Path, path: str) -> Path:
    folder = root / path.removeprefix("/")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _bind(source: Path, root: Path, target: str, *, writable: bool = False) -> None:
    place = root / target.removeprefix("/")
    if source.is_dir():
        place.mkdir(parents=True, exist_ok=True)
    elif not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    _mount("--bind", str(source), str(place))
    if not writable:
        _mount("-o", "remount,bind,ro", str(place))


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def _look_after(command: list[str], environment: dict[str, str]) -> int:
    """Run the command as a child; pass signals on, bury whoever else is left, and end with its exit code."""
    child = os.spawnvpe(os.P_NOWAIT, command[0], command, environment)
    for number in PASSED_ON:
        signal.signal(number, lambda got, _frame: os.kill(child, got))
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
