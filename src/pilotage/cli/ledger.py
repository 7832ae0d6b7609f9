"""The ledger as data: its figures, exports of it, and its index made anew."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import click

from pilotage.access.model import require
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, progress_bar, show_facts
from pilotage.kernel.clock import parse_time
from pilotage.ledger.partitioned import export_parts
from pilotage.ledger.rebuild import rebuild_index

__all__ = ["ledger"]


@click.group()
def ledger() -> None:
    """Count, export and rebuild what is sealed."""


@ledger.command("stats")
@click.option("--system", default="", help="The system's id; all when left out.")
@click.option("--since", default="", help="2026-03-01T10:00Z, rounded down to its minute.")
@json_option
@click.pass_obj
def stats(chosen: Chosen, system: str, since: str, json_: bool) -> None:
    """Count the live decisions.

    From sums that were made when they were sealed. Times are at most 3.2 % off.
    """
    installation = opened(chosen)
    require(acting(installation), "decision.read")
    found = installation.ledger().stats(system, parse_time(since) if since else None, seconds=0)
    facts = {
        "decisions": found.decisions,
        "outcomes": found.outcomes,
        "faults": found.faults,
        "p50_us": found.p50_us,
        "p99_us": found.p99_us,
        "workers": installation.settings.workers,
    }
    if json_:
        as_json(facts)
        return
    ended = ", ".join(f"{number:,} {outcome}" for outcome, number in found.outcomes.items()) or "none"
    times = {f"{share} %": "" if us is None else f"{us:,} µs" for share, us in ((50, found.p50_us), (99, found.p99_us))}
    show_facts(
        [
            ("decisions", f"{found.decisions:,}"),
            ("outcomes", ended),
            ("faults", f"{found.faults:,}"),
            *((f"answered in, {share}", time) for share, time in times.items()),
            ("workers", installation.settings.workers),
        ]
    )


@ledger.command("export")
@click.option("--to", "folder", required=True, type=click.Path(file_okay=False, path_type=Path), help="The folder.")
@click.option("--payload", is_flag=True, help="With what was asked and answered, for roles that may read payloads.")
@json_option
@click.pass_obj
def export(chosen: Chosen, folder: Path, payload: bool, json_: bool) -> None:
    """Add what is new to a folder of Parquet files.

    They are partitioned by system and day, and DuckDB, Polars and Spark read them. What was sealed since the last time
    is added. The export goes on record. What is in the folder is out of reach of a later erasure.
    """
    installation = opened(chosen)
    person = acting(installation)
    require(person, "decision.read")
    if payload:
        require(person, "decision.read_payload")
    with progress_bar("exporting") as progress:
        made = export_parts(
            installation.ledger(),
            installation.control,
            person.id,
            folder,
            origin=installation.keyring.origin,
            payload=payload,
            progress=progress,
        )
    if json_:
        as_json({**asdict(made), "to": str(folder)})
    else:
        click.echo(f"{made.decisions} decisions and {made.events} events added to {folder}")


@ledger.command("rebuild-index")
@json_option
@click.pass_obj
def rebuild(chosen: Chosen, json_: bool) -> None:
    """Make the SQL index anew from what is sealed.

    From entry bundles and payload segments; then it is swapped in at once. Works while the service runs. Heads, data
    keys, the erasure list and open streams lie nowhere else: restore these from a backup.
    """
    installation = opened(chosen)
    require(acting(installation), "ledger.rebuild")
    steward = installation.steward(holder=f"{installation.settings.node}/rebuild-{os.getpid()}")
    try:
        with progress_bar("rebuilding") as progress:
            report = rebuild_index(steward, installation.profile_of, progress)
    finally:
        steward.release()
    if json_:
        as_json(asdict(report))
        return
    facts: list[tuple[str, object]] = [
        ("entries", report.size),
        ("decisions", report.decisions),
        ("events", report.events),
        ("erased", report.erased),
        ("entries past retention", report.gone),
        ("positions put back", report.positions),
    ]
    show_facts(facts)
    if report.uncounted:
        click.echo(
            f"the profile counts of {len(report.uncounted)} batches could not be made again, because payloads of "
            "theirs were erased or their release is gone: restore profile_counts from a backup"
        )
    click.echo("Check it: pilotage audit verify")
