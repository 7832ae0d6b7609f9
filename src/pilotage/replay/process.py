"""The other side of the replaying process: start it in an interpreter, ask it in chunks, end it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import msgspec

from pilotage.errors import InputError, Unavailable
from pilotage.replay.questions import Answer, Hello, Question, Questions
from pilotage.sandbox.messages import read_message, write_message

__all__ = ["ReplayProcess"]

START_S, ROW_S = 120.0, 0.5
_MESSAGE = 32 << 20
"""Bytes of requests in one message: half of what a message may hold."""


class ReplayProcess:
    """A process that answers as one interpreter does; a context manager, for one thread.

    `hello` is what it said of itself. Raises Unavailable when it does not start, ends or is too slow.
    """

    def __init__(self, releases: Path, python: str = sys.executable, env: Mapping[str, str] | None = None) -> None:
        self._releases = str(releases.resolve())
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._late = False
        self._process = subprocess.Popen(
            [python, "-P", "-m", "pilotage.replay.answer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **(env or {})},
        )
        try:
            self.hello = msgspec.msgpack.decode(self._exchange(None, START_S), type=Hello)
        except BaseException:
            self.close()
            raise

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """Answers in the order of the questions; they go in messages of bounded size. Raises Unavailable."""
        answers: list[Answer] = []
        chunk: list[Question] = []
        size = 0
        for question in questions:
            if chunk and size + len(question.request) > _MESSAGE:
                answers += self._ask(chunk)
                chunk, size = [], 0
            chunk.append(question)
            size += len(question.request) + 1_000
        return answers + (self._ask(chunk) if chunk else [])

    def _ask(self, questions: list[Question]) -> list[Answer]:
        message = msgspec.msgpack.encode(Questions(releases=self._releases, questions=questions))
        answer = self._exchange(message, START_S + ROW_S * len(questions))
        return msgspec.msgpack.decode(answer, type=list[Answer])

    def _exchange(self, message: bytes | None, limit_s: float) -> bytes:
        reader, writer = self._process.stdout, self._process.stdin
        assert reader is not None and writer is not None  # noqa: S101 - opened as pipes
        timer = threading.Timer(limit_s, self._end_late)
        timer.start()
        try:
            if message is not None:
                write_message(writer, message)  # type: ignore[arg-type]  # IO[bytes] of a pipe is a BinaryIO
            answer = read_message(reader)  # type: ignore[arg-type]  # as above
        except (OSError, ValueError, InputError):
            answer = None
        finally:
            timer.cancel()
        if answer is None:
            raise self._failure()
        return answer

    def _end_late(self) -> None:
        self._late = True
        self._process.kill()

    def _failure(self) -> Unavailable:
        if self._late:
            return Unavailable("the replaying process was too slow", mend="replay fewer decisions, or try again")
        self._process.kill()
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read()[-20_000:].decode(errors="replace").strip().splitlines()
        return Unavailable("the replaying process failed", got=lines[-1] if lines else f"exit {code}", mend="see `got`")

    def close(self) -> None:
        """End it; it may be called twice."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    pass
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def __enter__(self) -> ReplayProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
