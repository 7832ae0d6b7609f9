"""Issuers of OpenID Connect tokens: who is trusted, and why a token is accepted or is not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click
import msgspec

from pilotage.access.issuers import (
    ALGORITHMS,
    STANDARD,
    Grant,
    Issuer,
    find_issuer,
    list_issuers,
    rights_of,
)
from pilotage.access.model import require
from pilotage.access.unknown_key import UnknownKey
from pilotage.cli.identity import acting, opened, settings_of
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, show_table
from pilotage.errors import InputError, Unauthenticated, Unavailable
from pilotage.kernel.clock import now_us, parse_duration, rfc3339
from pilotage.storage.database import reading
from pilotage.wiring.access import issuers_now, switch_person_here

if TYPE_CHECKING:
    from pilotage.access.issuer_keys import IssuerKeys, PublicKey

__all__ = ["oidc"]


@click.group()
def oidc() -> None:
    """Issuers of OpenID Connect tokens: whose tokens are taken at the gateway and the API, and what they give."""


@oidc.command("add")
@click.argument("name")
@click.option("--issuer", required=True, metavar="URL", help="The exact iss of its tokens.")
@click.option(
    "--audience", "audiences", multiple=True, required=True, help="An aud that is meant for here; repeatable."
)
@click.option(
    "--grant",
    "grants",
    nargs=2,
    multiple=True,
    required=True,
    metavar="CLAIM=VALUE RIGHT",
    help="What a claim gives: decide:SYSTEM, outcome:SYSTEM, drill:SYSTEM, role:ROLE or service; repeatable.",
)
@click.option(
    "--keys", "keys", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A JWK set: ask nobody."
)
@click.option(
    "--algorithm",
    "algorithms",
    multiple=True,
    type=click.Choice(ALGORITHMS),
    help="Allowed; repeatable (default: five).",
)
@click.option("--skew", default="60s", show_default=True, help="What clocks may differ.")
@click.option("--life", default="24h", show_default=True, help="The longest life of a token.")
@click.option("--refresh", default="5m", show_default=True, help="How often its keys are read again.")
@click.option("--keep", default="24h", show_default=True, help="How long its keys are good while it cannot be reached.")
@click.option("--client", default="", help="The console's id at the issuer, for signing in to the console there.")
@click.option("--console", default="", metavar="URL", help="The console's own address, as browsers know it.")
@click.option("--replace", is_flag=True, help="Change the issuer of this name.")
@click.pass_obj
def add(
    chosen: Chosen,
    name: str,
    issuer: str,
    audiences: tuple[str, ...],
    grants: tuple[tuple[str, str], ...],
    keys: Path | None,
    algorithms: tuple[str, ...],
    skew: str,
    life: str,
    refresh: str,
    keep: str,
    client: str,
    console: str,
    replace: bool,
) -> None:
    """Trust an issuer, from the next second on, at every gateway and the API."""
    asked = Issuer(
        name=name,
        issuer=issuer,
        audiences=audiences,
        grants=tuple(_grant(*each) for each in grants),
        keys="" if keys is None else _key_set(keys),
        skew_s=parse_duration(skew) // 1_000_000,
        life_s=parse_duration(life) // 1_000_000,
        refresh_s=parse_duration(refresh) // 1_000_000,
        keep_s=parse_duration(keep) // 1_000_000,
        algorithms=algorithms or STANDARD,
        client=client,
        console=console,
    )
    installation = opened(chosen)
    installation.rollout.add_issuer(acting(installation), asked, replace=replace)
    click.echo(f"tokens of {issuer} are taken; see whether its keys can be read: pilotage oidc check {name}")


@oidc.command("list")
@json_option
@click.pass_obj
def list_(chosen: Chosen, json_: bool) -> None:
    """List trusted issuers and what their tokens give."""
    with reading(opened(chosen).control) as connection:
        found = list_issuers(connection)
    if json_:
        as_json([_facts(each) for each in found])
        return
    show_table(
        ("name", "issuer", "audiences", "keys", "gives", "revoked until", "suspended"),
        [
            (
                each.name,
                each.issuer,
                " ".join(each.audiences),
                "from a file" if each.keys else "discovered",
                "; ".join(f"{grant.claim}={grant.value}: {grant.right}" for grant in each.grants),
                rfc3339(each.not_before) if each.not_before else "",
                str(len(each.suspended)) if each.suspended else "",
            )
            for each in found
        ],
    )


@oidc.command("check")
@click.argument("name")
@click.option("--token", type=click.File("rb"), help="A file that holds a token; - reads it from standard input.")
@click.pass_obj
def check(chosen: Chosen, name: str, token: BinaryIO | None) -> None:
    """Say step by step whether an issuer's keys can be read, and why a token is accepted or is not; it is not shown."""
    with reading(opened(chosen).control) as connection:
        issuer = find_issuer(connection, name)
    keys = _read_keys(issuer)
    if token is not None:
        _check_token(token.read(65_536).strip(), issuer, keys)


