"""Hold a file to a contract: every fault of every row counted, in one pass and in constant memory, by DuckDB.

Faults of a row are those that a request of the same values would have; beside them stand those that only a table has:
columns that are missing or unknown, and values that are there twice where each is to be there once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from pilotage.contracts.engine import moment_of, open_engine
from pilotage.contracts.faults import expectation, shown
from pilotage.contracts.infer import MISSING, json_lines
from pilotage.contracts.judging import code_of, define_functions, quoted, rule_of, sent, text_of
from pilotage.contracts.model import Column, DataContract
from pilotage.errors import InputError
from pilotage.kernel.clock import now_us, parse_duration

__all__ = ["EXAMPLES", "FaultCount", "TableCheck", "check_table", "open_table", "write_faults"]

EXAMPLES = 5
"""Rows that are named for each fault."""

_PERIOD_S = 0.2
_HIDDEN = "a value about a person"
_CODES = (
    "wrong_type",
    "null",
    "missing",
    "not_finite",
    "unseen_category",
    "below_minimum",
    "above_maximum",
    "too_long",
    "wrong_format",
)


class FaultCount(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of fault of one column: how many rows have it, and the first of them, as (row from 1, value).

    `column` is the rule's name for a broken rule (`code` rule). `action` is what the door does about it.
    """

    column: str
    code: str
    rows: int
    action: str
    expected: str
    examples: list[tuple[int, str]]


class TableCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What a file is worth by its contract. `faulty` rows have a fault of their own; `faults` the most frequent first.

    `missing` are features that the file has not; `unknown` are its columns that the contract does not name. `twice`
    gives, for each column or key that must hold a value once, how many rows hold one that was there before. `stale`
    gives, for each column with a `max_age`, its newest moment (Unix microseconds, None: there is none) where that is
    too old. `duplicates` are rows that are the same as one before them in every column of the file. They break nothing
    by themselves: `unique` and `keys` say what may not come twice.
    """

    rows: int
    faulty: int
    duplicates: int
    faults: list[FaultCount]
    missing: list[str]
    unknown: list[str]
    twice: dict[str, int]
    stale: dict[str, int | None]

    @property
    def holds(self) -> bool:
        """Whether the file is as the contract says. Columns that it does not name are told and break nothing."""
        return not (self.faulty or self.missing or any(self.twice.values()) or self.stale)


class _Table:
    """An open file as SQL sees it: `source` is its table expression, `columns` its types."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path, contract: DataContract) -> None:
        self.connection, self.contract, self.path = connection, contract, path
        # In CSV everything is text: the contract says what it is to be.
        self.typed = not path.name.removesuffix(".gz").endswith((".csv", ".tsv", ".txt"))
        self.source, self.arguments = _source(path)
        self.columns = {name: str(kind) for name, kind, *_ in self._run("DESCRIBE SELECT * FROM {source}")}
        brought = {name for name in contract.brought if name not in self.columns}
        wanted = [column for column in contract.columns if column.role in ("feature", "subject")]
        self.missing = [
            column.name for column in wanted if column.name not in self.columns and column.name not in brought
        ]
        self.checked = [column for column in wanted if column.name in self.columns]
        self.values = [
            sent(each, self.columns[each.name], f"r{at}", f"v{at}", typed=self.typed)
            for at, each in enumerate(self.checked)
        ]
        self.codes = [
            code_of(each, f"v{at}", wrong if wrong == "false" else f"w{at}")
            for at, (each, (_, wrong)) in enumerate(zip(self.checked, self.values, strict=True))
        ]
        self.rules = [] if self.missing or brought else list(range(len(contract.rules)))

    def _run(self, query: str, *more: Any) -> list[Any]:
        query = query.replace("{source}", self.source)
        try:
            return self.connection.execute(query, [*self.arguments, *more]).fetchall()
        except duckdb.Error as error:
            raise InputError(
                f"cannot read {self.path.name}",
                got=str(error).split("\n")[0],
                expected="CSV (also .gz) with a header line, Parquet or JSON lines",
                mend="check the file",
            ) from error

    def judged(self, only: int | None = None) -> str:
        """A query of one row for each of the file: its number, each column's value and code, each rule's verdict.

        With `only` it is of that column alone and without rules.
        """
        # A query of its own for each step: within one, DuckDB would compute a value anew for each use of it.
        asked = range(len(self.checked)) if only is None else [only]
        raws = ", ".join(f"{quoted(self.checked[at].name)} AS r{at}" for at in asked)
        values = ", ".join(f"{self.values[at][0]} AS v{at}" for at in asked)
        wrongs = ", ".join(f"{self.values[at][1]} AS w{at}" for at in asked)
        codes = ", ".join(f"{self.codes[at]} AS k{at}" for at in asked)
        places = {each.name: f"v{at}" for at, each in enumerate(self.checked)}
        first = f"coalesce({', '.join(f'k{at}' for at in asked)}, NULL)"
        told = ((at, rule_of(self.contract, at, places)) for at in self.rules if only is None)
        rules = "".join(f", CASE WHEN k IS NULL THEN {rule} ELSE false END AS q{at}" for at, rule in told)
        query = f"SELECT row_number() OVER () AS n, {raws}, {self.whole} AS h FROM {{source}}"  # noqa: S608
        for step in (values, wrongs, codes):
            query = f"SELECT *, {step} FROM ({query})"  # noqa: S608
        return f"SELECT *{rules} FROM (SELECT *, {first} AS k FROM ({query}))"  # noqa: S608

    @property
    def whole(self) -> str:
        """A row as 64 bits: two rows that differ share them once in 10 ** 19 pairs."""
        return f"hash({', '.join(map(quoted, self.columns))})"

    def count(self) -> tuple[int, int, int, list[int], list[int]]:
        """Rows, faulty ones, duplicates, and the counts of each (column, code) and each rule, in order of `pairs`."""
        broken = "".join(f" OR q{at}" for at in self.rules)
        pairs = ", ".join(f"count_if(k{at} = {text_of(code)})" for at, code in self.pairs())
        rules = ", ".join(f"count_if(q{at})" for at in self.rules)
        faulty = f"count_if(k IS NOT NULL{broken})"
        wanted = ", ".join(filter(None, ["count(*)", faulty, "count(*) - count(DISTINCT h)", pairs, rules]))
        row = self._run(f"SELECT {wanted} FROM ({self.judged()})")[0]  # noqa: S608
        counted = list(row[3:])
        return row[0], row[1], row[2], counted[: len(self.pairs())], counted[len(self.pairs()) :]

    def pairs(self) -> list[tuple[int, str]]:
        """Every fault that a column can have, as (its place, code)."""
        every = enumerate(self.checked)
        return [(at, code) for at, each in every for code in _CODES if f"THEN {text_of(code)}" in self.codes[at]]

    def examples(self, where: str, shown_as: str, only: int | None = None) -> list[tuple[int, Any]]:
        """The first rows of which a condition is true; with `only` it is about that column."""
        query = f"SELECT n, {shown_as} FROM ({self.judged(only)}) WHERE {where} LIMIT {EXAMPLES}"  # noqa: S608
        return [(row[0], row[1]) for row in self._run(query)]

    def twice(self, names: Sequence[str]) -> int:
        """How many rows hold what was there before; a row with a null in it is none of them."""
        listed = ", ".join(map(quoted, names))
        known = " AND ".join(f"{quoted(name)} IS NOT NULL" for name in names)
        query = f"SELECT count(*) - count(DISTINCT ({listed})) FROM {{source}} WHERE {known}"  # noqa: S608
        return int(self._run(query)[0][0])

    def newest(self, column: Column) -> int | None:
        """The newest moment of a column, in Unix microseconds; without a zone it is UTC."""
        found: int | None = self._run(f"SELECT max({moment_of(quoted(column.name))}) FROM {{source}}")[0][0]  # noqa: S608
        return found


@contextmanager
def open_table(path: Path, contract: DataContract) -> Iterator[_Table]:
    """A file to be held to a contract. Nothing is downloaded: a form that needs an extension cannot be read."""
    if not path.is_file():
        raise InputError(
            "there is no such file", got=path, expected="a CSV, Parquet or JSON lines file", mend="name it"
        )
    with open_engine() as connection:
        define_functions(connection, contract)
        yield _Table(connection, path, contract)


