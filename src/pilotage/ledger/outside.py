"""Hold the ledger against what others keep: receipts of clients, checkpoints kept elsewhere, witnesses' cosignatures.

A ledger that was cut or put back whole to an earlier state is consistent in itself; only these show it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError

from pilotage.errors import InputError, IntegrityError, NotFound, PilotageError
from pilotage.kernel.clock import rfc3339
from pilotage.ledger import store, tiles
from pilotage.ledger.cosigned import Cosigned, read_cosigned
from pilotage.ledger.faults import LedgerFault
from pilotage.ledger.journal_reader import journal_files, read_frames
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.merkle import leaf_hash, subtree_root
from pilotage.ledger.notes import Checkpoint, parse_vkey
from pilotage.ledger.queries import Ledger
from pilotage.ledger.signing import KeyPeriod, key_periods, verify_checkpoint
from pilotage.storage.database import reading
from pilotage.storage.home import Home

__all__ = ["Outside", "OutsideAudit", "Receipt", "Witnessed", "parse_receipts", "read_notes"]

_RECEIPT = re.compile(r"(?:Pilotage-Receipt:\s*)?([0-9a-f-]{36})[ \t:]+([0-9a-f]{64})", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What a client was given with its answer: the decision's id and its leaf's hash, hex."""

    id: str
    leaf: str


@dataclass(frozen=True, kw_only=True)
class Outside:
    """Evidence from outside. `checkpoints` are signed notes; `witnesses` are verifier keys that must have cosigned."""

    receipts: Sequence[Receipt] = ()
    checkpoints: Sequence[str] = ()
    witnesses: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Witnessed:
    """That a witness confirmed the ledger up to `size`, at `at` (RFC 3339, its clock). `known`: its key was given by
    whoever verifies, so that the word of this machine is not needed.
    """

    witness: str
    vkey: str
    size: int
    at: str
    known: bool


def parse_receipts(text: str) -> list[Receipt]:
    """Receipts, one a line, as the header `Pilotage-Receipt` has them: an id, a blank or colon, a hash.

    Raises InputError that names each line which is none; empty lines are passed over.
    """
    found, faults = list[Receipt](), list[dict[str, object]]()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = _RECEIPT.fullmatch(line.strip())
        if match is None:
            faults.append({"path": f"line {number}", "message": "no receipt", "got": line[:120]})
        else:
            found.append(Receipt(id=match[1].lower(), leaf=match[2].lower()))
    if faults or not found:
        mend = "give lines of the header Pilotage-Receipt: the decision's id and 64 hex digits"
        raise InputError("not receipts", got=text[:80], expected="<id> <leaf hash>", mend=mend, faults=faults[:20])
    return found


