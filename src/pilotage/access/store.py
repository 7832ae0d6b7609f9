"""The SQL of people and of their secrets' digests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Connection, ForeignKey, RowMapping, String, Table, delete, func, insert, select, update

from pilotage.access.model import ApiKey, Person
from pilotage.storage.database import BIG, DOCUMENT, control

__all__ = [
    "add",
    "all_people",
    "api_keys",
    "change",
    "drop_certificate",
    "drop_issuer",
    "drop_limit",
    "end_access",
    "end_sessions",
    "find_person",
    "identities",
    "identities_at",
    "identity_of",
    "issuer_documents",
    "issuers",
    "key_bounds",
    "key_certificates",
    "keys",
    "limit_rows",
    "limits",
    "linked",
    "links",
    "lock",
    "people",
    "people_count",
    "person_named",
    "row",
    "sessions",
    "tokens",
]

people = Table(
    "people",
    control,
    Column("id", String(36), primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("roles", DOCUMENT, nullable=False),
    Column("created", BIG, nullable=False),
    Column("left", BIG, nullable=False),
    info={"personal": True},
)


def _secrets(name: str, ended: str) -> Table:
    return Table(
        name,
        control,
        Column("id", String(16), primary_key=True),
        Column("person", String(36), ForeignKey("people.id"), nullable=False, index=True),
        Column("sha256", String(64), nullable=False),
        Column("created", BIG, nullable=False),
        Column("expires", BIG, nullable=False),
        Column(ended, BIG, nullable=False),
    )


tokens = _secrets("tokens", "revoked")
links = _secrets("signin_links", "used")
sessions = _secrets("console_sessions", "ended")

api_keys = Table(
    "api_keys",
    control,
    Column("id", String(16), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("scopes", DOCUMENT, nullable=False),
    Column("created", BIG, nullable=False),
    Column("expires", BIG, nullable=False),
    Column("revoked", BIG, nullable=False),
)

key_bounds = Table(
    "api_key_bounds",
    control,
    Column("key", String(16), ForeignKey("api_keys.id"), primary_key=True),
    Column("networks", DOCUMENT, nullable=False),
    Column("replaces", String(16), nullable=False),
)
"""What a key has beyond scopes and an end, for those that have any."""

key_certificates = Table(
    "api_key_certificates",
    control,
    Column("name", String(512), primary_key=True),
    Column("key", String(16), ForeignKey("api_keys.id"), nullable=False),
    info={"personal": True},
)
"""The names of client certificates that stand for a key; one may be a person's."""

limits = Table(
    "limits",
    control,
    Column("id", String(160), primary_key=True),
    Column("scope", String(80), nullable=False),
    Column("unit", String(32), nullable=False),
    Column("per", String(16), nullable=False),
    Column("amount", BIG, nullable=False),
    Column("burst", BIG, nullable=False),
)

issuers = Table(
    "issuers",
    control,
    Column("name", String(32), primary_key=True),
    Column("document", DOCUMENT, nullable=False),
    Column("changed", BIG, nullable=False),
)

