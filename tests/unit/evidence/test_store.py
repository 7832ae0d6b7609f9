"""Evidence at rest: the newest counts, content is bound by digest, edits are found."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, delete, insert, update

from pilotage.errors import Conflict, InputError
from pilotage.evidence.model import Evidence
from pilotage.evidence.store import content_digest, evidence_table, find, for_subject, latest, record, recorded_digest
from pilotage.kernel.ids import uuid7
from pilotage.storage.database import control, open_engine, reading, writing
from pilotage.storage.outbox import waiting
from pilotage.storage.witness import changed_rows


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = open_engine(f"sqlite:///{tmp_path}/control.db")
    control.create_all(made)
    yield made
    made.dispose()


def evidence(**changes: Any) -> Evidence:
    fact = Evidence(
        id=uuid7(),
        check="evaluation.holdout",
        subject="sha256:" + "a" * 64,
        grade="E3",
        method="TEST",
        producer="pilotage 0.1.0",
        collected=1_000,
        expires=0,
        passed=True,
        figures={"auc": 0.1 + 0.2, "rows": 7500, "slices": [{"n": 1, "tiny": 1e-12, "huge": 1e300}]},
    )
    return msgspec.structs.replace(fact, **changes)


def test_what_was_recorded_is_found_as_it_was(engine: Engine) -> None:
    fact = evidence()
    with writing(engine) as connection:
        assert record(connection, fact) == content_digest(fact)
    with reading(engine) as connection:
        assert find(connection, fact.id) == fact
        assert recorded_digest(connection, fact.id) == content_digest(fact)
        assert find(connection, "another") is None


def test_the_newest_counts_even_when_it_failed(engine: Engine) -> None:
    old, new = evidence(), evidence(collected=2_000, passed=False)
    with writing(engine) as connection:
        record(connection, new)
        record(connection, old)
        record(connection, evidence(check="evaluation.slices"))
    with reading(engine) as connection:
        assert latest(connection, old.subject, old.check) == new
        assert latest(connection, "sha256:other", old.check) is None
        assert len(for_subject(connection, old.subject)) == 3


def test_each_part_of_the_content_is_bound() -> None:
    base = evidence()
    digests = {content_digest(base)}
    for name, value in {
        "id": "x", "check": "x", "subject": "x", "grade": "E1", "method": "EXAMINE", "producer": "x", "collected": 7,
        "expires": 9, "passed": False, "figures": {}, "artefact": "x",
    }.items():  # fmt: skip
        digests.add(content_digest(msgspec.structs.replace(base, **{name: value})))
    assert len(digests) == len(Evidence.__struct_fields__) + 1


@pytest.mark.parametrize("figure", [math.nan, math.inf, object(), {1: 2}.keys(), 10**400, "\ud800"])
def test_figures_that_are_no_json_are_refused(engine: Engine, figure: object) -> None:
    with writing(engine) as connection, pytest.raises(InputError, match="figures"):
        record(connection, evidence(figures={"auc": figure}))


def test_an_id_is_used_once(engine: Engine) -> None:
    fact = evidence()
    with writing(engine) as connection:
        record(connection, fact)
        with pytest.raises(Conflict):
            record(connection, fact)


def test_edited_removed_and_smuggled_rows_are_found(engine: Engine) -> None:
    edited, removed = evidence(passed=False), evidence()
    with writing(engine) as connection:
        record(connection, edited)
        record(connection, removed)
        events = waiting(connection)
        assert not list(changed_rows(connection, [evidence_table], events))
        connection.execute(update(evidence_table).where(evidence_table.c.id == edited.id).values(passed=True))
        connection.execute(delete(evidence_table).where(evidence_table.c.id == removed.id))
        smuggled = msgspec.to_builtins(evidence(id="smuggled")) | {"digest": "sha256:0"}
        connection.execute(insert(evidence_table).values(smuggled))
        found = {row.key: row.what for row in changed_rows(connection, [evidence_table], events)}
    assert found == {edited.id: "changed", removed.id: "removed", "smuggled": "unknown"}


def test_a_producer_who_is_a_person_stays_out_of_the_kept_facts(engine: Engine) -> None:
    with writing(engine) as connection:
        record(connection, evidence(method="INTERVIEW", producer="person-7"))
        (event,) = waiting(connection)
    assert "person-7" not in str(event.facts)
    assert event.private == {"producer": "person-7"}
