"""Infer a data contract from a file: types, ranges with a margin, categories, nulls, and what looks personal.

The rules, in full:
- Types are those that hold for every row. Dates and times are text, as they are sent; `yes` and `no` are text too,
  since a model that was fitted on text wants text; only `true` and `false` are boolean.
- A column with an empty cell is nullable; what pandas reads as missing (NA, NaN, null, ...) is empty here as well.
- Ranges: the finite values seen, widened by a tenth of their span on both sides and rounded outwards to a thousandth of
  it, integers to integers; never across zero, so that amounts stay amounts. A constant is widened by a tenth of itself.
- JSON lines (.json, .jsonl, .ndjson, also .gz) are read by key; what looks like a date in them stays text.
- Categories: every value of a column declared categorical; undeclared, text of at most 50 distinct values of which each
  stands for ten rows on average, and integers of at most two distinct values.
- Personal: declared, or its name or its values look it; the reason is in the column's description.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import duckdb

from pilotage.contracts.engine import open_engine
from pilotage.contracts.judging import quoted
from pilotage.contracts.model import EXACT_INTEGER, Column, ColumnType, DataContract, Role
from pilotage.contracts.personal import looks_personal
from pilotage.errors import InputError

__all__ = ["MISSING", "infer_contract", "is_json_lines", "json_lines", "table_of"]

MARGIN = 0.1
MOST_CATEGORIES = 1_000
TEXT_CATEGORIES = 50
ROWS_A_CATEGORY = 10
SAMPLE = 200

MISSING = ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A"]
MISSING += ["NA", "NULL", "NaN", "None", "n/a", "nan", "null"]
"""The texts that pandas reads as missing by default: most pilots were fitted on data read so."""

_integers = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"}


def infer_contract(
    path: Path,
    *,
    name: str,
    target: str = "",
    subject: str = "",
    ignore: Collection[str] = (),
    personal: Collection[str] = (),
    protected: Collection[str] = (),
    categorical: Collection[str] = (),
    version: str = "1",
) -> DataContract:
    """The contract of a CSV (also gzipped), Parquet or JSON lines file; the other arguments name columns of it.

    Raises InputError when the file cannot be read, or with every name that is no column of it.
    """
    with open_engine() as connection:
        types = _open(connection, path)
        roles: dict[str, Role] = {**dict.fromkeys(ignore, "ignored"), target: "target", subject: "subject"}
        named = {"target": [target] if target else [], "subject": [subject] if subject else [], "ignore": ignore}
        _refuse_unknown(types, {**named, "personal": personal, "protected": protected, "categorical": categorical})
        columns = []
        for column, kind in types.items():
            inferred = _infer(connection, column, kind, roles.get(column, "feature"), column in categorical)
            sample = inferred.pop("sample")
            reason = "" if column in personal else looks_personal(column, sample)
            columns.append(
                Column(
                    **inferred,
                    personal=bool(reason) or column in personal or column == subject,
                    protected=column in protected,
                    description=f"Marked personal: {reason}" if reason else "",
                )
            )
    return DataContract(name=name, version=version, columns=tuple(columns), subject=subject)


def table_of(path: Path) -> tuple[str, list[object]]:
    """The DuckDB table expression that reads a file by the rules above, and its arguments."""
    if path.suffix == ".parquet":
        return "read_parquet(?)", [str(path)]
    if is_json_lines(path):
        return json_lines(path)
    types = "['BIGINT', 'DOUBLE', 'VARCHAR']"
    options = f"header = true, sample_size = -1, nullstr = ?, auto_type_candidates = {types}"
    return f"read_csv(?, {options})", [str(path), MISSING]


def is_json_lines(path: Path) -> bool:
    """Whether a file is one JSON object a line, by its name."""
    return path.name.removesuffix(".gz").endswith((".json", ".jsonl", ".ndjson"))


def json_lines(path: Path, keep: Collection[str] = ()) -> tuple[str, list[object]]:
    """The table expression of JSON lines. Text stays text: what DuckDB takes for dates is read as it was written.

    `keep` are further kinds to be left as DuckDB finds them, such as JSON of values of several kinds.
    """
    lines = "read_json(?, format = 'newline_delimited', sample_size = -1)"
    with open_engine() as connection:
        try:
            found = connection.execute(f"DESCRIBE SELECT * FROM {lines}", [str(path)]).fetchall()  # noqa: S608
        except duckdb.Error as error:
            raise InputError(
                f"cannot read {path.name}",
                got=str(error).split("\n")[0],
                expected="one JSON object a line",
                mend="write one object a line, or give CSV or Parquet",
            ) from error
    kinds = {str(name): str(kind) for name, kind, *_ in found}
    if nested := [name for name, kind in kinds.items() if kind.endswith("]") or kind.startswith(("STRUCT", "MAP"))]:
        raise InputError(
            f"{path.name} has fields that are not single values",
            got=", ".join(nested),
            expected="numbers, text, true, false or null",
            mend="flatten them: a row of a contract has one value a column",
        )
    kept = {"BOOLEAN", "DOUBLE", *_integers, *keep}
    columns = ", ".join(f"{quoted(name)}: '{kind if kind in kept else 'VARCHAR'}'" for name, kind in kinds.items())
    return f"read_json(?, format = 'newline_delimited', columns = {{{columns}}})", [str(path)]


def _open(connection: duckdb.DuckDBPyConnection, path: Path) -> dict[str, str]:
    """Make the file the table `data` and return its columns' DuckDB types."""
    table, arguments = table_of(path)
    try:
        connection.execute(f"CREATE TABLE data AS SELECT * FROM {table}", arguments)  # noqa: S608
        columns = {name: kind for name, kind, *_ in connection.execute("DESCRIBE data").fetchall()}
        rows = _one(connection, "count(*)")
    except duckdb.Error as error:
        raise InputError(
            f"cannot read {path.name}",
            got=str(error).split("\n")[0],
            expected="CSV (also .gz) with a header line, or Parquet",
            mend="check the file",
        ) from error
    if not rows:
        raise InputError(f"{path.name} holds no rows", mend="give a file with data")
    return columns


