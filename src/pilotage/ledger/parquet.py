"""Write Parquet of any size in constant memory: rows go page by page into a table on disk, then DuckDB copies it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from pilotage.errors import Unavailable
from pilotage.ledger.columns import written

__all__ = ["ParquetTable", "parquet_table"]

_MEMORY = "256MB"


class ParquetTable:
    """Takes pages of rows; `write` makes the file. Made by `parquet_table`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, columns: Mapping[str, str]) -> None:
        self._connection = connection
        self._columns = columns
        self.rows = 0
        declared = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
        connection.execute(f"CREATE TABLE rows ({declared})")

    def add(self, page: Sequence[Sequence[Any]]) -> None:
        """Take rows, their values in the order of the columns."""
        if not page:
            return
        by_column = zip(*written(page), strict=True)
        page_columns = {  # noqa: F841 - DuckDB finds it by its name
            name: _array(values, kind) for (name, kind), values in zip(self._columns.items(), by_column, strict=True)
        }
        self._connection.execute("INSERT INTO rows SELECT * FROM page_columns")
        self.rows += len(page)

    def write(self, path: Path, options: str = "", columns: str = "*") -> None:
        """Write all rows to a file, or with PARTITION_BY among the `options` to a folder."""
        target = str(path).replace("'", "''")
        more = f", {options}" if options else ""
        self._connection.execute(
            f"COPY (SELECT {columns} FROM rows) TO '{target}' (FORMAT parquet, COMPRESSION zstd{more})"  # noqa: S608
        )


@contextmanager
def parquet_table(columns: Mapping[str, str], beside: Path) -> Iterator[ParquetTable]:
    """A table to fill, in a temporary folder in `beside`, which is removed at the end.

    Raises Unavailable when the disk does not let us.
    """
    with tempfile.TemporaryDirectory(dir=beside, prefix="table-") as folder:
        config: dict[str, str | bool | int | float | list[str]] = {
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "memory_limit": _MEMORY,
            "threads": 1,
            "temp_directory": folder,
        }
        try:
            with duckdb.connect(str(Path(folder) / "rows.duckdb"), config=config) as connection:
                connection.execute("SET preserve_insertion_order = true")
                yield ParquetTable(connection, columns)
        except duckdb.Error as error:
            raise Unavailable(
                "the Parquet file cannot be written", got=error, mend="free space on that disk, then export again"
            ) from error


def _array(values: Sequence[Any], kind: str) -> Any:
    if kind == "BIGINT":
        return np.array(values, dtype=np.int64)
    if kind == "DOUBLE":
        missing = [value is None for value in values]
        return np.ma.masked_array([0.0 if value is None else value for value in values], mask=missing, dtype=float)
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
