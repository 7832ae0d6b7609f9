"""Gateway nodes on other machines: who they are, and how far their journals came."""

from __future__ import annotations

import os
from pathlib import Path

import click

from pilotage.cli.identity import acting, opened, settings_of
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, show_facts, show_table
from pilotage.errors import Conflict
from pilotage.kernel.clock import now_us, rfc3339
from pilotage.nodes.service import identity_of, init_nodes, nodes_of, retire
from pilotage.nodes.service import invite as invite_node
from pilotage.nodes.service import join as join_node
from pilotage.nodes.serving import serve_journals
from pilotage.wiring.endpoints import listener
from pilotage.wiring.lifeline import log_as_json, watch_lifeline

__all__ = ["node"]


@click.group()
def node() -> None:
    """Gateway nodes on other machines: invite, join, list, retire."""


@node.command("init")
@click.pass_obj
def init(chosen: Chosen) -> None:
    """Make the authority that signs nodes' certificates, and the steward's own; `invite` does it when needed."""
    made = init_nodes(opened(chosen).home)
    click.echo("made nodes.json: keep it as secret as the keyring" if made else "it is there already")


@node.command("invite")
@click.argument("name")
@click.option("--address", default="", help="https://host:port of the node's journal; left out for an edge node.")
@click.option("--to", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The file to write.")
@click.pass_obj
def invite(chosen: Chosen, name: str, address: str, to: Path) -> None:
    """Write the invitation of a node: a secret, to be carried to that machine once. A new one ends the one before."""
    installation = opened(chosen)
    person = acting(installation)
    if to.exists():
        raise Conflict(f"{to} is there already", mend="choose another file")
    local = installation.settings.node
    content = invite_node(installation.control, installation.home, person, name, address, local=local)
    descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    click.echo(f"{name} is invited; on that machine: pilotage node join {to.name}")


@node.command("join")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_obj
def join(chosen: Chosen, file: Path) -> None:
    """Make this home the node that the file invites."""
    identity = join_node(settings_of(chosen).home, file.read_bytes())
    click.echo(f"this home is node {identity.name}; start it: pilotage up --role gateway")


@node.command("list")
@json_option
@click.pass_obj
def list_(chosen: Chosen, json_: bool) -> None:
    """List all nodes: how far behind their journals are, and what is wrong."""
    now, found = now_us(), nodes_of(opened(chosen).control)
    if json_:
        as_json(
            [
                {
                    "name": n.name,
                    "address": n.address,
                    "retired": bool(n.retired),
                    "lag_s": round(n.lag_s(now), 1) if n.address and not n.retired else None,
                    "lag_bytes": n.lag_bytes,
                    "lagging": bool(n.lagging),
                    "pulled": n.pulled or None,
                    "fault": n.fault,
                }
                for n in found
            ]
        )
        return
    show_table(
        ("name", "address", "behind", "bytes", "last answer", "state"),
        [
            (
                n.name,
                n.address or "(edge)",
                f"{n.lag_s(now):.1f} s" if n.address and not n.retired else "",
                n.lag_bytes,
                rfc3339(n.pulled) if n.pulled else "never",
                "retired" if n.retired else n.fault or ("lagging" if n.lagging else "fine"),
            )
            for n in found
        ],
    )


@node.command("retire")
@click.argument("name")
@click.pass_obj
def retire_(chosen: Chosen, name: str) -> None:
    """Pull from a node no more; what came of it stays."""
    installation = opened(chosen)
    retire(installation.control, acting(installation), name)
    click.echo(f"{name} is retired")


@node.command("show")
@click.pass_obj
def show(chosen: Chosen) -> None:
    """Show which node this home is."""
    identity = identity_of(settings_of(chosen).home)
    show_facts([("node", identity.name), ("instance", identity.instance), ("address", identity.address or "(edge)")])


@node.command("serve")
@click.option("--fd", type=int, help="A listening socket handed over by a supervisor.")
@click.option("--journal-host", help="Address to listen on, without --fd.")
@click.option("--journal-port", type=int, help="Port to listen on, without --fd.")
@click.pass_obj
def serve(chosen: Chosen, fd: int | None, journal_host: str | None, journal_port: int | None) -> None:
    """Offer this node's journal to its steward until SIGTERM (pilotage up --role gateway runs it for you)."""
    log_as_json()
    settings = settings_of(chosen, journal_host=journal_host, journal_port=journal_port)
    watch_lifeline()
    socket = listener(fd, settings.journal_host, settings.journal_port)
    serve_journals(settings.home.journal, identity_of(settings.home), socket)
