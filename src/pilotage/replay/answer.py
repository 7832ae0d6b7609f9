"""The replaying process: `python -m pilotage.replay.answer`; questions on standard input, answers on standard output.

A process of its own, so that it is as fresh as a gateway's worker was, and nothing it loads stays.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from pilotage.contracts.compile import RowCheck, compile_contract
from pilotage.errors import PilotageError
from pilotage.evaluation.explainer import Value
from pilotage.releases.load import LoadedRelease, open_release
from pilotage.replay.questions import Answer, Answers, Question, Questions
from pilotage.runtimes.environment import environment_digest, serving_environment
from pilotage.runtimes.open import open_runtime
from pilotage.runtimes.ports import Runtime

__all__ = ["answer_all", "main"]


class _Opened:
    """One release, opened as a gateway opens it."""

    def __init__(self, release: LoadedRelease, runtime: Runtime) -> None:
        self.release, self.runtime = release, runtime
        self.check: RowCheck = compile_contract(release.contract)

    async def answer(self, question: Question) -> Answer:
        row = self.check.check(b'{"inputs":' + question.request + b"}").rows[0]
        contract = self.release.manifest.contract
        if question.features is None or row.values is None:
            faults: list[tuple[str, str]] = [(fault.path, fault.code) for fault in row.faults]
            return Answer(contract=contract, faults=faults, same_features=(question.features is None) == bool(faults))
        if len(question.features) != len(row.values):
            return Answer(contract=contract, failure="the record's features do not fit the release")
        score = await self.runtime.score_async(question.features)
        return Answer(
            contract=contract,
            score=score,
            label=self.release.serving.label(score),
            tolerance=self.release.serving.tolerance,
            same_features=_same(row.values, question.features),
        )


def _same(read: Sequence[Value], used: Sequence[Value]) -> bool:
    """Whether two rows are equal in type and bits: 1.0 is not True, 0.0 is not -0.0."""
    return [(type(value), repr(value)) for value in read] == [(type(value), repr(value)) for value in used]


async def answer_all(asked: Questions) -> list[Answer]:
    """Every question answered row by row; a failure of one is its own answer."""
    opened: dict[str, _Opened | str] = {}
    answers = []
    try:
        for question in asked.questions:
            if question.release not in opened:
                opened[question.release] = await _open(Path(asked.releases), question.release)
            found = opened[question.release]
            if isinstance(found, str):
                answers.append(Answer(failure=found))
                continue
            try:
                answers.append(await found.answer(question))
            except PilotageError as error:
                answers.append(Answer(failure=error.what))
    finally:
        for each in opened.values():
            if not isinstance(each, str):
                await each.runtime.close()
    return answers


async def _open(releases: Path, name: str) -> _Opened | str:
    """The release, started; or why it cannot be."""
    try:
        release = open_release(releases, name)
        runtime = open_runtime(release.folder, release.serving)
        await runtime.start()
    except PilotageError as error:
        return f"release cannot be opened: {error.what}"
    return _Opened(release, runtime)


def main() -> None:
    """Answer what standard input asks."""
    asked = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Questions)
    environment = serving_environment()
    answers = Answers(
        environment=environment, digest=environment_digest(environment), answers=asyncio.run(answer_all(asked))
    )
    sys.stdout.buffer.write(msgspec.msgpack.encode(answers))


if __name__ == "__main__":
    main()
