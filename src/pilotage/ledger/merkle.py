"""The Merkle tree of RFC 6962 (RFC 9162 hashes alike): pure functions over SHA-256 hashes of 32 bytes.

A node is named by (level, index): the root of the perfect subtree over leaves `index << level` to
`(index + 1) << level`. Whoever stores hashes passes a callable that reads them; proofs read a logarithm of the tree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pilotage.errors import InputError, IntegrityError

__all__ = [
    "EMPTY_ROOT",
    "Frontier",
    "HashReader",
    "consistency_proof",
    "inclusion_proof",
    "leaf_hash",
    "node_hash",
    "subtree_root",
    "verify_consistency",
    "verify_inclusion",
]

_sha256 = hashlib.sha256
_HASH_BYTES = 32

EMPTY_ROOT = _sha256(b"").digest()
"""The root of a tree without leaves."""

HashReader = Callable[[int, int], bytes]
"""Reads the hash of node (level, index): level 0 are leaf hashes."""


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 ‖ entry), the hash of one leaf."""
    return _sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right), the hash over two subtrees."""
    return _sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """The right edge of a tree: all that is needed to append to it and to know its root.

    `edge` holds the roots of the perfect subtrees that make up `size` leaves, the largest first: one for each 1 bit.
    """

    size: int = 0
    edge: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.edge) != self.size.bit_count() or any(len(h) != _HASH_BYTES for h in self.edge):
            raise IntegrityError(
                "a tree's right edge does not fit its size",
                got=f"{len(self.edge)} hashes at size {self.size}",
                expected=f"{max(self.size, 0).bit_count()} hashes of 32 bytes",
                mend="rebuild it from the hash tiles",
            )

    def append(self, leaf_hashes: Iterable[bytes]) -> Frontier:
        """The right edge after more leaves, given by their leaf hashes."""
        edge, size = list(self.edge), self.size
        for value in leaf_hashes:
            below = size
            while below & 1:
                value = _sha256(b"\x01" + edge.pop() + value).digest()
                below >>= 1
            edge.append(value)
            size += 1
        return Frontier(size=size, edge=tuple(edge))

    def append_subtree(self, root: bytes, level: int) -> Frontier:
        """The right edge after 2^level more leaves, given by their root; `size` is a multiple of 2^level."""
        edge, below = list(self.edge), self.size >> level
        while below & 1:
            root = node_hash(edge.pop(), root)
            below >>= 1
        return Frontier(size=self.size + (1 << level), edge=(*edge, root))

    def root(self) -> bytes:
        """The tree's root hash."""
        if not self.edge:
            return EMPTY_ROOT
        root = self.edge[-1]
        for left in reversed(self.edge[:-1]):
            root = node_hash(left, root)
        return root

    def to_bytes(self) -> bytes:
        """8 bytes of size, big-endian, then the hashes."""
        return self.size.to_bytes(8, "big") + b"".join(self.edge)

    @classmethod
    def from_bytes(cls, content: bytes) -> Frontier:
        """What `to_bytes` wrote. Raises IntegrityError when the hashes do not fit the size."""
        hashes = content[8:]
        if len(content) < 8:
            raise IntegrityError("a tree's right edge is cut", got=content.hex(), expected="8 bytes", mend="rebuild it")
        edge = tuple(hashes[start : start + _HASH_BYTES] for start in range(0, len(hashes), _HASH_BYTES))
        return cls(size=int.from_bytes(content[:8], "big"), edge=edge)


def subtree_root(start: int, end: int, read: HashReader) -> bytes:
    """The root over leaves [start, end), as a subtree of a larger tree (start is a multiple of its own span)."""
    width = end - start
    if width == 0:
        return EMPTY_ROOT
    if width & (width - 1) == 0:
        level = width.bit_length() - 1
        return read(level, start >> level)
    middle = start + _split(width)
    return node_hash(subtree_root(start, middle, read), subtree_root(middle, end, read))


def inclusion_proof(index: int, size: int, read: HashReader) -> list[bytes]:
    """The hashes that lead from leaf `index` to the root of the tree's first `size` leaves, nearest first."""
    if not 0 <= index < size:
        raise InputError(
            "no such leaf in the tree", got=index, expected=f"0 to {size - 1}", mend="ask within the checkpoint's size"
        )
    start, end = 0, size
    path: list[bytes] = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(subtree_root(middle, end, read))
            end = middle
        else:
            path.append(subtree_root(start, middle, read))
            start = middle
    path.reverse()
    return path


