"""Data keys: one for each subject, one for each system and day; wrapped by the master, gone for ever once deleted.

A key row is found by a keyed hash of what it is for, so the table names nobody. The pseudonym of a subject is made with
the subject's own key: when that is destroyed, nobody can link the person to it again, not even by trying all names.

A key is wrapped with its whole row as associated data: `0x02 || nonce || ciphertext`. Older rows are `nonce ||
ciphertext`, and do not bind `created`; they stay readable, and stay as they are when another master wraps them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, Row

from pilotage.errors import IntegrityError, NotFound
from pilotage.ledger import store
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.segments import SealedPayload
from pilotage.ledger.tables import day_keys, subject_keys

__all__ = ["CabinetSecrets", "DataKey", "KeyCabinet", "KeyNeeds", "KeyRow", "KeysFound"]

_KEY_BYTES, _NONCE_BYTES = 32, 12
_BOUND = b"\x02"
_BOUND_BYTES = len(_BOUND) + _NONCE_BYTES + _KEY_BYTES + 16


class KeyRow(NamedTuple):
    """A row of `subject_keys` or `day_keys`; `created` is in epoch microseconds."""

    key_id: str
    lookup: str
    wrapped: bytes
    created: int

    @property
    def bound(self) -> bool:
        """Whether the wrapped key vouches for the whole row, so also for when it was made."""
        return len(self.wrapped) == _BOUND_BYTES


class DataKey(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An opened data key. `lookup` is that of its row, `pseudonym` empty for a system-day key; `row` is what to insert
    if it is new.
    """

    key_id: str
    aead: AESGCM
    lookup: str = ""
    pseudonym: str = ""
    row: KeyRow | None = None

    def __repr__(self) -> str:
        return f"DataKey({self.key_id})"

    def seal(self, id_: str, origin: str, secret: bytes, nonce: bytes) -> SealedPayload:
        """Encrypt `salt ‖ payload` under a nonce of 12 fresh random bytes, bound to the leaf's id."""
        ciphertext = self.aead.encrypt(nonce, secret, id_.encode())
        return SealedPayload(id=id_, origin=origin, key_id=self.key_id, nonce=nonce, ciphertext=ciphertext)

    def open(self, sealed: SealedPayload) -> bytes:
        """Decrypt `salt ‖ payload`. Raises IntegrityError when the bytes, the id or the key are not those sealed."""
        try:
            return self.aead.decrypt(sealed.nonce, sealed.ciphertext, sealed.id.encode())
        except InvalidTag:
            raise IntegrityError(
                f"the payload of {sealed.id} does not decrypt under its key",
                mend="restore its segment from a backup; `pilotage audit verify` names every place",
            ) from None


