"""What a witness decides: does the log that it is shown continue the one it knows? Pure, save for reading tiles.

A witness keeps one verified head of its own. A newer head must be signed by the log's key, be no smaller, and the tiles
that the log shows must lead from the held root to the new one. Everything else is an alarm, with its evidence.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

from pilotage.errors import IntegrityError
from pilotage.ledger.merkle import EMPTY_ROOT, consistency_proof, subtree_root, verify_consistency
from pilotage.ledger.notes import Checkpoint, read_checkpoint_body
from pilotage.ledger.signing import KeyPeriod, verify_checkpoint
from pilotage.ledger.tiles import TILE_WIDTH, node_in_tiles

__all__ = ["Held", "HistoryAlarm", "LogTiles", "Verified", "check_next", "check_proof"]

Code = Literal["log_unsigned", "log_rolled_back", "log_forked", "log_rewritten", "log_unproven"]

_WORDS: Mapping[Code, str] = {
    "log_unsigned": "the log shows a checkpoint that its key did not sign",
    "log_rolled_back": "the log shows fewer entries than it has signed before",
    "log_forked": "the log has signed two different trees of the same size",
    "log_rewritten": "the log's history was rewritten: the tree it shows does not begin with the one it signed before",
    "log_unproven": "the log's tiles do not have the root that its checkpoint signs",
}


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """The head that a witness has verified: `root` of 32 bytes, `checkpoint` the signed note it came from."""

    origin: str
    size: int
    root: bytes
    checkpoint: str


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """A head that continues the held one; `proof` are the consistency hashes, none from an empty tree."""

    held: Held
    proof: tuple[bytes, ...] = ()


class HistoryAlarm(IntegrityError):
    """What the log shows contradicts what it signed before. `evidence` are texts to keep, by file name."""

    def __init__(self, code: Code, *, got: str, expected: str, evidence: Mapping[str, str]) -> None:
        mend = "stop trusting this log beyond the held checkpoint; keep the evidence; ask who had its keys and its disk"
        super().__init__(_WORDS[code], got=got, expected=expected, code=code, mend=mend)
        self.evidence = dict(evidence)


class LogTiles:
    """Node hashes of a tree of `size` leaves, from a callable (level, number, width) -> the tile's bytes.

    Keeps each tile that it has read, for the evidence. Raises IntegrityError for a tile of the wrong length.
    """

    def __init__(self, size: int, fetch: Callable[[int, int, int], bytes]) -> None:
        self.size, self._fetch = size, fetch
        self.read_tiles: dict[tuple[int, int], list[bytes]] = {}

    def read(self, level: int, index: int) -> bytes:
        """The hash of node (level, index), a `merkle.HashReader`."""
        return node_in_tiles(self._tile, level, index)

    def _tile(self, level: int, number: int) -> list[bytes]:
        key = level, number
        if key not in self.read_tiles:
            width = min(TILE_WIDTH, (self.size >> (8 * level)) - number * TILE_WIDTH)
            content = self._fetch(level, number, width)
            if len(content) != 32 * width:
                raise IntegrityError(
                    f"tile {level}/{number} has the wrong length",
                    got=f"{len(content)} bytes",
                    expected=f"{32 * width} bytes",
                    mend="restore the file from a backup",
                )
            self.read_tiles[key] = [content[at : at + 32] for at in range(0, len(content), 32)]
        return self.read_tiles[key]


def check_next(held: Held | None, shown: str, keys: Sequence[KeyPeriod], tiles: Callable[[int], LogTiles]) -> Verified:
    """The head of the note `shown`, when it continues `held` (None: the first that this witness sees).

    `tiles(size)` reads the log's tiles. Raises HistoryAlarm. What reading tiles raises passes through.
    """
    head = _signed(held, shown, keys)
    fresh = Held(origin=head.origin, size=head.size, root=head.root, checkpoint=shown)
    if held is not None and head.size < held.size:
        raise _alarm("log_rolled_back", held, shown, f"{head.size} entries", f"at least {held.size}")
    if held is not None and head.size == held.size:
        if head.root != held.root:
            raise _alarm("log_forked", held, shown, f"root {head.root.hex()}", f"root {held.root.hex()}")
        return Verified(held=fresh)
    reader = tiles(head.size)
    root = subtree_root(0, head.size, reader.read) if head.size else EMPTY_ROOT
    if root != head.root:
        raise _alarm("log_unproven", held, shown, f"root {root.hex()}", f"root {head.root.hex()}", reader)
    if held is None or not held.size:
        return Verified(held=fresh)
    proof = consistency_proof(held.size, head.size, reader.read)
    try:
        verify_consistency(held.size, head.size, held.root, head.root, proof)
    except IntegrityError:
        first = subtree_root(0, held.size, reader.read)
        told = f"its first {held.size} entries have root {first.hex()}"
        raise _alarm("log_rewritten", held, shown, told, f"root {held.root.hex()}", reader, proof) from None
    return Verified(held=fresh, proof=tuple(proof))


def check_proof(held: Held | None, shown: str, keys: Sequence[KeyPeriod], proof: Sequence[bytes]) -> Verified:
    """Like `check_next`, with a consistency proof that the log itself brings (C2SP tlog-witness)."""
    head = _signed(held, shown, keys)
    fresh = Held(origin=head.origin, size=head.size, root=head.root, checkpoint=shown)
    if held is None or not held.size:
        if proof:
            raise IntegrityError("a proof from an empty tree has hashes", got=len(proof), expected=0, mend="send none")
        return Verified(held=fresh)
    if head.size == held.size and head.root != held.root:
        raise _alarm("log_forked", held, shown, f"root {head.root.hex()}", f"root {held.root.hex()}")
    try:
        verify_consistency(held.size, head.size, held.root, head.root, proof)
    except IntegrityError as error:
        raise _alarm("log_rewritten", held, shown, error.what, f"root {held.root.hex()}", None, proof) from None
    return Verified(held=fresh, proof=tuple(proof))


def _signed(held: Held | None, shown: str, keys: Sequence[KeyPeriod]) -> Checkpoint:
    """What the note says, when this log's key signed it under this log's name; a text that is no note raises as such,
    for a proxy's error page is no history."""
    read_checkpoint_body(shown)
    origin = keys[0].vkey.partition("+")[0]
    try:
        head = verify_checkpoint(shown, keys)
    except IntegrityError as error:
        raise _alarm("log_unsigned", held, shown, str(error.got), str(error.expected)) from None
    if head.origin != origin:
        raise _alarm("log_unsigned", held, shown, f"a checkpoint of {head.origin}", f"one of {origin}")
    return head


def _alarm(
    code: Code,
    held: Held | None,
    shown: str,
    got: str,
    expected: str,
    reader: LogTiles | None = None,
    proof: Sequence[bytes] = (),
) -> HistoryAlarm:
    evidence = {"shown-checkpoint.txt": shown}
    if held is not None:
        evidence["held-checkpoint.txt"] = held.checkpoint
    if proof:
        evidence["consistency-proof.txt"] = "".join(base64.b64encode(value).decode() + "\n" for value in proof)
    for (level, number), hashes in (reader.read_tiles if reader else {}).items():
        evidence[f"tile-{level}-{number}.txt"] = "".join(value.hex() + "\n" for value in hashes)
    return HistoryAlarm(code, got=got, expected=expected, evidence=evidence)
