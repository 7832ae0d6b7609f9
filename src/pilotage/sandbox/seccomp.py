"""A system call filter (seccomp BPF) for boxed processes. Standard library only: it runs before the box is entered.

It refuses what a model never needs and an exploit likes: tracing, mounting, new namespaces, keys, BPF, raw kernel
interfaces, and sockets other than local ones when the box has no network (of its own loopback, where it has that).
Layout: linux/seccomp.h, linux/filter.h.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys

__all__ = ["install", "program"]

_LOAD, _EQUAL, _ANY_BIT, _AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_X32 = 0x40000000
_NEW_NAMESPACES = 0x7E020080  # CLONE_NEW{USER,PID,NET,IPC,UTS,CGROUP,NS,TIME}
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10

# fmt: off
_X86_64 = {
    "ptrace": 101, "syslog": 103, "pivot_root": 155, "chroot": 161, "acct": 163, "mount": 165, "umount2": 166,
    "swapon": 167, "reboot": 169, "init_module": 175, "delete_module": 176, "kexec_load": 246, "add_key": 248,
    "request_key": 249, "keyctl": 250, "unshare": 272, "perf_event_open": 298, "open_by_handle_at": 304,
    "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311, "finit_module": 313, "kexec_file_load": 320,
    "bpf": 321, "userfaultfd": 323, "socket": 41, "clone": 56,
}
_AARCH64 = {
    "ptrace": 117, "syslog": 116, "pivot_root": 41, "chroot": 51, "acct": 89, "mount": 40, "umount2": 39,
    "swapon": 224, "reboot": 142, "init_module": 105, "delete_module": 106, "kexec_load": 104, "add_key": 217,
    "request_key": 218, "keyctl": 219, "unshare": 97, "perf_event_open": 241, "open_by_handle_at": 265,
    "setns": 268, "process_vm_readv": 270, "process_vm_writev": 271, "finit_module": 273, "kexec_file_load": 294,
    "bpf": 280, "userfaultfd": 282, "socket": 198, "clone": 220,
}
_COMMON = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "fsmount": 432, "clone3": 435, "pidfd_getfd": 438, "mount_setattr": 442,
}
# fmt: on
_ARCHITECTURES = {"x86_64": (0xC000003E, _X86_64), "aarch64": (0xC00000B7, _AARCH64)}


def _step(code: int, k: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, k)


def _refuse(number: int, error: int) -> bytes:
    return _step(_EQUAL, number, 0, 1) + _step(_RETURN, _ERRNO | error)


def program(machine: str, *, network: bool, loopback: bool = False) -> bytes | None:
    """The filter's BPF instructions (8 bytes each) for a machine name; None for one that is not known here."""
    if machine not in _ARCHITECTURES:
        return None
    architecture, numbers = _ARCHITECTURES[machine]
    special = {"socket", "clone", "clone3"}
    denied = [number for name, number in (numbers | _COMMON).items() if name not in special]
    code = _step(_LOAD, 4) + _step(_EQUAL, architecture, 1, 0) + _step(_RETURN, _ERRNO | errno.ENOSYS)
    code += _step(_LOAD, 0)
    if machine == "x86_64":
        code += _step(_AT_LEAST, _X32, 0, 1) + _step(_RETURN, _ERRNO | errno.ENOSYS)
    code += b"".join(_refuse(number, errno.EPERM) for number in sorted(denied))
    # clone3 hides its flags behind a pointer: answered as if the kernel had none, the C library falls back to clone.
    code += _refuse(_COMMON["clone3"], errno.ENOSYS)
    code += _step(_EQUAL, numbers["clone"], 0, 4) + _step(_LOAD, 16) + _step(_ANY_BIT, _NEW_NAMESPACES, 0, 1)
    code += _step(_RETURN, _ERRNO | errno.EPERM) + _step(_RETURN, _ALLOW)
    if not network:
        families = (_AF_UNIX, _AF_INET, _AF_INET6) if loopback else (_AF_UNIX,)
        code += _step(_EQUAL, numbers["socket"], 0, 3 + len(families)) + _step(_LOAD, 16)
        code += b"".join(_step(_EQUAL, each, len(families) - at, 0) for at, each in enumerate(families))
        code += _step(_RETURN, _ERRNO | errno.EACCES) + _step(_RETURN, _ALLOW)
    return code + _step(_RETURN, _ALLOW)


def install(*, network: bool, loopback: bool = False) -> None:
    """Filter this process and all it starts, for good. Raises OSError where the kernel or machine does not permit."""
    code = program(platform.machine(), network=network, loopback=loopback)
    if code is None or sys.byteorder != "little":
        raise OSError(errno.ENOSYS, f"no system call filter for {platform.machine()}")
    buffer = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(header), 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")
