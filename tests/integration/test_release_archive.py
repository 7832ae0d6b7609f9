"""A release goes from one installation to another: proven at each end, whole or not at all, and no person in clear."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from pilotage.access.model import Person
from pilotage.access.service import issue_token
from pilotage.errors import Conflict, Forbidden, InputError, IntegrityError, PilotageError, Refused
from pilotage.evidence.model import Evidence
from pilotage.evidence.store import for_subject, record
from pilotage.gates.service import check
from pilotage.kernel.clock import now_us
from pilotage.kernel.digests import digest
from pilotage.kernel.ids import uuid7
from pilotage.ledger.envelope import open_envelope, sign_statement, statement
from pilotage.ledger.keyring import Keyring
from pilotage.releases import unpacking
from pilotage.releases.archive import ARCHIVE, INDEX, ArchiveFacts
from pilotage.releases.importing import Imported, import_release
from pilotage.releases.load import open_release
from pilotage.releases.model import Release
from pilotage.releases.sealed_rows import SEALED_ROWS, rows_key
from pilotage.releases.signature import sign_folder, signature_path, source_path
from pilotage.releases.store import list_releases
from pilotage.storage.database import reading, writing
from pilotage.storage.home import Home
from pilotage.storage.outbox import waiting
from pilotage.testing.governance import GovernedHome
from pilotage.wiring.installation import Installation, open_installation
from pilotage.wiring.releases import export, set_yank, sign, taken_back, verify
from pilotage.wiring.settings import Settings


@dataclass(kw_only=True)
class Place:
    """One installation with its people, and perhaps a signed release."""

    installation: Installation
    governed: GovernedHome
    release: Release | None = None

    def person(self, role: str) -> Person:
        return self.governed.people[role]

    def take(self, archive: Path, *trust: str) -> Imported:
        with archive.open("rb") as stream:
            return import_release(
                stream,
                releases=self.installation.releases,
                control=self.installation.control,
                keyring=self.installation.keyring,
                by=self.person("ml_engineer").id,
                trust=trust,
            )

    def seen(self) -> tuple[list[Release], list[str]]:
        """What is visible of releases: the registry, and names in the folder that are no lock."""
        with reading(self.installation.control) as connection:
            rows = list_releases(connection)
        folder = self.installation.releases
        return rows, sorted(p.name for p in folder.iterdir() if p.name != ".import.lock") if folder.is_dir() else []


def _place(root: Path) -> Place:
    installation = open_installation(Settings(home=Home(root=root).create()), create=True)
    governed = GovernedHome(root=root, control=installation.control)
    governed.rollout = installation.rollout
    return Place(installation=installation, governed=governed)


def _with_release(place: Place, **made_with: bool) -> Place:
    """A release with evidence, signed as a build signs."""
    made = place.governed.release(**made_with)  # type: ignore[arg-type]
    place.release = made
    sign(place.installation, place.person("ml_engineer"), made.digest)
    attested = Evidence(
        id=uuid7(),
        check="risk.accepted",
        subject=made.digest,
        grade="E1",
        method="INTERVIEW",
        producer="p-1",
        collected=now_us(),
        expires=0,
        passed=True,
    )
    with writing(place.installation.control) as connection:
        record(connection, attested)
    return place


@pytest.fixture
def here(tmp_path: Path) -> Place:
    return _with_release(_place(tmp_path / "here"), sampling=True)


@pytest.fixture
def there(tmp_path: Path) -> Place:
    return _place(tmp_path / "there")


def _export(here: Place, there: Place | None, path: Path) -> Path:
    receiver = there.installation.keyring.steward_public if there else b""
    assert here.release
    export(here.installation, here.person("risk_officer"), here.release.digest, path, receiver)
    return path


def test_a_release_travels_is_verified_gated_and_served_there(here: Place, there: Place, tmp_path: Path) -> None:
    assert here.release
    archive = _export(here, there, tmp_path / "a.tar")
    key = here.installation.keyring.vkeys[0]
    with pytest.raises(Refused) as refused:
        there.take(archive)
    assert refused.value.code == "archive_untrusted" and refused.value.got == key and there.seen() == ([], [])
    made = there.take(archive, key)
    assert (made.release, made.new, made.attested, made.declared) == (here.release.digest, True, 1, True)
    found = verify(there.installation, made.release)
    assert found.holds and found.signature == "signed" and found.rows == "opened" and found.event
    assert found.imported["key"] == key and found.imported["archive"] == made.archive
    loaded = open_release(there.installation.releases, made.release)
    here_loaded = open_release(here.installation.releases, made.release)
    rows = loaded.background(rows_key(there.installation.keyring))
    assert rows == here_loaded.background(rows_key(here.installation.keyring)) and len(rows) == 100
    with reading(there.installation.control) as connection:
        evidence = for_subject(connection, made.release)
        events = [event for event in waiting(connection, 1_000) if event.kind == "release.imported"]
    assert events[0].facts["key"] == key and events[0].facts["archive"] == made.archive
    assert {each.method for each in evidence} == {"TEST"}
    assert all(each.figures["imported"]["key"] == key for each in evidence)
    # The gate counts what was measured there, and wants its own approvals: the importer's is none.
    verdict = check(there.installation.control, "", made.release, "internal")
    assert [each.state for each in verdict.checks] == ["fresh"] * len(verdict.checks) and not verdict.go
    with reading(there.installation.control) as connection:
        (release,) = list_releases(connection)
    there.governed.approve(release)
    there.governed.rollout.promote(there.person("operator"), "example", made.release, "internal")
    again = there.take(archive, key)
    assert (again.new, again.evidence) == (False, 0) and verify(there.installation, made.release).holds


def test_the_same_release_gives_the_same_bytes_and_no_row_in_clear(here: Place, there: Place, tmp_path: Path) -> None:
    assert here.release
    for receiver in (there, None):
        one, two = (_export(here, receiver, tmp_path / f"{n}-{bool(receiver)}.tar").read_bytes() for n in "ab")
        assert one == two
        loaded = open_release(here.installation.releases, here.release.digest)
        rows = loaded.background(rows_key(here.installation.keyring))
        assert not any(str(row[0]).encode() in one for row in rows if row[0] is not None)
        with tarfile.open(fileobj=io.BytesIO(one)) as tar:
            names = tar.getnames()
            envelope = tar.extractfile("archive.dsse.json")
            assert envelope is not None
            opened = open_envelope(envelope.read(), "it", here.installation.keyring.vkeys)
        assert names[0] == "archive.dsse.json" and "release/background.json" not in names
        assert names[1:] == [name for name, _ in opened.predicate["entries"]]


def test_rows_are_for_the_receiver_alone_and_who_may_read_payloads_decides(
    here: Place, there: Place, tmp_path: Path
) -> None:
    assert here.release
    key, other = here.installation.keyring.vkeys[0], _place(tmp_path / "other")
    archives = [_export(here, None, tmp_path / "own.tar"), _export(here, other, tmp_path / "other.tar")]
    for archive in archives:
        with pytest.raises(Refused) as refused:
            there.take(archive, key)
        assert refused.value.code == "rows_for_others" and there.seen() == ([], [])
    assert other.take(archives[1], key).new
    with pytest.raises(Forbidden):
        export(here.installation, here.person("ml_engineer"), here.release.digest, tmp_path / "c.tar", bytes([9] * 32))
    clear = _with_release(_place(tmp_path / "clear"))
    assert clear.release
    with pytest.raises(Refused) as refused:
        _export(clear, None, tmp_path / "clear.tar")
    assert refused.value.code == "rows_in_clear" and not (tmp_path / "clear.tar").exists()
    assert there.take(_export(clear, there, tmp_path / "clear.tar"), clear.installation.keyring.vkeys[0]).new
    assert (there.installation.releases / clear.release.folder / SEALED_ROWS).is_file(), "encrypted where it arrives"


def test_an_archive_that_was_changed_leaves_nothing(here: Place, there: Place, tmp_path: Path) -> None:
    content = _export(here, there, tmp_path / "a.tar").read_bytes()
    key, broken = here.installation.keyring.vkeys[0], tmp_path / "broken.tar"
    for at in range(0, len(content), len(content) // 97):
        broken.write_bytes(content[:at] + bytes([content[at] ^ 0x41]) + content[at + 1 :])
        with pytest.raises((IntegrityError, InputError, Refused)):
            there.take(broken, key)
        assert there.seen() == ([], []), at
    for cut in (0, 100, 512, len(content) // 2, len(content) - 11_000):
        broken.write_bytes(content[:cut])
        with pytest.raises((IntegrityError, InputError)):
            there.take(broken, key)
    broken.write_bytes(content + b"more")
    with pytest.raises(InputError):
        there.take(broken, key)
    assert there.seen() == ([], [])


def _tar(entries: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for info, content in entries:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_links_paths_and_other_kinds_of_entries_are_refused(here: Place, there: Place, tmp_path: Path) -> None:
    """Each archive is the real one with an entry more; at last one whose signed index names a path that leads out."""
    key = here.installation.keyring.vkeys[0]
    real = _export(here, there, tmp_path / "a.tar")
    with tarfile.open(real) as tar:
        entries = [(each, (tar.extractfile(each) or io.BytesIO()).read()) for each in tar.getmembers()]
    for name, kind, target in (
        ("../escape", tarfile.REGTYPE, ""),
        ("/etc/escape", tarfile.REGTYPE, ""),
        ("release/" + "n" * 300, tarfile.REGTYPE, ""),
        ("release/card.md", tarfile.SYMTYPE, "/etc/passwd"),
        ("release/card.md", tarfile.LNKTYPE, "release/manifest.json"),
        ("release/card.md", tarfile.DIRTYPE, ""),
        ("release/card.md", tarfile.FIFOTYPE, ""),
        ("release/card.md", tarfile.CHRTYPE, ""),
    ):
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        path = tmp_path / "evil.tar"
        path.write_bytes(_tar([entries[0], (info, b""), *entries[1:]]))
        with pytest.raises((InputError, IntegrityError)):
            there.take(path, key)
        assert there.seen() == ([], []) and not (tmp_path / "escape").exists()
    for evil in ("../escape", "release/../../escape", "release/.hidden", "evidence/x", "other"):
        facts = ArchiveFacts(release="sha256:" + "0" * 64, system="example", entries=[(evil, 1)])
        said = statement(ARCHIVE, {evil: digest(b"?")}, msgspec.to_builtins(facts))
        path.write_bytes(
            _tar(
                [
                    (tarfile.TarInfo(INDEX), sign_statement(here.installation.keyring, said)),
                    (tarfile.TarInfo(evil), b"?"),
                ]
            )
        )
        with pytest.raises(InputError, match="index is not well formed"):
            there.take(path, key)
        assert there.seen() == ([], []) and not (tmp_path / "escape").exists()


def test_limits_hold_before_anything_is_written(
    here: Place, there: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, key = _export(here, there, tmp_path / "a.tar"), here.installation.keyring.vkeys[0]
    for name, most in (("MAX_ENTRIES", 3), ("MAX_BYTES", 2_000), ("_MAX_KEPT", 500)):
        with monkeypatch.context() as patch:
            patch.setattr(unpacking, name, most)
            with pytest.raises(InputError, match="too many"):
                there.take(archive, key)
        assert there.seen() == ([], [])
    assert there.take(archive, key).new


@pytest.mark.slow
def test_killed_midway_it_leaves_nothing_and_is_run_again(here: Place, there: Place, tmp_path: Path) -> None:
    archive, key = _export(here, there, tmp_path / "a.tar"), here.installation.keyring.vkeys[0]
    script = """
