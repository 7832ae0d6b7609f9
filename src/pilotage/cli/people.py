"""People, their roles and tokens; one-time sign-in links."""

from __future__ import annotations

import os

import click

from pilotage.access.model import ROLES
from pilotage.access.service import (
    add_person,
    create_first_admin,
    find_person,
    issue_token,
    list_people,
    one_time_link,
    remove_person,
)
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, show_facts, show_table
from pilotage.errors import Unavailable
from pilotage.kernel.clock import rfc3339
from pilotage.wiring.endpoints import endpoints

__all__ = ["people", "sign_in"]


@click.group()
def people() -> None:
    """People of this installation: who may build, validate, approve, operate, audit."""


@people.command("add")
@click.argument("name")
@click.option("--role", "roles", multiple=True, required=True, help=f"One of: {', '.join(ROLES)}. May be repeated.")
@click.option("--token", "token_alone", is_flag=True, help="Print the token and nothing else.")
@json_option
@click.pass_obj
def add(chosen: Chosen, name: str, roles: tuple[str, ...], token_alone: bool, json_: bool) -> None:
    """Add a person and print their personal token, once. The very first person must be an admin and needs no token."""
    installation = opened(chosen, create=True)
    if not os.environ.get("PILOTAGE_TOKEN") and roles == ("admin",) and not list_people(installation.control):
        person = create_first_admin(installation.control, name)
        token = issue_token(installation.control, person, by=person)
    else:
        admin = acting(installation)
        person = add_person(installation.control, admin, name=name, roles=roles)
        token = issue_token(installation.control, person, by=admin)
    if json_:
        as_json({"id": person.id, "name": person.name, "roles": list(person.roles), "token": token.text})
        return
    if token_alone:
        click.echo(token.text)
        return
    show_facts([("person", person.name), ("id", person.id), ("roles", ", ".join(person.roles))])
    show_facts([("token", token.text), ("expires", rfc3339(token.expires))])
    click.echo("The token is shown this once. Use it: export PILOTAGE_TOKEN=" + token.text)


@people.command("list")
@json_option
@click.pass_obj
def list_(chosen: Chosen, json_: bool) -> None:
    """List everybody, also who left."""
    found = list_people(opened(chosen).control)
    if json_:
        as_json([{"id": p.id, "name": p.name, "roles": list(p.roles), "left": p.left or None} for p in found])
        return
    show_table(
        ("name", "roles", "id", "left"),
        [(p.name, ", ".join(p.roles), p.id, rfc3339(p.left) if p.left else "") for p in found],
    )


@people.command("remove")
@click.argument("person")
@click.pass_obj
def remove(chosen: Chosen, person: str) -> None:
    """A person leaves: tokens and sessions end at once, approvals of theirs die."""
    installation = opened(chosen)
    remove_person(installation.control, acting(installation), person)
    click.echo(f"{person} has left")


@click.command("sign-in")
@click.option("--person", default="", help="For whom (id or name); yourself when left out.")
@json_option
@click.pass_obj
def sign_in(chosen: Chosen, person: str, json_: bool) -> None:
    """Print a one-time link that signs a person in to the console; it works once, for 15 minutes."""
    installation = opened(chosen)
    by = acting(installation)
    whom = find_person(installation.control, person) if person else by
    try:
        console = endpoints(installation.home.run)["console"]
    except Unavailable:
        console = f"{installation.settings.scheme}://{installation.settings.host}:{installation.settings.console_port}"
    link = one_time_link(installation.control, whom, by=by)
    url = f"{console}/sign-in/link?code={link.text}"
    if json_:
        as_json({"url": url, "expires": link.expires})
    else:
        click.echo(url)
