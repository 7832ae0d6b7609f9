"""A witness against logs that grow, shrink, fork, rewrite and lie; the log's tiles are the real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.errors import Conflict, InputError, IntegrityError, Unavailable
from pilotage.ledger.cosignatures import find_cosignature
from pilotage.ledger.following import Follower
from pilotage.ledger.log_client import LogClient
from pilotage.ledger.merkle import Frontier, consistency_proof, leaf_hash, subtree_root
from pilotage.ledger.notes import Signer, parse_checkpoint
from pilotage.ledger.signing import KeyPeriod
from pilotage.ledger.tiles import TileReader, publish, published_tile
from pilotage.ledger.witness import Held, HistoryAlarm, LogTiles, check_next, check_proof
from pilotage.ledger.witness_folder import WitnessFolder

ORIGIN = "example.org/log"
SIGNER = Signer(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(32)))
STRANGER = Signer(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32))
VKEY = SIGNER.vkey()
KEYS = [KeyPeriod(vkey=VKEY)]


def entries(count: int, tag: str = "") -> list[bytes]:
    return [f"{tag}{n}".encode() for n in range(count)]


def sign(leaves: Sequence[bytes], signer: Signer = SIGNER, origin: str = ORIGIN) -> str:
    return signer.sign_checkpoint(origin, len(leaves), Frontier().append(map(leaf_hash, leaves)).root())


def in_memory(leaves: Sequence[bytes]) -> Callable[[int], LogTiles]:
    """Tiles of a log as its server would cut them, from a plain list of leaves."""
    hashes = [leaf_hash(leaf) for leaf in leaves]

    def read(level: int, index: int) -> bytes:
        if level == 0:
            return hashes[index]
        return Frontier().append(hashes[index << level : (index + 1) << level]).root()

    def fetch(level: int, number: int, width: int) -> bytes:
        return b"".join(read(8 * level, number * 256 + at) for at in range(width))

    return lambda size: LogTiles(size, fetch)


def held(leaves: Sequence[bytes]) -> Held:
    return check_next(None, sign(leaves), KEYS, in_memory(leaves)).held


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 1500), st.integers(0, 1500))
def test_a_log_that_grows_is_followed(old: int, more: int) -> None:
    leaves = entries(old + more)
    found = check_next(held(leaves[:old]), sign(leaves), KEYS, in_memory(leaves))
    assert (found.held.size, found.held.root) == (old + more, Frontier().append(map(leaf_hash, leaves)).root())
    assert bool(found.proof) == (more > 0)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 1200), st.integers(1, 300), st.data())
def test_one_changed_entry_of_the_past_is_a_rewritten_history(old: int, more: int, data: st.DataObject) -> None:
    leaves = entries(old + more)
    changed = list(leaves)
    changed[data.draw(st.integers(0, old - 1))] = b"another"
    with pytest.raises(HistoryAlarm, match="rewritten") as caught:
        check_next(held(leaves[:old]), sign(changed), KEYS, in_memory(changed))
    assert caught.value.code == "log_rewritten"
    assert {"held-checkpoint.txt", "shown-checkpoint.txt", "consistency-proof.txt"} <= set(caught.value.evidence)
    assert parse_checkpoint(caught.value.evidence["shown-checkpoint.txt"], [VKEY]).size == old + more


def alarm_of(before: Held | None, shown: str, leaves: Sequence[bytes]) -> str:
    with pytest.raises(HistoryAlarm) as caught:
        check_next(before, shown, KEYS, in_memory(leaves))
    return caught.value.code


def test_each_way_to_break_history_has_its_name() -> None:
    leaves = entries(300)
    before = held(leaves[:200])
    assert alarm_of(before, sign(leaves[:199]), leaves) == "log_rolled_back"
    assert alarm_of(before, sign(entries(200, "x")), leaves) == "log_forked"
    assert alarm_of(before, sign(leaves, STRANGER), leaves) == "log_unsigned"
    assert alarm_of(before, sign(leaves, origin="example.org/other"), leaves) == "log_unsigned"
    assert alarm_of(before, sign(leaves), [*leaves[:250], b"x", *leaves[251:]]) == "log_unproven"
    assert alarm_of(None, sign(leaves), entries(300, "x")) == "log_unproven"
    assert alarm_of(before, SIGNER.sign_checkpoint(ORIGIN, 0, Frontier().root()), leaves) == "log_rolled_back"


def test_a_page_that_is_no_checkpoint_is_no_alarm() -> None:
    for text in ("<html>a proxy says no</html>", ""):
        with pytest.raises(IntegrityError) as caught:
            check_next(None, text, KEYS, in_memory([]))
        assert not isinstance(caught.value, HistoryAlarm)


def test_tiles_of_a_wrong_length_are_refused() -> None:
    tiles = LogTiles(3, lambda level, number, width: bytes(32 * width + 1))
    with pytest.raises(IntegrityError, match="wrong length"):
        tiles.read(0, 0)


def test_a_proof_that_the_log_brings_is_checked_too() -> None:
    leaves = entries(300)
    before, read = held(leaves[:200]), in_memory(leaves)(300).read
    proof = consistency_proof(200, 300, read)
    assert check_proof(before, sign(leaves), KEYS, proof).held.size == 300
    with pytest.raises(HistoryAlarm, match="rewritten"):
        check_proof(before, sign(leaves), KEYS, proof[:-1])
    with pytest.raises(HistoryAlarm, match="same size"):
        check_proof(before, sign(entries(200, "x")), KEYS, [])
    with pytest.raises(IntegrityError):
        check_proof(None, sign(leaves), KEYS, proof)


class FolderLog:
    """A log whose published folder is read directly; it can be told to be away, or to refuse cosignatures."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.sent, self.away, self.refuses = folder, list[str](), False, False

    def publish(self, leaves: Sequence[bytes], old: int = 0) -> None:
        publish(self.folder, old, leaves[old:], len(leaves), sign(leaves))

    def checkpoint(self) -> str:
        if self.away:
            raise Unavailable("away", mend="wait")
        return (self.folder / "checkpoint").read_text()

    def tiles(self, size: int) -> LogTiles:
        return LogTiles(size, lambda level, number, width: published_tile(self.folder, level, number, width, size))

    def send(self, _vkey: str, note: str) -> None:
        if self.refuses:
            raise Unavailable("not now", got="503", mend="wait")
        self.sent.append(note)


