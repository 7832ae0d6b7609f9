"""The pilot's data as rows of the contract: which fit it, what their labels are, and which are held out."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.contracts.compile import compile_contract
from pilotage.contracts.infer import MISSING
from pilotage.contracts.model import Column, DataContract
from pilotage.errors import InputError
from pilotage.evaluation.explainer import Value

__all__ = ["PilotRows", "read_rows"]


@dataclass(frozen=True, kw_only=True)
class PilotRows:
    """Rows that fit the contract, features in contract order; `labels` says which are of the positive class.

    `held_out` marks the rows of the hash split. `sliced` holds slice columns that are not features. `refused` counts
    rows of the file that do not fit the contract, by code of their first fault.
    """

    rows: list[tuple[Value, ...]]
    labels: NDArray[np.bool_]
    held_out: NDArray[np.bool_]
    sliced: dict[str, list[Value]]
    refused: dict[str, int]

    def part(self, held_out: bool) -> tuple[list[tuple[Value, ...]], NDArray[np.bool_]]:
        """The rows and labels of one side of the split."""
        chosen = self.held_out if held_out else ~self.held_out
        return [self.rows[at] for at in np.flatnonzero(chosen)], self.labels[chosen]


def read_rows(
    path: Path, contract: DataContract, *, target: str, positive: str, slices: Sequence[str], share: float, seed: int
) -> PilotRows:
    """Read a CSV (also .gz) or Parquet file by the contract and split it by a keyed hash of the subject or the row.

    `share` of the rows is held out. The split depends on `seed` and the rows alone, so the same person or the same row
    is never on both sides. Raises InputError when a column is missing or a class has no row.
    """
    known = {column.name: column for column in contract.columns}
    wanted = [*contract.features, *(known[name] for name in slices if name in known and known[name].role != "feature")]
    extra = [column for column in wanted if column.role != "feature"]
    names = list(dict.fromkeys([*(column.name for column in wanted), target, *filter(None, [contract.subject])]))
    table = _read(path, names)
    columns = {column.name: [_value(column, value) for value in table[column.name]] for column in wanted}
    rows = list(zip(*(columns[column.name] for column in contract.features), strict=True))
    labels = np.array([_is_positive(value, positive) for value in table[target]], dtype=bool)
    fits, refused = _check(contract, rows)
    fits &= np.array([value is not None for value in table[target]], dtype=bool)
    kept = np.flatnonzero(fits)
    keys = table[contract.subject] if contract.subject else rows
    found = PilotRows(
        rows=[rows[at] for at in kept],
        labels=labels[kept],
        held_out=np.array([_draw(keys[at], seed) < share for at in kept], dtype=bool),
        sliced={column.name: [columns[column.name][at] for at in kept] for column in extra},
        refused=refused,
    )
    _refuse_one_class(found, target, positive)
    return found


def _read(path: Path, names: Sequence[str]) -> dict[str, list[object]]:
    """The named columns of a file, by the rules by which contracts are inferred."""
    quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
    types = "['BIGINT', 'DOUBLE', 'VARCHAR']"
    csv = f"read_csv(?, header = true, sample_size = -1, nullstr = ?, auto_type_candidates = {types})"
    source, arguments = (csv, [str(path), MISSING]) if path.suffix != ".parquet" else ("read_parquet(?)", [str(path)])
    with duckdb.connect(":memory:", config={"autoinstall_known_extensions": False}) as connection:
        try:
            records = connection.execute(f"SELECT {quoted} FROM {source}", arguments).fetchall()  # noqa: S608
        except duckdb.Error as error:
            raise InputError(
                f"cannot read {path.name}", got=str(error).split("\n")[0], expected=names, mend="mend the file or names"
            ) from error
    return dict(zip(names, map(list, zip(*records, strict=True)), strict=True)) if records else {n: [] for n in names}


def _value(column: Column, value: object) -> Value:
    """A value of the file as a request would carry it."""
    if value is None:
        return None
    if column.type == "boolean":
        return value if isinstance(value, bool) else str(value).lower() == "true"
    if column.numeric:
        number = float(value)  # type: ignore[arg-type]  # the contract says that it is one
        return number if math.isfinite(number) else None
    return str(value)


def _is_positive(value: object, positive: str) -> bool:
    if str(value) == positive:
        return True
    try:
        return float(value) == float(positive)  # type: ignore[arg-type]  # tried
    except (TypeError, ValueError):
        return False


def _check(contract: DataContract, rows: Sequence[Sequence[Value]]) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Which rows fit, and the first fault's code of the others, by the check that requests go through."""
    features = [column.name for column in contract.features]
    # Without the subject, which files may hold in any form; and as sent, since nothing is mended in these rows.
    columns = tuple(msgspec.structs.replace(column, on_fault={}, impute=None) for column in contract.features)
    check = compile_contract(msgspec.structs.replace(contract, columns=columns, subject="", enrichment=()))
    fits = np.ones(len(rows), dtype=bool)
    refused: Counter[str] = Counter()
    for start in range(0, len(rows), 1_000):
        inputs = [dict(zip(features, row, strict=True)) for row in rows[start : start + 1_000]]
        for at, checked in enumerate(check.check(msgspec.json.encode({"inputs": inputs})).rows, start):
            if checked.values is None:
                fits[at] = False
                refused[checked.faults[0].code] += 1
    return fits, dict(sorted(refused.items()))


def _draw(key: object, seed: int) -> float:
    """A number in [0, 1) for a key: the same on every machine."""
    content = msgspec.json.encode(key)
    hashed = hashlib.blake2b(content, digest_size=8, key=seed.to_bytes(8, "big", signed=True)).digest()
    return int.from_bytes(hashed, "big") / 2.0**64


def _refuse_one_class(found: PilotRows, target: str, positive: str) -> None:
    for name, side in (("held-out", found.held_out), ("other", ~found.held_out)):
        share = found.labels[side]
        if not len(share) or share.all() or not share.any():
            raise InputError(
                f"the {name} rows cannot be judged: they are not of two classes",
                got=f"{len(share)} rows, {int(share.sum())} of them with {target} = {positive}",
                expected="both classes on both sides of the split",
                mend="correct `pilot.target`, `pilot.positive` or `pilot.holdout`, or give more data",
            )
