"""From the example's file to a verdict, through the parts that a request and the steward go through."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import numpy as np
import pytest

from pilotage.contracts.compile import RowCheck, compile_contract
from pilotage.contracts.infer import infer_contract
from pilotage.contracts.odcs import from_odcs, to_odcs
from pilotage.monitor.drift import judge
from pilotage.profiles.build import build_profile
from pilotage.profiles.counts import count_rows
from pilotage.profiles.model import decode_profile

EXAMPLE = Path(__file__).parents[2] / "examples/credit_default/data/credit_card_default.csv.gz"
pytestmark = pytest.mark.skipif(not EXAMPLE.exists(), reason="the example's data is not in this checkout")


def answered(check: RowCheck, rows: list[dict[str, float]]) -> list[tuple[object, ...]]:
    """The values that the gateway would record for rows sent by a client; all of them must fit the contract."""
    checked = check.check(json.dumps({"inputs": rows}).encode()).rows
    assert not [row.faults for row in checked if row.faults]
    return [row.values for row in checked if row.values is not None]


@pytest.mark.slow
def test_shifted_requests_fit_the_contract_and_are_found() -> None:
    inferred = infer_contract(
        EXAMPLE,
        name="credit-default",
        target="Default",
        subject="ID",
        categorical=["SEX", "EDUCATION", "MARRIAGE"],
    )
    contract = from_odcs(to_odcs(inferred))
    check = compile_contract(contract)
    table = duckdb.sql(f"SELECT * EXCLUDE(\"Default\") FROM '{EXAMPLE}'")
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.fetchall()]
    order = np.random.default_rng(3).permutation(len(rows))
    reference = answered(check, [rows[index] for index in order[:22_500]])
    profile = decode_profile(build_profile(contract.kinds, reference).encode())

    window = [rows[index] for index in order[22_500:25_500]]
    before = judge(profile, count_rows(profile, check.names, answered(check, window)))
    assert (before.shifted, before.watched) == ([], [])

    ranges = {column.name: column.maximum for column in contract.features}
    for row in window:
        row["LIMIT_BAL"] = min(row["LIMIT_BAL"] * 1.6, ranges["LIMIT_BAL"])
        row["AGE"] = min(row["AGE"] + 9, ranges["AGE"])
        row["PAY_AMT1"] = min(row["PAY_AMT1"] * 3, ranges["PAY_AMT1"])
    after = judge(profile, count_rows(profile, check.names, answered(check, window)))
    assert after.shifted == ["LIMIT_BAL", "AGE", "PAY_AMT1"]
