"""Hold a file to a contract, compare two contracts, print one in words."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from pilotage.cli.output import as_json, console, json_option, show_facts, show_table, step_bar
from pilotage.contracts.comparing import Change, compare_contracts
from pilotage.contracts.dictionary import as_document, as_markdown
from pilotage.contracts.model import DataContract
from pilotage.contracts.odcs import from_odcs
from pilotage.contracts.purposes import against_purpose
from pilotage.contracts.table import TableCheck, check_table, write_faults
from pilotage.errors import InputError
from pilotage.kernel.clock import rfc3339
from pilotage.systems.parse import load_system

__all__ = ["BROKEN", "check", "diff", "docs"]

BROKEN = 3
"""Exit code when data does not hold, or a change breaks callers."""

_WIDTH = 24
_file = click.Path(exists=True, dir_okay=False, path_type=Path)
_out = click.Path(dir_okay=False, path_type=Path)


def read_contract(path: Path) -> DataContract:
    """The contract in a file of ODCS YAML. Raises InputError."""
    try:
        return from_odcs(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} is not UTF-8", got=error, mend="save it as UTF-8") from error


@click.command("check")
@click.argument("contract", type=_file)
@click.argument("data", type=_file)
@click.option("--system", "declaration", type=_file, help="Also hold it to the purposes in this pilotage.yaml.")
@click.option("--faults", type=_out, help="Write a line for each fault: row, column, code; .parquet or .csv.")
@click.option("--html", type=_out, help="Write the result as a page that loads nothing.")
@json_option
def check(
    contract: Path, data: Path, declaration: Path | None, faults: Path | None, html: Path | None, json_: bool
) -> None:
    """Hold DATA (CSV, also .gz, Parquet, or JSON lines) to CONTRACT: every fault counted, whatever its size.

    Exit code 3 when it does not hold.
    """
    held = read_contract(contract)
    against = [] if declaration is None else against_purpose(held, load_system(declaration).data_use)
    found = _checked(data, held)
    if faults is not None:
        write_faults(data, held, faults)
    if html is not None:
        from pilotage.web.console.contract_files import check_file

        html.write_text(check_file(held, found, data.name), encoding="utf-8")
    if json_:
        as_json({"holds": found.holds and not against, **msgspec.to_builtins(found), "against_purpose": against})
    else:
        _show(found)
        for each in against:
            console().print(f"[red]✗[/] {each['path']}: {each['message']}", soft_wrap=True)
    if not found.holds or against:
        raise SystemExit(BROKEN)


def _checked(data: Path, held: DataContract) -> TableCheck:
    with step_bar("checking") as tell:
        return check_table(data, held, progress=lambda share: tell(f"{share:.0%}", share))


def _show(found: TableCheck) -> None:
    share = found.faulty / found.rows if found.rows else 0.0
    show_facts(
        [
            ("rows", f"{found.rows:,}"),
            ("faulty", f"{found.faulty:,} ({share:.2%})"),
            ("duplicates", f"{found.duplicates:,}"),
            *((("missing", ", ".join(found.missing)),) if found.missing else ()),
            *((("unknown", ", ".join(found.unknown)),) if found.unknown else ()),
            *((f"{name} twice", f"{count:,} rows") for name, count in found.twice.items() if count),
            *(
                (f"{name} too old", "no moment in it" if newest is None else f"newest {rfc3339(newest)[:19]}")
                for name, newest in found.stale.items()
            ),
        ]
    )
    if found.faults:
        most = found.faults[0].rows
        show_table(
            ("column", "fault", "rows", "", "done about it", "expected", "first rows"),
            [
                (
                    each.column,
                    each.code,
                    f"{each.rows:,}",
                    "█" * max(1, round(each.rows / most * _WIDTH)),
                    each.action,
                    each.expected,
                    ", ".join(f"{row} {value}".strip() for row, value in each.examples[:3]),
                )
                for each in found.faults
            ],
        )
    console().print("[green]holds[/]" if found.holds else "[red]does not hold[/]")


@click.command("diff")
@click.argument("old", type=_file)
@click.argument("new", type=_file)
@json_option
def diff(old: Path, new: Path, json_: bool) -> None:
    """Say what changed from contract OLD to NEW, and which changes break callers. Exit code 3 when one does."""
    changes = compare_contracts(read_contract(old), read_contract(new))
    breaking = sum(each.breaking for each in changes)
    if json_:
        as_json({"breaking": bool(breaking), "changes": msgspec.to_builtins(changes)})
    else:
        _show_changes(changes)
    if breaking:
        raise SystemExit(BROKEN)


def _show_changes(changes: list[Change]) -> None:
    if not changes:
        click.echo("no change")
        return
    show_table(
        ("", "where", "what", "from", "to", "why"),
        [("breaks" if c.breaking else "fits", c.path, c.what, c.old, c.new, c.why) for c in changes],
    )
    breaking = sum(each.breaking for each in changes)
    click.echo(f"{breaking} of {len(changes)} changes break callers" if breaking else "nothing breaks callers")


@click.command("docs")
@click.argument("contract", type=_file)
@click.option("--html", type=_out, help="Write it as a page that loads nothing.")
@json_option
def docs(contract: Path, html: Path | None, json_: bool) -> None:
    """Print CONTRACT in words: a data dictionary as Markdown, as a page, or as JSON."""
    held = read_contract(contract)
    if json_:
        as_json(as_document(held))
        return
    if html is None:
        click.echo(as_markdown(held), nl=False)
        return
    from pilotage.web.console.contract_files import dictionary_file

    html.write_text(dictionary_file(held), encoding="utf-8")
    click.echo(f"wrote {html}")
