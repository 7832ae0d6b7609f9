"""Erase one person; place and release the legal holds that forbid it."""

from __future__ import annotations

from dataclasses import asdict

import click

from pilotage.access.model import require
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, show_facts, show_table
from pilotage.errors import InputError
from pilotage.kernel.clock import rfc3339
from pilotage.ledger.erasure import ErasureReport, list_holds, place_hold, release_hold
from pilotage.wiring.erasing import erase_person

__all__ = ["erase", "hold"]


@click.command()
@click.option("--subject", required=True, help="The person's reference, as client systems send it.")
@click.option("--reason", default="request", show_default=True, help="A short code for the record; no free text.")
@json_option
@click.pass_obj
def erase(chosen: Chosen, subject: str, reason: str, json_: bool) -> None:
    """Make one person's payloads unreadable for ever: the key is destroyed, the proofs still verify.

    A legal hold forbids it. Inside a retention floor nothing is erased yet: the answer is the date, and the steward
    erases by itself then. Gateways begin new journal files, so that no encrypted copy stays behind.
    """
    installation = opened(chosen)
    report = erase_person(installation, acting(installation), subject, reason)
    if json_:
        as_json({**asdict(report), "event": report.event_id})
        return
    if report.restricted_until:
        click.echo(f"a retention floor holds: restricted, and erased on {rfc3339(report.restricted_until)}")
        return
    show_facts(_facts(report))


def _facts(report: ErasureReport) -> list[tuple[str, object]]:
    facts: list[tuple[str, object]] = [
        ("erased", f"{report.decisions} decisions, {report.events} events about them"),
        ("unreadable", f"{report.unreadable} decisions, {report.events_unreadable} events"),
        ("event", report.event_id),
    ]
    if report.journals:
        until = f", at {rfc3339(report.copies_until)} at the latest" if report.copies_until else ""
        facts.append(("encrypted copies", f"{', '.join(report.journals)}: gone when their workers move on{until}"))
    else:
        facts.append(("encrypted copies", "none is left in the journals"))
    return facts


@click.group()
def hold() -> None:
    """Legal holds: what they cover is neither erased nor deleted by retention."""


@hold.command("place")
@click.option("--subject", default="", help="One person's reference.")
@click.option("--system", default="", help="All decisions of one system.")
@click.option("--all", "all_", is_flag=True, help="Everything.")
@click.option("--reason", required=True, help="Why; it is kept encrypted.")
@json_option
@click.pass_obj
def place(chosen: Chosen, subject: str, system: str, all_: bool, reason: str, json_: bool) -> None:
    """Forbid erasure and deletion until the hold is released."""
    if sum(map(bool, (subject, system, all_))) != 1:
        raise InputError("what does the hold cover?", expected="--subject, --system or --all", mend="name one of them")
    installation = opened(chosen)
    person = acting(installation)
    require(person, "hold.edit")
    id_ = place_hold(installation.control, installation.keyring, reason, person.id, subject=subject, system=system)
    if json_:
        as_json({"id": id_})
    else:
        click.echo(f"{id_} holds")


@hold.command("list")
@json_option
@click.pass_obj
def list_(chosen: Chosen, json_: bool) -> None:
    """List every hold, the newest first. Whom it is about is nowhere in clear."""
    installation = opened(chosen)
    require(acting(installation), "hold.read")
    holds = list_holds(installation.control, installation.keyring)
    if json_:
        as_json([asdict(each) for each in holds])
        return
    show_table(
        ("id", "covers", "placed", "released", "reason"),
        [
            (
                each.id,
                "one person" if each.on_subject else each.system or "everything",
                rfc3339(each.placed),
                rfc3339(each.released) if each.released else "holds",
                each.reason,
            )
            for each in holds
        ],
    )


@hold.command("release")
@click.argument("id_", metavar="ID")
@click.pass_obj
def release(chosen: Chosen, id_: str) -> None:
    """End a hold."""
    installation = opened(chosen)
    person = acting(installation)
    require(person, "hold.edit")
    release_hold(installation.control, id_, person.id)
    click.echo(f"{id_} is released")