class OutsideAudit:
    """Compares one ledger with evidence from outside; `witnessed` is known after `faults`."""

    def __init__(self, home: Home, ledger: Engine, keyring: Keyring, outside: Outside) -> None:
        self._home, self._engine, self._keyring, self._outside = home, ledger, keyring, outside
        self._keys: Sequence[KeyPeriod] = ()
        self._ledger = Ledger(home=home, engine=ledger, keyring=keyring)
        self.witnessed: list[Witnessed] = []

    def faults(self) -> Iterator[LedgerFault]:
        """Whatever outside contradicts this ledger. Never raises for what is wrong with it."""
        try:
            yield from self._all()
        except (PilotageError, DatabaseError, ValueError, TypeError, LookupError, AttributeError) as error:
            what = error.what if isinstance(error, PilotageError) else str(error)[:200]
            yield _fault("evidence from outside", f"cannot be compared with this ledger: {what}", "", "")

    def _all(self) -> Iterator[LedgerFault]:
        with reading(self._engine) as connection:
            self._keys = key_periods(connection, self._keyring)
        for note in self._outside.checkpoints:
            yield from self._held(note)
        yield from self._cosigned()
        yield from self._receipts()

    def _held(self, note: str) -> Iterator[LedgerFault]:
        try:
            head = verify_checkpoint(note, self._keys)
        except IntegrityError as error:
            yield _fault("held checkpoint", error.what, error.got, error.expected)
            return
        yield from self._compare(head, f"held checkpoint of size {head.size}")

    def _compare(self, head: Checkpoint, place: str) -> Iterator[LedgerFault]:
        """The tree must have begun with what was signed: checked against tiles, or a head not yet published."""
        with reading(self._engine) as connection:
            last, row = store.last_head(connection), store.head_of(connection, head.size)
        size = int(last.size) if last else 0
        if head.size > size:
            yield _fault(place, "the ledger ends before it: it was cut or put back", f"{size} entries", head.size)
            return
        try:
            root = self._root(head.size) or (str(row.root) if row else "no such head")
        except PilotageError as error:
            yield _fault(place, f"cannot be compared: {error.what}", error.got, error.expected)
            return
        if root != head.root.hex():
            yield _fault(place, "the ledger is another one: history was rewritten", root, head.root.hex())

    def _root(self, size: int) -> str:
        """The root of the first `size` leaves of the published tree; empty when it is not so long."""
        try:
            published = verify_checkpoint(tiles.read_checkpoint(self._home.ledger), self._keys).size
        except NotFound:
            published = 0
        if size > published:
            return ""
        return subtree_root(0, size, tiles.TileReader(self._home.ledger, published).read).hex()

    def _cosigned(self) -> Iterator[LedgerFault]:
        wanted = {parse_vkey(vkey, b"\x04")[0]: vkey.strip() for vkey in self._outside.witnesses}
        met = set[str]()
        for path, found in read_cosigned(self._home.ledger, self._keys):
            if not isinstance(found, Cosigned):
                yield _fault(str(path), found.what, found.got, found.expected)
                continue
            head = Checkpoint(origin="", size=found.size, root=bytes.fromhex(found.root))
            wrong = list(self._compare(head, f"{path}, cosigned by {found.witness} at size {found.size}"))
            yield from wrong
            if wrong:
                continue
            known = found.vkey in wanted.values()
            met.add(found.vkey)
            self.witnessed.append(
                Witnessed(
                    witness=found.witness,
                    vkey=found.vkey,
                    size=found.size,
                    at=rfc3339(found.at * 1_000_000),
                    known=known,
                )
            )
        for (name, _), vkey in wanted.items():
            if vkey not in met:
                yield _fault(f"witness {name}", "no checkpoint of this ledger is confirmed by it", "none", vkey)

    def _receipts(self) -> Iterator[LedgerFault]:
        unsealed: set[str] | None = None
        for receipt in self._outside.receipts:
            sealed = self._sealed(receipt)
            if sealed == receipt.leaf:
                continue
            if not sealed:
                unsealed = self._unsealed() if unsealed is None else unsealed
                sealed = receipt.leaf if receipt.leaf in unsealed else self._sealed(receipt)
            if sealed != receipt.leaf:
                what = "the record is another one" if sealed else "the ledger has no record of this answer"
                yield _fault(f"receipt {receipt.id}", what, sealed or "nothing", receipt.leaf)

    def _sealed(self, receipt: Receipt) -> str:
        """The hash of the leaf that the index has for the decision; empty when it has none."""
        try:
            leaf = self._ledger.leaf_of(receipt.id)
            return self._ledger.hash_of(leaf).hex()
        except NotFound:
            return ""
        except PilotageError as error:
            return f"unreadable: {error.what}"

    def _unsealed(self) -> set[str]:
        """Leaf hashes of the frames that are still in journals; what cannot be read is named by verification."""
        found = set[str]()
        for file in journal_files(self._home.journal):
            try:
                found.update(leaf_hash(frame.plain).hex() for frame in read_frames(file, self._keyring.steward))
            except (PilotageError, OSError):
                continue
        return found


def read_notes(paths: Sequence[Path]) -> list[str]:
    """The texts of checkpoint files. Raises InputError for one that is no text."""
    texts = []
    for path in paths:
        try:
            texts.append(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            raise InputError(f"{path} is no checkpoint", got="binary", mend="name a checkpoint file") from None
    return texts


def _fault(place: str, what: str, got: object, expected: object) -> LedgerFault:
    return LedgerFault(place=place, what=what, got=str(got), expected=str(expected))
