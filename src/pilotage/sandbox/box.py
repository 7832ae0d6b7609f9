"""Run what is not ours: a subprocess in a box of limits, namespaces and a system call filter.

What a machine does not permit is left out and named in the result's `isolation`. The environment holds nothing of
the caller's; paths are the same inside; only the `readable` ones, the interpreter and this package can be seen, and
only `work` can be written. Without a `work` of the caller's it is in memory, at most 512 MiB, and goes with the box.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, BinaryIO

from pilotage import __file__ as _package
from pilotage.errors import Unavailable
from pilotage.sandbox.messages import read_message, write_message
from pilotage.sandbox.model import BoxResult, Isolation, Limits

__all__ = ["Box", "run_boxed", "start_boxed"]

_SOURCE = Path(_package).resolve().parent
_DOOR = "import sys; sys.path.insert(0, {!r}); from pilotage.sandbox.enter import main; main()"
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ORT_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_STDERR_KEPT = 256 * 1024
_SCRATCH_MB = 512


def _environment(work: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """The whole environment inside: nothing is passed on from the caller's."""
    fixed = {
        "HOME": str(work),
        "LANG": "C.UTF-8",
        "LOGNAME": "box",
        "MPLCONFIGDIR": str(work),
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": str(_SOURCE.parent),
        "TMPDIR": str(work),
        "TZ": "UTC",
        "USER": "box",
    }
    return fixed | dict.fromkeys(_ONE_THREAD, "1") | dict(extra)


def _argv(target: str | Sequence[str]) -> list[str]:
    """The command: a module name runs in this interpreter, which does not look for modules in the working folder."""
    return [sys.executable, "-P", "-s", "-B", "-m", target] if isinstance(target, str) else list(target)


def _always_readable() -> list[str]:
    """The interpreter, its libraries and this package."""
    executable = Path(sys.executable)
    return [sys.prefix, sys.base_prefix, str(executable.parent), str(executable.resolve().parent), str(_SOURCE)]


