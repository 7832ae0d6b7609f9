"""Pages of a large ledger are read by an index: no filter that has one scans the others' rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from pilotage.ledger import store
from pilotage.ledger.tables import decisions
from pilotage.storage.database import reading
from tests.ledger_world import decision, make_world, rejected

FILTERS: list[tuple[dict[str, Any], str]] = [
    ({"system": "credit"}, "decisions_by_system"),
    ({"system": "credit", "outcome": "rejected"}, "decisions_by_outcome"),
    ({"fault": "above_maximum"}, "decisions_by_fault"),
    ({"key_id": "0" * 32}, "decisions_by_key"),
]


@pytest.mark.parametrize(("wanted", "index"), FILTERS, ids=[index for _, index in FILTERS])
def test_a_page_is_read_by_the_index_of_its_filter(tmp_path: Path, wanted: dict[str, Any], index: str) -> None:
    world = make_world(tmp_path)
    world.write([*[decision(f"s{n}") for n in range(50)], rejected("ann")])
    world.steward().seal_all()
    query = select(decisions).where(*store.decision_conditions(**wanted)).order_by(decisions.c.leaf.desc()).limit(100)
    with reading(world.ledger) as connection:
        compiled = query.compile(dialect=connection.dialect)
        values = tuple(compiled.params[name] for name in compiled.positiontup or ())
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", values).all()
    assert index in " ".join(str(row) for row in plan)
    assert "TEMP B-TREE" not in str(plan)