@oidc.command("revoke")
@click.argument("name")
@click.pass_obj
def revoke(chosen: Chosen, name: str) -> None:
    """Refuse every token that an issuer issued until now, from the next second on. New ones are taken."""
    installation = opened(chosen)
    made = installation.rollout.revoke_tokens(acting(installation), name)
    click.echo(f"tokens of {name} that were issued before {rfc3339(made.not_before)} are refused")


@oidc.command("remove")
@click.argument("name")
@click.pass_obj
def remove(chosen: Chosen, name: str) -> None:
    """Trust an issuer no longer: its tokens are refused from the next second on."""
    installation = opened(chosen)
    installation.rollout.remove_issuer(acting(installation), name)
    click.echo(f"tokens of {name} are refused")


_HERE = click.option(
    "--here", is_flag=True, help="At this node's gateways only, at once, by a file in its home, without the database."
)
_SUBJECT = click.option("--subject", required=True, help="The sub of the person's tokens there.")


@oidc.command("suspend")
@click.argument("name")
@_SUBJECT
@click.option("--reason", required=True, help="Why; it is kept encrypted in the record.")
@_HERE
@json_option
@click.pass_obj
def suspend(chosen: Chosen, name: str, subject: str, reason: str, here: bool, json_: bool) -> None:
    """Refuse one person's tokens of an issuer within a second, at gateways, API and console, until they are resumed.

    With --here it takes no token, but the right to write the home; it outlives a restart, and ends with resume --here.
    """
    if here:
        _switch_here(chosen, name, subject, reason, json_=json_)
        return
    installation = opened(chosen)
    made = installation.rollout.suspend_person(acting(installation), name, subject, reason)
    _tell_person(made, subject, "suspended", json_=json_)


@oidc.command("resume")
@click.argument("name")
@click.option("--subject", required=True, help="The sub of the person's tokens there, or the identity's digest.")
@_HERE
@json_option
@click.pass_obj
def resume(chosen: Chosen, name: str, subject: str, here: bool, json_: bool) -> None:
    """Take a suspended person's tokens again. With --here, end a suspension that was made with --here."""
    if here:
        _switch_here(chosen, name, subject, None, json_=json_)
        return
    installation = opened(chosen)
    made = installation.rollout.resume_person(acting(installation), name, subject)
    _tell_person(made, subject, "resumed", json_=json_)


@oidc.command("suspended")
@json_option
@click.pass_obj
def suspended(chosen: Chosen, json_: bool) -> None:
    """List who is suspended, everywhere or at this node's gateways."""
    installation = opened(chosen)
    require(acting(installation), "issuer.edit")
    found = [each for _, known in issuers_now(installation) for each in known if each.where]
    if json_:
        as_json([each._asdict() for each in found])
        return
    show_table(
        ("issuer", "subject", "person", "where", "identity"),
        [(each.issuer, each.subject, each.name, each.where, each.identity) for each in found],
    )


def _switch_here(chosen: Chosen, name: str, subject: str, reason: str | None, *, json_: bool) -> None:
    done = switch_person_here(settings_of(chosen).home, name, subject, reason)
    if json_:
        as_json(done._asdict())
        return
    word = "suspended" if done.stopped else "resumed"
    click.echo(f"{subject} of {name} is {word} here: {done.followed} of {done.workers} workers follow")


