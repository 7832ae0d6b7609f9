"""The registry: versions count up, rows stay, and references find one release or none."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Engine

from pilotage.errors import NotFound
from pilotage.releases.model import FORMAT, Manifest, Origin
from pilotage.releases.store import find_release, list_releases, register, releases_table
from pilotage.storage.database import control, open_engine, reading, writing
from pilotage.storage.outbox import waiting
from pilotage.storage.witness import changed_rows

A, B = "sha256:" + "ab" * 32, "sha256:" + "abab" + "cd" * 30


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = open_engine(f"sqlite:///{tmp_path / 'control.db'}")
    control.create_all(engine)
    return engine


def _manifest(system: str = "scoring") -> Manifest:
    origin = Origin(artefact=A, data=A, environment={}, builder="test")
    return Manifest(format=FORMAT, system=system, runtime="onnx", contract=A, policy=B, origin=origin, files={})


def test_versions_count_and_a_digest_is_registered_once(engine: Engine) -> None:
    with writing(engine) as connection:
        first = register(connection, A, _manifest(), author="author")
        second = register(connection, B, _manifest(), author="author")
        again = register(connection, A, _manifest(), author="somebody else")
        other = register(connection, "sha256:" + "ef" * 32, _manifest("other"), author="author")
    assert (first.name, second.name, other.name) == ("scoring@1", "scoring@2", "other@1")
    assert again == first
    with reading(engine) as connection:
        assert {each.digest for each in list_releases(connection, "scoring")} == {A, B}
        assert len(list_releases(connection)) == 3
        events = waiting(connection)
    assert [event.kind for event in events] == ["release.registered"] * 3
    assert "author" not in msgspec.json.encode(events[0].facts).decode()


def test_references_find_one_or_say_what_there_is(engine: Engine) -> None:
    with writing(engine) as connection:
        for digest in (A, B):
            register(connection, digest, _manifest(), author="author")
    with reading(engine) as connection:
        assert find_release(connection, A).digest == A
        assert find_release(connection, "ABABAB").digest == A
        assert find_release(connection, "sha256:ababcd").digest == B
        assert find_release(connection, "scoring@2").digest == B
        for wrong in ("abab", "scoring@3", "scoring@²", "%", "nothing", "", "@", "_babab"):
            with pytest.raises(NotFound, match=r"scoring@1 \("):
                find_release(connection, wrong)


def test_an_edited_row_is_found(engine: Engine) -> None:
    with writing(engine) as connection:
        register(connection, A, _manifest(), author="author")
    with reading(engine) as connection:
        assert list(changed_rows(connection, [releases_table], waiting(connection))) == []
    with writing(engine) as connection:
        connection.execute(releases_table.update().values(author="another"))
        assert [row.what for row in changed_rows(connection, [releases_table], waiting(connection))] == ["changed"]
