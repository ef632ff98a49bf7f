"""docker-compose.yml and Dockerfile as their engines read them: as far as ours use them, and nothing is passed over."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?:(?P<how>:[-?])(?P<other>[^}]*))?\})")

READ = {
    *("build", "cap_drop", "command", "depends_on", "entrypoint", "environment", "healthcheck", "image", "init"),
    *("logging", "mem_limit", "networks", "pids_limit", "ports", "profiles", "read_only", "restart", "secrets"),
    *("security_opt", "stop_grace_period", "tmpfs", "user", "volumes"),
}
"""What a service may say here. Another word is one that nobody holds to."""


class Required(Exception):
    """A variable that has to be set is not; the message is what Compose would show."""


def interpolated(value: Any, variables: Mapping[str, str]) -> Any:
    """A value with its `${NAME}`, `${NAME:-other}` and `${NAME:?message}` filled in, however deep they stand."""
    match value:
        case str():
            return _VARIABLE.sub(lambda found: _filled(found, variables), value)
        case list():
            return [interpolated(one, variables) for one in value]
        case dict():
            return {name: interpolated(one, variables) for name, one in value.items()}
        case _:
            return value


def _filled(found: re.Match[str], variables: Mapping[str, str]) -> str:
    if found["dollar"]:
        return "$"
    value, how = variables.get(found["name"], ""), found["how"]
    if not value and how == ":?":
        raise Required(f"required variable {found['name']} is missing a value: {found['other']}")
    return value or (found["other"] or "" if how == ":-" else "")


@dataclass(frozen=True)
class Image:
    """What a Dockerfile's last stage says of the containers that are made of it."""

    environment: dict[str, str] = field(default_factory=dict)
    user: str = ""
    folder: str = "/"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    healthcheck: tuple[str, ...] = ()
    folders: dict[str, int] = field(default_factory=dict)
    """Folders that are made in it, and their modes."""


def image_of(dockerfile: Path, path: str) -> Image:
    """The image that `dockerfile` would make; `path` is PATH before it."""
    text = dockerfile.read_text(encoding="utf-8").replace("\\\n", " ")
    last = re.split(r"^FROM .*$", text, flags=re.MULTILINE)[-1]
    said: dict[str, list[str]] = {}
    for line in last.splitlines():
        if found := re.match(r"([A-Z]+)\s+(.*)", line):
            said.setdefault(found[1], []).append(found[2])
    environment: dict[str, str] = {}
    for name, value in re.findall(r"(\w+)=(\S+)", " ".join(said.get("ENV", []))):
        environment[name] = value.replace("$PATH", path)
    health = said.get("HEALTHCHECK", ["CMD []"])[-1].partition("CMD ")[2]
    folders = {
        path: int(mode or "755", 8) for mode, path in re.findall(r"install -d (?:-m (\d+) |-\w \w+ )*(/\S+)", last)
    }
    return Image(
        environment,
        said.get("USER", [""])[-1],
        said.get("WORKDIR", ["/"])[-1],
        _words(said.get("ENTRYPOINT", ["[]"])[-1]),
        _words(said.get("CMD", ["[]"])[-1]),
        _words(health),
        folders,
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(yaml.safe_load(text))


def seconds(text: str) -> float:
    """A duration such as 15s, 2m or 1m30s."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    found = re.findall(r"(\d+)(ms|s|m|h)", text)
    assert "".join(number + unit for number, unit in found) == text, f"no duration: {text!r}"
    return sum(int(number) * units[unit] for number, unit in found)


@dataclass(frozen=True)
class Compose:
    """A compose file with all variables filled in."""

    services: dict[str, dict[str, Any]]
    networks: dict[str, dict[str, Any]]
    secrets: dict[str, str]
    volumes: frozenset[str]

    def active(self, *profiles: str) -> list[str]:
        """The services that `up` starts with these profiles, each after those that it depends on."""
        wanted = [
            n for n, one in self.services.items() if not one.get("profiles") or set(one["profiles"]) & {*profiles}
        ]
        order: list[str] = []

        def add(name: str) -> None:
            for other in self.services[name].get("depends_on", {}):
                assert other in wanted, f"{name} depends on {other}, which is in another profile"
                add(other)
            if name not in order:
                order.append(name)

        for name in wanted:
            add(name)
        return order


def read_compose(path: Path, variables: Mapping[str, str]) -> Compose:
    """The file, as `docker compose config` would show it. `Required` where a variable is missing."""
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    told = interpolated({name: value for name, value in written.items() if not name.startswith("x-")}, variables)
    unread = {(name, word) for name, service in told["services"].items() for word in set(service) - READ}
    assert not unread, f"nothing here holds to {unread}"
    return Compose(
        told["services"],
        {name: network or {} for name, network in told["networks"].items()},
        {name: secret["file"] for name, secret in told["secrets"].items()},
        frozenset(told["volumes"]),
    )
