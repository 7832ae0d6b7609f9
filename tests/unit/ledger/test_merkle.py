"""The tree against the RFC 6962 vectors, a naive recursive tree, and everything a verifier must refuse."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.errors import InputError, IntegrityError
from pilotage.ledger.merkle import (
    EMPTY_ROOT,
    Frontier,
    HashReader,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    subtree_root,
    verify_consistency,
    verify_inclusion,
)

VECTORS = json.loads((Path(__file__).parents[2] / "data" / "rfc6962_vectors.json").read_text())
LEAVES = [bytes.fromhex(leaf) for leaf in VECTORS["leaves_hex"]]
HASHES = [bytes.fromhex(value) for value in VECTORS["leaf_hashes"]]
ROOTS = [bytes.fromhex(value) for value in VECTORS["roots_by_size"]]


def naive_root(hashes: Sequence[bytes]) -> bytes:
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return sha256(b"\x01" + naive_root(hashes[:split]) + naive_root(hashes[split:])).digest()


def reader(hashes: Sequence[bytes]) -> HashReader:
    def read(level: int, index: int) -> bytes:
        part = hashes[index << level : (index + 1) << level]
        assert len(part) == 1 << level, "only perfect subtrees may be read"
        return naive_root(part)

    return read


def made(count: int) -> list[bytes]:
    return [leaf_hash(str(n).encode()) for n in range(count)]


def test_leaf_hashes_and_roots_are_those_of_the_vectors() -> None:
    assert [leaf_hash(leaf) for leaf in LEAVES] == HASHES
    assert ROOTS[0] == EMPTY_ROOT == Frontier().root()
    for size, root in enumerate(ROOTS):
        assert Frontier().append(HASHES[:size]).root() == root
        assert subtree_root(0, size, reader(HASHES)) == root
    assert ROOTS[8].hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def test_the_extra_hashes_of_the_vectors() -> None:
    extra = VECTORS["extra"]
    assert leaf_hash(b"L123456").hex() == extra["leaf_L123456"]
    assert node_hash(b"N123", b"N456").hex() == extra["node_N123_N456"]
    assert leaf_hash(b"").hex() == extra["empty_leaf"]


@pytest.mark.parametrize("case", VECTORS["inclusion"], ids=lambda case: f"{case['index']}-of-{case['size']}")
def test_inclusion_vectors(case: dict[str, object]) -> None:
    index, size = int(str(case["index"])), int(str(case["size"]))
    proof = [bytes.fromhex(value) for value in case["proof"]]  # type: ignore[attr-defined]
    assert inclusion_proof(index, size, reader(HASHES)) == proof
    verify_inclusion(HASHES[index], index, size, proof, ROOTS[size])


@pytest.mark.parametrize("case", VECTORS["consistency"], ids=lambda case: f"{case['size1']}-to-{case['size2']}")
def test_consistency_vectors(case: dict[str, object]) -> None:
    old, new = int(str(case["size1"])), int(str(case["size2"]))
    proof = [bytes.fromhex(value) for value in case["proof"]]  # type: ignore[attr-defined]
    assert consistency_proof(old, new, reader(HASHES)) == proof
    verify_consistency(old, new, ROOTS[old], ROOTS[new], proof)


class TestWhatMustBeRefused:
    """One test for each line of the vectors' `must_reject`."""

    def test_the_list_is_the_one_tested_here(self) -> None:
        assert [line.split()[0] for line in VECTORS["must_reject"]] == ["size1", "any", "index", "trailing"]

    @pytest.mark.parametrize("proof", [[], [HASHES[0]]])
    def test_consistency_from_an_empty_tree(self, proof: list[bytes]) -> None:
        with pytest.raises(IntegrityError):
            verify_consistency(0, 8, EMPTY_ROOT, ROOTS[8], proof)
        with pytest.raises(IntegrityError):
            verify_consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])
        with pytest.raises(InputError):
            consistency_proof(0, 8, reader(HASHES))

    def test_hashes_that_do_not_have_32_bytes(self) -> None:
        with pytest.raises(IntegrityError):
            verify_inclusion(b"", 0, 1, [], b"")
        with pytest.raises(IntegrityError):
            verify_consistency(1, 1, b"", b"", [])
        with pytest.raises(IntegrityError):
            verify_inclusion(HASHES[0], 0, 2, [HASHES[1] + b"\0"], ROOTS[2])
        # Without a check of lengths, the bytes of the two children may be cut elsewhere and hash alike.
        with pytest.raises(IntegrityError):
            verify_inclusion(HASHES[0] + HASHES[1][:1], 0, 2, [HASHES[1][1:]], ROOTS[2])

    @pytest.mark.parametrize(("index", "size"), [(1, 1), (8, 8), (9, 8), (0, 0), (-1, 8)])
    def test_an_index_outside_the_tree(self, index: int, size: int) -> None:
        with pytest.raises(IntegrityError):
            verify_inclusion(HASHES[0], index, size, [], HASHES[0])
        with pytest.raises(InputError):
            inclusion_proof(index, size, reader(HASHES))

    @pytest.mark.parametrize("case", VECTORS["inclusion"], ids=lambda case: f"{case['index']}-of-{case['size']}")
    def test_inclusion_proofs_with_a_hash_too_many_or_too_few(self, case: dict[str, object]) -> None:
        index, size = int(str(case["index"])), int(str(case["size"]))
        proof = [bytes.fromhex(value) for value in case["proof"]]  # type: ignore[attr-defined]
        for wrong in ([*proof, HASHES[0]], [HASHES[0], *proof], [*proof, EMPTY_ROOT], *([proof[:-1]] if proof else [])):
            with pytest.raises(IntegrityError):
                verify_inclusion(HASHES[index], index, size, wrong, ROOTS[size])

    @pytest.mark.parametrize("case", VECTORS["consistency"], ids=lambda case: f"{case['size1']}-to-{case['size2']}")
    def test_consistency_proofs_with_a_hash_too_many_or_too_few(self, case: dict[str, object]) -> None:
        old, new = int(str(case["size1"])), int(str(case["size2"]))
        proof = [bytes.fromhex(value) for value in case["proof"]]  # type: ignore[attr-defined]
        for wrong in ([*proof, HASHES[0]], [HASHES[0], *proof], *([proof[:-1], []] if proof else [])):
            with pytest.raises(IntegrityError):
                verify_consistency(old, new, ROOTS[old], ROOTS[new], wrong)

    def test_a_consistency_proof_backwards(self) -> None:
        with pytest.raises(IntegrityError):
            verify_consistency(8, 4, ROOTS[8], ROOTS[4], [])
        with pytest.raises(InputError):
            consistency_proof(8, 4, reader(HASHES))


