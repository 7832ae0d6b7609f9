"""The pilot's data as rows of the contract: which fit it, what their labels are, and which are held out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.contracts import model as contracts
from pilotage.contracts.compile import compile_contract
from pilotage.contracts.infer import table_of
from pilotage.contracts.model import DataContract
from pilotage.errors import InputError
from pilotage.kernel.rows import Column, Rows, Value, values_of

__all__ = ["PilotRows", "read_rows"]


@dataclass(frozen=True, kw_only=True)
class PilotRows:
    """Rows that fit the contract, features in contract order; `labels` says which are of the positive class.

    `held_out` marks the rows of the hash split. `sliced` holds slice columns that are not features. `refused` counts
    rows of the file that do not fit the contract, by code of their first fault.
    """

    rows: Rows
    labels: NDArray[np.bool_]
    held_out: NDArray[np.bool_]
    sliced: dict[str, list[Value]]
    refused: dict[str, int]

    def part(self, held_out: bool) -> tuple[Rows, NDArray[np.bool_]]:
        """The rows and labels of one side of the split."""
        chosen = self.held_out if held_out else ~self.held_out
        return self.rows[chosen], self.labels[chosen]


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
    raw = list(dict.fromkeys([target, *filter(None, [contract.subject])]))
    columns, plain = _read(path, wanted, raw)
    rows = Rows([columns[column.name] for column in contract.features], len(plain[target]))
    positives = {value: value is not None and _is_positive(value, positive) for value in set(plain[target])}
    fits, refused = _check(contract, rows)
    fits &= np.array([value is not None for value in plain[target]], dtype=bool)
    kept = rows[fits]
    keys = compress(plain[contract.subject], fits) if contract.subject else kept
    found = PilotRows(
        rows=kept,
        labels=np.array([positives[value] for value in plain[target]], dtype=bool)[fits],
        held_out=np.array([_draw(key, seed) < share for key in keys], dtype=bool),
        sliced={column.name: values_of(columns[column.name][fits]) for column in extra},
        refused=refused,
    )
    _refuse_one_class(found, target, positive)
    return found


_AS_THEY_ARE = {"BIGINT", "INTEGER", "SMALLINT", "TINYINT", "DOUBLE", "VARCHAR"}
"""Types of which numpy has the values that Python would have."""


def _read(
    path: Path, wanted: Sequence[contracts.Column], raw: Sequence[str]
) -> tuple[dict[str, Column], dict[str, list[object]]]:
    """The wanted columns of a file as requests would carry them, and the `raw` ones as the file has them.

    By the rules by which contracts are inferred.
    """
    source, arguments = table_of(path)
    names = list(dict.fromkeys([*(column.name for column in wanted), *raw]))
    with duckdb.connect(":memory:", config={"autoinstall_known_extensions": False}) as connection:
        try:
            listed = ", ".join(map(_quoted, names))
            described = connection.execute(f"DESCRIBE SELECT {listed} FROM {source}", arguments).fetchall()  # noqa: S608
            kinds = {name: str(kind) for name, kind, *_ in described}
            asked = [*(_as_sent(column, kinds[column.name]) for column in wanted), *map(_quoted, raw)]
            query = ", ".join(f"{each} AS c{at}" for at, each in enumerate(asked))
            found = connection.execute(f"SELECT {query} FROM {source}", arguments).fetchnumpy()  # noqa: S608
            odd = [name for name in raw if kinds[name] not in _AS_THEY_ARE]
            listed = ", ".join(map(_quoted, odd))
            plain = connection.execute(f"SELECT {listed} FROM {source}", arguments).fetchall() if odd else []  # noqa: S608
        except duckdb.Error as error:
            raise InputError(
                f"cannot read {path.name}", got=str(error).split("\n")[0], expected=names, mend="mend the file or names"
            ) from error
    columns = {column.name: _column(column, found[f"c{at}"]) for at, column in enumerate(wanted)}
    values = {name: found[f"c{at}"].tolist() for at, name in enumerate(raw, len(wanted))}
    return columns, values | {name: [row[at] for row in plain] for at, name in enumerate(odd)}


def _as_sent(column: contracts.Column, kind: str) -> str:
    """The expression for a column's values as a request would carry them."""
    quoted = _quoted(column.name)
    if column.type == "boolean":
        return quoted if kind == "BOOLEAN" else f"lower({quoted}::VARCHAR) = 'true'"
    return f"{quoted}::DOUBLE" if column.numeric else f"{quoted}::VARCHAR"


def _column(column: contracts.Column, found: NDArray[Any]) -> Column:
    """What numpy has of it as a column: null is masked there; what is not finite cannot be sent."""
    if column.numeric:
        numbers = np.ma.filled(found.astype(np.float64), np.nan)
        return np.where(np.isfinite(numbers), numbers, np.nan)
    made = np.empty(len(found), dtype=object)
    made[:] = found.tolist()
    return made


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _is_positive(value: object, positive: str) -> bool:
    if str(value) == positive:
        return True
    try:
        return float(value) == float(positive)  # type: ignore[arg-type]  # tried
    except (TypeError, ValueError):
        return False


def _check(contract: DataContract, rows: Rows) -> tuple[NDArray[np.bool_], dict[str, int]]:
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
