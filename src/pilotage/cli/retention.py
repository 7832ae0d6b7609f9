"""How long what is kept, and its deletion."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, get_args

import click
import msgspec

from pilotage.access.model import require
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, show_facts, show_table
from pilotage.errors import InputError
from pilotage.kernel.clock import rfc3339
from pilotage.ledger.retention import Floor, in_words, retention_floors
from pilotage.ledger.retention_rules import WIDE, Class
from pilotage.wiring.retention import SystemRetention, classes_now, retention_now, set_retention
from pilotage.wiring.retention import enforce as enforce_retention
from pilotage.wiring.retention_classes import CLASSES, ClassRetention

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
    """Show how much of each class there is, and when it goes.

    Since when, its period, and the floor that binds it, too. Deletes nothing.

    What deleting a class means for proofs and replay: pilotage retention classes.
    """
    installation = opened(chosen)
    require(acting(installation), "retention.read")
    found, wide = retention_now(installation), classes_now(installation)
    if json_:
        as_json({"systems": [asdict(each) for each in found], "classes": [asdict(each) for each in wide]})
        return
    show_table(
        ("class", "of", "now", "oldest", "kept", "floor", "goes"),
        [*(row for each in found for row in _rows(each)), *(_row(each) for each in wide if each.number is not None)],
    )


def _rows(of: SystemRetention) -> list[tuple[object, ...]]:
    """The two lines of one system."""
    payloads = _goes(f"{of.due_records:,}" if of.due_records else "", _some(of.held, "segment"), of.next)
    entries = _goes(_some(of.bundles_due, "bundle"), _some(of.bundles_held, "bundle"), of.bundles_next)
    wishes = _wish(of.payloads, of.payloads_set), _wish(of.entries, of.entries_set)
    floor = of.floor.partition(" (")[0]
    return [
        ("payloads", of.system, f"{of.records:,}", _day(of.oldest), wishes[0], floor, payloads),
        ("entries", of.system, _some(of.bundles, "bundle"), _day(of.bundles_oldest), wishes[1], floor, entries),
    ]


def _row(of: ClassRetention) -> tuple[object, ...]:
    """The line of a class that is kept by the installation."""
    number = f"{of.number:,}"
    if not of.settable:
        return of.name, "all", number, _day(of.oldest), of.kept.partition(":")[0], "", ""
    goes = _goes(f"{of.due:,}" if of.due else "", f"{of.held:,}" if of.held else "", of.next)
    goes += f"; {of.bound:,} still referred to" if of.bound else ""
    return of.name, "all", number, _day(of.oldest), _wish(of.kept, of.set), of.floor.partition(" (")[0], goes


def _goes(due: str, held: str, next_: int) -> str:
    """When something of a class goes, in words."""
    parts = (f"{due} now" if due else "", f"{held} held" if held else "")
    return ", ".join(filter(None, parts)) or _day(next_) or "never"


def _some(number: int, unit: str) -> str:
    return f"{number:,} {unit}{'' if number == 1 else 's'}" if number else ""


def _day(at: int) -> str:
    return rfc3339(at)[:10] if at else ""


def _wish(words: str, at: int) -> str:
    return f"{words}, set {_day(at)}" if at else words


@retention.command("classes")
@json_option
@click.pass_obj
def classes(chosen: Chosen, json_: bool) -> None:
    """List the classes of data, and what deleting each means.

    What is in it, how long it is kept unless somebody sets it, and what proofs and replay say after a deletion.
    """
    require(acting(opened(chosen)), "retention.read")
    if json_:
        as_json([asdict(each) for each in CLASSES])
        return
    show_table(
        ("class", "what", "kept unless set", "deleting it"),
        [(each.name, each.what, each.kept, each.deleting) for each in CLASSES],
    )


@retention.command("set")
@click.option("--system", default="", help="The AI system's id; for payloads and entries only.")
@click.option("--class", "of", required=True, type=click.Choice(get_args(Class)), help="The class of data.")
@click.option("--months", type=click.IntRange(0, 1_200), default=0, help="Kept for so many months,")
@click.option("--days", type=click.IntRange(0, 36_500), default=0, help="and so many days.")
@click.option("--without-end", is_flag=True, help="Never delete it.")
@click.option("--as-declared", is_flag=True, help="What pilotage.yaml says, or the default, holds again.")
@click.option("--reason", required=True, help="Why; it is kept encrypted.")
@json_option
@click.pass_obj
def set_(chosen: Chosen, /, system: str, of: str, json_: bool, **given: Any) -> None:
    """Set how long a class of data is kept.

    It wins over pilotage.yaml, and is on record with who and why.

    payloads and entries are kept by --system; denials, evidence and journals by the whole installation.

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
    if of in WIDE:
        kept = in_words(holds.payloads)
        as_json({"class": of, "kept": kept}) if json_ else show_facts([("class", of), ("kept", kept)])
        return
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
    """List the laws whose floors a system can declare.

    Each with the classes of data that it binds, and how sure the reading of it is.
    """
    require(acting(opened(chosen)), "retention.read")
    known = retention_floors().values()
    if json_:
        as_json([msgspec.to_builtins(floor) for floor in known])
        return
    show_table(
        ("regime", "law", "classes", "at least", "status"),
        [(each.id, each.law, ", ".join(each.classes), in_words(each.floor), each.status) for each in known],
    )


@retention.command("enforce")
@json_option
@click.pass_obj
def enforce(chosen: Chosen, json_: bool) -> None:
    """Delete now what is due.

    Payloads, what the index holds of them, keys under which nothing is left; then bundles of entries; whom gateways
    turned away; evidence that nothing refers to; last copies of retired nodes' journals.

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
            ("keys", f"{done.keys} destroyed"),
            ("evidence", f"{done.evidence} deleted"),
            ("journals", f"{done.journals} copies deleted"),
        ]
    )