identities = Table(
    "identities",
    control,
    Column("id", String(71), primary_key=True),
    Column("person", String(36), ForeignKey("people.id"), nullable=False, index=True),
    Column("issuer", String(512), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("linked", BIG, nullable=False),
    Column("created", BIG, nullable=False),
    info={"personal": True},
)
"""Who somebody is at an issuer. `linked`: 1 for a person of ours, whose roles are given here; 0 for one who came by a
token, whose roles are those of their newest token."""


def add(connection: Connection, table: Table, values: Mapping[str, Any]) -> None:
    """Insert one row."""
    connection.execute(insert(table).values(dict(values)))


def change(connection: Connection, table: Table, id: str, **values: Any) -> dict[str, Any]:
    """Change columns of one row and return the row as it is now."""
    connection.execute(update(table).where(table.c.id == id).values(values))
    return dict(connection.execute(select(table).where(table.c.id == id)).mappings().one())


def row(connection: Connection, table: Table, id: str, *, hold: bool = False) -> RowMapping | None:
    """One row by id; `hold` keeps others from changing it until the transaction ends."""
    query = select(table).where(table.c.id == id)
    return connection.execute(query.with_for_update() if hold else query).mappings().first()


def find_person(connection: Connection, id: str) -> Person | None:
    """The person with an id, also one who left."""
    found = connection.execute(select(people).where(people.c.id == id)).mappings().first()
    return None if found is None else _person(found)


def person_named(connection: Connection, name: str) -> Person | None:
    """The person with a name, also one who left."""
    found = connection.execute(select(people).where(people.c.name == name)).mappings().first()
    return None if found is None else _person(found)


def all_people(connection: Connection) -> list[Person]:
    """Everybody, by name."""
    return [_person(found) for found in connection.execute(select(people).order_by(people.c.name)).mappings()]


def people_count(connection: Connection) -> int:
    """How many people there are, those who left included."""
    return int(connection.execute(select(func.count()).select_from(people)).scalar_one())


def lock(connection: Connection, table: Table) -> None:
    """Let nobody else write the table until the transaction ends (a writing SQLite transaction is alone anyway)."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"LOCK TABLE {table.name} IN EXCLUSIVE MODE")


def keys(connection: Connection) -> list[ApiKey]:
    """Every API key, by id, revoked ones too."""
    named: dict[str, list[str]] = {}
    for certificate in connection.execute(select(key_certificates).order_by(key_certificates.c.name)):
        named.setdefault(certificate.key, []).append(certificate.name)
    bounds = (key_bounds.c.networks, key_bounds.c.replaces)
    rows = connection.execute(select(api_keys, *bounds).outerjoin(key_bounds).order_by(api_keys.c.id)).mappings()
    return [_key(found, tuple(named.get(found["id"], ()))) for found in rows]


def drop_certificate(connection: Connection, name: str) -> RowMapping | None:
    """Delete the name of a certificate; the row as it was, if there was one."""
    found = connection.execute(select(key_certificates).where(key_certificates.c.name == name)).mappings().first()
    connection.execute(delete(key_certificates).where(key_certificates.c.name == name))
    return found


def limit_rows(connection: Connection) -> list[dict[str, Any]]:
    """The fields of every limit, by id."""
    fields = [column for column in limits.c if column.name != "id"]
    return [dict(row) for row in connection.execute(select(*fields).order_by(limits.c.id)).mappings()]


def drop_limit(connection: Connection, id: str) -> None:
    """Delete a limit, if it is there."""
    connection.execute(delete(limits).where(limits.c.id == id))


def issuer_documents(connection: Connection) -> list[dict[str, Any]]:
    """The document of every issuer, by name."""
    return list(connection.execute(select(issuers.c.document).order_by(issuers.c.name)).scalars())


def drop_issuer(connection: Connection, name: str) -> dict[str, Any]:
    """Delete an issuer, if it is there; the row as it was, else empty."""
    found = connection.execute(select(issuers).where(issuers.c.name == name)).mappings().first()
    connection.execute(delete(issuers).where(issuers.c.name == name))
    return {} if found is None else dict(found)


def end_sessions(connection: Connection, issuer: str, at: int) -> None:
    """End the console sessions of everybody who is known by an issuer (its URL)."""
    known = select(identities.c.person).where(identities.c.issuer == issuer)
    running = update(sessions).where(sessions.c.person.in_(known), sessions.c.ended == 0)
    connection.execute(running.values(ended=at))


def end_access(connection: Connection, identity: str, at: int) -> None:
    """End sessions and links of the person of an identity, and the personal tokens of who came by it alone."""
    known = select(identities.c.person).where(identities.c.id == identity)
    alone = known.where(identities.c.linked == 0)
    for table, ended, whose in ((sessions, "ended", known), (links, "used", known), (tokens, "revoked", alone)):
        column = table.c[ended]
        connection.execute(update(table).where(table.c.person.in_(whose), column == 0).values({ended: at}))


def identities_at(connection: Connection, issuer: str) -> Sequence[RowMapping]:
    """Everybody who is known by an issuer (its URL): id, subject, linked, person, name, roles; by name."""
    query = select(identities, people.c.name, people.c.roles).join(people, people.c.id == identities.c.person)
    return connection.execute(query.where(identities.c.issuer == issuer).order_by(people.c.name)).mappings().all()


def identity_of(connection: Connection, id: str) -> RowMapping | None:
    """Who somebody is here, by the digest of issuer and subject."""
    return connection.execute(select(identities).where(identities.c.id == id)).mappings().first()


def linked(connection: Connection, kind: int) -> set[str]:
    """The ids of the people who came by a token (0), or are linked to one (1)."""
    return set(connection.execute(select(identities.c.person).where(identities.c.linked == kind)).scalars())


def _key(found: RowMapping, certificates: tuple[str, ...]) -> ApiKey:
    networks, replaces = tuple(found["networks"] or ()), found["replaces"] or ""
    return ApiKey(
        **{
            **found,
            "scopes": tuple(found["scopes"]),
            "networks": networks,
            "replaces": replaces,
            "certificates": certificates,
        }
    )


def _person(found: RowMapping) -> Person:
    return Person(**{**found, "roles": tuple(found["roles"])})
