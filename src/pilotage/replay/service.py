"""Replay recorded decisions: ask fresh processes the same questions, and compare to the last bit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pilotage.errors import IntegrityError, NotFound, PilotageError
from pilotage.kernel.chunks import weighed
from pilotage.ledger.queries import RecordedDecision
from pilotage.releases.load import open_release
from pilotage.replay.compare import compare, hindrance, question_of, unreplayable
from pilotage.replay.environments import Environments, differences
from pilotage.replay.model import ReplayVerdict
from pilotage.replay.process import ReplayProcess

__all__ = ["CHUNK", "Replayer", "replay", "replay_many"]

CHUNK = 200
"""Decisions in memory at once."""


def replay(decision: RecordedDecision, releases: Path, environments: Environments | None = None) -> ReplayVerdict:
    """Answer one decision again. Raises Unavailable when the replaying process fails."""
    return replay_many([decision], releases, environments)[0]


def replay_many(
    decisions: Sequence[RecordedDecision], releases: Path, environments: Environments | None = None
) -> list[ReplayVerdict]:
    """Answer decisions again, one verdict each, in order. Raises Unavailable."""
    with Replayer(releases, environments) as replayer:
        return list(replayer.verdicts(decisions))


class Replayer:
    """Answers decisions again, each in the serving environment that it names; a context manager, for one thread.

    One process for each environment, started when first needed. With `environments`, one that is not the running
    interpreter's is rebuilt from what was kept of it. `here`: the running interpreter answers whatever the record
    names, to learn what an upgrade changes; no verdict is then a claim about the recorded environment.
    """

    def __init__(self, releases: Path, environments: Environments | None = None, *, here: bool = False) -> None:
        self._releases, self._environments, self._here = releases, environments, here
        self._own: ReplayProcess | None = None
        self._others: dict[str, ReplayProcess | str] = {}

    def verdicts(self, decisions: Iterable[RecordedDecision]) -> Iterator[ReplayVerdict]:
        """One verdict a decision, in order, a chunk at a time. Raises Unavailable when a process fails."""
        each = iter(decisions)
        for chunk in weighed(each, lambda decision: decision.row.length, most=CHUNK):
            yield from self._chunk(chunk)

    def _chunk(self, decisions: Sequence[RecordedDecision]) -> list[ReplayVerdict]:
        verdicts: list[ReplayVerdict | None] = [self._hindered(decision) for decision in decisions]
        waiting: dict[str, list[int]] = {}
        for at, verdict in enumerate(verdicts):
            if verdict is None:
                waiting.setdefault(decisions[at].plain.environment, []).append(at)
        for name, places in waiting.items():
            process = self._process(name)
            if isinstance(process, str):
                for at in places:
                    why = self._against_origin(decisions[at], process)
                    verdicts[at] = unreplayable(decisions[at], why, self.environment)
                continue
            answers = process.ask([question_of(decisions[at]) for at in places])
            for at, answer in zip(places, answers, strict=True):
                verdicts[at] = compare(decisions[at], answer, process.hello.digest)
        return [verdict for verdict in verdicts if verdict is not None]

    def _hindered(self, decision: RecordedDecision) -> ReplayVerdict | None:
        why = hindrance(decision)
        if not why and not (self._releases / decision.plain.release.removeprefix("sha256:")).is_dir():
            why = f"release missing: {decision.plain.release}"
        return unreplayable(decision, why) if why else None

    @property
    def environment(self) -> str:
        """The digest of the running interpreter's environment. Raises Unavailable."""
        return self._running().hello.digest

    def _running(self) -> ReplayProcess:
        if self._own is None:
            self._own = ReplayProcess(self._releases)
        return self._own

    def _process(self, environment: str) -> ReplayProcess | str:
        """The process that answers in an environment; or why there is none."""
        own = self._running()
        if self._here or own.hello.digest == environment:
            return own
        if environment not in self._others:
            self._others[environment] = self._rebuilt(environment, own)
        return self._others[environment]

    def _rebuilt(self, environment: str, own: ReplayProcess) -> ReplayProcess | str:
        text = f"environment differs: recorded {environment}, here {own.hello.digest}"
        if self._environments is None:
            return text
        try:
            interpreter = self._environments.rebuild(environment, own.hello.environment)
            process = ReplayProcess(self._releases, interpreter.python, interpreter.env)
        except PilotageError as error:
            got = f" ({error.got})" if error.got else ""
            return f"{text}; {error.what}{got}; {error.mend}"
        if process.hello.digest != environment:
            wrong = differences(self._environments.kept(environment).environment, process.hello.environment)
            process.close()
            return f"{text}; the rebuilt environment is another: {wrong}"
        return process

    def _against_origin(self, decision: RecordedDecision, text: str) -> str:
        """The reason; where nothing of the environment was kept, with what differs from the release's origin."""
        if "; " in text:
            return text
        try:
            origin = open_release(self._releases, decision.plain.release).manifest.origin.environment
        except (NotFound, IntegrityError):
            return text
        changed = differences(origin, self._running().hello.environment)
        return text + (f"; against the release's origin: {changed}" if changed else "")

    def close(self) -> None:
        """End every process."""
        for process in (self._own, *self._others.values()):
            if isinstance(process, ReplayProcess):
                process.close()

    def __enter__(self) -> Replayer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
