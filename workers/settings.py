"""Celery's settings as data, each with its reason; and what a worker is told by its environment.

A ticket carries no row: losing or repeating one is harmless. So messages are acknowledged early and never redelivered
on purpose, and nothing here depends on an ETA, a visibility timeout, a result backend or a chord.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline.core.account import Secret
from pipeline.core.errors import SettingsError
from pipeline.core.tickets import Role
from pipeline.edges.alive import HEALTH_FILE
from pipeline.edges.embedded import state_path
from pipeline.edges.environment import key_from, process_environment
from pipeline.edges.media_files import media_roots
from pipeline.edges.redis_keys import QUEUES
from pipeline.edges.redis_place import RedisPlace, redis_place

SHIFT_S = 10.0
"""Celery costs some ms a message; ten seconds of work make that nothing, and a deployment waits no longer."""

HOLDING_SHIFT_S = 120.0
"""Where a row is held until its answer is whole, a shift of ten seconds would mostly wait for its last rows. One that
others wait for takes no longer than any."""

SUBMITTING_S = 4 * 3600
"""The longest that a submit shift may take. It waits for its POSTs, twelve minutes each after their bodies went out,
and for uploads before them: 2 GB take more than two hours at 2 Mbit/s. Who is ended here loses the answers of all rows
in its hand, so this ends only a shift that is stuck; whatever it waits for has a bound of its own."""

MOST_SHIFTS = 64
"""Of a role in one worker: each is a process. Who wants more of them has more workers, and more hosts."""

CELERY: dict[str, Any] = {
    "task_acks_late": False,  # tickets are hints: the heartbeat issues another
    "task_ignore_result": True,  # results are in the ledger
    "task_serializer": "json",
    "accept_content": ["json"],  # nothing that could run code comes off the wire
    "task_default_queue": Role.CONTROL.value,
    "task_create_missing_queues": True,
    "task_time_limit": 300,  # a shift ends by itself; this ends one that is stuck
    "worker_prefetch_multiplier": 1,  # a ticket waits in Redis, where any worker can take it
    "worker_max_tasks_per_child": 500,  # bounds whatever a library leaks
    "worker_send_task_events": False,
    "task_send_sent_event": False,
    "worker_hijack_root_logger": False,
    "worker_cancel_long_running_tasks_on_connection_loss": False,  # a shift outlives a Redis restart
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,  # the default gives up after 100 tries
    "broker_pool_acquire_timeout": 30,
    "broker_transport_options": {
        "global_keyprefix": QUEUES,
        "visibility_timeout": 900,  # for tickets that wait at a busy worker: those under way are acknowledged
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 30,  # the default of 300 s blocks recovery after a crash inside a sweep
        "socket_timeout": 15,  # the default waits for ever on a half-open connection
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
    },
    "enable_utc": True,
    "timezone": "UTC",
}


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What one worker process is told."""

    redis_url: str = field(repr=False)
    shifts: Mapping[Role, int]
    """Its roles, and how many shifts of each at a time."""
    key: Secret | None
    coordinator_pid: int | None
    state: Path
    """Where this machine keeps what could not be recorded."""
    media_roots: tuple[str, ...] = ()
    """Folders whose files it may read and send; real paths."""
    health_file: Path | None = None
    """Touched whenever Redis took its registration, for health checks."""

    @property
    def children(self) -> int:
        """Processes that these shifts take, one each."""
        return sum(self.shifts.values())


def settings_from(environment: Mapping[str, str]) -> WorkerSettings:
    """Read a worker's settings from `VIDBATCH_*`. SettingsError names the variable."""
    coordinator = environment.get("VIDBATCH_COORDINATOR_PID")
    redis_url = _required(environment, "VIDBATCH_REDIS")
    redis_place(redis_url, environment, "VIDBATCH_REDIS")
    return WorkerSettings(
        redis_url=redis_url,
        shifts=_shifts(
            environment.get("VIDBATCH_ROLES", ",".join(Role)), _positive(environment.get("VIDBATCH_WORKERS", "1"))
        ),
        key=key_from(environment),
        coordinator_pid=int(coordinator) if coordinator else None,
        state=state_path(environment),
        media_roots=media_roots(environment.get("VIDBATCH_MEDIA_ROOT", "")),
        health_file=Path(path) if (path := environment.get(HEALTH_FILE)) else None,
    )


def from_environment() -> WorkerSettings:
    """The settings of this process."""
    return settings_from(process_environment())


def _required(environment: Mapping[str, str], name: str) -> str:
    if value := environment.get(name):
        return value
    raise SettingsError(f"{name} is not set; give the Redis URL, such as redis://localhost:6379/0")


def _shifts(text: str, many: int) -> dict[Role, int]:
    """Shifts by role. Where a role has no number, `many` send and as many poll; one writes and one feeds."""
    shifts: dict[Role, int] = {}
    for word in filter(None, map(str.strip, text.split(","))):
        name, given, number = map(str.strip, word.partition("="))
        if name not in set(Role) or (given and (not number.isdecimal() or not 1 <= int(number) <= MOST_SHIFTS)):
            raise SettingsError(_not_roles(text, word))
        if Role(name) in shifts:
            raise SettingsError(f"--roles (VIDBATCH_ROLES): found {name} twice in {text!r}; once is enough")
        shifts[Role(name)] = int(number) if given else many if name in {Role.SUBMIT, Role.POLL} else 1
    if not shifts:
        raise SettingsError(_not_roles(text, text))
    return shifts


def _not_roles(text: str, word: str) -> str:
    allowed = f"allowed are {', '.join(Role)}, separated by commas, each with a number of shifts if you like"
    return f"--roles (VIDBATCH_ROLES): found {word!r} in {text!r}; {allowed}, from 1 to {MOST_SHIFTS}, such as submit=4"


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise SettingsError(f"VIDBATCH_WORKERS: found {text!r}; allowed is a whole number from 1")
    return int(text)


def broker_settings(place: RedisPlace) -> dict[str, Any]:
    """The same server as Celery is told of it, user and password apart from the URL, which Celery shows."""
    address = place.address
    if place.is_private:
        # the transport takes what a socket wants from the URL alone
        who = f"{quote(place.user, safe='')}:{quote(place.password, safe='')}@" if place.password else ""
        return {"broker_url": f"redis+socket://{who}{address.path}?virtual_host={address.database}"}
    told = {"broker_url": address.shown, "broker_user": place.user, "broker_password": place.password}
    return {**told, "broker_use_ssl": place.tls()} if place.tls() else told
