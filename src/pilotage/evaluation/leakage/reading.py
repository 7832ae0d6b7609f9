"""A table from a file, one column at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
import numpy as np

from pilotage.contracts.engine import open_engine
from pilotage.contracts.infer import table_of as file_table
from pilotage.errors import InputError
from pilotage.evaluation.leakage.model import Progress
from pilotage.evaluation.leakage.table import EXACT, Field, Floats, Table, table_of_fields, text_field

__all__ = ["MOST_COLUMNS", "MOST_ROWS", "read_table"]

MOST_ROWS, MOST_COLUMNS = 5_000_000, 2_000
_TEXT = ("VARCHAR", "DATE", "TIME", "BLOB", "UUID", "ENUM", "INTERVAL")


def read_table(
    path: Path,
    *,
    target: str,
    positive: str = "",
    subject: str = "",
    time: str = "",
    split: str = "",
    ignore: Sequence[str] = (),
    progress: Progress | None = None,
) -> Table:
    """The table of a CSV (also .gz) or Parquet file with a header; the names mean what `table_of_fields` says.

    Raises InputError when it cannot be read, holds no rows, or more than MOST_ROWS rows or MOST_COLUMNS columns.
    """
    tell = progress or (lambda _step, _share: None)
    source, arguments = file_table(path)
    with open_engine() as connection:
        try:
            connection.execute(f"CREATE TABLE data AS SELECT * FROM {source}", arguments)  # noqa: S608
            kinds = {name: kind for name, kind, *_ in connection.execute("DESCRIBE data").fetchall()}
            [(rows,)] = connection.execute("SELECT count(*) FROM data").fetchall()
        except duckdb.Error as error:
            raise InputError(
                f"cannot read {path.name}",
                got=str(error).split("\n")[0],
                expected="CSV (also .gz) with a header line, or Parquet",
                mend="check the file",
            ) from error
        if not rows or rows > MOST_ROWS or len(kinds) > MOST_COLUMNS:
            raise InputError(
                f"{path.name} cannot be looked through",
                got=f"{rows:,} rows, {len(kinds):,} columns",
                expected=f"1 to {MOST_ROWS:,} rows and at most {MOST_COLUMNS:,} columns",
                mend="give a part of it: whole subjects, in the order of the file",
            )
        fields = {}
        for at, (name, kind) in enumerate(kinds.items()):
            tell(f"reading {name}", at / len(kinds))
            fields[name] = _field(connection, name, kind)
    return table_of_fields(
        fields, target=target, positive=positive, subject=subject, time=time, split=split, ignore=ignore
    )


def _field(connection: duckdb.DuckDBPyConnection, name: str, kind: str) -> Field:
    quoted = '"' + name.replace('"', '""') + '"'
    if not kind.startswith(_TEXT) and "[" not in kind and "(" not in kind.replace("DECIMAL(", ""):
        [(most,)] = connection.execute(f"SELECT max(abs({quoted}::DOUBLE)) FROM data").fetchall()  # noqa: S608
        if kind in ("DOUBLE", "FLOAT", "BOOLEAN") or most is None or most <= EXACT:
            column = connection.execute(f"SELECT {quoted}::DOUBLE AS v FROM data").fetchnumpy()["v"]  # noqa: S608
            numbers: Floats = np.ma.filled(column.astype(np.float64), np.nan)
            numbers[~np.isfinite(numbers)] = np.nan
            return Field(name=name, numbers=numbers)
    texts = connection.execute(f"SELECT {quoted}::VARCHAR AS v FROM data").fetchnumpy()["v"]  # noqa: S608
    return text_field(name, np.ma.filled(texts, None).tolist())
