"""Data contracts as files: infer one, import one; hold files to them, compare and print them."""

from __future__ import annotations

from pathlib import Path

import click

from pilotage.cli.contract_check import check, diff, docs
from pilotage.cli.output import as_json, json_option, show_table
from pilotage.contracts.guessing import Guessed, guess
from pilotage.contracts.infer import infer_contract
from pilotage.contracts.json_schema import MOST_BYTES, from_json_schema
from pilotage.contracts.mlflow import from_mlflow
from pilotage.contracts.model import Column
from pilotage.contracts.written import to_file
from pilotage.errors import Conflict, InputError

__all__ = ["contract"]

_written = click.Path(dir_okay=False, path_type=Path)
_existing = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def contract() -> None:
    """Data contracts (ODCS YAML): infer, edit by hand, hold data to them."""


contract.add_command(check)
contract.add_command(diff)
contract.add_command(docs)


@contract.command("infer")
@click.argument("data", type=_existing, required=False)
@click.option("--from-json-schema", "schema", type=_existing, help="Import a JSON Schema instead of reading data.")
@click.option(
    "--from-mlflow", "model", type=click.Path(exists=True, path_type=Path), help="Import an MLflow model's signature."
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default="contract.odcs.yaml",
    show_default=True,
    help="Where to write it.",
)
@click.option("--name", default="", help="The contract's name (default: the file's).")
@click.option("--version", "version", default="1", show_default=True, help="The contract's version.")
@click.option("--target", default="", metavar="COLUMN", help="The column that the model predicts.")
@click.option("--subject", default="", metavar="COLUMN", help="Names the person or thing that a row is about.")
@click.option("--ignore", multiple=True, metavar="COLUMN", help="A column that no model takes; repeat.")
@click.option("--personal", multiple=True, metavar="COLUMN", help="A column of personal data; repeat.")
@click.option("--protected", multiple=True, metavar="COLUMN", help="A column that decisions must not turn on; repeat.")
@click.option("--categorical", multiple=True, metavar="COLUMN", help="A column whose values are all listed; repeat.")
@click.option("--force", is_flag=True, help="Replace the file --out names.")
@json_option
def infer(
    data: Path | None,
    schema: Path | None,
    model: Path | None,
    out: Path,
    name: str,
    version: str,
    target: str,
    subject: str,
    ignore: tuple[str, ...],
    personal: tuple[str, ...],
    protected: tuple[str, ...],
    categorical: tuple[str, ...],
    force: bool,
    json_: bool,
) -> None:
    """Write the contract that DATA suggests (CSV, also .gz, Parquet, or JSON lines), to be edited by hand.

    Types, ranges, categories, forms, nulls, what is unique, personal or protected. What was guessed says CONFIRM.
    """
    sources = [each for each in (data, schema, model) if each is not None]
    if len(sources) != 1:
        raise click.UsageError("give DATA, or one of --from-json-schema and --from-mlflow")
    source = sources[0]
    columns = (target, subject, *ignore, *personal, *protected, *categorical)
    if source is not data and any(columns):
        raise click.UsageError("an import takes its columns from the file: edit the contract afterwards")
    if out.exists() and not force:
        raise Conflict("there is such a file already", got=out, mend="name another with --out, or say --force")
    name = name or source.name.split(".")[0] or "contract"
    if schema is not None:
        if schema.stat().st_size > MOST_BYTES:
            raise InputError("the schema is too long", expected=f"{MOST_BYTES} bytes", mend="shorten it")
        found = from_json_schema(schema.read_bytes(), name=name, version=version)
    elif model is not None:
        found = from_mlflow(model, name=name, version=version)
    else:
        inferred = infer_contract(
            source,
            name=name,
            version=version,
            target=target,
            subject=subject,
            ignore=ignore,
            personal=personal,
            protected=protected,
            categorical=categorical,
        )
        found = guess(source, inferred)
    out.write_text(to_file(found.contract, found.notes, f"Made from {source.name}."), encoding="utf-8")
    if json_:
        as_json({"file": str(out), "contract": found.contract.as_dict(), "confirm": found.notes})
        return
    _show(found)
    click.echo(f"wrote {out}: edit it, then `pilotage contract check {out} {data or 'DATA'}`")


def _show(found: Guessed) -> None:
    show_table(
        ("column", "role", "type", "holds", "marks"),
        [(c.name, c.role, c.type, _holds(c), _marks(c)) for c in found.contract.columns],
    )
    confirm = sum(note.startswith("CONFIRM") for notes in found.notes.values() for note in notes)
    if confirm:
        click.echo(f"{confirm} guesses to confirm: the lines that say CONFIRM")


def _holds(column: Column) -> str:
    if column.categories is not None:
        return f"{len(column.categories)} categories"
    if column.minimum is not None or column.maximum is not None:
        return " to ".join("any" if each is None else f"{each:g}" for each in (column.minimum, column.maximum))
    return column.format or column.pattern


def _marks(column: Column) -> str:
    marks = {"null": column.nullable, "unique": column.unique, "personal": column.personal}
    return ", ".join(name for name, held in (marks | {"protected": column.protected}).items() if held)