import os, signal, sys
from pilotage.cli.main import main
import pilotage.releases.importing as importing
step, count = sys.argv.pop(1), 0
real = getattr(importing, step)
def killed(*args, **kw):
    made = real(*args, **kw)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(importing, step, killed)
main()
"""
    token = issue_token(there.installation.control, there.person("ml_engineer"), by=there.governed.admin).text
    command = ["--home", str(there.installation.home.root), "release", "import", str(archive), "--trust", key]
    for step in ("unpack", "_add_rows", "_place", "_sign", "_register"):
        done = subprocess.run(
            [sys.executable, "-c", script, step, *command],
            env={**os.environ, "PILOTAGE_TOKEN": token},
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        assert there.seen()[0] == [], step
        with reading(there.installation.control) as connection:
            assert not [event for event in waiting(connection, 1_000) if event.kind.startswith("release.")]
    made = there.take(archive, key)
    assert made.new and verify(there.installation, made.release).holds
    assert not [name for name in there.seen()[1] if name.startswith(".")], "what the killed ones left is gone"


def test_verify_names_what_is_not_as_it_was(here: Place, there: Place) -> None:
    assert here.release
    installation, name = here.installation, here.release.digest
    assert verify(installation, name).holds
    assert [each.path for each in verify(installation, name, there.installation.keyring.vkeys).faults] == ["signature"]
    folder = installation.releases / here.release.folder
    card, signature = folder / "card.md", signature_path(installation.releases, name)
    for path, named in ((card, "card.md"), (signature, "signature"), (folder / "manifest.json", "manifest.json")):
        content, mode = path.read_bytes(), path.stat().st_mode
        path.chmod(0o600)
        path.write_bytes(content[:50] + b"?" + content[51:] if len(content) > 51 else b"?" + content[1:])
        (fault,) = verify(installation, name).faults
        assert fault.path == named and fault.got and fault.expected
        path.write_bytes(content)
        path.chmod(mode)
    # Somebody with another key signs in its place, or takes it away: the events tell.
    content = signature.read_bytes()
    signature.unlink()
    (lost,) = verify(installation, name).faults
    assert lost.path == "signature" and lost.what == "is gone"
    loaded = open_release(installation.releases, name)
    sign_folder(installation.releases, name, loaded.manifest, Keyring.create())
    found = verify(installation, name)
    assert found.signature == "untrusted" and len(found.faults) == 2
    signature.chmod(0o600)
    signature.write_bytes(content)
    assert verify(installation, name).holds
    with writing(installation.control) as connection:
        connection.exec_driver_sql("UPDATE releases SET author = 'somebody else'")
    assert [each.path for each in verify(installation, name).faults] == ["registry"]
    assert not source_path(installation.releases, name).exists()


def test_a_yanked_release_is_not_promoted_and_what_serves_it_goes_on(here: Place, there: Place, tmp_path: Path) -> None:
    assert here.release
    ref, engineer = here.release.digest, here.person("ml_engineer")
    here.governed.approve(here.release)
    here.governed.rollout.promote(engineer, "example", ref, "internal")
    for wrong in ("", "x" * 501):
        with pytest.raises(InputError):
            set_yank(here.installation, engineer, ref, wrong)
    with pytest.raises(Forbidden):
        set_yank(here.installation, here.person("reviewer"), ref, "no")
    assert taken_back(here.installation, here.release) is None
    set_yank(here.installation, engineer, ref, "its ages are wrong")
    assert taken_back(here.installation, here.release) == "its ages are wrong"
    with pytest.raises(Conflict):
        set_yank(here.installation, engineer, ref, "again")
    verdict = check(here.installation.control, "", ref, "limited")
    assert not verdict.go and "its ages are wrong" in verdict.missing[0]
    with pytest.raises(PilotageError):
        here.governed.rollout.promote(engineer, "example", ref, "limited")
    with pytest.raises(Refused) as refused:
        here.governed.approve(here.release, "limited")
    assert refused.value.code == "release_yanked"
    assert verify(here.installation, ref).holds
    # It stays yanked wherever it goes.
    made = there.take(_export(here, there, tmp_path / "a.tar"), here.installation.keyring.vkeys[0])
    assert "yanked" in check(there.installation.control, "", made.release, "internal").missing[0]
    with pytest.raises(Forbidden):
        set_yank(here.installation, engineer, ref, "it was right", undo=True)
    set_yank(here.installation, here.person("risk_officer"), ref, "it was right", undo=True)
    assert taken_back(here.installation, here.release) is None
    assert "yanked" not in " ".join(check(here.installation.control, "", ref, "limited").missing)
