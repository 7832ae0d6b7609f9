"""The one way that files are read by DuckDB: it downloads nothing, and a moment is the same on every machine."""

from __future__ import annotations

import duckdb

__all__ = ["moment_of", "open_engine"]


def open_engine() -> duckdb.DuckDBPyConnection:
    """DuckDB in memory. Its extensions are never downloaded; its zone is UTC, whatever that of the machine is."""
    return duckdb.connect(":memory:", config={"autoinstall_known_extensions": False, "TimeZone": "UTC"})


def moment_of(raw: str) -> str:
    """A value of any type as Unix microseconds, NULL where it is no moment: an expression over that of the value.

    An offset counts (`2026-03-01T10:00:00+02:00` is 8 o'clock); in an engine of `open_engine` what has none is UTC.
    """
    return f"epoch_us(TRY_CAST({raw}::VARCHAR AS TIMESTAMPTZ))"
