"""What a witness answers to a log that brings its checkpoints: each status, and never two histories."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pilotage.ledger.cosignatures import find_cosignature
from pilotage.ledger.merkle import consistency_proof
from pilotage.ledger.witness import HistoryAlarm
from pilotage.ledger.witness_folder import WitnessFolder
from pilotage.ledger.witness_service import MOST_BYTES, Reply, WitnessService, parse_submission
from tests.ledger_world import in_killed_process
from tests.unit.ledger.test_witness import KEYS, STRANGER, entries, in_memory, sign

NOW = 1_800_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[WitnessFolder]:
    made = WitnessFolder(tmp_path / "state", "w", KEYS)
    yield made
    made.close()


@pytest.fixture
def alarms() -> list[HistoryAlarm]:
    return []


@pytest.fixture
def service(folder: WitnessFolder, alarms: list[HistoryAlarm]) -> WitnessService:
    return WitnessService(folder, KEYS, lambda: NOW, alarms.append)


def body(old: int, leaves: Sequence[bytes], note: str = "") -> bytes:
    """What an honest log sends."""
    proof = consistency_proof(old, len(leaves), in_memory(leaves)(len(leaves)).read) if 0 < old < len(leaves) else []
    lines = [f"old {old}", *(base64.b64encode(value).decode() for value in proof)]
    return ("\n".join(lines) + "\n\n" + (note or sign(leaves))).encode()


def test_a_log_that_grows_is_cosigned_each_time(service: WitnessService, folder: WitnessFolder) -> None:
    for old, size in ((0, 3), (3, 700), (700, 700), (700, 701)):
        note = sign(entries(size))
        reply = service.add_checkpoint(body(old, entries(size)))
        assert reply.status == 200, reply
        found = find_cosignature(note + reply.body, folder.key.vkey())
        assert found is not None and found.at == NOW
        assert folder.held is not None and folder.held.size == size


def test_the_size_that_is_known_is_told_and_leads_on(service: WitnessService) -> None:
    assert service.add_checkpoint(body(5, entries(9))) == Reply(409, "0\n", "text/x.tlog.size")
    assert service.add_checkpoint(body(0, entries(9))).status == 200
    assert service.add_checkpoint(body(0, entries(20))) == Reply(409, "9\n", "text/x.tlog.size")
    assert service.add_checkpoint(body(4, entries(5))) == Reply(409, "9\n", "text/x.tlog.size")
    assert service.add_checkpoint(body(9, entries(20))).status == 200


def test_what_does_not_belong_is_refused_and_moves_nothing(service: WitnessService, folder: WitnessFolder) -> None:
    assert service.add_checkpoint(body(0, entries(9))).status == 200
    before, held = folder.cosigned, folder.held
    unsigned, stranger = sign(entries(12), STRANGER), sign(entries(12), origin="example.org/other")
    forged = body(9, [*entries(5), b"x", *entries(30)[6:]])
    for status, content in {
        400: b"old 9\nnot base64\n\n" + sign(entries(12)).encode(),
        403: body(9, entries(12), unsigned),
        404: body(9, entries(12), stranger),
        422: forged,
    }.items():
        assert service.add_checkpoint(content).status == status, content
    assert service.add_checkpoint(body(3, entries(12), unsigned)).status == 403, "a stranger is told no size"
    assert service.add_checkpoint(body(30, entries(12))).status == 400
    assert service.add_checkpoint(body(9, entries(12)).replace(b"\n\n", b"\n" + b"A" * 44 + b"\n\n", 1)).status == 400
    assert (folder.cosigned, folder.held) == (before, held)


def test_a_proof_of_nothing_must_be_empty(service: WitnessService) -> None:
    one = base64.b64encode(bytes(32)) + b"\n"
    assert service.add_checkpoint(b"old 0\n" + one + b"\n" + sign(entries(9)).encode()).status == 422
    assert service.add_checkpoint(b"old 0\n\n" + sign([]).encode()).status == 200


@pytest.mark.parametrize(
    "content",
    [b"", b"old 1", b"old 01\n\nx", b"old -1\n\nx", b"old 1\n" + b"A\n" * 3 + b"\nx", b"\xff\n\n", b"new 1\n\nx"],
)
def test_a_submission_has_one_form(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_submission(content)


def test_sixty_three_hashes_fit_and_no_more() -> None:
    line = base64.b64encode(bytes(32)) + b"\n"
    content = b"old 1\n" + line * 63 + b"\n" + sign(entries(9)).encode()
    assert len(content) < MOST_BYTES
    assert len(parse_submission(content).proof) == 63
    with pytest.raises(ValueError, match="63"):
        parse_submission(b"old 1\n" + line * 64 + b"\n" + sign(entries(9)).encode())


def test_a_fork_is_told_once_and_never_cosigned(service: WitnessService, alarms: list[HistoryAlarm]) -> None:
    assert service.add_checkpoint(body(0, entries(9))).status == 200
    fork = [*entries(8), b"another"]
    for _ in range(2):
        assert service.add_checkpoint(body(9, fork)).status == 409
    assert [alarm.code for alarm in alarms] == ["log_forked"]
    assert alarms[0].evidence.keys() == {"shown-checkpoint.txt", "held-checkpoint.txt"}


def test_a_witness_killed_before_its_cosignature_left_cosigns_no_other_tree(tmp_path: Path) -> None:
    state, leaves, fork = tmp_path / "killed", entries(9), [*entries(8), b"another"]

    def cosign_and_die() -> None:
        folder = WitnessFolder(state, "w", KEYS)
        folder.cosign = lambda at_s: os._exit(9)  # type: ignore[method-assign]
        WitnessService(folder, KEYS, lambda: NOW).add_checkpoint(body(0, leaves))

    assert in_killed_process(cosign_and_die) == 9
    folder = WitnessFolder(state, "w", KEYS)
    service = WitnessService(folder, KEYS, lambda: NOW)
    assert service.add_checkpoint(body(0, fork)) == Reply(409, "9\n", "text/x.tlog.size")
    assert service.add_checkpoint(body(9, fork)).status == 409
    assert folder.cosigned == ""
    assert service.add_checkpoint(body(9, leaves)).status == 200
    folder.close()
