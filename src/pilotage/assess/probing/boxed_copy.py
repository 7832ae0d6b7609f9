"""Inside a box: a copy of the pilot that may be written, and a child process that cannot flood or outlive.

Nothing but the standard library is used: it runs in the pilot's own environment.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

from pilotage.sandbox.messages import take_pipes

__all__ = ["Child", "Writer", "begin", "copied", "interpreter", "place_of"]

_MAX_COPIED = 300 << 20
_KEPT = 64 << 10
_NOT_DUMPABLE = 4
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


class Writer:
    """Writes one JSON line a result, at once."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def tell(self, **entry: Any) -> None:
        self._stream.write(json.dumps(entry, default=str).encode() + b"\n")
        self._stream.flush()

    def step(self, criterion: str, level: float, summary: str, *, findings: Any = (), **figures: Any) -> None:
        self.tell(criterion=criterion, level=level, summary=summary, figures=figures, findings=list(findings))

    def unknown(self, what: str, why: str) -> None:
        self.tell(unknown=what, why=why)


def begin() -> tuple[dict[str, Any], Writer]:
    """The request, and the writer of results; from here on no child can reach this process's descriptors."""
    reader, writer = take_pipes()
    ctypes.CDLL(None).prctl(_NOT_DUMPABLE, 0, 0, 0, 0)
    return json.loads(reader.read()), Writer(writer)


def copied(root: Path, files: list[str]) -> Path | None:
    """The pilot's files in a folder that may be written; None when they are more than 300 MiB."""
    copy = Path.cwd() / "pilot"
    copy.mkdir()
    room = _MAX_COPIED
    for name in files:
        source = root / name
        room -= source.stat().st_size
        if room < 0:
            return None
        target = copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return copy


class Child:
    """A process of the pilot: only the last 64 KiB of its output are kept, and `end` takes its whole group along."""

    def __init__(self, argv: list[str], cwd: Path, env: dict[str, str]) -> None:
        self.said = bytearray()
        self.process = subprocess.Popen(
            argv,
            cwd=cwd,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        stream = self.process.stdout
        assert stream is not None  # noqa: S101 - opened as a pipe
        while piece := os.read(stream.fileno(), 1 << 16):
            self.said += piece
            del self.said[:-_KEPT]

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def wait(self, seconds: float) -> int | None:
        """Its exit status; None when it was still at work after so long, and was ended."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.end()
            return None

    def end(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    @property
    def text(self) -> str:
        time.sleep(0.05)  # what it wrote last is still on its way through the pipe
        return self.said.decode(errors="replace")


def place_of(text: str, copy: Path) -> tuple[str, int]:
    """The last line of the pilot's own files in a traceback: (file, line), or ("", 0)."""
    for name, line in reversed(_FRAME.findall(text)):
        path = Path(name)
        if path.is_relative_to(copy) and "site-packages" not in path.parts:
            return str(path.relative_to(copy)), int(line)
    return "", 0


def interpreter() -> list[str]:
    """This interpreter, for a child that may import from its own folder."""
    return [sys.executable, "-s", "-B"]
