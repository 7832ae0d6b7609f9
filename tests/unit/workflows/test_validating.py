"""The step `validate` judges the whole file: rows, what may come once, missing columns, and age, each time anew."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import msgspec
import pytest

from pilotage.contracts.model import Column, DataContract
from pilotage.contracts.odcs import to_odcs
from pilotage.kernel.clock import now_us, rfc3339
from pilotage.storage.database import reading
from pilotage.systems.parse import parse_system
from pilotage.workflows import store
from pilotage.workflows.validating import validate
from tests.unit.workflows.small import declare, make_pipelines

DAY = 86_400_000_000
CONTRACT = DataContract(
    name="tiny",
    version="1",
    columns=(
        Column(name="id", type="string", unique=True),
        Column(name="amount", type="number", minimum=0, maximum=10),
        Column(name="at", type="string", format="datetime", max_age="24h"),
        Column(name="bad", type="integer", role="target"),
    ),
)


def pilot(folder: Path, *rows: str, contract: DataContract = CONTRACT) -> Path:
    path = declare(folder, [{"name": "validate", "do": "validate"}])
    path.write_text(path.read_text() + "contract: contract.odcs.yaml\n")
    (folder / "contract.odcs.yaml").write_text(to_odcs(contract))
    (folder / "clean.csv").write_text("\n".join(["id,amount,at,bad", *rows]) + "\n")
    return path


def now(ago: int = 0) -> str:
    return rfc3339(now_us() - ago)


def judged(path: Path, faulty: float = 0.0) -> tuple[dict[str, object], str]:
    report, wrong = validate(path.parent, parse_system(path.read_bytes()), faulty, now_us())
    return json.loads(report), wrong


def test_a_file_that_holds_is_told_with_its_counts(tmp_path: Path) -> None:
    report, wrong = judged(pilot(tmp_path, f"a,1,{now()},0", f"b,2,{now(DAY)},1"))
    assert wrong == "" and (report["rows"], report["faulty"], report["twice"]) == (2, 0, {"id": 0})
    assert report["contract"] == CONTRACT.digest() and report["declared"] is True


@pytest.mark.parametrize(
    ("rows", "faulty", "said"),
    [
        ((f"a,1,{now()},0", f"b,99,{now()},1"), 0.0, "1 of 2 rows break the contract: amount above_maximum 1"),
        ((f"a,1,{now()},0", f"a,2,{now()},1"), 0.0, "1 rows hold a id that was there before"),
        ((f"a,1,{now(2 * DAY)},0",), 0.0, "at is too old: newest"),
        ((f"a,1,{now()},0", f"b,99,{now()},1"), 0.5, ""),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, rows: tuple[str, ...], faulty: float, said: str) -> None:
    _, wrong = judged(pilot(tmp_path, *rows), faulty)
    assert said in wrong and bool(said) == bool(wrong)


def test_missing_columns_fail_whatever_share_is_allowed(tmp_path: Path) -> None:
    path = pilot(tmp_path, f"a,1,{now()},0")
    (tmp_path / "clean.csv").write_text("id,amount\na,1\n")
    assert judged(path, 0.9)[1] == "columns are missing: at"


def test_data_that_grew_too_old_is_not_taken_for_judged(tmp_path: Path) -> None:
    path = pilot(tmp_path / "pilot", f"a,1,{now()},0")
    pipelines = make_pipelines(tmp_path / "home")
    first = pipelines.run(path, "somebody")
    again = pipelines.run(path, "somebody")
    assert first.state == again.state == "succeeded" and first.digest == again.digest
    later = dataclasses.replace(pipelines, clock=lambda: now_us() + 2 * DAY)
    failed = later.run(path, "somebody")
    with reading(pipelines.control) as connection:
        (step,) = store.steps_of(connection, failed.id)
    assert failed.state == "failed" and "at is too old" in step.error
    ageless = msgspec.structs.replace(CONTRACT.columns[2], max_age="")
    columns = (*CONTRACT.columns[:2], ageless, CONTRACT.columns[3])
    pilot(tmp_path / "pilot", f"a,1,{now()},0", contract=msgspec.structs.replace(CONTRACT, columns=columns))
    for state in ("succeeded", "reused"):
        run = later.run(path, "somebody")
        with reading(pipelines.control) as connection:
            assert [each.state for each in store.steps_of(connection, run.id)] == [state]
