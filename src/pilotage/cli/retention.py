"""How long what is kept, and its deletion."""

from __future__ import annotations

from dataclasses import asdict

import click
import msgspec

from pilotage.access.model import require
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, show_facts, show_table
from pilotage.kernel.clock import rfc3339
from pilotage.ledger.retention import retention_floors
from pilotage.wiring.retention import KEPT, SystemRetention, retention_now
from pilotage.wiring.retention import enforce as enforce_retention

__all__ = ["retention"]


@click.group()
def retention() -> None:
    """What is kept how long, by class of data and by law, and the deletion of what is over.

    A system declares it in pilotage.yaml: retention: {regimes: [...], payloads: {months: 24}, entries: {months: 84}}.
    A floor of a law wins over a shorter wish, a legal hold wins over every deletion. The active steward enforces it
    once a day by itself.
    """


@retention.command("show")
@json_option
@click.pass_obj
def show(chosen: Chosen, json_: bool) -> None:
    """Show what is kept, what would go now, and when the next part may go. Deletes nothing."""
    installation = opened(chosen)
    require(acting(installation), "retention.read")
    found = retention_now(installation)
    if json_:
        as_json({"systems": [asdict(each) for each in found], "classes": dict(KEPT)})
        return
    show_table(
        ("system", "class", "wanted", "floor", "kept", "due now", "held", "next"),
        [row for each in found for row in _rows(each)],
    )
    click.echo()
    show_facts(KEPT)


def _rows(of: SystemRetention) -> list[tuple[object, ...]]:
    """The two lines of one system."""
    payloads = (f"{of.records} in {of.segments} segments", f"{of.due_records} in {of.due} segments", of.held)
    entries = (f"in {of.bundles} bundles", f"{of.bundles_due} bundles", of.bundles_held)
    return [
        (of.system, "payloads", of.payloads, of.floor, *payloads, rfc3339(of.next) if of.next else "never"),
        (of.system, "entries", of.entries, "", *entries, rfc3339(of.bundles_next) if of.bundles_next else "never"),
    ]


@retention.command("floors")
@json_option
@click.pass_obj
def floors(chosen: Chosen, json_: bool) -> None:
    """List the laws whose floors a system can declare, and how sure the reading of each is."""
    require(acting(opened(chosen)), "retention.read")
    known = retention_floors().values()
    if json_:
        as_json([msgspec.to_builtins(floor) for floor in known])
        return
    show_table(
        ("regime", "law", "records", "months", "days", "status"),
        [(each.id, each.law, each.records, each.floor.months, each.floor.days, each.status) for each in known],
    )


@retention.command("enforce")
@json_option
@click.pass_obj
def enforce(chosen: Chosen, json_: bool) -> None:
    """Delete now what is due: payload segments, what the index holds of them, keys under which nothing is left; then
    bundles of entries.

    Hash tiles stay: proofs verify, and audit verify takes exactly those as gone that an event names.
    """
    installation = opened(chosen)
    done = enforce_retention(installation, acting(installation))
    if json_:
        as_json(asdict(done))
        return
    show_facts(
        [
            ("payloads", f"{done.records} deleted, in {done.segments} segments"),
            ("entries", f"{done.entries} deleted, in {done.bundles} bundles"),
            ("keys destroyed", done.keys),
        ]
    )
