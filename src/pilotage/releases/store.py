"""The registry of releases: rows are added with their event, never changed."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from sqlalchemy import Column, Connection, Integer, RowMapping, String, Table, UniqueConstraint, func, insert, select

from pilotage.errors import NotFound
from pilotage.kernel.clock import now_us
from pilotage.releases.model import Manifest, Release
from pilotage.storage.database import BIG, control
from pilotage.storage.outbox import emit
from pilotage.storage.witness import attest
from pilotage.systems.store import lock_system

__all__ = ["find_release", "is_registered", "list_releases", "register", "releases_table"]

releases_table = Table(
    "releases",
    control,
    Column("digest", String(80), primary_key=True),
    Column("system", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("created", BIG, nullable=False),
    Column("author", String(128), nullable=False),
    Column("runtime", String(16), nullable=False),
    Column("contract", String(80), nullable=False),
    Column("policy", String(80), nullable=False),
    UniqueConstraint("system", "version", name="releases_by_version"),
)

_DIGITS = re.compile("[0-9a-f]{6,64}")


def register(connection: Connection, digest: str, manifest: Manifest, *, author: str, at: int | None = None) -> Release:
    """Add a release to the registry with its event `release.registered`; one that is there already stays as it is.

    The system must have been declared before.
    """
    lock_system(connection, manifest.system)
    found = connection.execute(select(releases_table).where(releases_table.c.digest == digest)).mappings().first()
    if found is not None:
        return _release(found)
    newest = select(func.max(releases_table.c.version)).where(releases_table.c.system == manifest.system)
    release = Release(
        digest=digest,
        system=manifest.system,
        version=(connection.execute(newest).scalar() or 0) + 1,
        created=now_us() if at is None else at,
        author=author,
        runtime=manifest.runtime,
        contract=manifest.contract,
        policy=manifest.policy,
    )
    row = msgspec.to_builtins(release)
    connection.execute(insert(releases_table).values(row))
    facts = {"version": release.version, "runtime": release.runtime, "contract": release.contract}
    emit(
        connection,
        "release.registered",
        system=release.system,
        release=digest,
        facts=facts | {"policy": release.policy, "rows": attest(releases_table, row)},
        private={"author": author},
        at=release.created,
    )
    return release


def is_registered(connection: Connection, digest: str) -> bool:
    """Whether a release is in the registry."""
    return (
        connection.execute(select(releases_table.c.digest).where(releases_table.c.digest == digest)).first() is not None
    )


def list_releases(connection: Connection, system: str = "") -> list[Release]:
    """The releases of one system, or of all, newest first."""
    query = select(releases_table).order_by(releases_table.c.created.desc(), releases_table.c.version.desc())
    if system:
        query = query.where(releases_table.c.system == system)
    return [_release(row) for row in connection.execute(query).mappings()]


def find_release(connection: Connection, ref: str) -> Release:
    """The release that a reference names: a digest, at least its first six digits, or `system@version`.

    Raises NotFound when none is named so, or more than one.
    """
    rows = connection.execute(_query(ref).limit(2)).mappings().all()
    if len(rows) == 1:
        return _release(rows[0])
    known = [f"{each.name} ({each.digest[7:19]})" for each in list_releases(connection)[:10]]
    raise NotFound(
        "more than one release has this name" if rows else "no such release",
        got=ref,
        expected="a digest, its first digits, or system@version; known: " + (", ".join(known) or "none"),
        mend="see `pilotage release list`",
    )


def _query(ref: str) -> Any:
    table = releases_table.c
    system, at, version = ref.rpartition("@")
    if at:
        number = int(version) if version.isascii() and version.isdigit() and len(version) < 9 else -1
        return select(releases_table).where(table.system == system, table.version == number)
    digits = ref.removeprefix("sha256:").lower()
    if not _DIGITS.fullmatch(digits):
        digits = "none"
    return select(releases_table).where(table.digest.like(f"sha256:{digits}%"))


def _release(row: RowMapping) -> Release:
    return Release(**row)
