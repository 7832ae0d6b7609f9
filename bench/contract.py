"""Hold a large file to its contract: rows a second of a core, from Parquet and from CSV.

    make bench-contract                                1M rows x 20 columns
    make bench-contract ARGS="--rows 10000000"

Numbers with ranges, integers, categories and a subject, a thousandth of the rows at fault. `check_s` is the CPU time of
the whole check, `read_s` that of reading every column of the same file by the same engine and no more. The last line on
standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from pilotage.contracts.model import Column, DataContract
from pilotage.contracts.table import check_table

BENCH = Path(__file__).resolve().parent
NUMBERS, INTEGERS, TEXTS = 9, 6, 4


def make_contract() -> DataContract:
    """A contract of 20 columns."""
    columns = [Column(name="id", type="string", role="subject", personal=True)]
    columns += [
        Column(name=f"n{at}", type="number", minimum=0, maximum=1, nullable=at % 2 == 0) for at in range(NUMBERS)
    ]
    columns += [Column(name=f"i{at}", type="integer", minimum=0, maximum=100) for at in range(INTEGERS)]
    columns += [Column(name=f"t{at}", type="string", categories=("a", "b", "c")) for at in range(TEXTS)]
    return DataContract(name="bench", version="1", columns=tuple(columns), subject="id")


def make_files(folder: Path, rows: int) -> None:
    """The same rows as Parquet and as CSV."""
    parts = ["'c' || i AS id"]
    parts += [f"CASE WHEN i % {1000 + at} = 0 THEN 2.0 ELSE random() END AS n{at}" for at in range(NUMBERS)]
    parts += [f"(random() * 100)::INTEGER AS i{at}" for at in range(INTEGERS)]
    parts += [f"['a', 'b', 'c'][1 + (random() * 2.99)::INTEGER % 3] AS t{at}" for at in range(TEXTS)]
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE made AS SELECT {', '.join(parts)} FROM range({rows}) r(i)")
        connection.execute("COPY made TO ? (FORMAT parquet)", [str(folder / "rows.parquet")])
        connection.execute("COPY made TO ? (FORMAT csv, HEADER)", [str(folder / "rows.csv")])


def read_s(path: Path, contract: DataContract) -> float:
    """CPU seconds to read every column."""
    source = f"read_parquet('{path}')" if path.suffix == ".parquet" else f"read_csv('{path}', all_varchar = true)"
    before = time.process_time()
    with duckdb.connect() as connection:
        listed = ", ".join(f"count({column.name})" for column in contract.columns)
        connection.execute(f"SELECT {listed} FROM {source}").fetchall()
    return time.process_time() - before


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dir", type=Path, default=BENCH / "results")
    chosen = parser.parse_args()
    contract = make_contract()
    chosen.dir.mkdir(parents=True, exist_ok=True)
    figures: dict[str, float] = {"rows": chosen.rows, "columns": len(contract.columns)}
    with tempfile.TemporaryDirectory(dir=chosen.dir, prefix="contract-") as made:
        make_files(Path(made), chosen.rows)
        for kind in ("parquet", "csv"):
            path = Path(made) / f"rows.{kind}"
            reading = read_s(path, contract)
            before = time.process_time()
            found = check_table(path, contract)
            spent = time.process_time() - before
            if found.rows != chosen.rows or not 0 < found.faulty < chosen.rows / 50:
                raise SystemExit(f"{found.faulty} of {found.rows} rows at fault")
            figures |= {
                f"{kind}_check_s": round(spent, 3),
                f"{kind}_read_s": round(reading, 3),
                f"{kind}_rows_a_core_second": round(chosen.rows / spent),
                f"{kind}_rows_a_core_second_beside_reading": round(chosen.rows / max(spent - reading, 1e-9)),
            }
    figures["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
