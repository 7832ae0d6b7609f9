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
from pilotage.contracts.engine import open_engine
from pilotage.contracts.infer import table_of
from pilotage.contracts.judging import define_functions, first_code, quoted
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

    `share` of the rows is held out, 1 for all of them. The split depends on `seed` and the rows alone, so the same
    person or the same row is never on both sides. Raises InputError when a column is missing or a class has no row.
    """
    known = {column.name: column for column in contract.columns}
    wanted = [*contract.features, *(known[name] for name in slices if name in known and known[name].role != "feature")]
    extra = [column for column in wanted if column.role != "feature"]
    raw = list(dict.fromkeys([target, *filter(None, [contract.subject])]))
    columns, plain, codes = _read(path, contract, wanted, raw)
    rows = Rows([columns[column.name] for column in contract.features], len(plain[target]))
    positives = {value: value is not None and _is_positive(value, positive) for value in set(plain[target])}
    fits = np.array([code is None for code in codes], dtype=bool)
    fits &= np.array([value is not None for value in plain[target]], dtype=bool)
    kept = rows[fits]
    keys = compress(plain[contract.subject], fits) if contract.subject else kept
    found = PilotRows(
        rows=kept,
        labels=np.array([positives[value] for value in plain[target]], dtype=bool)[fits],
        held_out=np.array([_draw(key, seed) < share for key in keys], dtype=bool),
        sliced={column.name: values_of(columns[column.name][fits]) for column in extra},
        refused=dict(sorted(Counter(code for code in codes if code is not None).items())),
    )
    _refuse_one_class(found, target, positive, share)
    return found


_AS_THEY_ARE = {"BIGINT", "INTEGER", "SMALLINT", "TINYINT", "DOUBLE", "VARCHAR"}
"""Types of which numpy has the values that Python would have."""


def _read(
    path: Path, contract: DataContract, wanted: Sequence[contracts.Column], raw: Sequence[str]
) -> tuple[dict[str, Column], dict[str, list[object]], list[str | None]]:
    """The wanted columns of a file as requests would carry them, and the `raw` ones as the file has them.

    Read by the rules by which contracts are inferred. With the code of each row's first fault, None where it fits; the
    subject, which files may hold in any form, is not judged.
    """
    source, arguments = table_of(path)
    names = list(dict.fromkeys([*(column.name for column in wanted), *raw]))
    with open_engine() as connection:
        try:
            listed = ", ".join(map(quoted, names))
            described = connection.execute(f"DESCRIBE SELECT {listed} FROM {source}", arguments).fetchall()  # noqa: S608
            kinds = {name: str(kind) for name, kind, *_ in described}
            asked = [*(_as_sent(column, kinds[column.name]) for column in wanted), *map(quoted, raw)]
            inner = ", ".join(f"{each} AS c{at}" for at, each in enumerate(asked))
            places = {column.name: f"c{at}" for at, column in enumerate(wanted) if column.role == "feature"}
            define_functions(connection, contract)
            query = f"SELECT *, {first_code(contract, places)} AS code FROM (SELECT {inner} FROM {source})"  # noqa: S608
            found = connection.execute(query, arguments).fetchnumpy()
            odd = [name for name in raw if kinds[name] not in _AS_THEY_ARE]
            listed = ", ".join(map(quoted, odd))
            plain = connection.execute(f"SELECT {listed} FROM {source}", arguments).fetchall() if odd else []  # noqa: S608
        except duckdb.Error as error:
            raise InputError(
                f"cannot read {path.name}", got=str(error).split("\n")[0], expected=names, mend="mend the file or names"
            ) from error
    columns = {column.name: _column(column, found[f"c{at}"]) for at, column in enumerate(wanted)}
    values = {name: found[f"c{at}"].tolist() for at, name in enumerate(raw, len(wanted))}
    values |= {name: [row[at] for row in plain] for at, name in enumerate(odd)}
    return columns, values, [code or None for code in found["code"].tolist()]


def _as_sent(column: contracts.Column, kind: str) -> str:
    """The expression for a column's values as a request would carry them: what is not finite cannot be sent."""
    name = quoted(column.name)
    if column.type == "boolean":
        return name if kind == "BOOLEAN" else f"lower({name}::VARCHAR) = 'true'"
    return f"CASE WHEN isfinite({name}::DOUBLE) THEN {name}::DOUBLE END" if column.numeric else f"{name}::VARCHAR"


def _column(column: contracts.Column, found: NDArray[Any]) -> Column:
    """What numpy has of it as a column: null is masked there."""
    if column.numeric:
        return np.ma.filled(found.astype(np.float64), np.nan)
    made = np.empty(len(found), dtype=object)
    made[:] = found.tolist()
    return made


def _is_positive(value: object, positive: str) -> bool:
    if str(value) == positive:
        return True
    try:
        return float(value) == float(positive)  # type: ignore[arg-type]  # tried
    except (TypeError, ValueError):
        return False


def _draw(key: object, seed: int) -> float:
    """A number in [0, 1) for a key: the same on every machine."""
    content = msgspec.json.encode(key)
    hashed = hashlib.blake2b(content, digest_size=8, key=seed.to_bytes(8, "big", signed=True)).digest()
    return int.from_bytes(hashed, "big") / 2.0**64


def _refuse_one_class(found: PilotRows, target: str, positive: str, part: float) -> None:
    sides = [("held-out", found.held_out), ("other", ~found.held_out)]
    for name, side in sides if part < 1 else sides[:1]:
        share = found.labels[side]
        if not len(share) or share.all() or not share.any():
            raise InputError(
                f"the {name} rows cannot be judged: they are not of two classes",
                got=f"{len(share)} rows, {int(share.sum())} of them with {target} = {positive}",
                expected="both classes on both sides of the split",
                mend="correct `pilot.target`, `pilot.positive` or `pilot.holdout`, or give more data",
            )
