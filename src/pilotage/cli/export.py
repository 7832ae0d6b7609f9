"""Export decisions to a file or a pipe."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import click

from pilotage.access.model import require
from pilotage.cli.filters import filter_options, wanted_decisions
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, progress_bar
from pilotage.errors import InputError
from pilotage.ledger.export import begin_export
from pilotage.ledger.row_file import FORMATS, RowFile

__all__ = ["by_ending", "export", "target_of", "write_rows"]


@click.command("export")
@filter_options
@click.option("--format", "format_", type=click.Choice(FORMATS), help="Else by the file's ending, else jsonl.")
@click.option("--payload", is_flag=True, help="With what was asked and answered, for roles that may read payloads.")
@click.option("-o", "--output", default="-", show_default=True, help="A file, or - for standard output.")
@json_option
@click.pass_obj
def export(chosen: Chosen, /, format_: str | None, payload: bool, output: str, json_: bool, **given: Any) -> None:
    """Export decisions, newest first, of any number.

    As JSON, JSON lines, CSV or Parquet. The export itself goes on record as event decisions.exported. A file appears
    whole or not at all.
    """
    installation = opened(chosen)
    person = acting(installation)
    require(person, "decision.read")
    if payload:
        require(person, "decision.read_payload")
    kind = format_ or by_ending(output)
    target = target_of(output, json_=json_)
    wanted = wanted_decisions(installation, given)
    made = begin_export(installation.ledger(), installation.control, person.id, wanted, format_=kind, payload=payload)
    write_rows(made.file, target, "decisions", made.rows)
    if json_:
        as_json({"rows": made.rows, "format": kind, "payload": payload, "output": output})
    elif target is not None:
        click.echo(f"{made.rows} decisions in {output}")


def by_ending(output: str) -> str:
    """The format that a file's name asks for; JSON lines where it asks for none."""
    ending = Path(output).suffix.removeprefix(".").lower()
    return ending if ending in FORMATS else "jsonl"


def target_of(output: str, *, json_: bool) -> Path | None:
    """The file to write; None for standard output. Raises InputError before anything is read."""
    if output == "-":
        if json_:
            raise InputError("--json and the export would mix on standard output", mend="name a file with -o")
        if sys.stdout.isatty():
            raise InputError("an export is not for a terminal", mend="name a file with -o, or pipe it on")
        return None
    path = Path(output)
    if not path.parent.is_dir() or path.is_dir():
        raise InputError("the export cannot be written there", got=output, mend="name a file in a folder that exists")
    return path


def write_rows(file: RowFile, target: Path | None, what: str, rows: int | None) -> int:
    """Write to a file, whole or not at all, or to standard output, with a bar; how many rows it were."""
    done = 0

    def count(so_far: int) -> None:
        nonlocal done
        done = so_far
        progress(so_far, rows)

    # Ended by a signal, it takes what it has decrypted off the disk first.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    with progress_bar(f"exporting {what}") as progress:
        if target is not None:
            file.write(target, count)
            return done
        for piece in file.pieces(progress=count):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    return done
