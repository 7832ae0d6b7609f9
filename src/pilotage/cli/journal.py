"""Carry an edge node's journal by hand: export there, import at the steward, acknowledge there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
from rich.progress import Progress

from pilotage.access.model import require
from pilotage.cli.identity import acting, opened, settings_of
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, errors_console, json_option
from pilotage.errors import Conflict
from pilotage.kernel.clock import now_us
from pilotage.ledger.collecting import read_positions
from pilotage.nodes.copies import CopyFolder
from pilotage.nodes.model import Node
from pilotage.nodes.parcels import acknowledge, export_journal, import_journal, manifest_node, receipt_text
from pilotage.nodes.service import identity_of, reader_of
from pilotage.nodes.store import find_node, set_state
from pilotage.storage.database import reading, writing
from pilotage.storage.objects import write_durably
from pilotage.wiring.installation import Installation

__all__ = ["journal"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def journal() -> None:
    """The journal of an edge node, which no network reaches: export, import, acknowledge."""


@journal.command("export")
@click.option("--to", type=click.Path(dir_okay=False, path_type=Path), help="The tar file to write.")
@click.option("--acknowledged", type=_FILE, help="Instead: delete what this receipt of the steward covers.")
@json_option
@click.pass_obj
def export(chosen: Chosen, to: Path | None, acknowledged: Path | None, json_: bool) -> None:
    """On the edge node: write its journal to a file, or delete what was imported. The gateways may run meanwhile."""
    home = settings_of(chosen).home
    identity = identity_of(home)
    if (to is None) == (acknowledged is None):
        raise click.UsageError("give one of --to and --acknowledged")
    if acknowledged is not None:
        deleted, kept = acknowledge(home.journal, identity, acknowledged.read_bytes())
        if json_:
            as_json({"deleted": deleted, "kept": kept})
        else:
            click.echo(f"deleted {len(deleted)} files; kept {len(kept)} that grew since or are in use")
        return
    if to is not None:
        with Progress(console=errors_console(), transient=True, disable=json_) as bar:
            count = export_journal(home.journal, identity, to, now_us(), _shown(bar, "exporting"))
        if json_:
            as_json({"files": count, "to": str(to)})
        else:
            click.echo(f"{count} files are in {to}; at the steward: pilotage journal import {to.name}")


@journal.command("import")
@click.argument("file", type=_FILE)
@click.option("--receipt", type=click.Path(dir_okay=False, path_type=Path), help="Default: FILE.receipt")
@json_option
@click.pass_obj
def import_(chosen: Chosen, file: Path, receipt: Path | None, json_: bool) -> None:
    """At the steward: add what is new in an exported file, and write the receipt for the node. Safe to repeat."""
    installation = opened(chosen)
    require(acting(installation), "node.edit")
    node = _node_of(installation, file)
    with reading(installation.ledger_engine) as connection:
        known = read_positions(connection)
    copies, now = CopyFolder(root=installation.home.journal, node=node.name), now_us()
    with Progress(console=errors_console(), transient=True, disable=json_) as bar:
        done = import_journal(file, node, copies, known, now, _shown(bar, "importing"))
    reader = reader_of(installation.home)
    if reader is None:
        raise Conflict("this home has no nodes.json: no receipt can be signed", mend="copy it from the steward")
    target = receipt or file.with_name(file.name + ".receipt")
    write_durably(target, receipt_text(done.receipt, reader.key))
    with writing(installation.control) as connection:
        set_state(connection, node.name, instance=done.receipt.instance, pulled=now, caught_up=now)
    if json_:
        as_json({"node": node.name, "files": len(done.receipt.files), "new": done.new_bytes, "receipt": str(target)})
    else:
        click.echo(f"{done.new_bytes} new bytes of {node.name}")
        click.echo(f"on the node: pilotage journal export --acknowledged {target.name}")


def _node_of(installation: Installation, file: Path) -> Node:
    with reading(installation.control) as connection:
        node = find_node(connection, manifest_node(file))
    if node.retired:
        raise Conflict("this node was retired", got=node.name, mend="invite it again: pilotage node invite")
    if node.address:
        raise Conflict("the steward pulls from this node by itself", got=node.name, mend="import edge nodes only")
    return node


def _shown(bar: Progress, what: str) -> Callable[[int, int], None]:
    task = bar.add_task(what, total=None)
    return lambda done, all_: bar.update(task, completed=done, total=all_)