@given(st.integers(0, 300), st.lists(st.integers(0, 80), max_size=6))
def test_a_tree_that_grew_in_steps_has_the_root_of_the_whole(start: int, steps: list[int]) -> None:
    hashes = made(start + sum(steps))
    frontier, size = Frontier().append(hashes[:start]), start
    for step in steps:
        frontier = Frontier.from_bytes(frontier.to_bytes()).append(hashes[size : size + step])
        size += step
    assert frontier.size == size
    assert frontier.root() == naive_root(hashes)


@given(st.data())
def test_every_inclusion_proof_holds_for_its_leaf_alone(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 200))
    index = data.draw(st.integers(0, size - 1))
    hashes = made(size)
    root = naive_root(hashes)
    proof = inclusion_proof(index, size, reader(hashes))
    verify_inclusion(hashes[index], index, size, proof, root)
    other = data.draw(st.integers(0, size - 1).filter(lambda n: n != index) if size > 1 else st.just(size))
    with pytest.raises(IntegrityError):
        verify_inclusion(hashes[index], other, size, proof, root)
    with pytest.raises(IntegrityError):
        verify_inclusion(leaf_hash(b"another"), index, size, proof, root)


@given(st.data())
def test_every_consistency_proof_holds_and_no_flipped_bit_of_it(data: st.DataObject) -> None:
    new = data.draw(st.integers(1, 200))
    old = data.draw(st.integers(1, new))
    hashes = made(new)
    old_root, root = naive_root(hashes[:old]), naive_root(hashes)
    proof = consistency_proof(old, new, reader(hashes))
    verify_consistency(old, new, old_root, root, proof)
    parts = [old_root, root, *proof]
    changed = data.draw(st.integers(0, len(parts) - 1))
    at = data.draw(st.integers(0, 31))
    parts[changed] = parts[changed][:at] + bytes([parts[changed][at] ^ 1]) + parts[changed][at + 1 :]
    with pytest.raises(IntegrityError):
        verify_consistency(old, new, parts[0], parts[1], parts[2:])


@pytest.mark.parametrize("content", [b"", bytes(7), b"\0\0\0\0\0\0\0\3" + bytes(32), b"\0\0\0\0\0\0\0\1" + bytes(33)])
def test_a_frontier_that_does_not_fit_its_size_is_refused(content: bytes) -> None:
    with pytest.raises(IntegrityError):
        Frontier.from_bytes(content)
