"""Outcomes from a file of any size: read in pieces, checked row by row, each told once, resumed by sending it again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
from sqlalchemy import Engine

from pilotage.contracts.engine import open_engine
from pilotage.errors import InputError
from pilotage.kernel.clock import now_us
from pilotage.ledger.about import emit_about
from pilotage.ledger.outcomes import Outcomes, Told, read_told
from pilotage.ledger.said import OUTCOME, value_text
from pilotage.storage.database import writing

__all__ = ["UploadReport", "upload_file"]

_COLUMNS = ("decision", "value", "at", "source")
_PIECE = 2_000
_FAULTS = 100


@dataclass(frozen=True, kw_only=True)
class UploadReport:
    """Rows of the file: `told` are new, `known` were on record already. Of the new ones `unmatched` name a decision
    that is not sealed (yet) and `other_system` one of another system, which counts for nothing.
    """

    rows: int
    told: int
    known: int
    unmatched: int
    other_system: int


def upload_file(
    path: Path,
    system: str,
    *,
    control: Engine,
    outcomes: Outcomes,
    steward_public: bytes,
    by: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> UploadReport:
    """Tell every outcome of a CSV (also .gz) or Parquet file with columns decision, value and perhaps at, source.

    Some thousand rows are one transaction. Sent again, what is on record is left out, so an upload that was broken off
    is resumed. Raises InputError naming rows that cannot be read; the rows of pieces before them are told.
    """
    rows = told = known = unmatched = other = 0
    for total, piece in _pieces(path):
        now = now_us()
        read = _read(piece, rows, system, now)
        on_record = outcomes.known(each.decision for each, _ in read)
        new = [each for each, dated in read if not _is_known(each, dated, on_record.get(each.decision))]
        systems = outcomes.sealed(each.decision for each in new)
        with writing(control) as connection:
            for each in new:
                emit_about(
                    connection, steward_public, OUTCOME, each.decision, system=system, private=each.private(by), at=now
                )
        rows, told, known = rows + len(piece), told + len(new), known + len(piece) - len(new)
        unmatched += sum(each.decision not in systems for each in new)
        other += sum(systems.get(each.decision, system) != system for each in new)
        progress(rows, total)
    return UploadReport(rows=rows, told=told, known=known, unmatched=unmatched, other_system=other)


def _pieces(path: Path) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """(rows in the file, some thousand rows as mappings)."""
    parquet = path.suffix == ".parquet"
    source = "read_parquet(?)" if parquet else "read_csv(?, header = true, all_varchar = true)"
    with open_engine() as connection:
        try:
            names = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {source}", [str(path)]).fetchall()]  # noqa: S608 - one of two constants
            wanted = _wanted(path, names)
            columns = ", ".join(f'"{name}"' for name in wanted)
            [(total,)] = connection.execute(f"SELECT count(*) FROM {source}", [str(path)]).fetchall()  # noqa: S608
            found = connection.execute(f"SELECT {columns} FROM {source}", [str(path)])  # noqa: S608
            while rows := found.fetchmany(_PIECE):
                yield total, [dict(zip(wanted, row, strict=True)) for row in rows]
        except duckdb.Error as error:
            raise InputError(
                f"cannot read {path.name}",
                got=str(error).split("\n")[0][:300],
                expected="CSV with a header, or Parquet",
                mend="mend the file",
            ) from error


def _wanted(path: Path, names: list[str]) -> list[str]:
    if not {"decision", "value"} <= set(names):
        raise InputError(
            f"{path.name} tells no outcomes",
            got=", ".join(names)[:300],
            expected="columns decision, value, and if known at, source",
            mend="name the columns so",
        )
    return [name for name in _COLUMNS if name in names]


def _read(piece: list[dict[str, Any]], before: int, system: str, now: int) -> list[tuple[Told, bool]]:
    """(outcome, whether the row says when it became known) of each row."""
    read: list[tuple[Told, bool]] = []
    faults: list[dict[str, object]] = []
    for number, row in enumerate(piece, before + 1):
        fields = {name: _plain(name, value) for name, value in row.items() if value is not None}
        try:
            read.append((read_told({**fields, "system": system}, now, f"row {number}: "), "at" in fields))
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(
            "rows of the file cannot be told",
            got=f"{len(faults)} faults up to row {before + len(piece)}",
            expected="every row with a decision's id and a value",
            mend="mend them and upload the file again: what is on record already is left out",
            code="outcome_invalid",
            faults=faults[:_FAULTS],
        )
    return read


def _plain(name: str, value: Any) -> Any:
    """A cell as a JSON body would carry it; a text that is a number is the number."""
    if name == "at" and isinstance(value, datetime):
        moment = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        return round(moment.timestamp() * 1_000_000)
    if name in ("value", "at") and isinstance(value, str):
        for kind in (int, float):
            try:
                number = kind(value)
            except ValueError:
                continue
            return number if math.isfinite(number) else value
    return str(value) if name in ("decision", "source") else value


def _is_known(told: Told, dated: bool, known: tuple[str, int] | None) -> bool:
    return known is not None and known[0] == value_text(told.value) and (not dated or known[1] == told.at)
