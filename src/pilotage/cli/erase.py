"""Erase one person."""

from __future__ import annotations

import os

import click

from pilotage.access.model import require
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, show_facts
from pilotage.kernel.clock import rfc3339
from pilotage.ledger.erasure import erase as erase_subject

__all__ = ["erase"]


@click.command()
@click.option("--subject", required=True, help="The person's reference, as client systems send it.")
@click.option("--reason", default="request", show_default=True, help="A short code for the record; no free text.")
@json_option
@click.pass_obj
def erase(chosen: Chosen, subject: str, reason: str, json_: bool) -> None:
    """Make one person's payloads unreadable for ever: the key is destroyed, the proofs still verify."""
    installation = opened(chosen)
    person = acting(installation)
    require(person, "subject.erase")
    steward = installation.steward(holder=f"{installation.settings.node}/erase-{os.getpid()}")
    steward.acquire(steal=True)
    try:
        report = erase_subject(subject, reason, person.id, steward=steward)
    finally:
        steward.release()
    if json_:
        as_json(
            {
                "decisions": report.decisions,
                "unreadable": report.unreadable,
                "event": report.event_id,
                "restricted_until": report.restricted_until,
            }
        )
        return
    if report.restricted_until:
        click.echo(f"a retention floor holds: restricted, and erased on {rfc3339(report.restricted_until)}")
        return
    show_facts(
        [("erased", f"{report.decisions} decisions"), ("unreadable", report.unreadable), ("event", report.event_id)]
    )
