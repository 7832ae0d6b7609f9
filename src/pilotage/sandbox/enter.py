"""The door of a box: started in a bare interpreter, it locks itself in, reports what held, then runs the target.

Standard library only, and no site packages: nothing foreign runs before the locks are on. A supervisor process stays
outside the new process namespace; it ends the box when the caller goes away. Its argument is one JSON object, see
`pilotage.sandbox.box`; it writes two JSON lines to the status descriptor: the isolation, then how the target ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any

from pilotage.sandbox.seccomp import install

__all__ = ["main"]

_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_DETACH, _PDEATHSIG, _MOUNT_SETATTR, _PIVOT_ROOT = 2, 1, 442, {"x86_64": 155, "aarch64": 41}
_NOBODY = 65534
_LOOK_MS = 250
_SET_FLAGS, _UP_RUNNING = 0x8914, 0x1 | 0x40

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: Path, kind: str | None, flags: int, options: str = "") -> None:
    arguments = (source.encode(), bytes(target), kind.encode() if kind else None, ctypes.c_ulong(flags))
    _check(_libc.mount(*arguments, options.encode() or None), f"mount {target}")


def _write(path: str, text: str) -> None:
    Path(path).write_text(text, encoding="ascii")


def _leave_host(network: bool) -> list[str]:
    """Enter new namespaces, as nobody when root. Returns notes of what was refused."""
    user, group = os.geteuid(), os.getegid()
    flags = _NEWUSER | _NEWNS | _NEWPID | _NEWIPC | _NEWUTS | (0 if network else _NEWNET)
    try:
        _check(_libc.unshare(flags), "unshare")
    except OSError as error:
        return [f"no namespaces: {error.strerror}"]
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{user or _NOBODY} {user} 1")
    _write("/proc/self/gid_map", f"{group or _NOBODY} {group} 1")
    return []


def _raise_loopback() -> list[str]:
    """Switch on 127.0.0.1 of the box's own, otherwise empty network. Returns notes of what was refused."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh14x", b"lo", _UP_RUNNING))
    except OSError as error:
        return [f"no loopback: {error.strerror}"]
    return []