def _tell_person(issuer: Issuer, subject: str, state: str, *, json_: bool) -> None:
    if json_:
        as_json({"issuer": issuer.name, "subject": subject, "state": state, "suspended": len(issuer.suspended)})
        return
    word = "refused" if state == "suspended" else "taken again"
    click.echo(f"tokens of {subject} at {issuer.name} are {word} everywhere within a second")


@oidc.command("link")
@click.argument("person")
@click.option("--issuer", required=True, metavar="NAME", help="The trusted issuer.")
@click.option("--subject", required=True, help="The sub of the person's tokens there.")
@click.pass_obj
def link(chosen: Chosen, person: str, issuer: str, subject: str) -> None:
    """Let a person of this installation come by an issuer's tokens, with the roles they have here."""
    # Only who links needs the people's side.
    from pilotage.access.identities import link_person

    installation = opened(chosen)
    found = link_person(installation.control, acting(installation), person, issuer=issuer, subject=subject)
    click.echo(f"{found.name} may come by tokens of {issuer}")


def _grant(claim: str, right: str) -> Grant:
    name, sign, value = claim.partition("=")
    if not sign:
        raise InputError(
            "not a claim and its value", got=claim, expected="CLAIM=VALUE: groups=desk", mend="write it so"
        )
    return Grant(claim=name, value=value, right=right)


def _key_set(path: Path) -> str:
    """The public part of a JWK set in a file. Raises InputError where no key of it can verify a token."""
    # The library of tokens is for those who trust an issuer.
    from pilotage.access.issuer_keys import readable_keys

    try:
        found = msgspec.json.decode(path.read_bytes())["keys"]
        keys = [key.as_dict(private=False) for key in readable_keys(found)]
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        keys = []
    if not keys:
        raise InputError(
            "no key in the file can verify a token",
            got=path.name,
            expected='{"keys": [...]}, a JWK set of public RSA (2,048 bits or more), EC or Ed25519 keys',
            mend="save what the issuer has at its jwks_uri",
        )
    return msgspec.json.encode({"keys": keys}).decode()


def _read_keys(issuer: Issuer) -> IssuerKeys:
    # As above.
    from pilotage.access.issuer_keys import CannotAsk, IssuerKeys, ask, readable_keys

    try:
        found = msgspec.json.decode(issuer.keys)["keys"] if issuer.keys else asyncio.run(ask(issuer))
    except CannotAsk as error:
        raise Unavailable(
            "the issuer's keys cannot be read",
            got=error,
            expected=f"{issuer.issuer.rstrip('/')}/.well-known/openid-configuration and the keys that it names",
            mend="make it reachable from here, or give its keys as a file: pilotage oidc add --keys FILE",
            code="issuer_unavailable",
        ) from error
    keys = readable_keys(found)
    click.echo(
        f"fine: {len(keys)} keys {'are declared' if issuer.keys else 'were read'}: " + ", ".join(map(_named, keys))
    )
    content = msgspec.json.encode({"keys": found}).decode()
    return IssuerKeys(msgspec.structs.replace(issuer, keys=content), Path())


def _named(key: PublicKey) -> str:
    facts = key.as_dict(private=False)
    return f"{facts.get('kid', 'without an id')} ({facts.get('crv') or facts['kty']})"


def _check_token(token: bytes, issuer: Issuer, keys: IssuerKeys) -> None:
    # As above.
    from pilotage.access.bearer import verify

    try:
        found = verify(token, issuer, keys, now_us(), tell=lambda step: click.echo(f"fine: {step}"))
    except UnknownKey:
        raise keys.refusal() from None
    rights = rights_of(found.claims, issuer.grants)
    if not rights.scopes and not rights.roles:
        raise Unauthenticated(
            "the token is good, but no grant of the issuer fits it",
            got="claims: " + ", ".join(sorted(found.claims)),
            expected=", ".join(f"{grant.claim}={grant.value}" for grant in issuer.grants),
            mend="grant something to a value that it holds: pilotage oidc add --replace",
            code="token_invalid",
        )
    click.echo(f"accepted until {rfc3339(found.expires)}; it gives {', '.join((*rights.scopes, *rights.roles))}")
    if rights.service:
        click.echo("it is a service's: nobody can approve by it")


def _facts(issuer: Issuer) -> dict[str, object]:
    return {**msgspec.to_builtins(issuer), "keys": bool(issuer.keys)}
