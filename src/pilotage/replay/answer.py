"""The replaying process: `python -m pilotage.replay.answer`; messages of questions in, messages of answers out.

A process of its own, so that it is as fresh as a gateway's worker was, and nothing it loads stays. It says first
which serving environment it is, so that none of its answers is taken for another's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from pilotage.contracts.compile import CheckedRow, RowCheck, compile_contract
from pilotage.errors import PilotageError
from pilotage.kernel.rows import Value
from pilotage.releases.load import LoadedRelease, open_release
from pilotage.replay.questions import Answer, Hello, Question, Questions
from pilotage.runtimes.environment import environment_digest, serving_environment
from pilotage.runtimes.open import open_runtime
from pilotage.runtimes.ports import Runtime
from pilotage.sandbox.messages import read_message, take_pipes, write_message

__all__ = ["main"]

_MOST_OPEN = 8
"""Releases kept open at once: a window of a year may name hundreds."""


class _Opened:
    """One release, opened as a gateway opens it."""

    def __init__(self, release: LoadedRelease, runtime: Runtime) -> None:
        self.release, self.runtime = release, runtime
        self.check: RowCheck = compile_contract(release.contract)

    async def answer(self, question: Question) -> Answer:
        started = time.perf_counter_ns()
        drawn = {each.column: each for each in question.drawn}
        row = self.check.again(question.request, drawn, other=question.own)
        contract_us = (time.perf_counter_ns() - started) / 1_000
        answer = await (self._own(row) if question.own else self._again(row, question.features))
        return msgspec.structs.replace(answer, contract=self.release.manifest.contract, contract_us=contract_us)

    async def _own(self, row: CheckedRow) -> Answer:
        if row.values is None:
            return Answer(faults=_faults(row))
        return await self._scored(row.values)

    async def _again(self, row: CheckedRow, features: list[Value] | None) -> Answer:
        if features is None or row.values is None:
            faults = _faults(row)
            return Answer(faults=faults, same_features=(features is None) == bool(faults))
        if len(features) != len(row.values):
            return Answer(failure="the record's features do not fit the release")
        scored = await self._scored(features)
        return msgspec.structs.replace(scored, same_features=_same(row.values, features))

    async def _scored(self, features: Sequence[Value]) -> Answer:
        started = time.perf_counter_ns()
        score = self.runtime.score(features) if self.runtime.inline else await self.runtime.score_async(features)
        return Answer(
            score=score,
            label=self.release.serving.label(score),
            tolerance=self.release.serving.tolerance,
            answer_us=(time.perf_counter_ns() - started) / 1_000,
        )


def _faults(row: CheckedRow) -> list[tuple[str, str]]:
    return [(fault.path, fault.code) for fault in row.faults]


def _same(read: Sequence[Value], used: Sequence[Value]) -> bool:
    """Whether two rows are equal in type and bits: 1.0 is not True, 0.0 is not -0.0."""
    return [(type(value), repr(value)) for value in read] == [(type(value), repr(value)) for value in used]


class _Answering:
    """The releases that were asked for last, and their answers."""

    def __init__(self) -> None:
        self._opened: dict[tuple[str, str], _Opened | str] = {}

    async def answer_all(self, asked: Questions) -> list[Answer]:
        """Every question answered row by row; a failure of one is its own answer."""
        return [await self._answer(asked.releases, question) for question in asked.questions]

    async def _answer(self, releases: str, question: Question) -> Answer:
        found = await self._release(releases, question.release)
        if isinstance(found, str):
            return Answer(failure=found)
        try:
            return await found.answer(question)
        except PilotageError as error:
            return Answer(failure=error.what)

    async def _release(self, releases: str, name: str) -> _Opened | str:
        """The release, started; or why it cannot be."""
        if (releases, name) not in self._opened:
            if len(self._opened) >= _MOST_OPEN:
                await _close(self._opened.pop(next(iter(self._opened))))
            self._opened[releases, name] = await _open(Path(releases), name)
        return self._opened[releases, name]

    async def close(self) -> None:
        for each in self._opened.values():
            await _close(each)


async def _close(opened: _Opened | str) -> None:
    if not isinstance(opened, str):
        await opened.runtime.close()


async def _open(releases: Path, name: str) -> _Opened | str:
    try:
        release = open_release(releases, name)
        if release.serving.runtime == "remote":
            # It may answer otherwise by now, and a replay must send nobody's data out again.
            return "release cannot be opened: a remote model answers for it, which is not of the release"
        runtime = open_runtime(release.folder, release.serving)
        await runtime.start()
    except PilotageError as error:
        return f"release cannot be opened: {error.what}"
    return _Opened(release, runtime)


def main() -> None:
    """Answer messages until the other side closes."""
    reader, writer = take_pipes()
    environment = serving_environment()
    write_message(
        writer, msgspec.msgpack.encode(Hello(environment=environment, digest=environment_digest(environment)))
    )
    answering = _Answering()
    with asyncio.Runner() as runner:
        try:
            while (message := read_message(reader)) is not None:
                asked = msgspec.msgpack.decode(message, type=Questions)
                write_message(writer, msgspec.msgpack.encode(runner.run(answering.answer_all(asked))))
        finally:
            runner.run(answering.close())


if __name__ == "__main__":
    main()
