"""Chosen columns of a file, read by DuckDB: as numbers, texts or times, as they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from pilotage.contracts.engine import moment_of, open_engine
from pilotage.contracts.infer import table_of
from pilotage.contracts.judging import quoted
from pilotage.errors import InputError, NotFound
from pilotage.kernel.rows import Value

__all__ = ["MOST_ROWS", "File", "read_columns"]

Floats = NDArray[np.float64]

MOST_ROWS = 20_000_000
_JSON = (".json", ".jsonl", ".ndjson")
_TEXTS = ("VARCHAR", "UUID", "ENUM", "BLOB", "DATE", "TIME", "INTERVAL", "JSON", "STRUCT", "MAP")


class File:
    """Columns of a table in memory. Every array has one entry a row, in the order of the file."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, kinds: dict[str, str], rows: int) -> None:
        self._connection, self._kinds, self.rows = connection, kinds, rows

    def numeric(self, name: str) -> bool:
        """Whether a column is of numbers or of true and false."""
        return not self._kinds[name].startswith(_TEXTS)

    def distinct(self, name: str) -> list[str]:
        """Up to 20 values of a column, as text, sorted."""
        query = f"SELECT DISTINCT {quoted(name)}::VARCHAR FROM data WHERE {quoted(name)} IS NOT NULL LIMIT 20"  # noqa: S608
        return sorted(str(value) for (value,) in self._connection.execute(query).fetchall())

    def numbers(self, name: str) -> Floats:
        """A column as numbers, NaN for null. Raises InputError for text."""
        if not self.numeric(name):
            raise InputError(
                f"{name} is no column of numbers",
                got=f"{self._kinds[name].lower()}, such as {', '.join(self.distinct(name)[:3])}",
                expected="numbers",
                mend="name another column, or --kind classification for classes with names",
            )
        found = self._fetch(f"{quoted(name)}::DOUBLE")
        return np.asarray(np.ma.filled(found.astype(np.float64), np.nan))

    def texts(self, name: str) -> list[str | None]:
        """A column as text, None for null."""
        found: list[str | None] = np.ma.filled(self._fetch(f"{quoted(name)}::VARCHAR"), None).tolist()
        return found

    def known(self, name: str) -> NDArray[np.bool_]:
        """Which rows have a value."""
        return np.asarray(self._fetch(f"{quoted(name)} IS NOT NULL"), dtype=bool)

    def values(self, name: str, chosen: NDArray[np.bool_]) -> list[Value]:
        """A column's values of some rows, numbers as float."""
        if self.numeric(name) and self._kinds[name] != "BOOLEAN":
            numbers: list[float] = self.numbers(name)[chosen].tolist()
            return [None if value != value else value for value in numbers]
        return [value for value, keep in zip(self.texts(name), chosen, strict=True) if keep]

    def times(self, name: str) -> NDArray[np.datetime64]:
        """A column of dates or times (ISO 8601) in UTC, NaT where there is none.

        Raises InputError when no row has one.
        """
        try:
            found = self._fetch(moment_of(quoted(name)))
        except duckdb.Error as error:
            raise InputError(
                f"{name} cannot be read as time", got=str(error).split("\n")[0], mend="name another"
            ) from error
        missing = np.ma.getmaskarray(found)
        times = np.where(missing, 0, np.ma.filled(found, 0)).astype("datetime64[us]")
        times[missing] = np.datetime64("NaT")
        if missing.all():
            raise InputError(
                f"{name} holds no dates",
                got=", ".join(self.distinct(name)[:3]) or "nothing",
                expected="dates such as 2026-03-01, or times such as 2026-03-01T10:00:00",
                mend="name another column with --time",
            )
        return times

    def _fetch(self, expression: str) -> NDArray[Any]:
        return self._connection.execute(f"SELECT {expression} AS v FROM data").fetchnumpy()["v"]  # noqa: S608


def read_columns(path: Path, names: Sequence[str]) -> File:
    """The named columns of a CSV (also .gz), JSON lines or Parquet file.

    Raises NotFound without the file, InputError when it cannot be read, or with every name that is no column of it.
    """
    if not path.is_file():
        raise NotFound("no such file", got=path, expected="CSV (also .gz), JSON lines or Parquet", mend="name a file")
    source, arguments = ("read_json_auto(?)", [str(path)]) if path.suffix in _JSON else table_of(path)
    connection = open_engine()
    try:
        described = connection.execute(f"DESCRIBE SELECT * FROM {source}", arguments).fetchall()  # noqa: S608
        kinds = {name: kind for name, kind, *_ in described}
        _refuse_unknown(kinds, names)
        listed = ", ".join(map(quoted, names))
        connection.execute(f"CREATE TABLE data AS SELECT {listed} FROM {source} LIMIT {MOST_ROWS + 1}", arguments)  # noqa: S608
        [(rows,)] = connection.execute("SELECT count(*) FROM data").fetchall()
    except duckdb.Error as error:
        raise InputError(
            f"cannot read {path.name}",
            got=str(error).split("\n")[0],
            expected="CSV (also .gz) with a header line, JSON lines, or Parquet",
            mend="check the file",
        ) from error
    if rows > MOST_ROWS:
        raise InputError(f"{path.name} is too long", expected=f"{MOST_ROWS:,} rows", mend="give a sample of its rows")
    return File(connection, kinds, rows)


def _refuse_unknown(kinds: dict[str, str], names: Sequence[str]) -> None:
    faults: list[dict[str, object]] = [
        {"path": name, "code": "unknown_column", "message": f"the file has no column {name}", "got": name}
        for name in names
        if name not in kinds
    ]
    if faults:
        raise InputError(
            "columns are named that the file does not have",
            got=", ".join(str(each["got"]) for each in faults),
            expected=", ".join(list(kinds)[:30]),
            mend="correct the names; they are case-sensitive",
            code="unknown_column",
            faults=faults,
        )
