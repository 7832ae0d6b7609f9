"""Name a process so that another one on the same machine can tell whether it lives: machine, pid, start time.

A pid alone may have been given to somebody else meanwhile. `machine` is the running system and its pid namespace.
"""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

__all__ = ["KEEPS_MEMORY", "end_process", "lives", "stopped", "this_process"]

KEEPS_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "MALLOC_TOP_PAD_": str(16 << 20),
}
"""Environment of a process that takes and frees many megabytes again and again: glibc keeps them for the next time, at
most 256 MiB, as to get each page anew from the kernel is a twentieth of the work. Other C libraries do not know it."""

_NAME = re.compile(r"([0-9a-f]{12}\.\d+)/(\d+)/(\d+)")


def this_process() -> str:
    """`machine/pid/start` of the calling process."""
    pid = os.getpid()
    return f"{_machine()}/{pid}/{_stat(pid)[1]}"


def lives(name: str) -> bool | None:
    """Whether the process lives; None when it cannot be known from here: another machine, or no such name."""
    pid = _here(name)
    return None if pid is None else _stat(pid)[1] == name.rpartition("/")[2]


def stopped(name: str) -> bool:
    """Whether it lives on this machine and was stopped (SIGSTOP, a debugger)."""
    return lives(name) is True and _stat(int(name.split("/")[1]))[0] in "Tt"


def end_process(name: str) -> bool:
    """Kill it, if it lives on this machine and is not the caller; whether it was killed."""
    pid = _here(name)
    if pid is None or pid == os.getpid():
        return False
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        # The handle holds on to this very process: looked at after opening, no other can take its place.
        if lives(name) is not True:
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _here(name: str) -> int | None:
    match = _NAME.fullmatch(name)
    return int(match[2]) if match and match[1] == _machine() else None


def _machine() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().replace("-", "")[:12]
    return f"{boot}.{Path('/proc/self/ns/pid').stat().st_ino}"


def _stat(pid: int) -> tuple[str, str]:
    """(state letter, start time) of a process; empty when there is none, or it only waits for its parent."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return "", ""
    return ("", "") if fields[0] in "ZX" else (fields[0], fields[19])
