"""The services of a compose file as processes of this machine, where there is no Docker engine: `Composition`.

Each is a container in all that matters to a service: its own file system, read-only where the file says so, with its
volumes, secrets and tmpfs and nothing else that can be written; its own process ids and host name; its user, and no
capability. All of them share one network without a way out, where each name of a service has an address of its own.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.compose_file import Compose, Image, image_of, seconds
from tests.container_init import dropped

ROOT = Path(__file__).resolve().parents[1]
INIT = Path(__file__).with_name("container_init.py")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TOOLS = "/image/bin"
NEEDED = "TESTS_NEED_NAMESPACES"
"""Where this variable is set, a machine on which no namespace can be made, or that lacks a program, is a failure."""

FOREIGN = {
    "valkey/valkey": Image({"PATH": f"{TOOLS}:{PATH}"}, "0:0", "/data"),
    "prom/prometheus": Image({"PATH": f"{TOOLS}:{PATH}"}, "65534:65534", "/prometheus", ("prometheus",)),
}
"""What is known of the images of others; their programs are those of this machine, at `TOOLS`."""

UP = "import fcntl,socket,struct;s=socket.socket();fcntl.ioctl(s,0x8914,struct.pack('16sh14x',b'lo',0x49))"


def need_namespaces() -> None:
    """Leave the test out where this machine makes no namespaces, unless they are needed."""
    probe = ["unshare", "--mount", "--net", "--uts", "--pid", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    tools = all(shutil.which(tool) for tool in ("unshare", "nsenter", "setpriv"))
    if tools and subprocess.run(probe, capture_output=True, check=False).returncode == 0:
        return
    assert NEEDED not in os.environ, "namespaces are needed here, and can't be made"
    pytest.skip("no namespaces can be made here: it takes Linux, util-linux and root")


def need_program(name: str) -> None:
    """Leave the test out where this machine has no such program, unless all is needed."""
    if shutil.which(name) is None:
        assert NEEDED not in os.environ, f"{name} is needed here, and is not on the PATH"
        pytest.skip(f"no {name} on the PATH (Debian: apt-get install {name})")


@dataclass
class Container:
    """One life of one service."""

    service: str
    process: subprocess.Popen[bytes]
    log: Path
    spec: dict[str, Any]
    stopped: tuple[int, float] | None = None
    """Its exit code, and how long it took from SIGTERM on."""

    @property
    def first(self) -> psutil.Process | None:
        """Its process 1, as this machine sees it."""
        with suppress(psutil.Error):
            return next(iter(psutil.Process(self.process.pid).children()), None)
        return None

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


@dataclass
class Composition:
    """What `docker compose` would run. Everything is under `folder`, and gone with `down`."""

    compose: Compose
    folder: Path
    tools: dict[str, Path]
    """Programs of foreign images, by the name under which an image has them."""

    def __post_init__(self) -> None:
        self.ours = image_of(ROOT / "Dockerfile", PATH)
        self.running: dict[str, Container] = {}
        self.over: list[Container] = []
        self.seen: dict[tuple[str, str], str] = {}
        """Command lines and environments of all processes that were seen, with the service of each."""
        self._lives = 0
        self._over = threading.Event()
        bin_folder = self.folder / "tools"
        bin_folder.mkdir()
        for name, program in self.tools.items():
            shutil.copy(program, bin_folder / name)
        names = [*self.compose.services]
        lines = [f"127.0.1.{number} {name}\n" for number, name in enumerate(names, 1)]
        (self.folder / "hosts").write_text("127.0.0.1 localhost\n" + "".join(lines), encoding="utf-8")
        self._net = subprocess.Popen(
            [
                "unshare",
                "--net",
                "--kill-child",
                sys.executable,
                "-c",
                f"{UP};print(flush=True);__import__('sys').stdin.read()",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._net.stdout is not None
        assert self._net.stdout.readline(), "no network namespace"
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    # What a person types.

    def up(self, *profiles: str, without: Sequence[str] = ()) -> None:
        """Start the services, each once those that it depends on are healthy, and wait until all are."""
        names = [name for name in self.compose.active(*profiles) if name not in without]
        for name in names:
            for other, how in self.compose.services[name].get("depends_on", {}).items():
                assert how == {"condition": "service_healthy"}
                self.wait_healthy(other)
            self.start(name)
        for name in names:
            self.wait_healthy(name)

    def run(self, service: str, *command: str, within_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """`docker compose run --rm SERVICE COMMAND`."""
        container = self.start(service, command)
        try:
            container.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.stop(service)
            raise AssertionError(f"{service} {command} takes too long:\n{container.said}") from None
        self._ended(container)
        return subprocess.CompletedProcess(list(command), container.process.returncode, container.said)

    def start(self, service: str, command: Sequence[str] = ()) -> Container:
        """A new container of a service."""
        spec = self._spec(service, command)
        path = Path(spec["root"]).with_suffix(".json")
        path.write_text(json.dumps(spec), encoding="utf-8")
        log = Path(spec["root"]).with_suffix(".log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    *("nsenter", f"--net=/proc/{self._net.pid}/ns/net"),
                    *("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--"),
                    *(sys.executable, str(INIT), str(path)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={"PATH": PATH},
            )
        self.running[service] = container = Container(service, process, log, spec)
        return container

    def stop(self, service: str) -> Container:
        """As `docker compose stop`: SIGTERM to the first process, and SIGKILL to all once the time of grace is over."""
        container = self.running[service]
        grace = seconds(self.compose.services[service].get("stop_grace_period", "10s"))
        began = time.monotonic()
        first = container.first
        if first is not None:
            with suppress(psutil.Error):
                first.send_signal(signal.SIGTERM)
        try:
            container.process.wait(grace)
        except subprocess.TimeoutExpired:
            container.process.kill()
            container.process.wait()
        container.stopped = container.process.returncode, time.monotonic() - began
        self._ended(container)
        return container

    def down(self) -> None:
        """Stop everything, each before what it depends on."""
        every = {name for service in self.compose.services.values() for name in service.get("profiles", ())}
        for service in self.compose.active(*every)[::-1]:
            if service in self.running:
                self.stop(service)

    def close(self) -> None:
        """End what still lives, at once."""
        for container in [*self.running.values()]:
            container.process.kill()
            container.process.wait()
        self._over.set()
        self._watcher.join()
        self._net.kill()
        self._net.communicate()

    def execute(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """`docker compose exec SERVICE COMMAND`, as the service's user and in its environment."""
        container = self.running[service]
        first = container.first
        assert first is not None, f"{service} does not run:\n{container.said}"
        spec = container.spec
        inside = ["nsenter", "-t", str(first.pid), "-m", "-u", "-p", "-n", "--root", f"--wd=/proc/{first.pid}/cwd"]
        return subprocess.run(
            [*inside, *dropped(spec["user"]), *command],
            env=spec["environment"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def healthcheck(self, service: str) -> list[str] | None:
        """The command of a service's health check: its own, or its image's."""
        told = self.compose.services[service].get("healthcheck")
        if told is None:
            return list(self._image(service).healthcheck) or None
        if told.get("disable"):
            return None
        kind, *command = told["test"]
        assert kind == "CMD"
        return command

    def healthy(self, service: str) -> bool:
        """Whether the health check passes now."""
        command = self.healthcheck(service)
        container = self.running[service]
        code = container.process.poll()
        assert code is None, f"{service} ended with {code}:\n{container.said}"
        return container.first is not None and (command is None or self.execute(service, *command).returncode == 0)

    def wait_healthy(self, service: str, within_s: float = 60.0) -> None:
        """Wait for the health check to pass."""
        self.wait(lambda: self.healthy(service), f"{service} is healthy", within_s, lambda: self.running[service].said)

    def wait(
        self, condition: Callable[[], Any], what: str, within_s: float = 60.0, why: Callable[[], str] = str
    ) -> Any:
        """Wait until something is true, and return it."""
        deadline, tick = time.monotonic() + within_s, threading.Event()
        while not (found := condition()):
            assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}\n{why()}"
            tick.wait(0.1)
        return found

    # How a container is made.

    def _image(self, service: str) -> Image:
        told = self.compose.services[service]
        return self.ours if "build" in told else FOREIGN[told["image"].partition(":")[0]]

    def _spec(self, service: str, command: Sequence[str]) -> dict[str, Any]:
        told, image = self.compose.services[service], self._image(service)
        self._lives += 1
        root = self.folder / f"{service}-{self._lives}"
        root.mkdir()
        user = told.get("user") or image.user
        entrypoint = told.get("entrypoint") or (() if told.get("entrypoint") == [] else image.entrypoint)
        words = [*entrypoint, *(command or told.get("command") or (() if told.get("entrypoint") else image.command))]
        hostname = f"{service}-{self._lives:04x}"
        is_ours = image is self.ours
        return {
            "root": str(root),
            "user": user,
            "hostname": hostname,
            "folder": image.folder,
            "command": words,
            "init": told.get("init", False),
            "read_only": told.get("read_only", False),
            "environment": {"HOSTNAME": hostname, **image.environment, **told.get("environment", {})},
            "folders": {image.folder: 0o755, **image.folders},
            "tmpfs": [tmpfs.partition(":")[::2] for tmpfs in told.get("tmpfs", [])],
            "mounts": [*self._mounts(told, user), *self._image_mounts(is_ours=is_ours)],
            "shown": self._shown(is_ours=is_ours),
        }

    def _shown(self, *, is_ours: bool) -> list[str]:
        """What stands for the content of our image: what is copied into it, its packages, and their Python."""
        ours = {str(ROOT / "pipeline"), str(ROOT / "workers"), sys.prefix, sys.base_prefix}
        return sorted(ours - {"/usr", "/usr/local"}) if is_ours else []

    def _image_mounts(self, *, is_ours: bool) -> list[tuple[str, str, bool]]:
        hosts = (str(self.folder / "hosts"), "/etc/hosts", False)
        brought = (sys.prefix, "/opt/vidbatch", False) if is_ours else (str(self.folder / "tools"), TOOLS, False)
        return [hosts, brought]

    def _mounts(self, told: dict[str, Any], user: str) -> list[tuple[str, str, bool]]:
        found = []
        for volume in told.get("volumes", []):
            source, target, *mode = volume.split(":")
            if source in self.compose.volumes:
                place = self._volume(source, user)
            else:
                place = (ROOT / source).resolve()
                assert place.exists(), f"{place} is not there"
            found.append((str(place), target, mode != ["ro"]))
        for secret in told.get("secrets", []):
            place = (ROOT / self.compose.secrets[secret]).resolve()
            assert place.exists(), f"bind source path does not exist: {place}"
            found.append((str(place), f"/run/secrets/{secret}", False))
        return found

    def _volume(self, name: str, user: str) -> Path:
        """A named volume: new ones belong to whom the image gave the folder, its user in all images here."""
        folder = self.folder / f"volume-{name}"
        if not folder.exists():
            folder.mkdir(mode=0o755)
            if name in self.ours.folders or f"/{name}" in self.ours.folders:
                folder.chmod(self.ours.folders[f"/{name}"])
            uid, _, gid = user.partition(":")
            os.chown(folder, int(uid), int(gid))
        return folder

    def _ended(self, container: Container) -> None:
        self.running.pop(container.service, None)
        self.over.append(container)

    # What could be seen from outside.

    def _watch(self) -> None:
        """Note every command line of every process, as any user of the machine could."""
        while not self._over.wait(0.02):
            for container in [*self.running.values()]:
                with suppress(psutil.Error):
                    for process in psutil.Process(container.process.pid).children(recursive=True):
                        with suppress(psutil.Error):
                            self.seen[container.service, "\0".join(process.cmdline())] = ""

    def logs(self) -> dict[Path, str]:
        """What all containers said so far."""
        return {one.log: one.said for one in [*self.over, *self.running.values()]}
