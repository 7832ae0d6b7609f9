"""Signatures of releases and of evidence: others' tools verify them, and no byte of a release changes unseen."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from pilotage.errors import InputError, IntegrityError
from pilotage.evidence.model import Evidence
from pilotage.evidence.statements import evidence_in, evidence_statement
from pilotage.kernel.digests import digest
from pilotage.kernel.ids import uuid7
from pilotage.ledger.envelope import open_envelope, sign_statement
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.notes import parse_vkey
from pilotage.ledger.rotation import new_signing
from pilotage.releases.load import LoadedRelease, open_release
from pilotage.releases.sealed_rows import SEALED_ROWS
from pilotage.releases.signature import release_subject, sign_folder, signature_path, source_path
from pilotage.storage.home import Home
from pilotage.testing.releases import make_release


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> LoadedRelease:
    """A release with encrypted reference rows, signed."""
    home = Home(root=tmp_path_factory.mktemp("home"))
    made = make_release(home, sampling=True)
    sign_folder(home.releases, made.digest, made.manifest, Keyring.create_or_open(home.keyring))
    return open_release(home.releases, made.digest)


@pytest.fixture
def copied(signed: LoadedRelease, tmp_path: Path) -> Iterator[LoadedRelease]:
    """A copy that can be damaged."""
    releases = tmp_path / "releases"
    shutil.copytree(signed.folder, releases / signed.folder.name)
    shutil.copy(signature_path(signed.folder.parent, signed.digest), releases)
    for path in (releases / signed.folder.name, *releases.rglob("*")):
        path.chmod(0o700)
    yield open_release(releases, signed.digest)


def _evidence(subject: str, **other: object) -> Evidence:
    fact = {"check": "model.evaluated", "subject": subject, "grade": "E3", "method": "TEST", "producer": "tests"}
    return Evidence(
        **{"id": uuid7(), **fact, "collected": 1_760_000_000_123_456, "expires": 0, "passed": True, **other}
    )  # type: ignore[arg-type]


def _outside(content: bytes, vkey: str) -> dict[str, object]:
    """The statement, by securesystemslib (the signature) and in-toto's own package (the form)."""
    (_, public) = parse_vkey(vkey)
    document = json.loads(content)
    key = SSlibKey(document["signatures"][0]["keyid"], "ed25519", "ed25519", {"public": public.hex()})
    envelope = Envelope.from_dict(document)
    assert set(envelope.verify([key], 1)) == {vkey}
    assert envelope.payload_type == "application/vnd.in-toto+json"
    said: dict[str, object] = json.loads(envelope.payload)
    Statement.copy_from_pb(json_format.ParseDict(said, Statement([], "", {}).pb)).validate()
    return said


def test_others_tools_verify_the_signature_of_a_release(signed: LoadedRelease) -> None:
    assert signed.signature is not None
    content = signature_path(signed.folder.parent, signed.digest).read_bytes()
    said = _outside(content, signed.signature.vkey)
    subjects = {each["name"]: "sha256:" + each["digest"]["sha256"] for each in said["subject"]}  # type: ignore[attr-defined]
    assert subjects.pop(release_subject(signed.manifest)) == signed.digest
    assert subjects.pop(SEALED_ROWS) == digest((signed.folder / SEALED_ROWS).read_bytes())
    assert subjects == {name: entry.digest for name, entry in signed.manifest.files.items()}
    assert said["predicate"]["environment"] == signed.manifest.origin.environment  # type: ignore[index]
    document = json.loads(content)
    document["payload"] = base64.b64encode(base64.b64decode(document["payload"]).replace(b"onnx", b"onny")).decode()
    with pytest.raises(VerificationError):
        _outside(json.dumps(document).encode(), signed.signature.vkey)


def test_others_tools_verify_evidence_and_it_comes_back_whole(signed: LoadedRelease) -> None:
    keyring = Keyring.create()
    for passed in (True, False):
        fact = _evidence(signed.digest, passed=passed, figures={"auc": 0.1 + 0.2, "of": {"é": [1, None, True]}})
        content = sign_statement(keyring, evidence_statement(fact, "release example"))
        said = _outside(content, keyring.vkeys[0])
        result = json_format.ParseDict(said["predicate"], test_result_pb2.TestResult())
        assert result.result == ("PASSED" if passed else "FAILED")
        assert list(result.passed_tests if passed else result.failed_tests) == ["model.evaluated"]
        assert evidence_in(open_envelope(content, "it", keyring.vkeys).statement) == fact
        said["predicate"]["result"] = "FAILED" if passed else "PASSED"  # type: ignore[index]
        with pytest.raises(InputError):
            evidence_in(said)


