"""The ledger as an auditor sees it: verify it, verify a proof offline, its checkpoint and key."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path

import click

from pilotage.access.model import require
from pilotage.cli.at import at
from pilotage.cli.follow import follow
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, progress_bar, show_table
from pilotage.cli.verifier_keys import VerifierKey
from pilotage.errors import InputError, NotFound
from pilotage.kernel.clock import parse_time, rfc3339
from pilotage.ledger.notes import read_checkpoint_body
from pilotage.ledger.outside import Outside, Receipt, parse_receipts, read_notes
from pilotage.ledger.proofs import require_cosignature
from pilotage.ledger.proofs import verify_proof as check_proof
from pilotage.ledger.signing import parse_periods
from pilotage.ledger.verify import LedgerReport
from pilotage.ledger.verify_since import head_before
from pilotage.storage.objects import write_durably
from pilotage.wiring.audit import keep_verification
from pilotage.wiring.audit import verify as verify_installation
from pilotage.wiring.installation import Installation
from pilotage.wiring.keys import verifier_keys

__all__ = ["audit"]


@click.group()
def audit() -> None:
    """Verify that nothing on record was changed."""


audit.add_command(follow)
audit.add_command(at)


@audit.command("verify")
@click.option(
    "--receipt",
    "receipts",
    multiple=True,
    metavar="FILE|ID:HASH",
    help="A client's receipt, or a file of them, one a line: the ledger must have exactly these records.",
)
@click.option(
    "--held",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A checkpoint kept elsewhere (of a witness: the file checkpoint): the ledger must continue it.",
)
@click.option(
    "--witness", "witnesses", type=VerifierKey(), multiple=True, help="A witness's key: it must have cosigned."
)
@click.option("--since", default="", metavar="TIME|SIZE", help="Only what was sealed after the last head until then.")
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Your own file, kept elsewhere, of the head verified last: only what came after is read, then it is renewed.",
)
@click.option(
    "--processes",
    type=click.IntRange(1, 64),
    default=None,
    help="How many processes share the work of a large ledger (default: one for each core).",
)
@click.option("--keep", is_flag=True, help="Keep the result as evidence: readiness asks for it every 30 days.")
@json_option
@click.pass_obj
def verify(
    chosen: Chosen,
    receipts: tuple[str, ...],
    held: tuple[Path, ...],
    witnesses: tuple[str, ...],
    since: str,
    state: Path | None,
    processes: int | None,
    keep: bool,
    json_: bool,
) -> None:
    """Recompute the whole ledger and name every fault.

    Leaves, tiles, heads, signatures, payloads, index, counts, journals, control rows;
    and hold it against evidence from outside.

    Exit code 1 when anything was changed; each place is named.
    """
    installation = opened(chosen)
    require(acting(installation), "ledger.verify")
    kept = read_notes([state]) if state is not None and state.exists() else []
    shown = installation.ledger().checkpoint() if state is not None else ""
    notes = [*read_notes(held), *kept, *filter(None, [shown])]
    outside = Outside(receipts=_receipts(receipts), checkpoints=notes, witnesses=witnesses)
    start = _start(installation, since, kept)
    with progress_bar("verifying") as advance:
        cores = len(os.sched_getaffinity(0))
        report = verify_installation(installation, advance, outside, start, processes=processes or cores)
    if keep:
        keep_verification(installation, report)
    if state is not None and report.ok:
        write_durably(state, shown.encode())
    if json_:
        as_json(asdict(report))
    else:
        word = (
            click.style("verified", fg="green", bold=True) if report.ok else click.style("CHANGED", fg="red", bold=True)
        )
        click.echo(f"{word}: {report.size} entries, root {report.root}")
        if report.since:
            click.echo(
                f"Only what came after size {report.since} was read; journals and the control plane need a full run."
            )
        if report.retired or report.gone:
            click.echo(
                f"Past retention: {report.retired} payloads, and {report.gone} whole entries; their hashes verify."
            )
        if report.faults:
            show_table(
                ("place", "what", "got", "expected"),
                [(fault.place, fault.what, fault.got, fault.expected) for fault in report.faults],
            )
        for line in _vouched(report):
            click.echo(line)
    sys.exit(0 if report.ok else 1)


@audit.command("verify-proof")
@click.argument("proof", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("record", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--vkey", type=VerifierKey(), default="", help="The ledger's public key (pilotage audit vkey); else this home's."
)
@click.option(
    "--vkeys",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with what pilotage audit vkey --all prints: for a log whose key was rotated.",
)
@click.option("--witness", type=VerifierKey(), default="", help="A witness's key: it must have cosigned too.")
@json_option
@click.pass_obj
def verify_proof(
    chosen: Chosen, proof: Path, record: Path, vkey: str, vkeys: Path | None, witness: str, json_: bool
) -> None:
    """Verify offline that a record is in the ledger.

    Needs the proof, the record and the public key, nothing else.

    With --witness somebody outside must have confirmed it too: then whoever holds the ledger's key alone cannot have
    made it up.
    """
    lines = vkeys.read_text(encoding="utf-8").splitlines() if vkeys else [vkey]
    key = parse_periods(lines) or verifier_keys(opened(chosen))
    try:
        text = proof.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{proof} is no proof", got="binary", mend="pass the .tlog-proof file first") from error
    checkpoint = check_proof(text, record.read_bytes(), key)
    confirmed = require_cosignature(text, witness) if witness else None
    index = next((line.split()[1] for line in text.splitlines() if line.startswith("index ")), "")
    if json_:
        facts = {"verified": True, "index": int(index), "size": checkpoint.size, "origin": checkpoint.origin}
        told = {"witness": confirmed.witness, "witnessed_at": _moment(confirmed.at)} if confirmed else {}
        as_json(facts | told)
    else:
        click.echo(
            f"{click.style('verified', fg='green', bold=True)}: entry {index} of {checkpoint.size}, {checkpoint.origin}"
        )
        if confirmed:
            click.echo(f"confirmed by the witness {confirmed.witness} at {_moment(confirmed.at)}")


@audit.command("checkpoint")
@click.option("--cosigned", is_flag=True, help="The newest checkpoint that a witness has confirmed, not the newest.")
@json_option
@click.pass_obj
def checkpoint(chosen: Chosen, cosigned: bool, json_: bool) -> None:
    """Print the signed checkpoint with its cosignatures.

    Whoever keeps it can later show that history was rewritten.
    """
    ledger = opened(chosen).ledger()
    found = ledger.cosigned()
    newest = max(found, key=lambda each: (each.size, each.at), default=None)
    if cosigned and newest is None:
        raise NotFound("no witness has confirmed a checkpoint", mend="run one elsewhere: pilotage audit follow")
    text = newest.note if cosigned and newest else ledger.checkpoint_with_cosignatures()
    if json_:
        told = [{"witness": w.witness, "vkey": w.vkey, "size": w.size, "at": _moment(w.at)} for w in found]
        as_json({"checkpoint": text, "witnesses": told})
        return
    click.echo(text, nl=False)


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


def _vouched(report: LedgerReport) -> list[str]:
    """Who else than this machine confirms it, and up to where."""
    lines = [
        f"witnessed up to size {each.size} by {each.witness} at {each.at}"
        + ("" if each.known else f" (by this machine's word; require it: --witness {each.vkey})")
        for each in report.witnessed
    ]
    upto = max((each.size for each in report.witnessed), default=0)
    if upto < report.size:
        beyond = f"Beyond size {upto} only" if upto else "No witness has confirmed anything: only"
        lines.append(f"{beyond} the signing key on this machine vouches; whoever holds it can sign another history.")
    return lines


def _start(installation: Installation, since: str, kept: list[str]) -> int:
    """The size of the head to begin with: of the auditor's own file, or the last one until a size or a time."""
    if not since:
        return read_checkpoint_body(kept[0]).size if kept else 0
    engine, published = installation.ledger_engine, read_checkpoint_body(installation.ledger().checkpoint()).size
    if since.isdecimal():
        return head_before(engine, size=min(published, int(since[:18])))
    return head_before(engine, size=published, at=parse_time(since))


def _receipts(given: tuple[str, ...]) -> list[Receipt]:
    """Receipts of files and of the command line."""
    found: list[Receipt] = []
    for each in given:
        path = Path(each)
        found += parse_receipts(path.read_text(encoding="utf-8", errors="replace") if path.is_file() else each)
    return found


def _moment(seconds: int) -> str:
    return rfc3339(seconds * 1_000_000)
