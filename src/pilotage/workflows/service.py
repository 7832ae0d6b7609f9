"""Run a system's pipeline, step by step on record, and go on where a run was killed."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from pilotage import __version__
from pilotage.contracts.odcs import from_odcs
from pilotage.errors import Conflict, InputError, PilotageError
from pilotage.kernel.canonical import canonical_json
from pilotage.kernel.clock import Clock, now_us
from pilotage.kernel.digests import digest
from pilotage.kernel.ids import uuid7
from pilotage.ledger.keyring import Keyring
from pilotage.releases.build import build_release
from pilotage.releases.evaluated import evaluate_pilot
from pilotage.releases.load import open_release
from pilotage.releases.store import find_release
from pilotage.replay.environments import keep_environment
from pilotage.runtimes.environment import environment_digest
from pilotage.storage.database import reading, writing
from pilotage.storage.home import Home
from pilotage.storage.objects import Objects
from pilotage.storage.processes import this_process
from pilotage.systems.model import AISystem
from pilotage.systems.parse import parse_system
from pilotage.systems.pipeline import Step
from pilotage.workflows import store
from pilotage.workflows.commands import Ended, run_command
from pilotage.workflows.compare import first_difference
from pilotage.workflows.environment import Interpreter, check_lock, find_interpreter
from pilotage.workflows.lineage import columns_of, keep_lineage
from pilotage.workflows.model import Made, Plan, Run, StepRun
from pilotage.workflows.sources import (
    DECLARATION,
    RELEASE,
    choose_inputs,
    commit_of,
    keep_sources,
    outputs_of,
    read_declaration,
)
from pilotage.workflows.validating import validate

__all__ = ["Pipelines", "Tell"]

Tell = Callable[[StepRun, int], None]
"""Told of each step as it begins and as it ends, with the number of steps."""

_BEAT_S = 10.0
_MOST_ERROR = 2_000


@dataclass(frozen=True, kw_only=True)
class Pipelines:
    """What runs pipelines of one installation. `environ` is where values of declared secrets are."""

    home: Home
    control: Engine
    keyring: Keyring = field(repr=False)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    clock: Clock = now_us

    @property
    def objects(self) -> Objects:
        """What steps read, made and printed, by digest."""
        return Objects(root=self.home.pipelines / "objects")

    def run(
        self,
        declaration: Path,
        by: str,
        *,
        fresh: bool = False,
        twice: bool = False,
        due: int = 0,
        missed: int = 0,
        tell: Tell = lambda _step, _count: None,
    ) -> Run:
        """Run the pipeline that a `pilotage.yaml` declares, from its files as they are now, and return how it ended.

        A step whose work an earlier run did is reused unless `fresh`. `twice` runs every command a second time and
        fails where other bytes come out. Raises InputError with every fault of the declaration, and
        Conflict(code="pipeline_busy") while another process runs the pipeline of this system.
        """
        content = read_declaration(declaration)
        system = parse_system(content, name=str(declaration))
        _require_steps(system)
        folder = declaration.resolve().parent
        with reading(self.control) as connection:
            self._refuse_busy(store.held_by(connection, system.id, self.clock()), system.id)
        sources = keep_sources(system, folder, declaration, self.objects)
        commit, dirty = commit_of(folder, [path for path in sources if path != DECLARATION] + [declaration.name])
        run = Run(
            id=uuid7(),
            system=system.id,
            by=by,
            due=due,
            started=self.clock(),
            plan=Plan(
                declaration=sources[DECLARATION],
                sources=sources,
                folder=str(folder),
                commit=commit,
                dirty=dirty,
                fresh=fresh,
                twice=twice,
                missed=missed,
            ),
        )
        with writing(self.control) as connection:
            epoch = store.take_lease(connection, system.id, run.id, this_process(), self.clock())
            store.add_run(connection, run, [step.name for step in system.pipeline.steps])
        return self._execute(run, epoch, tell)

    def resume(self, id_: str, *, tell: Tell = lambda _step, _count: None) -> Run:
        """Go on with a run whose process ended, from what it was given. Raises NotFound, Conflict."""
        with writing(self.control) as connection:
            run = store.find_run(connection, id_)
            if run.state != "running":
                raise Conflict(
                    f"run {run.id} ended: {run.state}",
                    code="pipeline_ended",
                    mend="run the pipeline again: what was done is reused",
                )
            epoch = store.take_lease(connection, run.system, run.id, this_process(), self.clock())
        return self._execute(run, epoch, tell)

    def unfinished(self, system: str = "") -> list[Run]:
        """Runs that nobody works on, the newest first."""
        with reading(self.control) as connection:
            found = store.list_runs(connection, system, state="running")
            return [run for run in found if store.held_by(connection, run.system, self.clock()) != run.id]

    def _refuse_busy(self, run: str, system: str) -> None:
        if run:
            raise Conflict(
                f"the pipeline of {system} is running already",
                got=f"run {run}",
                code="pipeline_busy",
                mend=f"wait for it: pilotage pipeline show {run}",
            )

    def _execute(self, run: Run, epoch: int, tell: Tell) -> Run:
        try:
            with self._beating(run.system, epoch):
                execution = _Execution(pipelines=self, run=run, epoch=epoch, tell=tell)
                try:
                    return execution.all()
                except PilotageError as error:
                    if error.code != "pipeline_taken":
                        execution.end("failed")
                    raise
        finally:
            with writing(self.control) as connection:
                store.free_lease(connection, run.system, epoch)

    @contextmanager
    def _beating(self, system: str, epoch: int) -> Iterator[None]:
        """Say now and then that this process lives. Who was taken over learns it at its next write."""
        done = threading.Event()

        def beats() -> None:
            while not done.wait(_BEAT_S):
                with suppress(PilotageError, SQLAlchemyError), writing(self.control) as connection:
                    store.beat(connection, system, epoch, self.clock())

        thread = threading.Thread(target=beats, daemon=True, name="pipeline-beat")
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


@dataclass(kw_only=True)
class _Execution:
    """One run under way, or gone on with: everything that it knows is in the database and among the objects."""

    pipelines: Pipelines
    run: Run
    epoch: int
    tell: Tell
    interpreter: Interpreter | None = None

    def __post_init__(self) -> None:
        self.columns = columns_of(self.pipelines.objects)

    def all(self) -> Run:
        """Every step that is not done yet; the run as it ended."""
        objects, plan = self.pipelines.objects, self.run.plan
        self.system = parse_system(objects.get(plan.declaration))
        available = dict(plan.sources)
        with reading(self.pipelines.control) as connection:
            steps = store.steps_of(connection, self.run.id)
        outputs: dict[str, dict[str, str]] = {}
        for declared, step in zip(self.system.pipeline.steps, steps, strict=True):
            made = self._made(declared, available)
            ended = step if step.done and self._there(step.outputs) else self._step(declared, step, made)
            if not ended.done:
                return self.end("failed")
            available |= {path: digest for path, digest in ended.outputs.items() if path != RELEASE}
            outputs[ended.name] = ended.outputs
        release = next((each[RELEASE] for each in reversed(outputs.values()) if RELEASE in each), "")
        return self.end("succeeded", digest=digest(canonical_json(outputs)), release=release)

    def end(self, state: str, **values: str) -> Run:
        """Write how the run ended; the run as it is then."""
        at = self.pipelines.clock()
        with writing(self.pipelines.control) as connection:
            store.beat(connection, self.run.system, self.epoch, at)
            store.end_run(connection, self.run, state, at=at, **values)
        return self._keep_lineage()

    def _keep_lineage(self) -> Run:
        with reading(self.pipelines.control) as connection:
            run = store.find_run(connection, self.run.id)
            steps = store.steps_of(connection, self.run.id)
        keep_lineage(self.pipelines.home.pipelines, run, steps, self.columns)
        return run

    def _made(self, step: Step, available: dict[str, str]) -> Made:
        rules = self.system.pipeline
        return Made(
            do=step.do,
            run=step.run,
            inputs=choose_inputs(self.system, step, available),
            outputs=outputs_of(step),
            env=step.env,
            secrets=sorted(step.secrets),
            seed=rules.seed if step.seed is None else step.seed,
            epoch=rules.epoch,
            network=step.network,
            environment=f"pilotage {__version__}, {environment_digest()}" if step.do else self._python().digest,
        )

    def _python(self) -> Interpreter:
        """The interpreter of the pipeline, asked once in a run, and held against its lock."""
        if self.interpreter is None:
            rules, plan = self.system.pipeline, self.run.plan
            self.interpreter = find_interpreter(rules.python, Path(plan.folder))
            if rules.lock:
                check_lock(self.pipelines.objects.get(plan.sources[rules.lock]).decode(), self.interpreter)
        return self.interpreter

    def _there(self, outputs: dict[str, str]) -> bool:
        """Whether everything a step made is still there."""
        for path, name in outputs.items():
            if path == RELEASE:
                try:
                    with reading(self.pipelines.control) as connection:
                        find_release(connection, name)
                    open_release(self.pipelines.home.releases, name)
                except PilotageError:
                    return False
            elif not self.pipelines.objects.path(name).is_file():
                return False
        return True

    def _step(self, declared: Step, step: StepRun, made: Made) -> StepRun:
        started = self.pipelines.clock()
        begun = msgspec.structs.replace(
            step,
            state="running",
            key=made.key,
            made=msgspec.to_builtins(made),
            outputs={},
            facts={},
            started=started,
            ended=0,
            error="",
        )
        self._save(begun)
        anew = declared.network or self.run.plan.fresh or self._ages(declared, made)
        if not anew and (earlier := self._earlier(made.key)):
            facts: dict[str, Any] = {"reused": earlier.run, "wall_s": 0.0}
            return self._save(
                msgspec.structs.replace(
                    begun,
                    state="reused",
                    outputs=earlier.outputs,
                    facts=facts,
                    log=earlier.log,
                    ended=self.pipelines.clock(),
                )
            )
        ended = self._work(declared, made)
        return self._save(
            msgspec.structs.replace(
                begun,
                state="failed" if ended.error else "succeeded",
                outputs={} if ended.error else ended.outputs,
                facts=ended.facts,
                log=self.pipelines.objects.put(ended.log) if ended.log else "",
                ended=self.pipelines.clock(),
                error=ended.error[:_MOST_ERROR],
            )
        )

    def _ages(self, declared: Step, made: Made) -> bool:
        """Whether the same data may hold one day and not the next: where the contract says how old it may be."""
        if declared.do != "validate" or self.system.contract not in made.inputs:
            return False
        contract = from_odcs(self.pipelines.objects.get(made.inputs[self.system.contract]).decode())
        return any(column.max_age for column in contract.columns)

    def _earlier(self, key: str) -> StepRun | None:
        with reading(self.pipelines.control) as connection:
            found = store.earlier_success(connection, key)
        return found if found is not None and self._there(found.outputs) else None

    def _save(self, step: StepRun) -> StepRun:
        with writing(self.pipelines.control) as connection:
            store.beat(connection, self.run.system, self.epoch, self.pipelines.clock())
            store.save_step(connection, self.run.system, step)
        self._keep_lineage()
        self.tell(step, len(self.system.pipeline.steps))
        return step

    def _work(self, declared: Step, made: Made) -> Ended:
        """Do it, again where it fails and may be tried again, and a second time where the run wants proof."""
        tried, ended = 1, self._once(declared, made)
        while ended.error and tried <= declared.retries:
            tried, ended = tried + 1, self._once(declared, made)
        facts = ended.facts | {"tries": tried}
        if not ended.error and self.run.plan.twice and declared.run:
            again = self._once(declared, made)
            said = again.error or self._differs(ended.outputs, again.outputs)
            facts |= {"twice": not said}
            if said:
                error = f"the command is not deterministic: same inputs, other bytes: {said}"
                return Ended(outputs={}, facts=facts, log=ended.log, error=error)
        return Ended(outputs=ended.outputs, facts=facts, log=ended.log, error=ended.error)

    def _differs(self, one: dict[str, str], other: dict[str, str]) -> str:
        objects = self.pipelines.objects
        return "; ".join(
            f"{path}: {first_difference(objects.path(name), objects.path(other[path]))}"
            for path, name in one.items()
            if other[path] != name
        )

    def _once(self, declared: Step, made: Made) -> Ended:
        objects = self.pipelines.objects
        if declared.run:
            return run_command(declared, made, objects, self._python(), self.pipelines.environ)
        started = self.pipelines.clock()
        with tempfile.TemporaryDirectory(prefix="step-") as name:
            folder = Path(name)
            for path, content in made.inputs.items():
                objects.copy_to(content, folder / path)
            try:
                outputs, error = self._ours(declared, folder)
            except PilotageError as failed:
                outputs, error = {}, str(failed)
        wall = round((self.pipelines.clock() - started) / 1e6, 3)
        return Ended(outputs=outputs, facts={"wall_s": wall}, log=b"", error=error)

    def _ours(self, declared: Step, folder: Path) -> tuple[dict[str, str], str]:
        if declared.do == "validate":
            report, wrong = validate(folder, self.system, declared.faulty, self.pipelines.clock())
            return {f"{declared.name}.json": self.pipelines.objects.put(report)}, wrong
        if declared.do == "evaluate":
            report = canonical_json(evaluate_pilot(folder / DECLARATION))
            return {f"{declared.name}.json": self.pipelines.objects.put(report)}, ""
        made = build_release(
            folder / DECLARATION,
            home=self.pipelines.home,
            control=self.pipelines.control,
            keyring=self.pipelines.keyring,
            author=self.run.by,
        )
        keep_environment(self.pipelines.home, self.pipelines.control)
        return {RELEASE: made.digest}, ""


def _require_steps(system: AISystem) -> None:
    if not system.pipeline.steps:
        raise InputError(
            f"{system.id} declares no pipeline",
            expected="pipeline: {steps: [...]} in pilotage.yaml",
            code="no_pipeline",
            mend="declare its steps: docs/how-to/pipelines.md",
        )