@dataclass(frozen=True, kw_only=True)
class KeyNeeds:
    """What a batch needs keys for: subjects, and (system, day) of payloads without a subject."""

    subjects: frozenset[str]
    days: frozenset[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class KeysFound:
    """What is needed, by lookup, and the rows that the database has of it."""

    subjects: dict[str, str]
    days: dict[str, tuple[str, str]]
    rows: Mapping[str, Row[tuple[object, ...]] | KeyRow] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class CabinetSecrets:
    """The secrets of a keyring that open and find data keys: what another process needs, and no more."""

    wrapping: tuple[bytes, ...] = field(repr=False)
    lookup: bytes = field(repr=False)
    mask: bytes = field(repr=False)

    @classmethod
    def of(cls, keyring: Keyring) -> CabinetSecrets:
        """Those of a keyring."""
        return cls(
            wrapping=keyring.wrapping_secrets("data-key-wrapping"),
            lookup=keyring.secret("data-key-lookup"),
            mask=keyring.secret("segment-key-id-mask"),
        )


class KeyCabinet:
    """Finds, makes and opens data keys with a keyring. Holds no data key itself: each batch asks the database."""

    def __init__(self, keyring: Keyring | CabinetSecrets) -> None:
        secrets = CabinetSecrets.of(keyring) if isinstance(keyring, Keyring) else keyring
        self._wrapping = [AESGCM(secret) for secret in secrets.wrapping]
        self._lookup_key = secrets.lookup
        self._of_subject = hashlib.blake2b(digest_size=32, key=secrets.lookup, person=b"subject")
        self.mask_key = secrets.mask

    def subject_lookup(self, subject: str) -> str:
        """The keyed hash by which a subject's key row is found."""
        lookup = self._of_subject.copy()
        lookup.update(subject.encode())
        return lookup.hexdigest()

    def day_lookup(self, system: str, day: str) -> str:
        """The keyed hash by which a system-day's key row is found."""
        return self._hash(b"day", f"{day} {system}".encode())

    def reviewer_lookup(self, person: str) -> str:
        """The keyed hash by which what a person decided otherwise is found."""
        return self._hash(b"reviewer", person.encode("utf-8", "surrogatepass"))

    def gather(
        self, connection: Connection, needs: KeyNeeds, now: int, made: Mapping[str, KeyRow] | None = None
    ) -> tuple[dict[str, DataKey], dict[tuple[str, str], DataKey]]:
        """The keys of subjects and of system-days; those that are missing are made, with a `row` yet to insert.

        `made` are rows by lookup that are not committed yet, but will be before what these keys encrypt.
        """
        return self.open_or_make(self.look_up(connection, needs), now, made or {})

    def look_up(self, connection: Connection, needs: KeyNeeds) -> KeysFound:
        """What the database has of the keys that are needed: all that must be read for them."""
        subjects = {self.subject_lookup(subject): subject for subject in needs.subjects}
        days = {self.day_lookup(*day): day for day in needs.days}
        rows = {
            **store.find_keys(connection, subject_keys, subjects),
            **store.find_keys(connection, day_keys, days),
        }
        return KeysFound(subjects=subjects, days=days, rows=rows)

    def open_or_make(
        self, found: KeysFound, now: int, made: Mapping[str, KeyRow]
    ) -> tuple[dict[str, DataKey], dict[tuple[str, str], DataKey]]:
        """As `gather`, of what was looked up."""
        rows = {**made, **found.rows}

        def key(lookup: str, *, named: bool) -> DataKey:
            row = rows.get(lookup)
            return self._make(lookup, now, named=named) if row is None else self._unwrap(row, named=named)

        return (
            {subject: key(lookup, named=True) for lookup, subject in found.subjects.items()},
            {day: key(lookup, named=False) for lookup, day in found.days.items()},
        )

    def find_subject(self, connection: Connection, subject: str) -> DataKey | None:
        """The key of a subject, or None: never seen, or erased."""
        lookup = self.subject_lookup(subject)
        row = store.find_keys(connection, subject_keys, [lookup]).get(lookup)
        return None if row is None else self._unwrap(row, named=True)

    def find(self, connection: Connection, key_id: str) -> DataKey:
        """The key of an id. Raises NotFound when it was destroyed."""
        row = store.find_key(connection, key_id)
        if row is None:
            raise NotFound("the data key was destroyed", got=key_id, mend="nothing can: the payload was erased")
        return self.open_row(row)

    def find_all(self, connection: Connection, key_ids: Iterable[str]) -> dict[str, DataKey]:
        """The keys of some ids, without those that were destroyed; those of system-days have no pseudonym."""
        wanted = list(key_ids)
        return {
            key_id: self._unwrap(row, named=table is subject_keys)
            for table in (subject_keys, day_keys)
            for key_id, row in store.find_key_rows(connection, table, wanted).items()
        }

    def open_row(self, row: Row[tuple[object, ...]] | KeyRow) -> DataKey:
        """The key in a row of `subject_keys` or `day_keys`, with the pseudonym it would give a subject."""
        return self._unwrap(row, named=True)

    def _make(self, lookup: str, now: int, *, named: bool) -> DataKey:
        # Ids grow with time, so that new keys go to the end of every index, not all over it.
        random = os.urandom(_KEY_BYTES + 10 + _NONCE_BYTES)
        key, nonce = random[:_KEY_BYTES], random[-_NONCE_BYTES:]
        key_id = (now // 1_000).to_bytes(6).hex() + random[_KEY_BYTES:-_NONCE_BYTES].hex()
        wrapped = _BOUND + nonce + self._wrapping[0].encrypt(nonce, key, _row_bytes(_BOUND, key_id, lookup, now))
        pseudonym = _pseudonym(key, lookup) if named else ""
        row = KeyRow(key_id, lookup, wrapped, now)
        return DataKey(key_id=key_id, aead=AESGCM(key), lookup=lookup, pseudonym=pseudonym, row=row)

    def rewrap(self, row: Row[tuple[object, ...]] | KeyRow) -> bytes | None:
        """The row's key wrapped by the newest master; None when it is already. Raises IntegrityError."""
        opened = _key_row(row)
        key, newest = self._open_wrapped(opened)
        if newest:
            return None
        form, _, _, associated = _parts(opened)
        nonce = os.urandom(_NONCE_BYTES)
        return form + nonce + self._wrapping[0].encrypt(nonce, key, associated)

    def _unwrap(self, row: Row[tuple[object, ...]] | KeyRow, *, named: bool) -> DataKey:
        opened = _key_row(row)
        aead, pseudonym = self.unwrap(opened, named=named)
        return DataKey(key_id=opened.key_id, aead=aead, lookup=opened.lookup, pseudonym=pseudonym)

    def unwrap(self, row: KeyRow, *, named: bool) -> tuple[AESGCM, str]:
        """(the key, the pseudonym it gives when `named`, else empty) of a row. Raises IntegrityError."""
        key, _ = self._open_wrapped(row)
        return AESGCM(key), _pseudonym(key, row.lookup) if named else ""

    def _open_wrapped(self, row: KeyRow) -> tuple[bytes, bool]:
        """(the key, whether the newest master wraps it)."""
        _, nonce, text, associated = _parts(row)
        for wrapping in self._wrapping:
            try:
                return wrapping.decrypt(nonce, text, associated), wrapping is self._wrapping[0]
            except InvalidTag:
                continue
        raise IntegrityError(
            f"the data key {row.key_id} does not unwrap under this keyring, or its row was changed",
            mend="bring the keyring it was made with, or restore the keys from a backup",
        )

    def _hash(self, purpose: bytes, value: bytes) -> str:
        return hashlib.blake2b(value, digest_size=32, key=self._lookup_key, person=purpose).hexdigest()


def _key_row(row: Row[tuple[object, ...]] | KeyRow) -> KeyRow:
    if isinstance(row, KeyRow):
        return row
    return KeyRow(str(row.key_id), str(row.lookup), bytes(row.wrapped), row.created)


def _parts(row: KeyRow) -> tuple[bytes, bytes, bytes, bytes]:
    """(form, nonce, ciphertext, associated data) of a wrapped key."""
    wrapped = row.wrapped
    if len(wrapped) != _BOUND_BYTES:
        return b"", wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], (row.key_id + row.lookup).encode()
    form, text = wrapped[: len(_BOUND)], len(_BOUND) + _NONCE_BYTES
    return form, wrapped[len(_BOUND) : text], wrapped[text:], _row_bytes(form, row.key_id, row.lookup, row.created)


def _row_bytes(form: bytes, key_id: str, lookup: str, created: int) -> bytes:
    return form + f"{key_id} {lookup} {created}".encode()


def _pseudonym(key: bytes, lookup: str) -> str:
    return hashlib.blake2b(lookup.encode(), digest_size=16, key=key, person=b"pseudonym").hexdigest()
