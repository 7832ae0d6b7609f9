"""The example that a new system begins with: a contract to edit, and rows that nobody is behind."""

from __future__ import annotations

import csv
import io
import math
import random

from pilotage.contracts.model import Column, DataContract
from pilotage.contracts.written import to_file

__all__ = ["EXAMPLE_ROWS", "example_contract", "example_rows"]

EXAMPLE_ROWS = 2_000
_EMPLOYMENT = ("employed", "retired", "self-employed", "unemployed")
_AGES = ("18-29", "30-49", "50-64", "65+")
_NOTES = {
    "customer_id": ["The subject: whom a row is about, as client systems send it. Erasure finds a person by it."],
    "income": ["A number with its unit and its range: what lies outside is refused with the reason, not answered."],
    "employment": ["A list of all values: one that is not in it is refused. Say `on_fault` where it should not be."],
    "months_known": ["May be empty: the model fills it with what training filled it with, nobody else does."],
    "age_group": [
        "Protected and ignored: no input of the model, but in the data, so that answers can be compared by it."
    ],
    "defaulted": ["The target: what came out. It is never sent in a request."],
}


def example_contract(system: str) -> str:
    """A contract as a commented file, for the rows below."""
    columns = (
        Column(name="customer_id", type="string", role="subject", personal=True, unique=True),
        Column(name="income", type="number", minimum=0, maximum=100_000, unit="EUR a month"),
        Column(name="debt", type="number", minimum=0, maximum=1_000_000, unit="EUR"),
        Column(name="late_payments", type="integer", minimum=0, maximum=12),
        Column(name="months_known", type="integer", minimum=0, maximum=720, nullable=True, unit="months"),
        Column(name="employment", type="string", categories=_EMPLOYMENT),
        Column(name="age_group", type="string", role="ignored", categories=_AGES, personal=True, protected=True),
        Column(name="defaulted", type="integer", role="target", categories=(0, 1)),
    )
    contract = DataContract(name=system, version="1", columns=columns, subject="customer_id")
    return to_file(contract, _NOTES, "An example, of a lender. Write your own columns in the place of these.")


def example_rows() -> bytes:
    """Rows that hold the example contract, drawn with a fixed seed: the same bytes each time."""
    draw = random.Random(2026)  # noqa: S311 - made-up rows, no secret
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    names = "customer_id income debt late_payments months_known employment age_group defaulted"
    writer.writerow(names.split())
    for at in range(EXAMPLE_ROWS):
        income = round(draw.lognormvariate(7.9, 0.45), 2)
        debt = round(income * draw.lognormvariate(0.9, 0.8), 2)
        late = min(12, int(draw.expovariate(0.8)))
        known: object = draw.randrange(1, 240) if draw.random() > 0.05 else ""
        job = draw.choices(_EMPLOYMENT, (60, 18, 15, 7))[0]
        risk = -3.0 + 0.55 * late + 0.12 * debt / income + (0.9 if job == "unemployed" else 0.0)
        defaulted = int(draw.random() < 1 / (1 + math.exp(-risk)))
        age = draw.choice(_AGES)
        writer.writerow([f"C{at:06}", min(income, 1e5), min(debt, 1e6), late, known, job, age, defaulted])
    return written.getvalue().encode()
