"""Outcomes: upload what became of decisions, list what is on record."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from pilotage.access.model import require
from pilotage.cli.export import by_ending, target_of, write_rows
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, progress_bar, show_facts, show_table
from pilotage.kernel.clock import rfc3339
from pilotage.ledger.backfill import backfill
from pilotage.ledger.outcome_export import STATES, begin_outcome_export
from pilotage.ledger.outcome_file import upload_file
from pilotage.ledger.outcomes import Outcomes
from pilotage.ledger.row_file import FORMATS
from pilotage.storage.database import reading
from pilotage.systems.store import find_system
from pilotage.wiring.installation import Installation

__all__ = ["outcomes"]


@click.group()
def outcomes() -> None:
    """Outcomes: the truth about decisions, told later, joined to each of them."""


@outcomes.command("upload")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--system", required=True, help="The AI system whose decisions these are.")
@json_option
@click.pass_obj
def upload(chosen: Chosen, file: Path, system: str, json_: bool) -> None:
    """Tell every outcome of a CSV or Parquet FILE with columns decision, value and perhaps at, source.

    Upload a file again to resume: what is on record already is left out.
    """
    installation = opened(chosen)
    person = acting(installation)
    require(person, "outcome.record")
    with reading(installation.control) as connection:
        find_system(connection, system)
    with progress_bar("telling") as progress:
        report = upload_file(
            file,
            system,
            control=installation.control,
            outcomes=Outcomes(installation.ledger_engine),
            steward_public=installation.keyring.steward_public,
            by=f"person:{person.id}",
            progress=progress,
        )
    if json_:
        as_json(asdict(report))
        return
    show_facts(
        [
            ("told", f"{report.told} of {report.rows} rows; {report.known} were on record"),
            ("no such decision yet", report.unmatched),
            ("of another system", f"{report.other_system} (these count for nothing)"),
        ]
    )


@outcomes.command("backfill")
@click.option("--system", required=True, help="The AI system whose slices they are counted by.")
@json_option
@click.pass_obj
def backfill_(chosen: Chosen, system: str, json_: bool) -> None:
    """Count outcomes that were told before the system's slices were declared, by slice and answer.

    The steward decrypts their decisions step by step while it seals, so it must run. Break it off as you like: run
    again, it goes on where it stopped. Outcomes that are told from now on are counted as they are sealed.
    """
    installation = opened(chosen)
    person = acting(installation)
    require(person, "outcome.record")
    with reading(installation.control) as connection:
        slices = find_system(connection, system).pilot.slices
    with progress_bar("counting") as progress:
        report = backfill(
            installation.control, installation.ledger_engine, system, slices, by=person.id, progress=progress
        )
    if json_:
        as_json(asdict(report))
        return
    show_facts([("counted", f"{report.outcomes:,} outcomes in {report.steps} steps"), ("by", ", ".join(report.slices))])


@outcomes.command("export")
@click.option("--system", default="", help="Only of this AI system.")
@click.option("--state", type=click.Choice(STATES), help="How it counts.")
@click.option("--format", "format_", type=click.Choice(FORMATS), help="Else by the file's ending, else jsonl.")
@click.option("-o", "--output", default="-", show_default=True, help="A file, or - for standard output.")
@json_option
@click.pass_obj
def export(chosen: Chosen, system: str, state: str | None, format_: str | None, output: str, json_: bool) -> None:
    """Export outcomes, newest first, each with what was decided.

    Of any number: JSON, JSON lines, CSV or Parquet. On record as event outcomes.exported. A file appears whole or not
    at all.
    """
    installation = opened(chosen)
    person = acting(installation)
    require(person, "decision.read")
    kind, target = format_ or by_ending(output), target_of(output, json_=json_)
    _known(installation, system)
    made = begin_outcome_export(
        Outcomes(installation.ledger_engine),
        installation.control,
        person.id,
        system=system,
        state=state or "",
        format_=kind,
        before=installation.ledger().next_leaf(),
    )
    rows = write_rows(made.file, target, "outcomes", None)
    if json_:
        as_json({"rows": rows, "format": kind, "output": output})
    elif target is not None:
        click.echo(f"{rows} outcomes in {output}")


@outcomes.command("list")
@click.option("--system", default="", help="Only of this AI system.")
@click.option("--state", type=click.Choice(STATES), help="How it counts.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="At most so many.")
@json_option
@click.pass_obj
def list_(chosen: Chosen, system: str, state: str | None, limit: int, json_: bool) -> None:
    """List the outcomes on record, newest first, each with what was decided."""
    installation = opened(chosen)
    require(acting(installation), "decision.read")
    _known(installation, system)
    rows = Outcomes(installation.ledger_engine).list(system=system, state=state or "", limit=limit)
    if json_:
        as_json([asdict(row) for row in rows])
        return
    show_table(
        ("told", "decision", "system", "state", "outcome", "known", "answer", "score"),
        [
            (
                rfc3339(row.told),
                row.decision,
                row.system,
                row.state,
                row.value or "",
                rfc3339(row.at) if row.at is not None else "",
                row.label or "",
                "" if row.score is None else f"{row.score:.4f}",
            )
            for row in rows
        ],
    )


def _known(installation: Installation, system: str) -> None:
    """A name that is mistyped is no system without outcomes. Raises NotFound."""
    if system:
        with reading(installation.control) as connection:
            find_system(connection, system)