class _Attributes(ctypes.Structure):
    """struct mount_attr of linux/mount.h."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns")]


def _bind(source: Path, root: Path, *, writable: bool) -> None:
    """Show a host path at the same path inside, read-only unless `writable`."""
    target = root / source.relative_to("/")
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    elif not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    _mount(str(source), target, None, _BIND | _REC)
    device = str(source).startswith("/dev/")
    if device:
        return
    wanted = _Attributes(set=_NOSUID | _NODEV | (0 if writable else _RDONLY))
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    recursive = 0x8000
    if _libc.syscall(_MOUNT_SETATTR, -100, bytes(target), recursive, ctypes.byref(wanted), size) == 0 or writable:
        return
    _mount("none", target, None, _BIND | _REMOUNT | _RDONLY | _NOSUID | _NODEV)


def _shown(spec: dict[str, Any]) -> list[tuple[Path, bool]]:
    """The host paths to show, parents before their children, with whether they may be written."""
    system = ["/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives"]
    if spec["network"]:
        system += ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/ssl", "/etc/ca-certificates"]
    paths = {Path(path): False for path in [*system, "/sys/devices/system/cpu", *spec["readable"]]}
    paths |= {Path(f"/dev/{name}"): True for name in ("null", "zero", "random", "urandom")}
    if not spec["scratch"]:
        paths[Path(spec["work"])] = True
    return sorted(paths.items(), key=lambda item: len(item[0].parts))


def _build_root(spec: dict[str, Any]) -> None:
    """Make a root that holds only what is named, with fresh /proc, /tmp and /dev, and move into it."""
    root = Path(spec["root"])
    _mount("none", Path("/"), None, _REC | _PRIVATE)
    _mount("box", root, "tmpfs", _NOSUID | _NODEV, f"size={spec['scratch_mb']}m,mode=755")
    for path, writable in _shown(spec):
        if path.is_symlink() and not writable:
            target = root / path.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path.readlink())
        elif path.exists():
            _bind(path, root, writable=writable)
    for name in ("tmp", "dev/shm", "proc"):
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name).chmod(0o1777 if name != "proc" else 0o555)
    if spec["scratch"]:
        (root / Path(spec["work"]).relative_to("/")).mkdir(parents=True, exist_ok=True)
    _mount("proc", root / "proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    os.chdir(root)
    _check(_libc.syscall(_PIVOT_ROOT[os.uname().machine], b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _DETACH), "umount the old root")


def _limit(spec: dict[str, Any], inside: bool) -> list[str]:
    """Set resource limits; returns the names of those set. Processes are counted only in an own user namespace."""
    limits, mebi = spec["limits"], 1 << 20
    wanted = {
        "cpu_s": (resource.RLIMIT_CPU, limits["cpu_s"]),
        "memory_mb": (resource.RLIMIT_DATA, limits["memory_mb"] * mebi),
        "file_mb": (resource.RLIMIT_FSIZE, limits["file_mb"] * mebi),
        "files": (resource.RLIMIT_NOFILE, limits["files"]),
        "processes": (resource.RLIMIT_NPROC, limits["processes"] if inside else 0),
    }
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    held = []
    for name, (which, value) in wanted.items():
        if value:
            hard = resource.getrlimit(which)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(which, (value, value))
            held.append(name)
    return held


def _lock_in(spec: dict[str, Any], notes: list[str], inside: bool, loopback: bool) -> dict[str, Any]:
    """In the child: file system, limits, filter. Returns the isolation in force."""
    report: dict[str, Any] = {"user": inside, "processes": False, "filesystem": "open", "seccomp": False}
    if inside:
        try:
            _build_root(spec)
            report |= {"filesystem": "allow-list", "processes": True}
        except OSError as error:
            notes.append(f"the host's files are visible: {error.strerror}")
    os.chdir(spec["work"])
    os.umask(0o077)
    report["limits"] = _limit(spec, inside)
    try:
        install(network=spec["network"], loopback=loopback)
        report["seccomp"] = True
    except OSError as error:
        notes.append(f"no system call filter: {error.strerror}")
    shut = "loopback" if loopback else "none" if inside else "blocked" if report["seccomp"] else "open"
    return report | {"network": "open" if spec["network"] else shut, "notes": notes}


def _target(spec: dict[str, Any], notes: list[str], status: int, *, inside: bool, loopback: bool) -> None:
    """The child's way to the target's first instruction; never returns."""
    try:
        _libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.write(status, json.dumps(_lock_in(spec, notes, inside, loopback)).encode() + b"\n")
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606 - starting it is the purpose
    except BaseException as error:  # noqa: BLE001 - nothing may escape into the copy of the supervisor
        with contextlib.suppress(OSError):
            os.write(2, f"box: {error}\n".encode())
    os._exit(127)


def _private_kb() -> int:
    """The anonymous memory of all in the box, in KiB: the supervisor has moved into its root and sees its /proc.

    0 where that is still, or for good, the machine's own, in which this process finds itself.
    """
    if Path("/proc/self").exists():
        return 0
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            lines = (process / "status").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))
    return total


def _watch(child: int, life: int, total_mb: int) -> tuple[int, str]:
    """Wait for the child; end it when the caller's end of `life` closes, or when all in the box hold too much memory.

    Returns its wait status, and `memory` for an end by the latter.
    """
    handle = os.pidfd_open(child)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.register(life, select.POLLIN | select.POLLHUP)
    reason = ""
    while not (gone := {fd for fd, _event in poll.poll(_LOOK_MS if total_mb else None)}):
        if _private_kb() > total_mb << 10:
            reason = "memory"
            break
    if handle not in gone:
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1], reason


def main() -> None:
    """Enter the box described by the JSON object in the first argument, and run its target."""
    spec = json.loads(sys.argv[1])
    status, life = spec["status"], spec["life"]
    for descriptor in (status, life):
        os.set_inheritable(descriptor, False)
    notes = _leave_host(spec["network"])
    inside = not notes
    if inside and spec["loopback"]:
        notes += _raise_loopback()
    loopback = inside and not notes and spec["loopback"]
    child = os.fork()
    if child == 0:
        _target(spec, notes, status, inside=inside, loopback=loopback)
    for descriptor in (0, 1):
        os.close(descriptor)
    ended_as, reason = _watch(child, life, spec["limits"]["total_mb"] if inside else 0)
    code = os.waitstatus_to_exitcode(ended_as)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = {"code": code, "reason": reason, "cpu_s": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1024}
    os.write(status, json.dumps(ended).encode() + b"\n")
    os.killpg(0, signal.SIGKILL)  # what the target left behind in this group, and this process


if __name__ == "__main__":
    main()