def consistency_proof(old_size: int, size: int, read: HashReader) -> list[bytes]:
    """The hashes which show that the tree of `size` leaves begins with the tree of `old_size` (RFC 6962 2.1.2)."""
    if not 0 < old_size <= size:
        raise InputError(
            "no consistency proof between these sizes",
            got=f"{old_size} to {size}",
            expected="0 < old size <= size",
            mend="an empty tree is a part of every tree: it needs no proof",
        )
    start, end = 0, size
    whole = True
    path: list[bytes] = []
    while old_size != end:
        middle = start + _split(end - start)
        if old_size <= middle:
            path.append(subtree_root(middle, end, read))
            end = middle
        else:
            path.append(subtree_root(start, middle, read))
            start, whole = middle, False
    if not whole:
        path.append(subtree_root(start, end, read))
    path.reverse()
    return path


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that leaf hash `leaf` is at `index` in the tree of `size` leaves with `root` (RFC 9162 2.1.3.2).

    Raises IntegrityError unless all of it holds, each hash has exactly 32 bytes, and the proof has no hash too many.
    """
    _require_hashes(leaf, *proof, root)
    if not 0 <= index < size:
        raise _refuted("the index is outside the tree", f"index {index}", f"0 to {size - 1}")
    at, last, value = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise _refuted("the inclusion proof is too long", f"{len(proof)} hashes", "fewer")
        if at & 1 or at == last:
            value = node_hash(sibling, value)
            at, last = _climb(at, last)
        else:
            value = node_hash(value, sibling)
        at, last = at >> 1, last >> 1
    if last != 0:
        raise _refuted("the inclusion proof is too short", f"{len(proof)} hashes", "more")
    if value != root:
        raise _refuted("the inclusion proof leads to another root", value.hex(), root.hex())


def verify_consistency(old_size: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree (`size`, `root`) begins with the tree (`old_size`, `old_root`) (RFC 9162 2.1.4.2).

    Raises IntegrityError unless it holds. A proof from size 0 says nothing and is refused, also when it is empty.
    """
    _require_hashes(old_root, root, *proof)
    if not 0 < old_size <= size:
        raise _refuted("no consistency can be shown between these sizes", f"{old_size} to {size}", "0 < old <= new")
    if old_size == size:
        if proof or old_root != root:
            raise _refuted(
                "two roots of the same size differ, or a proof has hashes too many", root.hex(), old_root.hex()
            )
        return
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    if not proof:
        raise _refuted("the consistency proof is empty", "0 hashes", "at least one")
    at, last = _climb_odd(old_size - 1, size - 1)
    old_value = value = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise _refuted("the consistency proof is too long", f"{len(proof)} hashes", "fewer")
        if at & 1 or at == last:
            old_value, value = node_hash(sibling, old_value), node_hash(sibling, value)
            at, last = _climb(at, last)
        else:
            value = node_hash(value, sibling)
        at, last = at >> 1, last >> 1
    if last != 0:
        raise _refuted("the consistency proof is too short", f"{len(proof)} hashes", "more")
    if old_value != old_root:
        raise _refuted("the consistency proof leads to another old root", old_value.hex(), old_root.hex())
    if value != root:
        raise _refuted("the consistency proof leads to another new root", value.hex(), root.hex())


def _split(width: int) -> int:
    """The largest power of two strictly smaller than `width` (at least 2)."""
    return 1 << ((width - 1).bit_length() - 1)


def _climb(at: int, last: int) -> tuple[int, int]:
    """Skip the levels where a right edge has no sibling."""
    while at and not at & 1:
        at, last = at >> 1, last >> 1
    return at, last


def _climb_odd(at: int, last: int) -> tuple[int, int]:
    """Skip the levels that the old tree completes."""
    while at & 1:
        at, last = at >> 1, last >> 1
    return at, last


def _require_hashes(*hashes: bytes) -> None:
    for value in hashes:
        if len(value) != _HASH_BYTES:
            raise _refuted("a hash has the wrong length", f"{len(value)} bytes", "32 bytes")


def _refuted(what: str, got: str, expected: str) -> IntegrityError:
    return IntegrityError(what, got=got, expected=expected, mend="get the proof, the record and the checkpoint again")
