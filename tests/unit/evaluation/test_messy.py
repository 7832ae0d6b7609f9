"""The messy-data suite: contracts with a line missing, each with a twin that has it; the model is a plain formula."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest

from pilotage.contracts.model import Column, DataContract, RowRule
from pilotage.errors import InputError
from pilotage.evaluation.messy.model import Case, Messy
from pilotage.evaluation.messy.spoiling import spoilt_cases
from pilotage.evaluation.messy.strange import judge_strange
from pilotage.evaluation.messy.suite import judge_messy
from pilotage.kernel.rows import Rows, Value

HOMES = ("own", "rent", "chez un ami é")
TIGHT = {
    "income": Column(name="income", type="number", minimum=5_000, maximum=120_000),
    "paid": Column(name="paid", type="integer", minimum=1, maximum=4_000),
    "owed": Column(name="owed", type="integer", minimum=1, maximum=4_000),
    "home": Column(name="home", type="string", categories=HOMES),
    "opened": Column(name="opened", type="string", format="date"),
    "member": Column(name="member", type="boolean"),
}
RULE = RowRule(name="paid-within-owed", check="paid <= owed")


def contract(rules: tuple[RowRule, ...] = (RULE,), **changed: dict[str, Any]) -> DataContract:
    columns = [msgspec.structs.replace(column, **changed.get(name, {})) for name, column in TIGHT.items()]
    return DataContract(name="messy", version="1", columns=tuple(columns), rules=rules)


@cache
def rows(count: int = 3000) -> Rows:
    r = np.random.default_rng(6)
    owed = r.integers(200, 4_000, count)
    made: list[tuple[Value, ...]] = [
        (
            float(np.round(r.uniform(20_000, 100_000), 2)),
            float(r.integers(20, most // 3)),
            float(most),
            HOMES[r.integers(0, 3)],
            f"20{r.integers(10, 24)}-{r.integers(1, 13):02d}-{r.integers(1, 29):02d}",
            bool(r.random() < 0.5),
        )
        for most in owed
    ]
    return Rows.of(made, len(TIGHT))


def score(given: Sequence[Sequence[Value]]) -> Any:
    """Every column counts; a null is a nought, a word that is not known counts for nothing."""
    found = []
    for income, paid, owed, home, opened, member in given:
        z = 2.0 - float(income or 0) / 30_000 + 2.0 * (float(paid or 0) - 0.2 * float(owed or 0)) / 1000
        z += {"own": -1.0, "rent": 1.0, "chez un ami é": 0.8}.get(str(home), 0.0)
        z += 0.6 if str(opened).startswith("20") else 0.0
        found.append(z + (0.5 if member else 0.0))
    return 1 / (1 + np.exp(-np.clip(np.array(found), -500, 500)))


def judged(given: DataContract, model: Any = score) -> Messy:
    return judge_messy(given, rows(), model, 0.5, tolerance=0.02)


def case(found: Messy, kind: str, *columns: str) -> Case:
    return next(each for each in found.cases if each.kind == kind and each.columns[: len(columns)] == columns)


FREE = {"categories": None}
REPAIRED = {"on_fault": {"any": "repair"}, "impute": 100_000.0}
# kind, column, what the contract lacks: without it silent, with it not.
LOOSE: list[tuple[str, tuple[str, ...], dict[str, Any]]] = [
    ("times 100", ("income",), {"income": {"maximum": None}}),
    ("times 1,000", ("income",), {"income": {"maximum": None}}),
    ("extreme", ("income",), {"income": {"maximum": None}}),
    ("above the range", ("income",), {"income": REPAIRED}),
    ("a hundredth", ("income",), {"income": {"minimum": None}}),
    ("a thousandth", ("income",), {"income": {"minimum": None}}),
    ("inverse", ("income",), {"income": {"minimum": None}}),
    ("sign turned", ("income",), {"income": {"minimum": None}}),
    ("-999 for a gap", ("income",), {"income": {"minimum": None}}),
    ("0 for a gap", ("income",), {"income": {"minimum": 0.0}}),
    ("null", ("income",), {"income": {"nullable": True}}),
    ("NaN", ("income",), {"income": REPAIRED}),
    ("Infinity", ("income",), {"income": REPAIRED}),
    ("decimal comma", ("income",), {"income": REPAIRED}),
    ("thousands separator", ("income",), {"income": REPAIRED}),
    ("field missing", ("income",), {"income": REPAIRED}),
    ("last digit lost", ("income",), {"income": {"minimum": None}}),
    ("neighbours swapped", ("paid", "owed"), {"rules": ()}),
    ("unseen text", ("home",), {"home": FREE}),
    ("capitals", ("home",), {"home": FREE}),
    ("space around", ("home",), {"home": FREE}),
    ("no-break space", ("home",), {"home": FREE}),
    ("wrong encoding", ("home",), {"home": FREE}),
    ("accents apart", ("home",), {"home": FREE}),
    ("byte order mark", ("home",), {"home": FREE}),
    ("truncated", ("home",), {"home": FREE}),
    ("empty text", ("home",), {"home": FREE}),
    ("N/A for a gap", ("home",), {"home": FREE}),
    ("day first", ("opened",), {"opened": {"format": ""}}),
    ("month in words", ("opened",), {"opened": {"format": ""}}),
    ("unseen text", ("opened",), {"opened": {"format": ""}}),
    ("truth as number", ("member",), {"member": {"on_fault": {"any": "repair"}, "impute": True}}),
]


def test_a_line_that_the_contract_lacks_is_found_and_one_that_it_has_is_not_asked_for() -> None:
    tight = judged(contract())
    cells = {"found": 0, "missed": 0, "twin accused": 0, "twin left": 0}
    wrong = []
    for kind, columns, lacks in LOOSE:
        hit = case(judged(contract(**lacks)), kind, *columns).verdict == "silent"
        accused = case(tight, kind, *columns).verdict in ("silent", "fails")
        cells["found" if hit else "missed"] += 1
        cells["twin accused" if accused else "twin left"] += 1
        wrong += [(kind, columns)] if accused or not hit else []
    recall = cells["found"] / len(LOOSE)
    precision = cells["found"] / (cells["found"] + cells["twin accused"])
    print(f"{cells} recall {recall:.3f} precision {precision:.3f} wrong {wrong}")
    assert len(LOOSE) >= 30 and recall >= 0.95 and precision >= 0.95, wrong


def test_what_changes_nothing_is_absorbed() -> None:
    found = judged(contract())
    for kind in ("fields in another order", "row sent twice"):
        assert case(found, kind).verdict == "absorbed" and case(found, kind).largest_shift == 0.0
    repaired = judged(contract(income={"on_fault": {"wrong_type": "repair"}}))
    text = case(repaired, "number as text", "income")
    assert (text.verdict, text.door) == ("absorbed", {"repaired": 16})


def test_the_line_that_is_named_catches_the_case_when_it_is_written() -> None:
    loose = case(judged(contract(income={"maximum": None})), "times 100", "income")
    bound = float(re.findall(r"income: logicalTypeOptions: \{maximum: ([\d.e+]+)\}", loose.line)[0])
    assert "0.0" in loose.mend
    assert case(judged(contract(income={"maximum": bound})), "times 100", "income").verdict == "caught"


def test_swapped_fields_are_told_apart_by_the_order_that_the_reference_keeps() -> None:
    swapped = case(judged(contract(rules=())), "neighbours swapped", "paid", "owed")
    assert 'type: custom, engine: pilotage, implementation: {check: "paid <= owed", action: reject}' in swapped.line
    free = case(judged(contract(home=FREE)), "capitals", "home")
    assert "validValues: [chez un ami é, own, rent]" in free.line


def test_a_model_that_fails_on_what_the_door_lets_in_is_told_and_the_others_are_judged() -> None:
    def brittle(given: Sequence[Sequence[Value]]) -> Any:
        if any(row[0] is not None and float(row[0]) > 1e12 for row in given):  # type: ignore[arg-type]
            raise InputError("the pipeline raises", mend="mend it")
        return score(given)

    found = judged(contract(income={"maximum": None}), brittle)
    assert case(found, "extreme", "income").verdict == "fails"
    assert case(found, "times 100", "income").verdict == "silent"
    assert found.counts()["fails"] == 1 and 0 < found.silent_share < 1


def test_where_the_model_is_not_asked_only_the_door_is_judged() -> None:
    found = judged(contract(income={"maximum": None}), None)
    assert case(found, "times 100", "income").verdict == "unasked"
    assert case(found, "NaN", "income").verdict == "caught" and found.silent_share == 0.0


def test_what_a_source_brings_is_not_spoilt_and_every_kind_of_text_is_written_as_it_is_sent() -> None:
    found = list(spoilt_cases(contract(), rows(40)))
    assert found == list(spoilt_cases(contract(), rows(40)))
    [comma] = [each for each in found if each.kind == "decimal comma" and each.columns == ("income",)]
    assert re.fullmatch(r"\d+,\d\d", json.loads(comma.bodies[0][1])["income"])
    [mojibake] = [each for each in found if each.kind == "wrong encoding" and each.columns == ("home",)]
    assert {json.loads(body)["home"] for _, body in mojibake.bodies} == {"chez un ami Ã©"}


def test_strange_rows_are_answered_surely_or_turned_away() -> None:
    made = rows()
    found = {each.kind: each for each in judge_strange(contract(), made, score(made), score, 0.5, seed=1)}
    assert list(found) == ["held_out", "permuted", "mixed", "random", "corners", "far"]
    assert found["held_out"].sure == pytest.approx(0.5, abs=0.01) and found["held_out"].turned_away == 0
    assert found["far"].turned_away == found["far"].rows == 400
    assert 0 < found["permuted"].turned_away < 400, "the rule over two fields turns some away"
    again = judge_strange(contract(), made, score(made), score, 0.5, seed=1)
    assert again == list(found.values())


@pytest.mark.slow
def test_the_widest_ranges_and_very_many_columns_are_judged() -> None:
    edge = float(np.finfo(np.float64).max)
    columns = [Column(name=f"x{at}", type="number", minimum=-edge, maximum=edge) for at in range(240)]
    wide = DataContract(name="wide", version="1", columns=tuple(columns))
    made = Rows.of([tuple(float(at * row) for at in range(240)) for row in range(1, 30)], 240)

    def flat(given: Sequence[Sequence[Value]]) -> Any:
        return np.full(len(given), 0.3)

    found = judge_messy(wide, made, flat, 0.5, tolerance=0.05)
    spoilt = {name for each in found.cases for name in each.columns if len(each.columns) == 1}
    assert len(spoilt) == 120 and {each.rows for each in found.cases if each.group == "units"} == {3}
    assert found.silent_share == 0.0
    assert len(judge_strange(wide, made, flat(made), flat, 0.5, seed=1)) == 6


def test_a_score_that_moves_within_the_tolerance_is_the_same_answer() -> None:
    def slight(given: Sequence[Sequence[Value]]) -> Any:
        return np.array([0.3 if float(row[0] or 0) > 120_000 else 0.2 for row in given])

    loose = contract(income={"maximum": None})
    for tolerance, verdict in ((0.05, "silent"), (0.15, "absorbed")):
        found = case(judge_messy(loose, rows(), slight, 0.5, tolerance=tolerance), "times 100", "income")
        assert (found.verdict, found.labels_changed) == (verdict, 0)
        assert found.largest_shift == pytest.approx(0.1)
