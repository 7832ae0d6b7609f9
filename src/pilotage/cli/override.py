"""`pilotage decisions override`: a person's other answer."""

from __future__ import annotations

import click

from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option
from pilotage.ledger.overriding import override as record_override

__all__ = ["override"]


@click.command("override")
@click.argument("id_", metavar="ID")
@click.option("--answer", required=True, help="The answer that holds instead.")
@click.option("--reason", required=True, help="Why; it is encrypted with the decision.")
@json_option
@click.pass_obj
def override(chosen: Chosen, id_: str, answer: str, reason: str, json_: bool) -> None:
    """Answer a decision otherwise, on record.

    Both answers stay, the newest override counts."""
    installation = opened(chosen)
    event = record_override(
        installation.control,
        installation.ledger(),
        installation.keyring.steward_public,
        acting(installation),
        decision=id_,
        answer=answer,
        reason=reason,
    )
    if json_:
        as_json({"event": event.id, "decision": id_})
    else:
        click.echo(f"overridden, on record as event {event.id}")