def check_table(
    path: Path,
    contract: DataContract,
    *,
    at: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> TableCheck:
    """Hold a file to a contract, its freshness at a time (Unix microseconds; now unless given); the share done is told.

    Raises InputError when the file cannot be read or has none of the contract's columns.
    """
    with open_table(path, contract) as table:
        if not table.checked:
            raise InputError(
                f"{path.name} has none of the contract's columns",
                got=", ".join(table.columns)[:300],
                expected=", ".join(table.missing)[:300],
                mend="give the file that the contract is of",
            )
        with _told(table.connection, progress):
            rows, faulty, duplicates, columns, rules = table.count()
        return TableCheck(
            rows=rows,
            faulty=rows if table.missing else faulty,
            duplicates=duplicates,
            faults=sorted(_faults(table, columns, rules), key=lambda each: (-each.rows, each.column, each.code)),
            missing=table.missing,
            unknown=sorted({*table.columns} - {column.name for column in contract.columns}),
            twice={" × ".join(names): table.twice(names) for names in _once(table)},
            stale=dict(_stale(table, now_us() if at is None else at)),
        )


def _once(table: _Table) -> Iterator[tuple[str, ...]]:
    """The columns and keys whose values are to be there once, as far as the file has them."""
    named = [(each.name,) for each in table.contract.columns if each.unique]
    yield from (names for names in [*named, *table.contract.keys] if set(names) <= table.columns.keys())


def _stale(table: _Table, at: int) -> Iterator[tuple[str, int | None]]:
    for column in table.contract.columns:
        if column.max_age and column.name in table.columns:
            newest = table.newest(column)
            if newest is None or newest < at - parse_duration(column.max_age):
                yield column.name, newest


def write_faults(path: Path, contract: DataContract, out: Path) -> int:
    """Write a line for each fault, as (row, column, code), to CSV or Parquet, without values; how many there are.

    In the order of the rows, and of each the columns' names; in one pass, and memory that does not grow with the file.
    """
    with open_table(path, contract) as table:
        told = [(each.name, f"k{at}") for at, each in enumerate(table.checked)]
        told += [(table.contract.rules[at].name, f"CASE WHEN q{at} THEN 'rule' END") for at in table.rules]
        listed = ", ".join(f"{{'name': {text_of(name)}, 'code': {code}}}" for name, code in sorted(told))
        each = f"SELECT n, unnest([{listed}]) AS fault FROM ({table.judged()})"  # noqa: S608
        lines = (
            f'SELECT n AS row, fault.name AS "column", fault.code AS code FROM ({each}) WHERE fault.code IS NOT NULL'  # noqa: S608
        )
        form = "FORMAT parquet" if out.suffix == ".parquet" else "FORMAT csv, HEADER"
        return int(table._run(f"COPY ({lines}) TO {text_of(str(out))} ({form})")[0][0])


def _source(path: Path) -> tuple[str, list[Any]]:
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        return "read_parquet(?)", [str(path)]
    if name.endswith((".jsonl", ".ndjson", ".json")):
        return json_lines(path, {"JSON"})
    return "read_csv(?, header = true, all_varchar = true, nullstr = ?)", [str(path), MISSING]


def _faults(table: _Table, columns: Sequence[int], rules: Sequence[int]) -> Iterator[FaultCount]:
    for (at, code), count in zip(table.pairs(), columns, strict=True):
        if count:
            column = table.checked[at]
            found = table.examples(f"k{at} = {text_of(code)}", f"r{at}::VARCHAR", at)
            hidden = column.personal or column.role == "subject"
            yield FaultCount(
                column=column.name,
                code=code,
                rows=count,
                action=column.action(code) if column.role == "feature" else "reject",
                expected=expectation(column),
                examples=[(row, _HIDDEN if hidden and value is not None else shown(value)) for row, value in found],
            )
    for at, count in zip(table.rules, rules, strict=True):
        if count:
            rule = table.contract.rules[at]
            found = table.examples(f"q{at}", "NULL")
            yield FaultCount(
                column=rule.name,
                code="rule",
                rows=count,
                action=rule.action,
                expected=rule.check,
                examples=[(row, "") for row, _ in found],
            )


@contextmanager
def _told(connection: duckdb.DuckDBPyConnection, progress: Callable[[float], None] | None) -> Iterator[None]:
    """Tell how far the query of the context is, a few times a second."""
    if progress is None:
        yield
        return
    tell, done = progress, threading.Event()

    def watch() -> None:
        while not done.wait(_PERIOD_S):
            tell(max(0.0, connection.query_progress() / 100))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