@pytest.fixture
def log(tmp_path: Path) -> FolderLog:
    made = FolderLog(tmp_path / "log")
    made.publish(entries(300))
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[WitnessFolder]:
    made = WitnessFolder(tmp_path / "state", "w", KEYS)
    yield made
    made.close()


def follower(log: FolderLog, folder: WitnessFolder) -> Follower:
    return Follower(log, folder, KEYS)  # type: ignore[arg-type]


def test_a_round_verifies_keeps_cosigns_and_sends(log: FolderLog, folder: WitnessFolder) -> None:
    follow = follower(log, folder)
    first = follow.round(1_000)
    assert (first.grown, first.cosigned, first.unsent) == (300, True, "")
    assert find_cosignature(log.sent[0], folder.key.vkey()).at == 1_000  # type: ignore[union-attr]
    assert log.sent == [folder.cosigned] and parse_checkpoint(folder.cosigned, [VKEY]).size == 300
    assert not follow.round(1_010).cosigned, "nothing new"
    log.publish(entries(700), 300)
    grown = follow.round(1_020)
    assert (grown.grown, grown.proof_hashes > 0) == (400, True)
    assert follow.round(1_020 + 600).cosigned, "an old cosignature is renewed"


def test_what_was_kept_survives_a_restart_and_catches_a_rollback(log: FolderLog, folder: WitnessFolder) -> None:
    backup = log.checkpoint()
    log.publish(entries(400), 300)
    follower(log, folder).round(1_000)
    folder.close()
    (log.folder / "checkpoint").write_text(backup)
    again = WitnessFolder(folder.folder, "w", KEYS)
    try:
        with pytest.raises(HistoryAlarm, match="fewer entries") as caught:
            follower(log, again).round(1_010)
        evidence = again.keep_evidence(caught.value, 1_010)
        assert (evidence / "shown-checkpoint.txt").read_text() == backup
        assert parse_checkpoint((evidence / "held-checkpoint.txt").read_text(), [VKEY]).size == 400
        assert msgspec.json.decode((evidence / "finding.json").read_bytes())["code"] == "log_rolled_back"
        assert find_cosignature((evidence / "cosigned-checkpoint.txt").read_text(), again.key.vkey()) is not None
        assert again.held is not None and again.held.size == 400, "an alarm moves nothing"
    finally:
        again.close()


def test_nothing_is_cosigned_that_was_not_stored_before(
    log: FolderLog, folder: WitnessFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(_held: Held) -> None:
        raise OSError("no space")

    monkeypatch.setattr(folder, "keep", full_disk)
    with pytest.raises(OSError, match="no space"):
        follower(log, folder).round(1_000)
    assert folder.cosigned == "" and log.sent == []


def test_a_cosignature_that_the_log_did_not_take_is_sent_again(log: FolderLog, folder: WitnessFolder) -> None:
    follow, log.refuses = follower(log, folder), True
    assert "503" in follow.round(1_000).unsent
    log.refuses = False
    assert follow.round(1_010).unsent == "" and len(log.sent) == 1


def test_a_log_that_is_away_changes_nothing(log: FolderLog, folder: WitnessFolder) -> None:
    log.away = True
    with pytest.raises(Unavailable):
        follower(log, folder).round(1_000)
    assert folder.held is None and not (folder.folder / "evidence").exists()


def test_the_folder_is_one_process_s_and_one_log_s(log: FolderLog, folder: WitnessFolder) -> None:
    follower(log, folder).round(1_000)
    with pytest.raises(Conflict, match="another process"):
        WitnessFolder(folder.folder, "w", KEYS)
    folder.close()
    with pytest.raises(InputError, match="not a state of this log"):
        WitnessFolder(folder.folder, "w", [KeyPeriod(vkey=STRANGER.vkey())])
    (folder.folder / "state.json").unlink()
    with pytest.raises(InputError, match="is gone"):
        WitnessFolder(folder.folder, "w", KEYS)


def test_the_tiles_of_a_server_are_the_tree_s_at_every_size(log: FolderLog) -> None:
    for size in (1, 2, 255, 256, 257, 300):
        tiles = LogTiles(
            size, lambda level, number, width, size=size: published_tile(log.folder, level, number, width, 300)
        )
        assert subtree_root(0, size, tiles.read) == subtree_root(0, size, TileReader(log.folder, 300).read)


@pytest.mark.parametrize(
    "url", ["ftp://host/log", "host:8701/log", "http://", "file:///etc/passwd", "http://h/log?x=1"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="address of a log"):
        LogClient(url)
