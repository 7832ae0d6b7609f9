"""The ledger as an auditor sees it: verify it, verify a proof offline, its checkpoint and key."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pilotage.access.model import require
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, errors_console, json_option, show_facts, show_table
from pilotage.errors import InputError
from pilotage.ledger.proofs import verify_proof as check_proof
from pilotage.ledger.signing import parse_periods
from pilotage.wiring.audit import verify as verify_installation
from pilotage.wiring.keys import verifier_keys

__all__ = ["audit"]


@click.group()
def audit() -> None:
    """Verify that nothing on record was changed."""


@audit.command("verify")
@json_option
@click.pass_obj
def verify(chosen: Chosen, json_: bool) -> None:
    """Recompute the whole ledger: leaves, tiles, heads, signatures, payloads, index, counts, journals, control rows.

    Exit code 1 when anything was changed; each place is named.
    """
    installation = opened(chosen)
    require(acting(installation), "ledger.verify")
    columns = (TextColumn("verifying"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors_console(), transient=True) as bar:
        task = bar.add_task("entries", total=None)
        report = verify_installation(installation, lambda done, total: bar.update(task, completed=done, total=total))
    if json_:
        as_json(asdict(report))
    else:
        word = (
            click.style("verified", fg="green", bold=True) if report.ok else click.style("CHANGED", fg="red", bold=True)
        )
        click.echo(f"{word}: {report.size} entries, root {report.root}")
        if report.faults:
            show_table(
                ("place", "what", "got", "expected"),
                [(fault.place, fault.what, fault.got, fault.expected) for fault in report.faults],
            )
        click.echo(
            "The signing key is on this machine: whoever holds it can sign another history. Keep checkpoints elsewhere."
        )
    sys.exit(0 if report.ok else 1)


@audit.command("verify-proof")
@click.argument("proof", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("record", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--vkey", default="", help="The ledger's public key (pilotage audit vkey); this home's when left out.")
@click.option(
    "--vkeys",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with what pilotage audit vkey --all prints: for a log whose key was rotated.",
)
@json_option
@click.pass_obj
def verify_proof(chosen: Chosen, proof: Path, record: Path, vkey: str, vkeys: Path | None, json_: bool) -> None:
    """Verify offline that a record is in the ledger: needs the proof, the record and the public key, nothing else."""
    lines = vkeys.read_text(encoding="utf-8").splitlines() if vkeys else [vkey]
    key = parse_periods(lines) or verifier_keys(opened(chosen))
    try:
        text = proof.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{proof} is no proof", got="binary", mend="pass the .tlog-proof file first") from error
    checkpoint = check_proof(text, record.read_bytes(), key)
    index = next((line.split()[1] for line in text.splitlines() if line.startswith("index ")), "")
    if json_:
        as_json({"verified": True, "index": int(index), "size": checkpoint.size, "origin": checkpoint.origin})
    else:
        click.echo(
            f"{click.style('verified', fg='green', bold=True)}: entry {index} of {checkpoint.size}, {checkpoint.origin}"
        )


@audit.command("checkpoint")
@click.pass_obj
def checkpoint(chosen: Chosen) -> None:
    """Print the signed checkpoint; whoever keeps it can later show that history was rewritten."""
    click.echo(opened(chosen).ledger().checkpoint(), nl=False)


@audit.command("vkey")
@click.option("--all", "all_", is_flag=True, help="Every key since the first, each with the tree sizes it signed.")
@json_option
@click.pass_obj
def vkey(chosen: Chosen, all_: bool, json_: bool) -> None:
    """Print the ledger's public key in the C2SP form."""
    periods = verifier_keys(opened(chosen))
    if not all_:
        periods = periods[-1:]
    if json_:
        as_json({"vkey": periods[-1].vkey, **({"all": [asdict(period) for period in periods]} if all_ else {})})
        return
    for period in periods:
        click.echo(period.line() if all_ else period.vkey)


@audit.command("stats")
@json_option
@click.pass_obj
def stats(chosen: Chosen, json_: bool) -> None:
    """Count what is sealed."""
    installation = opened(chosen)
    found = installation.ledger().stats()
    facts = {"decisions": found.decisions, "outcomes": found.outcomes, "workers": installation.settings.workers}
    if json_:
        as_json(facts)
    else:
        show_facts(list(facts.items()))
