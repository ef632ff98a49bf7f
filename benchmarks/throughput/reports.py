"""What the measurer reported of one command, as figures: CPU, wall time, and the most memory by role."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SERVERS = ("redis-server", "valkey-server")
UNSEEN_S = 0.2
"""Sampled CPU may lie above the kernel's sum by its rounding to ticks, and no further."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the tree."""

    pid: int
    role: str
    peak_mb: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """One command with all that it started. `cpu_s` is user and system time of them all, by the kernel."""

    code: int | None
    late: bool
    started_at: float
    wall_s: float
    cpu_s: float
    sampled_cpu_s: float
    processes: tuple[Process, ...]

    @property
    def whole(self) -> bool:
        """Whether the kernel's sum holds all CPU that was seen: that nobody ended without being waited for."""
        return self.sampled_cpu_s <= self.cpu_s * 1.02 + UNSEEN_S

    @property
    def peaks_mb(self) -> dict[str, float]:
        """The most memory that any process of a role held."""
        peaks: dict[str, float] = {}
        for one in self.processes:
            peaks[one.role] = max(peaks.get(one.role, 0.0), one.peak_mb)
        return peaks


def role_of(process: Mapping[str, Any], command: int, by_pid: Mapping[int, Mapping[str, Any]]) -> str:
    """What a process is: the command itself, a server, a worker, its child, or the program that it runs."""
    parent = by_pid.get(process["parent"])
    if process["pid"] == command:
        return "command"
    if process["program"] in SERVERS:
        return "redis fork" if parent is not None and parent["program"] in SERVERS else "redis"
    if _is_worker(process):
        return "worker child" if parent is not None and _is_worker(parent) else "worker"
    return str(process["program"])


def _is_worker(process: Mapping[str, Any]) -> bool:
    words = process["words"]
    return words[1:3] in (["-m", "workers"], ["-m", "celery"])


def report_of(told: Mapping[str, Any]) -> Report:
    """Read a report of the measurer."""
    by_pid = {one["pid"]: one for one in told["processes"]}
    processes = [
        Process(one["pid"], role_of(one, told["pid"], by_pid), one["peak_kb"] / 1024, one["cpu_s"])
        for one in told["processes"]
    ]
    return Report(
        code=told["code"],
        late=told["late"],
        started_at=told["started_at"],
        wall_s=told["wall_s"],
        cpu_s=told["user_s"] + told["system_s"],
        sampled_cpu_s=sum(one.cpu_s for one in processes),
        processes=tuple(processes),
    )


def highest_peaks(reports: Sequence[Report]) -> dict[str, float]:
    """The most memory of each role in any of these."""
    peaks: dict[str, float] = {}
    for report in reports:
        for role, peak in report.peaks_mb.items():
            peaks[role] = max(peaks.get(role, 0.0), peak)
    return peaks
