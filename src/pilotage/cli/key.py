"""API keys of the systems that call the gateway."""

from __future__ import annotations

import click

from pilotage.access.keys import find_key
from pilotage.access.model import ApiKey
from pilotage.access.store import keys as stored_keys
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, show_facts, show_table
from pilotage.kernel.clock import now_us, parse_duration, parse_time, rfc3339
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
    help="decide:SYSTEM (ask it), outcome:SYSTEM (tell what became of it), drill:SYSTEM (ask, uncounted); * for all.",
)
@click.option("--expires", default="", help="When it ends, such as 2027-03-01T00:00Z (default: never).")
@click.option(
    "--from",
    "networks",
    multiple=True,
    help="A network it may be used from, such as 10.0.0.0/8 or 2001:db8::/32; may be repeated (default: anywhere).",
)
@json_option
@click.pass_obj
def issue(
    chosen: Chosen, name: str, scopes: tuple[str, ...], expires: str, networks: tuple[str, ...], json_: bool
) -> None:
    """Issue a key and print it, once. Gateways know it within a second."""
    installation = opened(chosen)
    until = parse_time(expires) if expires else 0
    new = installation.rollout.issue_key(
        acting(installation), name=name, scopes=scopes, expires=until, networks=networks
    )
    if json_:
        as_json({"id": new.id, "key": new.text, "scopes": list(scopes), "expires": new.expires})
        return
    click.echo(new.text)
    click.echo("The key is shown this once. Send it as: Authorization: Bearer <key>", err=True)


@key.command("rotate")
@click.argument("id_", metavar="ID")
@click.option("--overlap", default="24h", show_default=True, help="How long the old key goes on: 30m, 24h, 7d; 0s.")
@json_option
@click.pass_obj
def rotate(chosen: Chosen, id_: str, overlap: str, json_: bool) -> None:
    """Issue a key with the rights of another and print it, once; both work until the overlap is over.

    The new key has the old one's name, scopes, end and networks. The old one expires when the overlap is over.
    """
    installation = opened(chosen)
    new = installation.rollout.rotate_key(acting(installation), id_, overlap=parse_duration(overlap))
    with reading(installation.control) as connection:
        old = find_key(connection, id_)
    if json_:
        as_json({"id": new.id, "key": new.text, "replaces": id_, "old_expires": old.expires})
        return
    click.echo(new.text)
    click.echo(f"The key is shown this once. {id_} goes on until {rfc3339(old.expires)}.", err=True)


@key.command("name")
@click.argument("id_", metavar="ID")
@click.argument("certificate")
@click.pass_obj
def name_(chosen: Chosen, id_: str, certificate: str) -> None:
    """Let a client certificate of this name stand for a key: URI:..., DNS:... or subject:..., within a second.

    It counts where the gateway asks for client certificates (PILOTAGE_TLS_CLIENT_CA), for requests without a key.
    """
    installation = opened(chosen)
    installation.rollout.name_certificate(acting(installation), id_, certificate)
    click.echo(f"{certificate} stands for {id_}")


@key.command("unname")
@click.argument("certificate")
@click.pass_obj
def unname(chosen: Chosen, certificate: str) -> None:
    """Let a client certificate of this name stand for no key any more, within a second."""
    installation = opened(chosen)
    installation.rollout.unname_certificate(acting(installation), certificate)
    click.echo(f"{certificate} stands for no key")


@key.command("show")
@click.argument("id_", metavar="ID")
@json_option
@click.pass_obj
def show(chosen: Chosen, id_: str, json_: bool) -> None:
    """Show a key's name, scopes, networks, end and successor; never the key. When it was last used is not kept."""
    with reading(opened(chosen).control) as connection:
        found = find_key(connection, id_)
        successor = next((each.id for each in stored_keys(connection) if each.replaces == id_), "")
    if json_:
        as_json(_facts(found) | {"created": found.created, "replaces": found.replaces, "successor": successor})
        return
    show_facts(
        [
            ("id", found.id),
            ("name", found.name),
            ("state", _state(found)),
            ("scopes", " ".join(found.scopes)),
            ("from", " ".join(found.networks) or "anywhere"),
            ("certificates", " ".join(found.certificates) or "none"),
            ("created", rfc3339(found.created)),
            ("expires", rfc3339(found.expires) if found.expires else "never"),
            ("replaces", found.replaces or "no other"),
            ("successor", successor or "none"),
        ]
    )


@key.command("list")
@json_option
@click.pass_obj
def list_(chosen: Chosen, json_: bool) -> None:
    """List keys: never the key itself, only its id, name and what it may do."""
    with reading(opened(chosen).control) as connection:
        found = stored_keys(connection)
    if json_:
        as_json([_facts(each) for each in found])
        return
    show_table(
        ("id", "name", "scopes", "from", "state", "expires"),
        [
            (
                each.id,
                each.name,
                " ".join(each.scopes),
                " ".join(each.networks) or "anywhere",
                _state(each),
                rfc3339(each.expires) if each.expires else "never",
            )
            for each in found
        ],
    )


def _facts(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": list(key.scopes),
        "networks": list(key.networks),
        "certificates": list(key.certificates),
        "expires": key.expires or None,
        "revoked": bool(key.revoked),
        "state": _state(key),
    }


def _state(key: ApiKey) -> str:
    return "revoked" if key.revoked else "expired" if key.expires and key.expires <= now_us() else "good"


@key.command("revoke")
@click.argument("id_", metavar="ID")
@click.pass_obj
def revoke(chosen: Chosen, id_: str) -> None:
    """Revoke a key. Gateways refuse it within a second."""
    installation = opened(chosen)
    installation.rollout.revoke_key(acting(installation), id_)
    click.echo(f"{id_} is revoked")
