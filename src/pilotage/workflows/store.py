"""Pipelines at rest: runs, steps, who holds a system's pipeline, schedules. Every change is an event of the ledger."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Column, Connection, ForeignKey, Index, RowMapping, String, Table, delete, insert, select, update

from pilotage.errors import Conflict, NotFound
from pilotage.storage.database import BIG, DOCUMENT, control
from pilotage.storage.outbox import emit
from pilotage.storage.processes import lives
from pilotage.workflows.model import Plan, Run, Schedule, StepRun

__all__ = [
    "SILENT_US",
    "add_run",
    "beat",
    "earlier_success",
    "end_run",
    "find_run",
    "free_lease",
    "held_by",
    "keep_schedule",
    "list_runs",
    "list_schedules",
    "remove_schedule",
    "save_step",
    "steps_of",
    "take_due",
    "take_lease",
]

SILENT_US = 120_000_000
"""How long a holder on another machine may be silent before its run may be taken over, in microseconds."""

_FEWEST_DIGITS = 6

runs = Table(
    "pipeline_runs",
    control,
    Column("id", String(36), primary_key=True),
    Column("system", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("by", String(36), nullable=False),
    Column("due", BIG, nullable=False),
    Column("started", BIG, nullable=False),
    Column("ended", BIG, nullable=False),
    Column("plan", DOCUMENT, nullable=False),
    Column("digest", String(80), nullable=False),
    Column("release", String(80), nullable=False),
    Index("pipeline_runs_by_system", "system", "started"),
)

steps = Table(
    "pipeline_steps",
    control,
    Column("run", String(36), ForeignKey("pipeline_runs.id"), primary_key=True),
    Column("at", BIG, primary_key=True),
    Column("name", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("key", String(80), nullable=False),
    Column("made", DOCUMENT, nullable=False),
    Column("outputs", DOCUMENT, nullable=False),
    Column("facts", DOCUMENT, nullable=False),
    Column("log", String(80), nullable=False),
    Column("started", BIG, nullable=False),
    Column("ended", BIG, nullable=False),
    Column("error", String(2000), nullable=False),
    Index("pipeline_steps_by_key", "key", "state"),
)

leases = Table(
    "pipeline_leases",
    control,
    Column("system", String(64), primary_key=True),
    Column("holder", String(128), nullable=False),
    Column("run", String(36), nullable=False),
    Column("epoch", BIG, nullable=False),
    Column("beat", BIG, nullable=False),
)

schedules = Table(
    "pipeline_schedules",
    control,
    Column("system", String(64), primary_key=True),
    Column("cron", String(128), nullable=False),
    Column("declaration", String(4096), nullable=False),
    Column("by", String(36), nullable=False),
    Column("since", BIG, nullable=False),
    Column("last", BIG, nullable=False),
    Column("missed", BIG, nullable=False),
)


def take_lease(connection: Connection, system: str, run: str, holder: str, now: int) -> int:
    """The epoch under which the holder alone works on a system's pipeline. Raises Conflict(code="pipeline_busy")."""
    row = connection.execute(select(leases).where(leases.c.system == system).with_for_update()).mappings().first()
    if row is None:
        connection.execute(insert(leases).values(system=system, holder=holder, run=run, epoch=1, beat=now))
        return 1
    if _held(row, now):
        raise Conflict(
            f"the pipeline of {system} is running already",
            got=f"run {row['run']}",
            code="pipeline_busy",
            mend=f"wait for it: pilotage pipeline show {row['run']}",
        )
    epoch = int(row["epoch"]) + 1
    values = {"holder": holder, "run": run, "epoch": epoch, "beat": now}
    connection.execute(update(leases).where(leases.c.system == system).values(values))
    return epoch


def held_by(connection: Connection, system: str, now: int) -> str:
    """The run that a living process works on; empty when there is none."""
    row = connection.execute(select(leases).where(leases.c.system == system)).mappings().first()
    return str(row["run"]) if row is not None and _held(row, now) else ""


def _held(row: RowMapping, now: int) -> bool:
    alive = lives(row["holder"]) if row["holder"] else False
    return alive if alive is not None else now - row["beat"] < SILENT_US


def beat(connection: Connection, system: str, epoch: int, now: int) -> None:
    """Say that the holder lives. Raises Conflict(code="pipeline_taken") when another has the lease."""
    mine = update(leases).where(leases.c.system == system, leases.c.epoch == epoch).values(beat=now)
    if connection.execute(mine).rowcount != 1:
        raise Conflict(
            f"the pipeline of {system} was taken over by another process",
            got=f"epoch {epoch}",
            code="pipeline_taken",
            mend="leave it to that process; see `pilotage pipeline list`",
        )


def free_lease(connection: Connection, system: str, epoch: int) -> None:
    """Give it back; nothing when another has it."""
    mine = update(leases).where(leases.c.system == system, leases.c.epoch == epoch)
    connection.execute(mine.values(holder=""))