class Box:
    """A running box. One caller at a time; `close` ends it and everything that it started."""

    def __init__(
        self,
        target: str | Sequence[str],
        *,
        work: Path | None,
        readable: Sequence[Path],
        limits: Limits,
        network: bool,
        loopback: bool = False,
        env: Mapping[str, str],
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="box-"))
        self.work = self._folder / "work" if work is None else work.resolve()
        self._killed = ""
        self._ended: dict[str, Any] = {}
        self.isolation = Isolation()
        for folder in (self._folder / "root", self.work):
            folder.mkdir(exist_ok=True)
        self.limits = limits
        self._lock = threading.Lock()
        self._started = time.monotonic()
        within = {"network": network, "loopback": loopback and not network, "scratch": work is None}
        self._process = self._start(_argv(target), readable, within, _environment(self.work, env))
        self._errors = bytearray()
        self._drain = _reading(self._process.stderr, self._errors, _STDERR_KEPT)

    def _start(
        self, argv: list[str], readable: Sequence[Path], within: Mapping[str, bool], env: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        status_read, status_write = os.pipe()
        life_read, self._life = os.pipe()
        shown = [*_always_readable(), *(str(path.resolve()) for path in readable)]
        spec: dict[str, object] = {"argv": argv, "env": env, "work": str(self.work), "root": str(self._folder / "root")}
        spec |= {"readable": shown, "limits": asdict(self.limits), "scratch_mb": _SCRATCH_MB, **within}
        spec |= {"status": status_write, "life": life_read}
        door = [sys.executable, "-I", "-S", "-c", _DOOR.format(str(_SOURCE.parent)), json.dumps(spec)]
        pipe = subprocess.PIPE
        try:
            return subprocess.Popen(
                door,
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                env={"PATH": env["PATH"], "LANG": "C.UTF-8"},
                cwd=self._folder,
                pass_fds=(status_write, life_read),
                start_new_session=True,
            )
        finally:
            os.close(status_write)
            os.close(life_read)
            self._status = os.fdopen(status_read, "rb")

    @property
    def writer(self) -> BinaryIO:
        """The box's standard input."""
        assert self._process.stdin is not None  # noqa: S101 - opened as a pipe
        return self._process.stdin  # type: ignore[return-value]  # IO[bytes] of a pipe is a BinaryIO

    @property
    def reader(self) -> BinaryIO:
        """The box's standard output."""
        assert self._process.stdout is not None  # noqa: S101 - opened as a pipe
        return self._process.stdout  # type: ignore[return-value]  # IO[bytes] of a pipe is a BinaryIO

    @property
    def stderr_tail(self) -> bytes:
        """The last 256 KiB that it wrote to standard error."""
        return bytes(self._errors)

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def entered(self, timeout_s: float = 20.0) -> Isolation:
        """Wait until the locks are on and return what is in force. Raises Unavailable when the door failed."""
        ready, _, _ = select.select([self._status], [], [], timeout_s)
        line = self._status.readline() if ready else b""
        if not line:
            self.kill("wall")
            raise Unavailable("the box could not be entered", mend="look at its standard error", code="box_failed")
        self.isolation = Isolation(**json.loads(line))
        return self.isolation

    def ask(self, message: bytes, timeout_s: float) -> bytes:
        """Send one message and return the answer. Raises Unavailable when it is late or the box ended; it is killed."""
        timer = threading.Timer(timeout_s, self.kill, ("wall",))
        timer.start()
        try:
            write_message(self.writer, message)
            answer = read_message(self.reader)
        except (OSError, ValueError):
            answer = None
        finally:
            timer.cancel()
        if answer is None:
            late = self._killed == "wall"
            what = f"no answer from the box within {timeout_s} s" if late else "the box ended"
            raise Unavailable(what, mend="start a new one", code="box_timeout" if late else "box_ended")
        return answer

    def kill(self, reason: str) -> None:
        """End the box now: the supervisor ends the target, and with it all in its process namespace or group."""
        with self._lock:
            self._killed = self._killed or reason
            if self._life >= 0:
                os.close(self._life)
                self._life = -1

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait for its end and take over what the supervisor reported. Raises subprocess.TimeoutExpired."""
        self._process.wait(timeout_s)
        if not self._ended and not self._status.closed:
            line = self._status.readline()
            self._ended = json.loads(line) if line else {}

    def close(self) -> None:
        """End it if it still runs, and remove its own folder."""
        self.kill("closed")
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._drain.join(5.0)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr, self._status):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Box:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def result(self, stdout: bytes) -> BoxResult:
        """How it ended, with what it wrote."""
        self._drain.join(5.0)
        stderr = self.stderr_tail
        code = int(self._ended.get("code", -signal.SIGKILL))
        cpu = float(self._ended.get("cpu_s", 0.0))
        return BoxResult(
            returncode=code,
            stdout=stdout,
            stderr=stderr,
            timed_out=self._killed == "wall",
            killed_reason=self._killed or self._ended.get("reason") or _reason(code, cpu, stderr, self.limits),
            wall_s=time.monotonic() - self._started,
            cpu_s=cpu,
            peak_mb=float(self._ended.get("peak_mb", 0.0)),
            isolation=self.isolation,
        )


def _reason(code: int, cpu_s: float, stderr: bytes, limits: Limits) -> str:
    """Why a process ended that the caller did not kill; empty for an end of its own."""
    if code and (b"MemoryError" in stderr[-4096:] or b"bad_alloc" in stderr[-4096:]):
        return "memory"
    if code >= 0:
        return ""
    if limits.cpu_s and cpu_s >= limits.cpu_s - 0.5 and -code in (signal.SIGKILL, signal.SIGXCPU):
        return "cpu"
    return f"signal {-code}"


def _feed(box: Box, content: bytes) -> None:
    with contextlib.suppress(OSError, ValueError):
        box.writer.write(content)
        box.writer.close()


def _collect(stream: IO[bytes], into: bytearray, limit: int, over: Callable[[str], None] | None) -> None:
    """Read to the end, keeping the last `limit` bytes; the first byte too many calls `over`."""
    with contextlib.suppress(OSError, ValueError):
        while piece := os.read(stream.fileno(), 65536):
            into += piece
            if limit and len(into) > limit:
                if over is not None:
                    over("output")
                del into[: len(into) - limit]


def _reading(
    stream: IO[bytes] | None, into: bytearray, limit: int, over: Callable[[str], None] | None = None
) -> threading.Thread:
    """A started thread that collects a stream."""
    thread = threading.Thread(target=_collect, args=(stream, into, limit, over), daemon=True)
    thread.start()
    return thread


def run_boxed(
    target: str | Sequence[str],
    *,
    work: Path | None = None,
    readable: Sequence[Path] = (),
    input: bytes = b"",
    limits: Limits | None = None,
    network: bool = False,
    loopback: bool = False,
    env: Mapping[str, str] | None = None,
) -> BoxResult:
    """Run a module of this installation (a name) or a command (a list) in a box until it ends or breaks a limit.

    `input` is its standard input. `work` is its working folder and the only one it may write; a temporary one when
    None. `readable` are further files and folders that it may see. `loopback` gives it a network that holds nothing but
    its own 127.0.0.1, where this machine permits one. Never raises for what the target does.
    """
    limits = limits or Limits()
    box = Box(target, work=work, readable=readable, limits=limits, network=network, loopback=loopback, env=env or {})
    out = bytearray()
    with box:
        feeding = threading.Thread(target=_feed, args=(box, input), daemon=True)
        feeding.start()
        collecting = _reading(box.reader, out, limits.output_mb << 20, box.kill)
        with contextlib.suppress(Unavailable):
            box.entered()
        try:
            box.wait(limits.wall_s or None)
        except subprocess.TimeoutExpired:
            box.kill("wall")
            box.wait()
        for thread in (feeding, collecting):
            thread.join(5.0)
        return box.result(bytes(out))


def start_boxed(
    target: str | Sequence[str],
    *,
    work: Path | None = None,
    readable: Sequence[Path] = (),
    limits: Limits | None = None,
    network: bool = False,
    env: Mapping[str, str] | None = None,
) -> Box:
    """Start a box that stays and answers messages (`pilotage.sandbox.messages`); the caller closes it.

    The last 256 KiB of its standard error are in `box.stderr_tail`. `cpu_s` and `wall_s` of the limits do not apply.
    Raises Unavailable when it cannot be entered.
    """
    chosen = asdict(limits or Limits()) | {"cpu_s": 0, "wall_s": 0.0}
    box = Box(target, work=work, readable=readable, limits=Limits(**chosen), network=network, env=env or {})
    try:
        box.entered()
    except Unavailable:
        box.close()
        raise
    return box
