"""How long what is kept, and its deletion."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click
import msgspec

from pilotage.access.model import require
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, show_facts, show_table
from pilotage.errors import InputError
from pilotage.kernel.clock import rfc3339
from pilotage.ledger.retention import Floor, in_words, retention_floors
from pilotage.wiring.retention import KEPT, SystemRetention, retention_now, set_retention
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
    wishes = _wish(of.payloads, of.payloads_set), _wish(of.entries, of.entries_set)
    return [
        (of.system, "payloads", wishes[0], of.floor, *payloads, rfc3339(of.next) if of.next else "never"),
        (of.system, "entries", wishes[1], "", *entries, rfc3339(of.bundles_next) if of.bundles_next else "never"),
    ]


def _wish(words: str, at: int) -> str:
    return f"{words}, set {rfc3339(at)[:10]}" if at else words


@retention.command("set")
@click.option("--system", required=True, help="The AI system's id.")
@click.option("--class", "of", required=True, type=click.Choice(["payloads", "entries"]), help="The class of data.")
@click.option("--months", type=click.IntRange(0, 1_200), default=0, help="Kept for so many months,")
@click.option("--days", type=click.IntRange(0, 36_500), default=0, help="and so many days.")
@click.option("--without-end", is_flag=True, help="Never delete it.")
@click.option("--as-declared", is_flag=True, help="What pilotage.yaml says holds again.")
@click.option("--reason", required=True, help="Why; it is kept encrypted.")
@json_option
@click.pass_obj
def set_(chosen: Chosen, /, system: str, of: str, json_: bool, **given: Any) -> None:
    """Set how long a class of a system's data is kept; it wins over pilotage.yaml, and is on record with who and why.

    A period below a floor of a law that binds the system is refused. Nothing is deleted at once: the steward does it
    once a day, or pilotage retention enforce.
    """
    months, days = given["months"], given["days"]
    if sum((bool(months or days), given["without_end"], given["as_declared"])) != 1:
        expected = "--months and --days, or --without-end, or --as-declared"
        raise InputError("how long is it kept?", expected=expected, mend="give one of them")
    span = None if given["as_declared"] else Floor(months=months, days=days)
    installation = opened(chosen)
    cover = {"system": system, "of": of, "reason": given["reason"]}
    holds = set_retention(installation, acting(installation), span=span, **cover)
    if json_:
        as_json({"system": system, "payloads": in_words(holds.payloads), "entries": in_words(holds.entries)})
        return
    show_facts([("system", system), ("payloads", in_words(holds.payloads)), ("entries", in_words(holds.entries))])
    if given["without_end"] and of == "payloads" and holds.entries != Floor():
        click.echo("entries stay too: they go only with or after their payloads")


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
