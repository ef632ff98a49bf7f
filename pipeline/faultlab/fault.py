"""What a fault is, as data: its name, what it breaks, how it is played, and what it may cost.

The faults themselves are in `process_faults`, `store_faults`, `disk_faults`, `api_faults` and `time_faults`, one module
a family; `catalogue` lists them all.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.faultlab.processes import WORKER
from pipeline.faultlab.stage import Stage
from pipeline.faultlab.verdict import Rules


class Family(StrEnum):
    """What is broken."""

    PROCESS = "process"
    STORE = "store"
    DISK = "disk"
    API = "api"
    TIME = "time"


Play = Callable[[Stage], Awaitable[None]]
"""Starts the run, brings it to the moment, strikes, and lifts what lasts by itself. The lab then lets the run end."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `name` is in kebab-case, `meaning` one line for people.

    `simulator` are switches that the simulated API starts with; `fleet` gives the run a Redis server and workers that
    the lab itself supervises, in place of the private stack; `workers` are submit and poll shifts at a time (alone) or
    worker processes (fleet), the first of them started as `program`; `options` are words for the `run` command;
    `deadline_s` bounds the run as a whole.
    """

    name: str
    family: Family
    meaning: str
    play: Play
    rules: Rules = field(default_factory=Rules)
    simulator: Mapping[str, object] = field(default_factory=dict)
    fleet: bool = False
    workers: int = 1
    program: tuple[str, ...] = WORKER
    options: tuple[str, ...] = ()
    deadline_s: float = 180.0
