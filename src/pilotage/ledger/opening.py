"""Open payloads for reading: from segment and key to `salt ‖ payload`, proven to be what the leaf commits to."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from sqlalchemy import Engine

from pilotage.errors import IntegrityError, NotFound, PilotageError
from pilotage.ledger.items import SALT
from pilotage.ledger.keys import DataKey, KeyCabinet, KeyRow
from pilotage.ledger.record import commitment
from pilotage.ledger.segments import read_payload
from pilotage.ledger.tables import ERASED
from pilotage.storage.database import reading

__all__ = ["PayloadOpener", "Placed"]


class Placed(Protocol):
    """A row of the index, as far as it says where a payload lies."""

    @property
    def id(self) -> str: ...
    @property
    def segment(self) -> str: ...
    @property
    def offset(self) -> int: ...
    @property
    def length(self) -> int: ...
    @property
    def key_id(self) -> str: ...


class PayloadOpener:
    """Opens payloads under the ledger folder. Keys of the `rows` given are fetched once, in one transaction; those of
    any other row when it is asked for. Keep one no longer than a page: a key that was destroyed must not live on in it.
    """

    def __init__(self, folder: Path, engine: Engine, cabinet: KeyCabinet | None, rows: Iterable[Placed] = ()) -> None:
        self._folder, self._engine, self._cabinet = folder, engine, cabinet
        self._keys: dict[str, DataKey] = {}
        wanted = {row.key_id for row in rows} - {ERASED}
        if cabinet is not None and wanted:
            with reading(engine) as connection:
                self._keys = cabinet.find_all(connection, wanted)

    def hold(self, row: KeyRow) -> None:
        """Take a key that was found with what it opens; one that does not unwrap is looked up when it is needed."""
        if self._cabinet is not None:
            with suppress(PilotageError):
                self._keys[row.key_id] = self._cabinet.open_row(row)

    def secret(self, row: Placed, committed: str) -> tuple[bytes | None, str]:
        """(salt ‖ payload, "") or (None, why it cannot be read)."""
        if row.key_id == ERASED:
            return None, "erased"
        if self._cabinet is None:
            return None, "no keyring"
        try:
            secret = self._open(row, self._cabinet)
        except NotFound:
            return None, "erased"
        except PilotageError as error:
            return None, f"damaged: {error.what}"
        if commitment(secret[:SALT], secret[SALT:]) != committed:
            return None, "damaged: the payload is not the one that its leaf commits to"
        return secret, ""

    def authentic(self, row: Placed) -> bytes | None:
        """salt ‖ payload as it was sealed under the row's id, or None; that the leaf commits to it is not looked at."""
        if row.key_id == ERASED or self._cabinet is None:
            return None
        try:
            return self._open(row, self._cabinet)
        except PilotageError:
            return None

    def _open(self, row: Placed, cabinet: KeyCabinet) -> bytes:
        sealed = read_payload(self._folder, row.segment, row.offset, row.length, cabinet.mask_key)
        key = self._keys.get(row.key_id)
        if key is None:
            with reading(self._engine) as connection:
                key = cabinet.find(connection, row.key_id)
        if sealed.id != row.id:
            raise IntegrityError("the payload is another record's", got=sealed.id, expected=row.id, mend="verify")
        return key.open(sealed)