def test_the_signature_is_no_part_of_the_digest_and_outlives_a_rotation(tmp_path: Path) -> None:
    made = [make_release(Home(root=tmp_path / name)) for name in ("a", "b")]
    keyring = Keyring.create()
    (first, new), (again, _) = (
        sign_folder(made[0].folder.parent, made[0].digest, made[0].manifest, ring)
        for ring in (keyring, new_signing(keyring))
    )
    assert made[0].digest == made[1].digest and new and first == again, "written once"
    content = signature_path(made[0].folder.parent, made[0].digest).read_bytes()
    other, _ = sign_folder(made[1].folder.parent, made[1].digest, made[1].manifest, keyring)
    assert other.digest == first.digest, "the same key, the same bytes"
    assert open_envelope(content, "it", new_signing(keyring).vkeys).vkey == keyring.vkeys[0]
    with pytest.raises(IntegrityError) as caught:
        open_envelope(content, "it", Keyring.create().vkeys)
    assert caught.value.code == "signature_untrusted"


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_byte_of_any_file_or_of_the_signature_changed_is_refused_and_named(
    copied: LoadedRelease, data: st.DataObject
) -> None:
    releases = copied.folder.parent
    files = sorted([*copied.folder.iterdir(), signature_path(releases, copied.digest)])
    path = data.draw(st.sampled_from(files), label="file")
    content = path.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1), label="byte")
    bits = data.draw(st.integers(1, 255), label="bits")
    path.write_bytes(content[:at] + bytes([content[at] ^ bits]) + content[at + 1 :])
    try:
        with pytest.raises(IntegrityError) as caught:
            open_release(releases, copied.digest)
        assert path.name in str(caught.value)
    finally:
        path.write_bytes(content)
    assert open_release(releases, copied.digest).digest == copied.digest


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_files_swapped_missing_more_or_links_are_refused_and_named(copied: LoadedRelease, data: st.DataObject) -> None:
    files = sorted(copied.folder.iterdir())
    path, other = data.draw(st.lists(st.sampled_from(files), min_size=2, max_size=2, unique=True), label="files")
    how = data.draw(st.sampled_from(["swapped", "missing", "link", "cut", "longer"]), label="how")
    content, others = path.read_bytes(), other.read_bytes()
    away = copied.folder.parent / "away"
    path.rename(away)
    try:
        if how == "swapped":
            path.write_bytes(others)
            other.write_bytes(content)
        elif how == "link":
            path.symlink_to(away)
        elif how != "missing":
            path.write_bytes(content[:-1] if how == "cut" else content + b"\0")
        with pytest.raises(Exception) as caught:
            open_release(copied.folder.parent, copied.digest)
        assert getattr(caught.value, "code", "") in ("integrity", "not_found"), caught.value
        named = "background.json" if path.name == SEALED_ROWS else path.name
        if how == "swapped" and other.name == "manifest.json":
            named = other.name  # it is looked at first
        assert named in str(caught.value) or caught.value.code == "not_found"  # type: ignore[attr-defined]
    finally:
        path.unlink(missing_ok=True)
        away.rename(path)
        other.write_bytes(others)
    for extra in ("extra.txt", ".hidden", "folder"):
        (copied.folder / extra).mkdir() if extra == "folder" else (copied.folder / extra).write_text("?")
        with pytest.raises(IntegrityError, match=extra.replace(".", r"\.")):
            open_release(copied.folder.parent, copied.digest)
        (copied.folder / extra).rmdir() if extra == "folder" else (copied.folder / extra).unlink()


def test_the_signature_of_another_release_is_refused(copied: LoadedRelease, tmp_path: Path) -> None:
    releases = copied.folder.parent
    other = make_release(Home(root=tmp_path / "other"), shift=0.25)
    sign_folder(other.folder.parent, other.digest, other.manifest, Keyring.create())
    path = signature_path(releases, copied.digest)
    path.write_bytes(signature_path(other.folder.parent, other.digest).read_bytes())
    with pytest.raises(IntegrityError, match="of another release") as caught:
        open_release(releases, copied.digest)
    assert caught.value.code == "signature_broken" and path.name in str(caught.value)
    path.unlink()
    assert open_release(releases, copied.digest).signature is None, "as releases that were built before"
    assert not source_path(releases, copied.digest).exists()
