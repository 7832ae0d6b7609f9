"""API keys of the systems that call the gateway."""

from __future__ import annotations

import click

from pilotage.access.store import keys as stored_keys
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, show_table
from pilotage.kernel.clock import now_us, parse_time, rfc3339
from pilotage.storage.database import reading

__all__ = ["key"]


@click.group()
def key() -> None:
    """API keys of the gateway: who may ask for decisions of which system."""


@key.command("issue")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    help="decide:SYSTEM (ask it) or outcome:SYSTEM (tell what became of it); * for all; may be repeated.",
)
@click.option("--expires", default="", help="When it ends, such as 2027-03-01T00:00Z (default: never).")
@json_option
@click.pass_obj
def issue(chosen: Chosen, name: str, scopes: tuple[str, ...], expires: str, json_: bool) -> None:
    """Issue a key and print it, once. Gateways know it within a second."""
    installation = opened(chosen)
    until = parse_time(expires) if expires else 0
    new = installation.rollout.issue_key(acting(installation), name=name, scopes=scopes, expires=until)
    if json_:
        as_json({"id": new.id, "key": new.text, "scopes": list(scopes), "expires": new.expires})
        return
    click.echo(new.text)
    click.echo("The key is shown this once. Send it as: Authorization: Bearer <key>", err=True)


@key.command("list")
@json_option
@click.pass_obj
def list_(chosen: Chosen, json_: bool) -> None:
    """List keys: never the key itself, only its id, name and scopes."""
    with reading(opened(chosen).control) as connection:
        found = stored_keys(connection)
    if json_:
        as_json([{"id": k.id, "name": k.name, "scopes": list(k.scopes), "revoked": bool(k.revoked)} for k in found])
        return
    now = now_us()
    show_table(
        ("id", "name", "scopes", "state", "expires"),
        [
            (
                each.id,
                each.name,
                " ".join(each.scopes),
                "revoked" if each.revoked else "expired" if each.expires and each.expires <= now else "good",
                rfc3339(each.expires) if each.expires else "never",
            )
            for each in found
        ],
    )


@key.command("revoke")
@click.argument("id_", metavar="ID")
@click.pass_obj
def revoke(chosen: Chosen, id_: str) -> None:
    """Revoke a key. Gateways refuse it within a second."""
    installation = opened(chosen)
    installation.rollout.revoke_key(acting(installation), id_)
    click.echo(f"{id_} is revoked")
