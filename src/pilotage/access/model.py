"""People, and what each role may do. A frozen map: what a role may do is never data that SQL can edit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

from pilotage.errors import Forbidden, InputError

__all__ = ["PERMISSIONS", "ROLES", "ApiKey", "Person", "Secret", "may", "require", "roles_of"]

ROLES: tuple[str, ...] = (
    "admin",
    "ml_engineer",
    "model_validator",
    "risk_officer",
    "business_owner",
    "operator",
    "reviewer",
    "auditor",
    "witness",
)

_EVERYONE = frozenset(
    {"system.read", "release.read", "evidence.read", "gate.check", "decision.read", "monitor.read", "log.read"}
)

_SAYS = frozenset({"interview.answer", "interview.confirm"})

PERMISSIONS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "admin": _EVERYONE
        | {"people.edit", "key.issue", "key.revoke", "system.stop", "ledger.verify", "keyring.read", "keyring.rotate"}
        | {"node.edit", "ledger.rebuild", "limit.edit", "issuer.edit"},
        "ml_engineer": _EVERYONE
        | _SAYS
        | {
            "system.declare",
            "release.build",
            "release.backtest",
            "release.export",
            "release.import",
            "release.yank",
            "system.promote",
            "system.rollback",
            "outcome.record",
        },
        "model_validator": _EVERYONE
        | _SAYS
        | {"release.approve", "release.backtest", "decision.read_payload", "ledger.verify"}
        | {"release.export", "release.yank"},
        "risk_officer": _EVERYONE
        | _SAYS
        | {
            "release.approve",
            "release.export",
            "release.yank",
            "decision.read_payload",
            "subject.erase",
            "system.stop",
            "ledger.verify",
            "keyring.read",
            "hold.read",
            "hold.edit",
            "retention.read",
            "retention.set",
            "retention.enforce",
        },
        "business_owner": _EVERYONE | _SAYS | {"release.approve", "system.stop"},
        "operator": _EVERYONE
        | _SAYS
        | {"ledger.rebuild", "outcome.record", "limit.edit"}
        | {"release.export", "release.import", "release.yank"}
        | {"system.promote", "system.rollback", "system.stop", "system.start", "key.issue", "key.revoke", "node.edit"},
        "reviewer": _EVERYONE | {"decision.read_payload", "decision.override"},
        "auditor": _EVERYONE
        | {"decision.read_payload", "ledger.verify", "keyring.read", "hold.read", "retention.read", "release.export"},
        # Whoever watches from outside sees hashes and signed roots, no decision and no page.
        "witness": frozenset({"log.read", "log.cosign"}),
    }
)
"""What each role may do, as `noun.verb`."""


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Who acts: a human, or a `service` account, which can do what its roles may but never approve.

    `name` is how others know them; `left` is when they left, Unix microseconds, 0 while they are here.
    """

    id: str
    name: str
    roles: tuple[str, ...]
    kind: Literal["human", "service"] = "human"
    created: int = 0
    left: int = 0


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """A new token, key, link or session: `text` is shown once and kept nowhere. `expires` 0 means never."""

    id: str
    text: str
    expires: int


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key as it is kept: hex SHA-256 of the whole key, and scopes such as `decide:credit-default`.

    `networks` are where it may be used from, in CIDR form (empty: anywhere); `replaces` is the key it was rotated from;
    `certificates` are the names of client certificates that stand for it: `URI:...`, `DNS:...` or `subject:...`.
    """

    id: str
    name: str
    sha256: str
    scopes: tuple[str, ...]
    created: int
    expires: int
    revoked: int
    networks: tuple[str, ...] = ()
    replaces: str = ""
    certificates: tuple[str, ...] = ()


def may(person: Person, permission: str) -> bool:
    """Whether one of the person's roles carries the permission."""
    return not person.left and any(permission in PERMISSIONS.get(role, ()) for role in person.roles)


def require(person: Person, permission: str) -> None:
    """Raise Forbidden, naming the roles that may, unless the person may."""
    if may(person, permission):
        return
    roles = [role for role in ROLES if permission in PERMISSIONS[role]]
    raise Forbidden(
        f"{person.name} may not do {permission}",
        got="roles: " + (", ".join(person.roles) or "none"),
        expected="one of: " + (", ".join(roles) or "no role may"),
        mend="ask someone in such a role, or an admin to give you one",
    )


def roles_of(names: Iterable[str]) -> tuple[str, ...]:
    """Role names checked, without doubles, in the order of ROLES. Raises InputError that lists the roles."""
    given = [name.strip() for name in names]
    unknown = [name for name in given if name not in ROLES]
    if unknown or not given:
        raise InputError(
            f"no such role: {', '.join(unknown)}" if unknown else "a person needs a role",
            expected="one or more of: " + ", ".join(ROLES),
            mend="use these names",
            faults=[{"path": "roles", "code": "unknown_role", "message": name, "got": name} for name in unknown],
        )
    return tuple(role for role in ROLES if role in given)
