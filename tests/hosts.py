"""Hosts of a network on one machine: each has its own network, name and mounts, and cables to switches.

They are namespaces of Linux. A host lives as long as a process that reads from a pipe of ours, so nothing is left
behind however the tests end: no name is taken anywhere, and the kernel tells whoever works on a host when they end.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

NEEDED = "TESTS_NEED_HOSTS"
"""Where this variable is set, a machine that can't make hosts is a failure."""

PROGRAMS = ("ip", "tc", "unshare", "nsenter", "setpriv", "hostname")
NEW = ("unshare", "--net", "--uts", "--mount")
_NETWORK = 0x40000000  # CLONE_NEWNET


class Host:
    """One host. What it hides are folders that other hosts see: to it they are empty."""

    def __init__(self, name: str, hides: Sequence[Path] = ()) -> None:
        self.name = name
        mounts = "".join(f"mount -t tmpfs none '{folder}' && " for folder in hides)
        life = f"hostname {name} && ip link set lo up && {mounts} echo ready && exec cat"
        self._life = subprocess.Popen([*NEW, "sh", "-c", life], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._life.stdout.readline() == b"ready\n", f"host {name} could not be made"
        self._started: list[subprocess.Popen[bytes]] = []

    @property
    def pid(self) -> int:
        """The process whose namespaces are this host."""
        return self._life.pid

    def starts(self, words: Sequence[object], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        """Begin a command there; what it says goes to a file."""
        there = ("nsenter", f"--target={self.pid}", "--net", "--uts", "--mount", "--wd=/tmp")
        command = [*there, "setpriv", "--pdeathsig", "KILL", *map(str, words)]
        with log.open("wb") as output:
            started = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        self._started.append(started)
        return started

    @contextmanager
    def network(self) -> Iterator[None]:
        """What this thread connects to, and starts, in the meantime is in the host's network."""
        with Path(f"/proc/{self.pid}/ns/net").open() as there, Path("/proc/thread-self/ns/net").open() as home:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def does(self, *words: object) -> str:
        """Type a short command there, in its network alone."""
        with self.network():
            done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words} on {self.name}: {done.stderr}"
        return done.stdout

    def close(self) -> None:
        """End what was started there, and then the host."""
        for started in self._started:
            if started.poll() is None:
                started.kill()
            started.wait()
        self._life.stdin.close()
        self._life.wait()
        self._life.stdout.close()


class Network:
    """Switches, one for each kind of traffic, and the cables of hosts to them."""

    def __init__(self, *switches: str) -> None:
        self._room = Host("switches")
        self._numbers: dict[str, int] = {}
        self._places = {name: place for place, name in enumerate(switches, 1)}
        self._hosts: list[Host] = []
        for switch in switches:
            self._room.does("ip", "link", "add", switch, "type", "bridge")
            self._room.does("ip", "link", "set", switch, "up")

    def host(self, name: str, switches: Sequence[str], hides: Sequence[Path] = ()) -> Host:
        """A new host with a cable to each of these switches."""
        made = Host(name, hides)
        self._hosts.append(made)
        self._numbers[name] = len(self._hosts)
        for switch in switches:
            port, own = _port(name, switch), f"to-{switch}"
            peer = ("type", "veth", "peer", "name", port, "netns", self._room.pid)
            made.does("ip", "link", "add", own, *peer)
            self._room.does("ip", "link", "set", port, "master", switch, "up")
            made.does("ip", "address", "add", f"{self.address(name, switch)}/24", "dev", own)
            made.does("ip", "link", "set", own, "up")
        return made

    def address(self, name: str, switch: str) -> str:
        """A host's address at a switch."""
        return f"10.77.{self._places[switch]}.{self._numbers[name]}"

    def cut(self, name: str, *switches: str) -> None:
        """Pull the host's cables to these switches."""
        for switch in switches:
            self._room.does("ip", "link", "set", _port(name, switch), "down")

    def lose(self, name: str, *switches: str) -> None:
        """Lose all packets of these cables in silence: to the host they look well."""
        for switch in switches:
            self._room.does("ip", "link", "set", _port(name, switch), "nomaster")

    def mend(self, name: str, *switches: str) -> None:
        """Put the cables back, whatever was done to them."""
        for switch in switches:
            self._room.does("ip", "link", "set", _port(name, switch), "master", switch, "up")

    def slow(self, name: str, switch: str, rate: str, waiting: str = "1mb") -> None:
        """Let a cable carry so much each way, such as `256kbit`; up to `waiting` bytes queue before it."""
        shape = ("root", "tbf", "rate", rate, "burst", "4kb", "limit", waiting)
        self._room.does("tc", "qdisc", "replace", "dev", _port(name, switch), *shape)
        host = next(host for host in self._hosts if host.name == name)
        host.does("tc", "qdisc", "replace", "dev", f"to-{switch}", *shape)

    def close(self) -> None:
        """End every host, and the switches."""
        for host in (*self._hosts, self._room):
            host.close()


@contextmanager
def network(*switches: str) -> Iterator[Network]:
    """A network of one's own; the test is left out where this machine can't make one, unless it is needed."""
    if missing := _missing():
        assert NEEDED not in os.environ, f"hosts are needed here, and {missing}"
        pytest.skip(f"no hosts of one's own here: {missing} (Linux, as root, with iproute2 and util-linux)")
    made = Network(*switches)
    try:
        yield made
    finally:
        made.close()


def _missing() -> str:
    """What this machine lacks; nothing when it can make hosts."""
    if absent := [program for program in PROGRAMS if shutil.which(program) is None]:
        return f"{', '.join(absent)} is not on the PATH"
    tried = subprocess.run(
        [*NEW, "ip", "link", "add", "name", "probe", "type", "bridge"], capture_output=True, text=True, check=False
    )
    return tried.stderr.strip() if tried.returncode else ""


def _port(name: str, switch: str) -> str:
    return f"{switch}-{name}"


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _NETWORK) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