def add_run(connection: Connection, run: Run, names: list[str]) -> None:
    """Write a new run with its waiting steps, and its event. Runs of the system that nobody works on are given up."""
    left = select(runs).where(runs.c.system == run.system, runs.c.state == "running")
    for row in connection.execute(left).mappings().all():
        end_run(connection, _run(row), "given_up", at=run.started)
    connection.execute(insert(runs).values(msgspec.to_builtins(run)))
    for at, name in enumerate(names):
        connection.execute(insert(steps).values(msgspec.to_builtins(StepRun(run=run.id, at=at, name=name))))
    plan = run.plan
    facts = {"run": run.id, "declaration": plan.declaration, "commit": plan.commit, "dirty": plan.dirty}
    facts |= {"due": run.due, "steps": names, "missed": plan.missed}
    emit(connection, "pipeline.started", system=run.system, facts=facts, private={"by": run.by}, at=run.started)


def save_step(connection: Connection, system: str, step: StepRun) -> None:
    """Write where a step is; its end is an event with the digests of what went in and came out."""
    where = (steps.c.run == step.run, steps.c.at == step.at)
    connection.execute(update(steps).where(*where).values(msgspec.to_builtins(step)))
    if step.ended:
        facts: dict[str, Any] = {"run": step.run, "step": step.name, "state": step.state, "key": step.key}
        facts |= {"inputs": step.made.get("inputs", {}), "outputs": step.outputs}
        emit(connection, "pipeline.step_ended", system=system, facts=facts, at=step.ended)


def end_run(connection: Connection, run: Run, state: str, *, at: int, digest: str = "", release: str = "") -> None:
    """Write how a run ended, with its event."""
    values = {"state": state, "ended": at, "digest": digest, "release": release}
    connection.execute(update(runs).where(runs.c.id == run.id).values(values))
    facts = {"run": run.id, "state": state, "digest": digest}
    emit(connection, "pipeline.ended", system=run.system, release=release, facts=facts, at=at)


def earlier_success(connection: Connection, key: str) -> StepRun | None:
    """The newest step of any run that was the same work and did it."""
    query = (
        select(steps).where(steps.c.key == key, steps.c.state == "succeeded").order_by(steps.c.ended.desc()).limit(1)
    )
    row = connection.execute(query).mappings().first()
    return None if row is None else _step(row)


def find_run(connection: Connection, id_: str) -> Run:
    """The run of an id or its beginning, or its ending. Raises NotFound when none or several are named so."""
    query = select(runs).where(runs.c.id.like(f"{_plain(id_)}%") | runs.c.id.like(f"%{_plain(id_)}")).limit(2)
    rows = connection.execute(query).mappings().all()
    if len(rows) != 1:
        raise NotFound(
            "more than one run is named so" if rows else "no such run of a pipeline",
            got=id_[:80],
            mend="see `pilotage pipeline list`",
        )
    return _run(rows[0])


def _plain(id_: str) -> str:
    """Nothing that SQL would read as a pattern, and enough to name one."""
    plain = "".join(c for c in id_.lower() if c in "0123456789abcdef-")
    return plain if plain == id_.lower() and len(plain) >= _FEWEST_DIGITS else "none"


def list_runs(connection: Connection, system: str = "", *, limit: int = 50, state: str = "") -> list[Run]:
    """The newest runs, the newest first."""
    query = select(runs).order_by(runs.c.started.desc(), runs.c.id.desc()).limit(limit)
    if system:
        query = query.where(runs.c.system == system)
    if state:
        query = query.where(runs.c.state == state)
    return [_run(row) for row in connection.execute(query).mappings()]


def steps_of(connection: Connection, run: str) -> list[StepRun]:
    """The steps of a run, in their order."""
    rows = connection.execute(select(steps).where(steps.c.run == run).order_by(steps.c.at)).mappings()
    return [_step(row) for row in rows]


def keep_schedule(connection: Connection, schedule: Schedule) -> None:
    """Set the schedule of a system, with its event."""
    connection.execute(delete(schedules).where(schedules.c.system == schedule.system))
    connection.execute(insert(schedules).values(msgspec.to_builtins(schedule)))
    facts = {"cron": schedule.cron}
    private = {"by": schedule.by}
    emit(connection, "pipeline.scheduled", system=schedule.system, facts=facts, private=private, at=schedule.since)


def remove_schedule(connection: Connection, system: str, by: str) -> None:
    """End it. Raises NotFound."""
    if connection.execute(delete(schedules).where(schedules.c.system == system)).rowcount != 1:
        raise NotFound(f"{system} has no schedule", mend="see `pilotage pipeline schedule`")
    emit(connection, "pipeline.unscheduled", system=system, private={"by": by})


def list_schedules(connection: Connection) -> list[Schedule]:
    """Every schedule, by system."""
    rows = connection.execute(select(schedules).order_by(schedules.c.system)).mappings()
    return [Schedule(**row) for row in rows]


def take_due(connection: Connection, schedule: Schedule, due: int, missed: int) -> bool:
    """Whether the caller is the one who runs a due time: each is taken at most once."""
    where = (schedules.c.system == schedule.system, schedules.c.last == schedule.last)
    values = {"last": due, "missed": schedule.missed + missed}
    return connection.execute(update(schedules).where(*where).values(values)).rowcount == 1


def _run(row: RowMapping) -> Run:
    return Run(**{**row, "plan": msgspec.convert(row["plan"], Plan)})


def _step(row: RowMapping) -> StepRun:
    return StepRun(**row)