def _refuse_unknown(types: Mapping[str, str], named: Mapping[str, Collection[str]]) -> None:
    faults: list[dict[str, object]] = [
        {"path": f"{use}.{name}", "code": "unknown_column", "message": "the data has no such column", "got": name}
        for use, names in named.items()
        for name in names
        if name not in types
    ]
    if faults:
        raise InputError(
            "columns are named that the data does not have",
            expected=", ".join(types),
            mend="correct the names; they are case-sensitive",
            code="unknown_column",
            faults=faults,
        )


def _infer(
    connection: duckdb.DuckDBPyConnection, name: str, kind: str, role: Role, categorical: bool
) -> dict[str, Any]:
    column = quoted(name)
    type_ = _type(connection, column, kind)
    # NaN and infinite values cannot be sent: as far as the contract is concerned they are gaps in the data.
    seen = f"CASE WHEN isfinite({column}) THEN {column} END" if kind in ("DOUBLE", "FLOAT") else column
    empty, distinct, rows = _row(connection, f"count(*) - count({seen}), count(DISTINCT {seen}), count({seen})")
    sample = [
        str(value) for (value,) in _rows(connection, f"{column} FROM data WHERE {column} IS NOT NULL LIMIT {SAMPLE}")
    ]
    inferred: dict[str, Any] = {"name": name, "type": type_, "role": role, "nullable": empty > 0, "sample": sample}
    if role in ("subject", "ignored") or type_ == "boolean" or not distinct:
        return inferred
    if categorical or _is_category(type_, distinct, rows):
        inferred["categories"] = _categories(connection, name, seen, type_, distinct)
    elif type_ != "string" and role == "feature":
        low, high = _row(connection, f"min({seen})::DOUBLE, max({seen})::DOUBLE")
        inferred["minimum"], inferred["maximum"] = _widened(low, high, whole=type_ == "integer")
    return inferred


def _type(connection: duckdb.DuckDBPyConnection, column: str, kind: str) -> ColumnType:
    if kind in _integers:
        return "integer"
    if kind in ("DOUBLE", "FLOAT") or kind.startswith("DECIMAL"):
        return "number"
    if kind == "VARCHAR":
        flag = _one(connection, f"count({column}) > 0 AND bool_and(lower({column}) IN ('true', 'false'))")
        return "boolean" if flag else "string"
    return "boolean" if kind == "BOOLEAN" else "string"


def _is_category(kind: ColumnType, distinct: int, rows: int) -> bool:
    if kind == "string":
        return distinct <= TEXT_CATEGORIES and distinct * ROWS_A_CATEGORY <= rows
    return kind == "integer" and distinct <= 2


def _categories(
    connection: duckdb.DuckDBPyConnection, name: str, seen: str, kind: ColumnType, distinct: int
) -> tuple[float | str, ...]:
    if distinct > MOST_CATEGORIES:
        raise InputError(
            f"{name} has too many categories",
            got=distinct,
            expected=f"at most {MOST_CATEGORIES}",
            mend="do not declare it categorical, or group its values",
        )
    values = [value for (value,) in _rows(connection, f"DISTINCT {seen} AS v FROM data WHERE v IS NOT NULL ORDER BY v")]
    return tuple(str(value) if kind == "string" else float(value) for value in values)


def _widened(low: float, high: float, *, whole: bool) -> tuple[float, float]:
    span = high - low or max(abs(low), 1.0)
    if not math.isfinite(span):
        return low, high
    step = max(1.0, 10.0 ** (math.floor(math.log10(span)) - 3)) if whole else 10.0 ** (math.floor(math.log10(span)) - 3)
    bottom = math.floor((low - MARGIN * span) / step) * step
    top = math.ceil((high + MARGIN * span) / step) * step
    bottom, top = min(_tidy(bottom), low), max(_tidy(top), high)
    if whole:
        bottom, top = max(bottom, -EXACT_INTEGER), min(top, EXACT_INTEGER)
    return (max(bottom, 0.0) if low >= 0 else bottom), (min(top, 0.0) if high <= 0 else top)


def _tidy(bound: float) -> float:
    """The bound without the dust of binary arithmetic, such as 0.30000000000000004."""
    return float(f"{bound:.12g}")


def _rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[Any]:
    return connection.execute(f"SELECT {query}").fetchall()


def _row(connection: duckdb.DuckDBPyConnection, expressions: str) -> Any:
    return _rows(connection, f"{expressions} FROM data")[0]


def _one(connection: duckdb.DuckDBPyConnection, expression: str) -> Any:
    return _row(connection, expression)[0]
