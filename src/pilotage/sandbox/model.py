"""What a box may use, what was really in force, and how it ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["BoxResult", "Isolation", "Limits"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a box may use; 0 means no limit.

    `cpu_s` and `wall_s` in seconds, sizes in MiB: `memory_mb` is private memory of each process, `output_mb` what it
    may write to standard output, `file_mb` the largest file. `files` are open files, `processes` includes threads.
    `total_mb` is the private memory of all its processes together, looked at four times a second: pages that a fork
    shares count for each.
    """

    cpu_s: int = 60
    wall_s: float = 120.0
    memory_mb: int = 2048
    output_mb: int = 64
    file_mb: int = 1024
    files: int = 256
    processes: int = 128
    total_mb: int = 0


@dataclass(frozen=True, kw_only=True)
class Isolation:
    """What was in force, as the box itself reported it before the first foreign instruction.

    `filesystem` is `allow-list` (only named folders exist inside) or `open`; `network` is `none` (an empty network
    namespace), `loopback` (one that holds a 127.0.0.1 of its own and nothing else), `blocked` (sockets refused by the
    system call filter) or `open`; `processes` says whether the box sees only its own and dies whole. `notes` name each
    protection that this machine did not permit.
    """

    user: bool = False
    filesystem: str = "open"
    network: str = "open"
    processes: bool = False
    seccomp: bool = False
    limits: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class BoxResult:
    """How a boxed process ended.

    `returncode` is negative for a signal. `killed_reason` is empty, or one of `wall`, `cpu`, `memory`, `output`,
    `signal <n>`. `cpu_s` is seconds of processor time, `peak_mb` the largest resident size in MiB.
    """

    returncode: int
    stdout: bytes
    stderr: bytes
    timed_out: bool
    killed_reason: str
    wall_s: float
    cpu_s: float
    peak_mb: float
    isolation: Isolation

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with status 0."""
        return self.returncode == 0 and not self.killed_reason
