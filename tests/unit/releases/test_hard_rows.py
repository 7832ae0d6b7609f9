"""Hard rows stay within the contract, and boundary rows really lie at the boundary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pilotage.contracts.compile import compile_contract
from pilotage.contracts.model import Column, DataContract
from pilotage.releases.hard_rows import boundary_rows, messy_rows
from pilotage.testing.releases import COLUMNS, make_rows

CONTRACT = DataContract(name="t", version="1", columns=COLUMNS, subject="customer")
ROWS = make_rows(COLUMNS, 30, seed=4)


def _allowed(rows: Sequence[Sequence[Any]]) -> list[bool]:
    import msgspec

    names = [column.name for column in CONTRACT.features]
    inputs = [{"customer": "c", **dict(zip(names, row, strict=True))} for row in rows]
    return [not row.faults for row in compile_contract(CONTRACT).check(msgspec.json.encode({"inputs": inputs})).rows]


def test_messy_rows_are_allowed_and_of_every_kind() -> None:
    found = messy_rows(CONTRACT.features, ROWS)
    assert all(_allowed([row.values for row in found]))
    assert {row.kind for row in found} == {
        "minimum", "maximum", "null", "category", "all_minimum", "all_maximum", "all_null",
    }  # fmt: skip
    for row in found:
        changed = [a != b for a, b in zip(row.values, ROWS[row.origin], strict=True)]
        assert sum(changed) <= 1 or row.kind.startswith("all_")


def test_a_tree_is_probed_on_both_sides_of_its_split() -> None:
    split = 123_456.789  # no float32: the neighbours enclose it
    columns = (Column(name="x", type="number", minimum=0, maximum=500_000),)
    found = boundary_rows(columns, [(1.0,)], lambda rows: np.array([float(row[0] > split) for row in rows]), 0.5)
    values = sorted(row[0] for row in found)
    assert len(values) == 5
    assert values[0] <= split < values[-1]
    assert np.nextafter(np.float32(values[0]), np.float32(np.inf)) == np.float32(values[-1])


def test_integers_are_probed_on_neighbours_and_every_row_is_allowed() -> None:
    def score(rows: Sequence[Sequence[Any]]) -> np.ndarray:
        return np.array([1 / (1 + np.exp(-(row[1] - 5.5 + (row[0] or 0) / 1e5))) for row in rows])

    found = boundary_rows(CONTRACT.features, ROWS, score, 0.5)
    assert found
    assert all(_allowed(found))
    late = [row for row in found if row[0] in {each[0] for each in ROWS}]
    assert late
    assert all(float(row[1]).is_integer() for row in late)  # type: ignore[arg-type]  # a number here
    sides = score(found) >= 0.5
    assert sides.any()
    assert not sides.all()


def test_no_crossing_gives_no_rows() -> None:
    assert boundary_rows(CONTRACT.features, ROWS, lambda rows: np.zeros(len(rows)), 0.5) == []
    only_text = (Column(name="home", type="string", categories=("a", "b")),)
    assert boundary_rows(only_text, [("a",)], lambda rows: np.zeros(len(rows)), 0.5) == []
