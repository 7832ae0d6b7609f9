"""Proofs in trees of thousands of leaves against a naive tree, and every way to spoil them at random."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.errors import IntegrityError
from pilotage.ledger.merkle import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)

MOST = 5_000
LEAVES = [leaf_hash(str(n).encode()) for n in range(MOST)]


@cache
def naive(start: int, end: int) -> bytes:
    """The root of leaves [start, end) by the definition of RFC 6962, 2.1."""
    if end - start == 1:
        return LEAVES[start]
    split = 1
    while split * 2 < end - start:
        split *= 2
    return sha256(b"\x01" + naive(start, start + split) + naive(start + split, end)).digest()


def read(level: int, index: int) -> bytes:
    return naive(index << level, (index + 1) << level)


def naive_path(index: int, start: int, end: int) -> list[bytes]:
    """PATH(m, D[n]) of RFC 6962, 2.1.1."""
    if end - start == 1:
        return []
    split = start + (1 << ((end - start - 1).bit_length() - 1))
    if index < split:
        return [*naive_path(index, start, split), naive(split, end)]
    return [*naive_path(index, split, end), naive(start, split)]


def naive_consistency(old: int, start: int, end: int, whole: bool) -> list[bytes]:
    """SUBPROOF(m, D[n], b) of RFC 6962, 2.1.2; `old` counts from `start`."""
    if old == end - start:
        return [] if whole else [naive(start, end)]
    split = 1 << ((end - start - 1).bit_length() - 1)
    if old <= split:
        return [*naive_consistency(old, start, start + split, whole), naive(start + split, end)]
    return [*naive_consistency(old - split, start + split, end, False), naive(start, start + split)]


def spoiled(data: st.DataObject, proof: Sequence[bytes]) -> list[bytes]:
    """The proof with hashes dropped, doubled, exchanged, turned round, shortened, lengthened or changed."""
    made, at = list(proof), data.draw(st.integers(0, max(0, len(proof) - 1)))
    match data.draw(st.integers(0, 7 if proof else 0)):
        case 0:
            made.insert(data.draw(st.integers(0, len(proof))), data.draw(st.sampled_from(LEAVES[:50])))
        case 1:
            del made[at]
        case 2:
            made.insert(at, made[at])
        case 3:
            other = data.draw(st.integers(0, len(proof) - 1))
            made[at], made[other] = made[other], made[at]
        case 4:
            made.reverse()
        case 5:
            made[at] = made[at][: data.draw(st.integers(0, 31))]
        case 6:
            made[at] += data.draw(st.binary(min_size=1, max_size=32))
        case _:
            bit = data.draw(st.integers(0, 255))
            made[at] = (int.from_bytes(made[at], "big") ^ (1 << bit)).to_bytes(32, "big")
    return made


sizes = st.integers(1, MOST)


@settings(max_examples=150, deadline=None)
@given(sizes, st.data())
def test_inclusion_in_large_trees(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    root, proof = naive(0, size), inclusion_proof(index, size, read)
    assert proof == naive_path(index, 0, size)
    verify_inclusion(LEAVES[index], index, size, proof, root)
    wrong = spoiled(data, proof)
    if wrong != proof:
        with pytest.raises(IntegrityError):
            verify_inclusion(LEAVES[index], index, size, wrong, root)
    for other in {index ^ 1, index + size, -1, size, data.draw(st.integers(0, size))} - {index}:
        with pytest.raises(IntegrityError):
            verify_inclusion(LEAVES[index], other, size, proof, root)
    # A subtree's root in the place of a leaf would be a leaf of a smaller tree: the prefixes keep them apart.
    if proof:
        with pytest.raises(IntegrityError):
            verify_inclusion(sha256(b"\x01" + LEAVES[index] + proof[0]).digest(), index >> 1, size, proof[1:], root)


@settings(max_examples=150, deadline=None)
@given(sizes, st.data())
def test_consistency_of_large_trees(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    old_root, root, proof = naive(0, old), naive(0, new), consistency_proof(old, new, read)
    assert proof == naive_consistency(old, 0, new, True)
    verify_consistency(old, new, old_root, root, proof)
    wrong = spoiled(data, proof)
    if wrong != proof:
        with pytest.raises(IntegrityError):
            verify_consistency(old, new, old_root, root, wrong)
    for first, second in ((0, new), (-1, new), (new + 1, new), (new, old)):
        if (first, second) != (old, new) and not (first == second == old):
            with pytest.raises(IntegrityError):
                verify_consistency(first, second, old_root, root, proof)
    with pytest.raises(IntegrityError):
        verify_consistency(old, new, leaf_hash(b"another past"), root, proof)
    with pytest.raises(IntegrityError):
        verify_consistency(old, new, old_root, leaf_hash(b"another present"), proof)


@settings(max_examples=60, deadline=None)
@given(sizes, st.data())
def test_a_rewritten_past_has_no_consistency_proof(new: int, data: st.DataObject) -> None:
    """Whatever proof the rewriter makes of the tree that it has."""
    old = data.draw(st.integers(1, new))
    changed = list(LEAVES[:new])
    changed[data.draw(st.integers(0, old - 1))] = leaf_hash(b"forged")
    forged = Frontier().append(changed).root()
    with pytest.raises(IntegrityError):
        verify_consistency(old, new, naive(0, old), forged, consistency_proof(old, new, read))
