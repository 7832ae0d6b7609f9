"""Verify the whole ledger: everything at rest is computed again, and every place that was changed is named.

    entries ─▶ leaf hashes ─▶ tiles of every level ─▶ the root of every signed head and of the checkpoint
    batch leaves ─▶ payload segments (every byte, also of erased payloads), profile counts, consumed positions
    payloads ─▶ commitments; leaf and payload ─▶ every column of every index row
    journals still on disk ─▶ chains, secrets, and that each consumed frame became a leaf

What it cannot see: a ledger that was put back whole to an earlier state, and a cut, unsealed journal tail. Receipts
held by clients and a witness outside show these. Operational state is not record: the lease, schedules,
legal holds, and rows about journals that were consumed and are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec
from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError

from pilotage.errors import IntegrityError, NotFound
from pilotage.ledger.cosigned import COSIGNED
from pilotage.ledger.faults import Faults, LedgerFault
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.keys import CabinetSecrets, KeyCabinet
from pilotage.ledger.merkle import consistency_proof, verify_consistency
from pilotage.ledger.notes import Checkpoint
from pilotage.ledger.outside import Witnessed
from pilotage.ledger.pending import PENDING, pending_names, pending_path
from pilotage.ledger.record import BATCH_LEAF, decode_batch, decode_leaf
from pilotage.ledger.retired import RETIRED_ENTRIES, bundles_named_by
from pilotage.ledger.retiring import RETIRED, named_by
from pilotage.ledger.segments import intents
from pilotage.ledger.signing import ROTATED, KeyPeriod, periods_of, verify_checkpoint
from pilotage.ledger.tables import consumed, events, heads, held_frames, segments
from pilotage.ledger.tiles import TileReader, read_checkpoint, tile_span
from pilotage.ledger.verify_batches import BatchAudit
from pilotage.ledger.verify_found import ReadableEvent
from pilotage.ledger.verify_journals import JournalAudit
from pilotage.ledger.verify_kept import GoneLeaf, KeptAudit
from pilotage.ledger.verify_part import PartTools
from pilotage.ledger.verify_pending import size_after, waiting_entries
from pilotage.ledger.verify_rows import Row, Snapshot, snapshot
from pilotage.ledger.verify_tree import SignedHead, TreeWalk
from pilotage.ledger.verify_workers import View, one_view
from pilotage.storage.home import Home

__all__ = ["LedgerReport", "Progress", "Witness", "verify_ledger"]

_FOLDER = frozenset({"checkpoint", COSIGNED, "kept", PENDING, "segments", "tile"})

Progress = Callable[[int, int], None]
"""Called with (entries checked, entries in the tree)."""

Witness = Callable[[Sequence[ReadableEvent]], Iterable[LedgerFault]]
"""Compares the verified events of the ledger with what they speak of elsewhere, such as rows of `control.db`."""


@dataclass(frozen=True, kw_only=True)
class LedgerReport:
    """What was verified. `readable` payloads were decrypted, `erased` ones are unreadable for ever, `retired`
    ones were deleted by retention; of `gone` leaves it deleted the entry too. `published` is the
    size of the published tree. `faults` holds the first 1,000 of `fault_count`. `witnessed` is filled in by whoever
    compares with evidence from outside. `since`: what lies before this size was not read again.
    """

    ok: bool
    origin: str
    root: str
    size: int = 0
    published: int = 0
    decisions: int = 0
    events: int = 0
    batches: int = 0
    segments: int = 0
    readable: int = 0
    erased: int = 0
    retired: int = 0
    gone: int = 0
    frames: int = 0
    fault_count: int = 0
    faults: tuple[LedgerFault, ...] = ()
    witnessed: tuple[Witnessed, ...] = ()
    since: int = 0


def verify_ledger(
    home: Home,
    ledger: Engine,
    keyring: Keyring,
    *,
    witnesses: Sequence[Witness] = (),
    progress: Progress = lambda done, total: None,
    processes: int = 1,
) -> LedgerReport:
    """Verify all that the ledger keeps; it may grow meanwhile. Never raises for what is wrong with it: it reports.

    `processes`: of a large ledger, parts are checked by so many processes at once. What is found is the same.
    """
    storage, faults = Faults(), Faults()
    audit: _Audit | None = None
    try:
        with one_view(ledger, faults, home.ledger, lambda: CabinetSecrets.of(keyring), processes=processes) as view:
            stored = view.check_storage()
            try:
                audit = _Audit(home, keyring, view, faults, progress, keep_events=bool(witnesses))
                audit.run()
            finally:
                storage.absorb(stored())
        audit.look_for_strays(ledger)
        audit.look_for_missing_journals(ledger)
    except DatabaseError as error:
        faults.add("ledger.db", "the database cannot be read", error.orig)
    for witness in witnesses if audit else ():
        for fault in witness(audit.batches.kept if audit else ()):
            faults.take(fault)
    storage.absorb(faults)
    return _report(keyring.origin, audit, storage)


def _report(origin: str, audit: _Audit | None, faults: Faults) -> LedgerReport:
    known: dict[str, int] = {}
    if audit is not None:
        known = {
            "size": audit.size,
            "published": audit.published,
            **audit.batches.figures,
            "frames": audit.journals.frames,
        }
    return LedgerReport(
        ok=faults.count == 0,
        origin=origin,
        root=audit.walk.roots.get(audit.size, b"").hex() if audit else "",
        fault_count=faults.count,
        faults=tuple(faults.found),
        witnessed=(),
        **known,
    )


class _Audit:
    """One verification."""

    def __init__(
        self, home: Home, keyring: Keyring, view: View, faults: Faults, progress: Progress, *, keep_events: bool
    ) -> None:
        rows, self._walk_faults = view.rows, Faults()
        self._folder, self._journal, self._rows, self._faults = home.ledger, home.journal, rows, faults
        self._origin = keyring.origin
        self._heads = rows.all(heads)
        self.size = max((row["size"] for row in self._heads), default=0)
        self._periods = self._key_periods(keyring)
        self._pending = waiting_entries(home.ledger, self._heads, self._faults)  # before the checkpoint is looked at
        self._checkpoint, text = self._read_checkpoint()
        self.published = self._checkpoint.size if self._checkpoint else min(self._pending, default=self.size)
        self._check_checkpoint(text)
        self._kept = KeptAudit(folder=home.ledger, named=_deletions(rows), faults=self._walk_faults)
        self.walk = TreeWalk(
            home.ledger,
            size=self.size,
            published=self.published,
            pending=self._pending,
            heads=[self._signed_head(row) for row in self._heads],
            faults=self._walk_faults,
            kept=self._kept,
        )
        self._retired = named_by(rows.among(events, events.c.kind, [RETIRED]))
        tools = PartTools(
            folder=home.ledger,
            cabinet=KeyCabinet(keyring),
            rows=rows,
            retired=self._retired,
            keep_events=keep_events,
        )
        self.batches = BatchAudit(
            folder=home.ledger,
            rows=rows,
            heads={row["size"]: row for row in self._heads},
            faults=faults,
            walk=self._walk_faults,
            checker=view.checker(tools),
            retired=self._retired,
            checked=lambda end: progress(end, self.size),
        )
        self._kept.summed = self.batches.take_sums
        positions, held = rows.all(consumed), rows.all(held_frames)
        self.journals = JournalAudit(home.journal, keyring, positions, held, self._walk_faults)

    def run(self) -> None:
        """Everything that one view of the database shows."""
        self.journals.scan()
        first, entries = 0, list[bytes | GoneLeaf | None]()
        for start, bundle in self.walk.bundles():
            if self.journals.waits():
                self.journals.meet(start, bundle)
            taken = 0
            for at in [at for at, entry in enumerate(bundle) if type(entry) is bytes and entry.startswith(BATCH_LEAF)]:
                entries += bundle[taken:at]
                index, taken = start + at, at + 1
                try:
                    batch = decode_batch(cast("bytes", bundle[at]))
                except (msgspec.MsgspecError, ValueError) as error:
                    self._walk_faults.add(f"leaf {index}", f"its entry is no record: {error}")
                    entries.append(None)
                    continue
                self.batches.take(first, index + 1, entries, batch)
                self.journals.consumed_by(batch.consumed)
                first, entries = index + 1, []
            entries += bundle[taken:]
        if first != self.size:
            self._check_end(first, entries)
        self.batches.finish(self.size)
        for file in self.batches.gaps:
            self.journals.gap(file)
        self.journals.finish()
        self._faults.absorb(self._walk_faults)

    def _check_end(self, first: int, entries: Sequence[object]) -> None:
        """Leaves after the last batch leaf."""
        for index, entry in enumerate(entries, first):
            try:
                if isinstance(entry, bytes):
                    decode_leaf(entry)
            except (msgspec.MsgspecError, ValueError) as error:
                self._walk_faults.add(f"leaf {index}", f"its entry is no record: {error}")
        self._walk_faults.add(f"leaf {self.size - 1}", "the tree does not end with a batch leaf")

    def look_for_strays(self, ledger: Engine) -> None:
        """Files that nothing speaks of. What the steward has written since the view was taken is not among them."""
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            if path.name not in _FOLDER and not path.name.startswith("."):
                self._faults.add(path, "nothing of the ledger has this name")
        for retired in self._retired:
            if (self._folder / retired).exists():
                self._faults.add(self._folder / retired, "retention deleted it, says an event, and yet it is there")
        tiles = list(self.walk.stray_files())
        extra = [path for path in _segment_files(self._folder) if path not in self.batches.paths]
        known_batches = {row["batch"] for row in self._heads}
        unknown = [batch for batch in pending_names(self._folder) if batch not in known_batches]
        intended, left = _intended(self._folder), self._kept.strays()
        if not tiles and not extra and not left and not unknown:
            return
        with snapshot(ledger, self._faults) as rows:
            self._kept.named = _deletions(rows)
            known = {row["path"] for row in rows.among(segments, segments.c.path, extra)}
            later = rows.between(heads, heads.c.size, self.size, 2**62)
            newest = max((row["size"] for row in later), default=0)
            committed = {row["batch"] for row in rows.among(segments, segments.c.batch, unknown)}
        for path in tiles:
            span = tile_span(self._folder, path)
            if span is None or not min(self.published, self.size) < span <= newest:
                self._faults.add(path, "the tree has no such tile")
        for name in sorted(set(extra) - known - intended):
            if (self._folder / name).exists():
                self._faults.add(self._folder / name, "no batch leaf names this segment")
        for batch in sorted(set(unknown) - {row["batch"] for row in later}):
            name, size = pending_path(batch), size_after(self._folder, batch)
            if batch in committed and size:
                self._faults.add(f"heads row of size {size}", f"the head of {name} is missing")
            elif name not in intended and (self._folder / name).exists():
                self._faults.add(self._folder / name, "no head is of this batch")
        for path in self._kept.strays():
            self._faults.add(path, "no event speaks of this as what retention left")

    def look_for_missing_journals(self, ledger: Engine) -> None:
        """Journals that are gone, unless the steward has consumed and deleted them since the view was taken."""
        missing, orphans = self.journals.missing, self.journals.without_previous
        if not missing and not orphans:
            return
        names = [*missing, *(name for file, previous in orphans for name in (file.name, previous))]
        with snapshot(ledger, self._faults) as rows:
            now = {row["name"]: row["state"] for row in rows.among(consumed, consumed.c.name, names)}
        for name in missing:
            if now.get(name) == "reading":
                place = f"{self._journal}/{name}.log"
                self._faults.add(place, "the file is missing, and was not consumed to its end")
        for file, previous in orphans:
            if previous not in now and file.name not in now and file.path.exists():
                self._faults.add(file.path, "the file before it is missing and was not consumed")

    # Heads and the checkpoint.

    def _read_checkpoint(self) -> tuple[Checkpoint | None, str]:
        path = self._folder / "checkpoint"
        try:
            text = read_checkpoint(self._folder)
            return self._parse(text), text
        except NotFound:
            if self.size and 0 not in self._pending:
                self._faults.add(path, "the file is missing")
        except IntegrityError as error:
            self._faults.add(path, error.what, error.got, error.expected)
        return None, ""

    def _check_checkpoint(self, text: str) -> None:
        shown, path = self._checkpoint, self._folder / "checkpoint"
        if shown is None:
            return
        row = next((row for row in self._heads if row["size"] == shown.size), None)
        if row is not None and row["checkpoint"] != text:
            self._faults.add(path, "not the checkpoint of the head of this size", text, row["checkpoint"])
        elif row is None and shown.size < self.size:
            self._faults.add(f"heads row of size {shown.size}", "the head that the checkpoint signs is missing")
        elif row is None:
            self._check_growth(shown, path)

    def _check_growth(self, shown: Checkpoint, path: Path) -> None:
        """A checkpoint beyond the last head of the view: published meanwhile, or the head was deleted."""
        with snapshot(self._rows.engine, self._faults) as now:
            later = now.between(heads, heads.c.size, shown.size, shown.size + 1)
        if not later:
            self._faults.add(f"heads row of size {shown.size}", "the head that the checkpoint signs is missing")
            return
        signed = next((head for row in self._heads if (head := self._parsed(row)) and head.size == self.size), None)
        if signed is None:
            return
        try:
            proof = consistency_proof(self.size, shown.size, TileReader(self._folder, shown.size).read)
            verify_consistency(self.size, shown.size, signed.root, shown.root, proof)
        except IntegrityError as error:
            self._faults.add(path, f"it does not continue the last head: {error.what}", error.got, error.expected)

    def _signed_head(self, row: Row) -> SignedHead:
        signed, place = self._parsed(row), f"heads checkpoint of size {row['size']}"
        if signed is None:
            self._faults.add(place, "not a checkpoint that this log signed", row["checkpoint"])
        elif signed.size != row["size"]:
            self._faults.add(place, "it signs another size", signed.size, row["size"])
        frontier = row["frontier"] if isinstance(row["frontier"], bytes) else b""
        return SignedHead(
            size=row["size"], signed=signed, root=str(row["root"]), frontier=frontier, batch=str(row["batch"])
        )

    def _parsed(self, row: Row) -> Checkpoint | None:
        try:
            return self._parse(row["checkpoint"])
        except (IntegrityError, TypeError, AttributeError):
            return None

    def _parse(self, text: str) -> Checkpoint:
        """A checkpoint with this log's origin and no signature line but its own."""
        shown = verify_checkpoint(text, self._periods)
        if shown.origin != self._origin or text.rpartition("\n\n")[2].count("\n") != 1:
            raise IntegrityError(
                "not a checkpoint as this log writes it", got=shown.origin, expected=self._origin, mend="restore it"
            )
        return shown

    def _key_periods(self, keyring: Keyring) -> list[KeyPeriod]:
        """Which key signs which sizes, by the events of the index: they are held to their leaves like every other.

        Beyond the last head of this view any key of the keyring may sign: it may be rotated just now.
        """
        rotations = []
        for row in sorted(self._rows.among(events, events.c.kind, [ROTATED]), key=lambda row: int(row["leaf"])):
            size = min((head["size"] for head in self._heads if head["size"] > row["leaf"]), default=0)
            facts = row["facts"] if isinstance(row["facts"], dict) else {}
            rotations.append((str(row["kind"]), facts, size))
        found = periods_of(rotations, keyring.vkeys[-1])
        strange = [period.vkey for period in found if period.vkey not in keyring.vkeys]
        for vkey in strange:
            self._faults.add("events facts of key.rotated", "the keyring does not have this signing key", vkey)
        later = [KeyPeriod(vkey=vkey, first=self.size + 1) for vkey in keyring.vkeys if vkey != found[-1].vkey]
        return [*(period for period in found if period.vkey not in strange), *later]


def _deletions(rows: Snapshot) -> dict[int, str]:
    """The bundles that retention deleted, with the digests of what was left."""
    return bundles_named_by(rows.among(events, events.c.kind, [RETIRED_ENTRIES]))


def _segment_files(folder: Path) -> Iterator[str]:
    """The paths under the ledger folder of all segment files."""
    root = folder / "segments"
    for path in sorted(root.rglob("*")) if root.is_dir() else ():
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            yield str(name)


def _intended(folder: Path) -> set[str]:
    """Segments that a steward writes just now, or began before it was killed: it clears these up itself."""
    try:
        return {path for paths in intents(folder).values() for path in paths}
    except (OSError, msgspec.MsgspecError):
        return set()
