"""Pipelines: run, resume, list and show what leads from data to a release."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec

from pilotage.access.model import require
from pilotage.access.service import list_people
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, errors_console, json_option, show_facts, show_table
from pilotage.errors import InputError, NotFound
from pilotage.kernel.clock import now_us, rfc3339
from pilotage.kernel.digests import short
from pilotage.storage.database import reading, writing
from pilotage.systems.parse import parse_system
from pilotage.wiring.installation import Installation
from pilotage.workflows.lineage import columns_of, lineage_events
from pilotage.workflows.model import Run, Schedule, StepRun
from pilotage.workflows.pruning import prune
from pilotage.workflows.schedule import check_cron, due, next_due
from pilotage.workflows.service import Pipelines, Tell
from pilotage.workflows.shown import document, log_tail, reasons, state_of
from pilotage.workflows.sources import read_declaration
from pilotage.workflows.store import (
    find_run,
    keep_schedule,
    list_runs,
    list_schedules,
    remove_schedule,
    steps_of,
    take_due,
)

__all__ = ["pipeline"]

_FAILED = 1
_LOG_LINES = 40


def pipelines_of(installation: Installation) -> Pipelines:
    """What runs pipelines of this installation."""
    return Pipelines(home=installation.home, control=installation.control, keyring=installation.keyring)


@click.group()
def pipeline() -> None:
    """From data to a release: declared steps, each boxed with only what it declared, on record."""


@pipeline.command("run")
@click.argument("path", type=click.Path(exists=True, path_type=Path), default=".")
@click.option("--fresh", is_flag=True, help="Do every step again, also those whose work was done before.")
@click.option("--twice", is_flag=True, help="Run each command two times; fail where other bytes come out.")
@json_option
@click.pass_obj
def run(chosen: Chosen, path: Path, fresh: bool, twice: bool, json_: bool) -> None:
    """Run the pipeline that PATH/pilotage.yaml declares.

    Killed, it is gone on with by `pilotage pipeline resume`. A step whose work was done before is reused.
    """
    installation = opened(chosen, create=True)
    person = acting(installation)
    require(person, "release.build")
    declaration = path / "pilotage.yaml" if path.is_dir() else path
    with _telling() as tell:
        made = pipelines_of(installation).run(declaration, person.id, fresh=fresh, twice=twice, tell=tell)
    _ended(installation, made, json_)


@pipeline.command("resume")
@click.argument("run_id", metavar="[RUN]", default="")
@click.option("--system", default="", help="Only a run of this system.")
@json_option
@click.pass_obj
def resume(chosen: Chosen, run_id: str, system: str, json_: bool) -> None:
    """Go on with a run whose process ended, from the files that it began with: the newest one when none is named."""
    installation = opened(chosen)
    require(acting(installation), "release.build")
    found = pipelines_of(installation)
    if not run_id:
        left = found.unfinished(system)
        if not left:
            raise NotFound("no run waits to be resumed", mend="start one: pilotage pipeline run")
        run_id = left[0].id
    with _telling() as tell:
        made = found.resume(run_id, tell=tell)
    _ended(installation, made, json_)


@pipeline.command("list")
@click.option("--system", default="", help="Only this system's.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=20, show_default=True, help="At most so many.")
@json_option
@click.pass_obj
def list_(chosen: Chosen, system: str, limit: int, json_: bool) -> None:
    """List runs, newest first."""
    installation = opened(chosen)
    require(acting(installation), "system.read")
    with reading(installation.control) as connection:
        found = [(each, state_of(connection, each, now_us())) for each in list_runs(connection, system, limit=limit)]
    if json_:
        as_json([{**msgspec.to_builtins(each), "state": state} for each, state in found])
        return
    rows = [
        (each.id[-12:], each.system, state, rfc3339(each.started)[:19], _seconds(each), short(each.digest))
        for each, state in found
    ]
    show_table(("run", "system", "state", "started", "s", "digest"), rows)


@pipeline.command("show")
@click.argument("run_id", metavar="RUN")
@click.option(
    "--against", default="", metavar="RUN", help="Say why it differs from this run (default: the one before)."
)
@click.option("--log", "log_of", default="", metavar="STEP", help="Only what this step printed, its end.")
@json_option
@click.pass_obj
def show(chosen: Chosen, run_id: str, against: str, log_of: str, json_: bool) -> None:
    """Show a run: its steps, their digests and times, and why it differs from an earlier one."""
    installation = opened(chosen)
    require(acting(installation), "system.read")
    with reading(installation.control) as connection:
        found = find_run(connection, run_id)
        steps = steps_of(connection, found.id)
    if log_of:
        step = next((each for each in steps if each.name == log_of), None)
        if step is None:
            known = ", ".join(each.name for each in steps)
            raise NotFound("the run has no such step", got=log_of, expected=known, mend="name one of them")
        click.echo(log_tail(pipelines_of(installation).objects, step), nl=False)
        return
    _print(installation, found, steps, json_, against)


@pipeline.command("lineage")
@click.argument("run_id", metavar="RUN")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="A file instead of standard output.")
@click.pass_obj
def lineage(chosen: Chosen, run_id: str, out: Path | None) -> None:
    """Print a run as OpenLineage RunEvents, one JSON value a line; RUN may be `last`."""
    installation = opened(chosen)
    require(acting(installation), "system.read")
    with reading(installation.control) as connection:
        newest = list_runs(connection, limit=1) if run_id == "last" else []
        found = newest[0] if newest else find_run(connection, run_id)
        steps = steps_of(connection, found.id)
    events = lineage_events(found, steps, columns_of(pipelines_of(installation).objects))
    lines = "".join(msgspec.json.encode(event).decode() + "\n" for event in events)
    if out is None:
        click.echo(lines, nl=False)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(lines, encoding="utf-8")
        click.echo(f"wrote {len(events)} events to {out}", err=True)


@pipeline.command("schedule")
@click.option("--system", default="", help="Whose pipeline.")
@click.option("--cron", default="", metavar="FIELDS", help='Five fields in UTC: "0 3 * * 1" is each Monday at three.')
@click.option("--path", type=click.Path(exists=True, path_type=Path), help="The pilot (default: of its newest run).")
@click.option("--off", is_flag=True, help="End the schedule.")
@json_option
@click.pass_obj
def schedule(chosen: Chosen, system: str, cron: str, path: Path | None, off: bool, json_: bool) -> None:
    """Let the steward run a pipeline at given times, each at most once; without --cron or --off, list the schedules."""
    installation = opened(chosen)
    person = acting(installation)
    if cron or off:
        require(person, "release.build")
        if not system:
            raise InputError("whose pipeline is not said", mend="add --system SYSTEM")
        _set_schedule(installation, system, cron, path, off, person.id)
    with reading(installation.control) as connection:
        found = [each for each in list_schedules(connection) if system in ("", each.system)]
    rows = [(each, next_due(each, now_us())) for each in found]
    if json_:
        as_json([{**msgspec.to_builtins(each), "next": next_} for each, next_ in rows])
        return
    show_table(
        ("system", "cron", "next", "last", "missed"),
        [(e.system, e.cron, rfc3339(n)[:16], rfc3339(e.last)[:16] if e.last else "", e.missed) for e, n in rows],
    )


def _set_schedule(installation: Installation, system: str, cron: str, path: Path | None, off: bool, by: str) -> None:
    now = now_us()
    with writing(installation.control) as connection:
        if off:
            remove_schedule(connection, system, by)
            return
        check_cron(cron, now)
        if path is None:
            newest = list_runs(connection, system, limit=1)
            if not newest:
                raise NotFound(f"no pipeline of {system} has run yet", mend="name the pilot's folder with --path")
            path = Path(newest[0].plan.folder)
        declaration = (path / "pilotage.yaml" if path.is_dir() else path).resolve()
        declared = parse_system(read_declaration(declaration), name=str(declaration))
        if declared.id != system:
            raise InputError(f"{declaration} declares another system", got=declared.id, expected=system, mend="name it")
        made = Schedule(system=system, cron=cron, declaration=str(declaration), by=by, since=now, last=0)
        keep_schedule(connection, made)


@pipeline.command("scheduled", hidden=True)
@click.option("--system", default="")
@click.option("--resume", "run_id", default="", help="Go on with this run instead.")
@click.pass_obj
def scheduled(chosen: Chosen, system: str, run_id: str) -> None:
    """Run what is due, or go on with a scheduled run, in the name of who made the schedule: the steward starts this."""
    installation = opened(chosen)
    found = pipelines_of(installation)
    if run_id:
        made = found.resume(run_id)
    else:
        now = now_us()
        with writing(installation.control) as connection:
            planned = next((each for each in list_schedules(connection) if each.system == system), None)
            taken = due(planned, now) if planned is not None else None
            if planned is None or taken is None or not take_due(connection, planned, *taken):
                return
        person = next((each for each in list_people(installation.control) if each.id == planned.by), None)
        if person is None:
            raise NotFound("who made the schedule is not known any more", got=planned.by, mend="set it anew")
        require(person, "release.build")
        made = found.run(Path(planned.declaration), person.id, due=taken[0], missed=taken[1])
    click.echo(f"run {made.id}: {made.state}")


@pipeline.command("prune")
@click.option(
    "--keep", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Newest runs of each system."
)
@json_option
@click.pass_obj
def prune_(chosen: Chosen, keep: int, json_: bool) -> None:
    """Delete files of older runs that are more than a day old; the records of the runs stay."""
    installation = opened(chosen)
    require(acting(installation), "release.build")
    files, size = prune(installation.control, pipelines_of(installation).objects, keep, time.time())
    if json_:
        as_json({"files": files, "bytes": size})
    else:
        click.echo(f"deleted {files:,} files, {size / 1e6:,.1f} MB")


def _ended(installation: Installation, made: Run, json_: bool) -> None:
    with reading(installation.control) as connection:
        steps = steps_of(connection, made.id)
    _print(installation, made, steps, json_, "")
    failed = next((each for each in steps if each.state == "failed"), None)
    if not json_ and made.release:
        click.echo(f"next: pilotage gate check --release {short(made.release)} --to internal")
    if failed is not None:
        if not json_:
            tail = log_tail(pipelines_of(installation).objects, failed).splitlines()[-_LOG_LINES:]
            click.echo("\n".join([*tail, f"next: mend {failed.name}, then: pilotage pipeline run"]), err=True)
        raise click.exceptions.Exit(_FAILED)


def _print(installation: Installation, found: Run, steps: list[StepRun], json_: bool, against: str) -> None:
    with reading(installation.control) as connection:
        why = reasons(connection, pipelines_of(installation).objects, found, steps, against)
        state = state_of(connection, found, now_us())
    if json_:
        as_json(document(found, steps, state, why))
        return
    plan = found.plan
    git = f"{plan.commit[:12]}{' and changes that are not committed' if plan.dirty else ''}" if plan.commit else "none"
    facts: list[tuple[str, object]] = [("run", found.id), ("system", found.system), ("state", state)]
    facts += [("started", rfc3339(found.started)), ("commit", git), ("digest", found.digest or "none yet")]
    if found.release:
        facts.append(("release", found.release))
    show_facts(facts)
    show_table(
        ("step", "state", "s", "output", "digest"),
        [row for step in steps for row in _rows(step)],
    )
    for step in steps:
        if step.error:
            click.echo(f"{step.name}: {step.error}")
        if step.facts.get("undeclared"):
            click.echo(f"{step.name}: not kept, for they are not declared: {', '.join(step.facts['undeclared'][:5])}")
    if why.run:
        same = "the same digests as" if not why.reasons else "differs from"
        click.echo(f"{same} run {why.run[-12:]}{':' if why.reasons else ''}")
        for each in why.reasons:
            click.echo(f"  {each.step}: {each.text}")


def _rows(step: StepRun) -> list[tuple[Any, ...]]:
    told = f"{step.facts['wall_s']:.1f}" if "wall_s" in step.facts else ""
    outputs = [(path, short(name)) for path, name in sorted(step.outputs.items())] or [("", "")]
    first, *rest = outputs
    return [(step.name, step.state, told, *first), *(("", "", "", *each) for each in rest)]


def _seconds(run: Run) -> str:
    return f"{(run.ended - run.started) / 1e6:.1f}" if run.ended else ""


@contextmanager
def _telling() -> Iterator[Tell]:
    """Each step as it begins and ends, on standard error."""
    screen = errors_console()

    def tell(step: StepRun, count: int) -> None:
        if step.ended:
            took = f" in {step.facts['wall_s']:.1f} s" if step.facts.get("wall_s") else ""
            screen.print(f"[dim]{step.at + 1}/{count}[/] {step.name}: {step.state}{took}")
        elif screen.is_terminal:
            screen.print(f"[dim]{step.at + 1}/{count} {step.name} ...[/]")

    yield tell
