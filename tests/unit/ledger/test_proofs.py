"""Proof files: made from tiles, checked offline by the package and by the stand-alone script alike."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from pilotage.errors import InputError, IntegrityError, PilotageError
from pilotage.ledger.merkle import Frontier, leaf_hash
from pilotage.ledger.notes import Signer
from pilotage.ledger.proofs import make_proof, parse_proof, verify_proof
from pilotage.ledger.tiles import publish, read_checkpoint

SCRIPT = Path(__file__).parents[3] / "docs" / "verify_proof.py"
SIGNER = Signer("example.org/log", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
STRANGER = Signer("example.org/log", Ed25519PrivateKey.from_private_bytes(bytes(32)))
ENTRIES = [b"record %d" % n for n in range(600)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log")
    old = 0
    for new in (1, 7, 256, 600):
        frontier = Frontier().append(map(leaf_hash, ENTRIES[:new]))
        publish(path, old, ENTRIES[old:new], new, SIGNER.sign_checkpoint("example.org/log", new, frontier.root()))
        old = new
    return path


@pytest.fixture(scope="module")
def proof(folder: Path) -> str:
    return make_proof(folder, 300, read_checkpoint(folder))


@pytest.fixture(scope="module")
def script() -> ModuleType:
    module = ModuleType("verify_proof")
    exec(compile(SCRIPT.read_text(), str(SCRIPT), "exec"), module.__dict__)
    return module


Refuses = Callable[[str, bytes], None]


@pytest.fixture(scope="module")
def refused(script: ModuleType) -> Refuses:
    """Both verifiers refuse, each in its own way and never by crashing."""

    def check(text: str, entry: bytes) -> None:
        with pytest.raises((InputError, IntegrityError)):
            verify_proof(text, entry, SIGNER.vkey())
        with pytest.raises(script.NotProven):
            script.verify(text, entry, script.read_key(SIGNER.vkey()))

    return check


def test_the_file_has_the_form_of_the_specification(folder: Path, proof: str) -> None:
    lines = proof.split("\n")
    assert lines[:2] == ["c2sp.org/tlog-proof@v1", "index 300"]
    blank = lines.index("")
    assert [len(base64.b64decode(line)) for line in lines[2:blank]] == [32] * (blank - 2)
    assert "\n".join(lines[blank + 1 :]) == read_checkpoint(folder)


@pytest.mark.parametrize("index", [0, 1, 255, 256, 511, 512, 598, 599])
def test_every_entry_is_proven_by_both(folder: Path, script: ModuleType, index: int, refused: Refuses) -> None:
    text = make_proof(folder, index, read_checkpoint(folder))
    assert verify_proof(text, ENTRIES[index], SIGNER.vkey()).size == 600
    assert script.verify(text, ENTRIES[index], script.read_key(SIGNER.vkey())) == (index, "example.org/log", 600)
    refused(text, ENTRIES[index - 1])
    refused(text, ENTRIES[index] + b"\n")


def test_a_proof_against_an_older_checkpoint(folder: Path) -> None:
    older = SIGNER.sign_checkpoint("example.org/log", 7, Frontier().append(map(leaf_hash, ENTRIES[:7])).root())
    assert verify_proof(make_proof(folder, 6, older), ENTRIES[6], SIGNER.vkey()).size == 7
    with pytest.raises(InputError):
        make_proof(folder, 7, older)


def test_an_extra_line_is_passed_over(proof: str, script: ModuleType) -> None:
    extra = proof.replace("\nindex", "\nextra YWJj\nindex")
    assert verify_proof(extra, ENTRIES[300], SIGNER.vkey()).size == 600
    assert script.verify(extra, ENTRIES[300], script.read_key(SIGNER.vkey()))[0] == 300


def changes(text: str) -> dict[str, str]:
    lines = text.split("\n")
    return {
        "garbage at the end": text + "x",
        "a line at the end": text + "garbage\n",
        "a blank line at the end": text + "\n",
        "a hash too many": "\n".join([*lines[:3], lines[2], *lines[3:]]),
        "a hash too few": "\n".join([*lines[:2], *lines[3:]]),
        "a hash of 31 bytes": text.replace(lines[2], base64.b64encode(bytes(31)).decode()),
        "a hash of 33 bytes": text.replace(lines[2], base64.b64encode(bytes(33)).decode()),
        "another index": text.replace("index 300", "index 301"),
        "an index at the size": text.replace("index 300", "index 600"),
        "an index beyond the size": text.replace("index 300", "index 99999"),
        "an index with a zero before": text.replace("index 300", "index 0300"),
        "an index with a sign": text.replace("index 300", "index +300"),
        "an endless index": text.replace("index 300", "index " + "9" * 10_000),
        "no index": text.replace("index 300\n", ""),
        "another first line": text.replace("@v1", "@v2"),
        "carriage returns": text.replace("\n", "\r\n"),
        "a space after a hash": text.replace(lines[2], lines[2] + " "),
        "two extra lines": text.replace("\nindex", "\nextra YWJj\nextra YWJj\nindex"),
        "the index line twice": text.replace("index 300\n", "index 300\nindex 300\n"),
        "the first line twice": lines[0] + "\n" + text,
        "the origin twice": text.replace("\n\n", "\n\n" + text.split("\n\n")[1].split("\n")[0] + "\n", 1),
        "the blank line twice": text.replace("\n\n", "\n\n\n", 1),
        "other bits behind a hash": text.replace(lines[2], lines[2][:-2] + chr(ord(lines[2][-2]) + 1) + "="),
        "no padding": text.replace(lines[2], lines[2].rstrip("=")),
        "URL-safe base64": text.replace(lines[2], lines[2][:4] + "-_" + lines[2][6:]),
        "a hash in upper-case hex": text.replace(lines[2], "AB" * 32),
        "a tab for a blank": text.replace("index 300", "index\t300"),
        "a byte order mark": "\ufeff" + text,
        "nothing": "",
        "only a head": text.split("\n\n")[0],
    }


@pytest.mark.parametrize("name", changes("c\nindex 300\nhash\n\n"))
def test_changed_files_are_refused(proof: str, refused: Refuses, name: str) -> None:
    changed = changes(proof)[name]
    assert changed != proof
    refused(changed, ENTRIES[300])


def test_no_byte_of_a_proof_can_be_changed(proof: str, refused: Refuses) -> None:
    for at in range(len(proof.encode())):
        for change in (1, 2, 32, 128):
            content = bytearray(proof.encode())
            content[at] ^= change
            try:
                text = content.decode()
            except UnicodeDecodeError:
                continue
            refused(text, ENTRIES[300])


def test_another_key_of_the_same_name_is_refused(proof: str, script: ModuleType) -> None:
    with pytest.raises(IntegrityError):
        verify_proof(proof, ENTRIES[300], STRANGER.vkey())
    with pytest.raises(script.NotProven, match="not signed"):
        script.verify(proof, ENTRIES[300], script.read_key(STRANGER.vkey()))


def test_a_key_written_otherwise_is_refused(proof: str, script: ModuleType) -> None:
    name, key_id, key = SIGNER.vkey().split("+", 2)
    assert key_id.upper() != key_id
    for written in (f"{name}+{key_id.upper()}+{key}", f"{name}+{key_id}+{key}=", f"{name}+{key_id}+{key[:-1]}"):
        with pytest.raises(InputError):
            verify_proof(proof, ENTRIES[300], written)
        with pytest.raises(script.NotProven):
            script.read_key(written)


def test_a_checkpoint_of_another_origin_is_refused(folder: Path, refused: Refuses) -> None:
    root = Frontier().append(map(leaf_hash, ENTRIES)).root()
    refused(make_proof(folder, 3, SIGNER.sign_checkpoint("example.org/other", 600, root)), ENTRIES[3])


def test_random_texts_never_crash_the_parser() -> None:
    @given(st.text(max_size=80))
    def check(text: str) -> None:
        for candidate in (text, f"c2sp.org/tlog-proof@v1\n{text}", f"c2sp.org/tlog-proof@v1\nindex 1\n\n{text}"):
            try:
                parse_proof(candidate)
                verify_proof(candidate, b"", SIGNER.vkey())
            except PilotageError:
                continue
            raise AssertionError(candidate)

    check()


class TestTheScript:
    """As an auditor runs it: a process of its own, isolated from this package."""

    @staticmethod
    def run(*arguments: str | Path) -> tuple[int, str]:
        command = [sys.executable, "-I", str(SCRIPT), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.stderr == ""
        return done.returncode, done.stdout

    def test_it_proves_refuses_and_explains_itself(self, tmp_path: Path, proof: str) -> None:
        file, record, key = tmp_path / "a.tlog-proof", tmp_path / "a.json", tmp_path / "key"
        file.write_text(proof)
        record.write_bytes(ENTRIES[300])
        key.write_text(SIGNER.vkey() + "\n")
        proven = "PROVEN: the record is entry 300 of the 600 entries that example.org/log has signed\n"
        assert self.run(file, record, SIGNER.vkey()) == (0, proven)
        assert self.run(file, record, key) == (0, proven)
        record.write_bytes(ENTRIES[301])
        code, said = self.run(file, record, key)
        assert code == 1
        assert said.startswith("NOT PROVEN: ")
        assert self.run(file)[0] == 2

    def test_an_auditor_can_read_it(self) -> None:
        assert len(SCRIPT.read_text().splitlines()) < 150
        imports = {
            line.split()[1].partition(".")[0]
            for line in SCRIPT.read_text().splitlines()
            if line[:5] in ("impor", "from ")
        }
        assert imports - {"cryptography"} <= sys.stdlib_module_names
