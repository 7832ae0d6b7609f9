"""The scoring model: known figures, and the properties that make a score trustworthy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.assess.criteria import load_criteria, parse_criteria
from pilotage.assess.model import CAPS, DIMENSIONS, Criterion, DimensionScore, Grade, Observation, Rating
from pilotage.assess.score import (
    applies,
    blockers,
    freshness,
    level_of,
    next_steps,
    rate,
    required_level,
    score,
    verdict,
)
from pilotage.errors import InputError

DAY = 86_400_000_000
AT = 400 * DAY


def criterion(name: str = "c", **changes: object) -> Criterion:
    usual = {"id": name, "dimension": "data", "text": "t", "risk": "r", "kind": "measurable", "mend": "m"}
    return Criterion(**{**usual, **changes})  # type: ignore[arg-type]


def seen(name: str = "c", grade: Grade = "E2", level: float = 1, age_days: float = 0, **changes: object) -> Observation:
    usual = {"criterion": name, "grade": grade, "level": level, "summary": "s", "collector": "test"}
    return Observation(collected=int(AT - age_days * DAY), **{**usual, **changes})  # type: ignore[arg-type]


criteria = st.builds(
    criterion,
    st.sampled_from("abcdef"),
    kind=st.sampled_from(["measurable", "attestable"]),
    weight=st.integers(1, 3),
    knock_out=st.booleans(),
    ttl_days=st.sampled_from([0, 30, 180]),
)
grades = st.sampled_from(["E0", "E1", "E2", "E3", "E4"])
levels = st.sampled_from([0, 0.5, 1])
ages = st.floats(0, 400)


@st.composite
def judged(draw: st.DrawFn) -> tuple[list[Criterion], list[Observation]]:
    chosen = draw(st.lists(criteria, min_size=1, max_size=6, unique_by=lambda c: c.id))
    names = st.sampled_from([c.id for c in chosen])
    pieces = draw(st.lists(st.builds(seen, names, grades, levels, ages, current=st.booleans()), max_size=12))
    return chosen, pieces


def scored(chosen: list[Criterion], pieces: list[Observation]) -> DimensionScore:
    return score("data", [rate(c, [p for p in pieces if p.criterion == c.id], AT) for c in chosen])


# ---- one criterion


@pytest.mark.parametrize(
    ("kind", "grade", "level", "expected"),
    [
        ("measurable", "E4", 1, 1.0),
        ("measurable", "E3", 1, 0.85),
        ("measurable", "E2", 1, 0.5),
        ("measurable", "E1", 1, 0.25),
        ("measurable", "E0", 1, 0.1),
        ("measurable", "E3", 0.5, 0.5),
        ("attestable", "E1", 1, 1.0),
        ("attestable", "E2", 1, 0.6),
        ("attestable", "E0", 1, 0.25),
        ("measurable", "E3", 0, 0.0),
    ],
)
def test_the_class_of_evidence_caps_the_points(kind: str, grade: Grade, level: float, expected: float) -> None:
    assert rate(criterion(kind=kind), [seen(grade=grade, level=level)], AT).score == expected


@pytest.mark.parametrize(("age", "expected"), [(0, 1), (30, 1), (45, 0.5), (60, 0), (400, 0)])
def test_evidence_fades_after_its_ttl_and_is_gone_at_twice_of_it(age: float, expected: float) -> None:
    assert freshness(seen(age_days=age), 30, AT) == pytest.approx(expected)


def test_evidence_of_another_subject_counts_for_nothing_and_leaves_it_unknown() -> None:
    rating = rate(criterion(), [seen(grade="E3", current=False)], AT)
    assert (rating.score, rating.state, rating.evidence) == (0, "unknown", [])


def test_a_failure_stands_when_it_grows_old_until_trustier_evidence_says_otherwise() -> None:
    old = seen(grade="E3", level=0, age_days=400)
    knock_out = criterion(knock_out=True, ttl_days=30)
    stands = rate(knock_out, [old], AT)
    assert (stands.state, stands.evidence, stands.knocked_out) == ("fails", [old], True)
    assert rate(knock_out, [old, seen(grade="E0")], AT).state == "fails"
    assert rate(knock_out, [old, seen(grade="E3")], AT).state == "fails"
    assert rate(knock_out, [old, seen(grade="E4")], AT).state == "holds"
    assert rate(knock_out, [seen(grade="E3", age_days=400)], AT).state == "unknown"


def test_no_evidence_is_unknown_not_no() -> None:
    assert rate(criterion(), [], AT).state == "unknown"
    assert rate(criterion(), [seen(level=0)], AT).state == "fails"


def test_what_was_measured_outranks_what_was_said() -> None:
    said, measured = seen(grade="E1", level=1), seen(grade="E3", level=0)
    rating = rate(criterion(kind="attestable"), [said, measured], AT)
    assert (rating.score, rating.state) == (0, "fails")
    lifted = rate(criterion(), [seen(grade="E2", level=0), seen(grade="E3", level=1)], AT)
    assert (lifted.score, lifted.state) == (0.85, "holds")


def test_a_mere_statement_is_never_more_than_partial() -> None:
    assert rate(criterion(kind="attestable"), [seen(grade="E0")], AT).state == "partial"


@pytest.mark.parametrize("wrong", [{"score": 0.1, "state": "holds"}, {"score": 0.0, "state": "fails"}])
def test_a_point_or_a_verdict_without_evidence_cannot_exist(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="without evidence"):
        Rating(criterion=criterion(), **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="another criterion"):
        Rating(criterion=criterion(), score=0.5, state="holds", evidence=[seen("other")])


# ---- a dimension


def test_the_score_is_the_weighted_mean_with_unknown_as_nothing() -> None:
    chosen = [criterion("a", weight=3), criterion("b", weight=1)]
    result = scored(chosen, [seen("a", "E3")])
    assert result.score == pytest.approx(3 * 0.85 / 4)
    assert result.coverage == 0.75
    assert result.interval == (pytest.approx(3 * 0.85 / 4), pytest.approx(0.85))


@pytest.mark.parametrize(("value", "level"), [(0, 1), (0.1999, 1), (0.2, 2), (0.4, 3), (0.6, 4), (0.8, 5), (1, 5)])
def test_levels_begin_at_fifths(value: float, level: int) -> None:
    assert level_of(value) == level


def test_reading_alone_gives_data_and_model_level_2_at_most() -> None:
    read = [seen("a", "E2")]
    assert scored([criterion("a")], read).level == 2
    ops = criterion("a", dimension="infrastructure")
    assert score("infrastructure", [rate(ops, read, AT)]).level == 3
    tested = scored([criterion("a"), criterion("b")], [*read, seen("b", "E3")])
    assert tested.level == 4 and not tested.caps


def test_a_knock_out_that_fails_caps_its_dimension_and_is_the_first_blocker() -> None:
    chosen = [criterion("a"), criterion("b", knock_out=True), criterion("c", weight=3)]
    good = [seen("a", "E4")]
    assert scored(chosen, good).level == 2
    knocked = scored(chosen, [*good, seen("c", "E4", 0), seen("b", "E4", 0)])
    assert (knocked.level, knocked.level_high) == (1, 1) and "knock-out" in knocked.caps[0]
    assert [(b.criterion, b.knock_out) for b in blockers([knocked])] == [("b", True), ("c", False)]
    unknown = scored(chosen, [*good, seen("c", "E4")])
    assert unknown.level > 1 and not blockers([unknown])


@given(judged())
def test_the_interval_holds_the_score_and_all_lie_between_0_and_1(
    case: tuple[list[Criterion], list[Observation]],
) -> None:
    result = scored(*case)
    low, high = result.interval
    assert 0 <= low <= result.score <= high <= 1 + 1e-9
    assert 0 <= result.coverage <= 1 + 1e-9
    assert 1 <= result.level <= result.level_high + 4 and result.level <= 5
    assert result.level <= level_of(result.score)


@given(judged(), grades, st.data())
def test_evidence_that_passes_never_lowers_a_score(
    case: tuple[list[Criterion], list[Observation]], grade: Grade, data: st.DataObject
) -> None:
    chosen, pieces = case
    name = data.draw(st.sampled_from([c.id for c in chosen]))
    more = [*pieces, seen(name, grade, 1)]
    before, after = scored(chosen, pieces), scored(chosen, more)
    assert after.score >= before.score - 1e-12
    assert after.coverage >= before.coverage - 1e-12
    assert after.level >= before.level


@given(judged(), st.data())
def test_a_failed_measurement_never_raises_a_score(
    case: tuple[list[Criterion], list[Observation]], data: st.DataObject
) -> None:
    chosen, pieces = case
    name = data.draw(st.sampled_from([c.id for c in chosen]))
    assert scored(chosen, [*pieces, seen(name, "E4", 0)]).score <= scored(chosen, pieces).score + 1e-12


@given(st.lists(judged(), min_size=1, max_size=4))
def test_the_verdict_is_the_lowest_level(cases: list[tuple[list[Criterion], list[Observation]]]) -> None:
    results = [scored(*case) for case in cases]
    assert verdict(results) == min(result.level for result in results)
    assert verdict(results) <= min(level_of(result.interval[0]) for result in results)


# ---- what next


def six(pieces: dict[str, list[Observation]]) -> list[DimensionScore]:
    """Six dimensions of one criterion each, named by the dimension."""
    made = []
    for name in DIMENSIONS:
        own = criterion(name, dimension=name, days=(1, 1, 1))
        made.append(score(name, [rate(own, pieces.get(name, []), AT)]))
    return made


def test_the_next_steps_are_in_the_weakest_dimension_and_end_when_the_verdict_rises() -> None:
    strong = {name: [seen(name, "E3")] for name in DIMENSIONS if name not in ("team", "data")}
    steps = next_steps(six(strong | {"data": [seen("data", "E1")]}), AT)
    assert [step.dimension for step in steps] == ["team"]
    assert (steps[0].level_after, steps[0].verdict_after) == (5, 2)


def test_cheap_points_come_first_and_a_knock_out_before_all() -> None:
    dear, cheap = criterion("dear", days=(9, 9, 9)), criterion("cheap", days=(1, 1, 1))
    rest = [item for item in six({n: [seen(n, "E3")] for n in DIMENSIONS}) if item.dimension != "data"]
    unknown = score("data", [rate(c, [], AT) for c in (dear, cheap)])
    assert next_steps([unknown, *rest], AT)[0].criterion == "cheap"
    fatal = criterion("fatal", knock_out=True, days=(90, 90, 90))
    knocked = score("data", [rate(cheap, [], AT), rate(fatal, [seen("fatal", "E3", 0)], AT)])
    assert next_steps([knocked, *rest], AT)[0].criterion == "fatal"


def test_days_are_the_pert_mean() -> None:
    assert criterion(days=(1, 2, 9)).effort == pytest.approx(3)


@pytest.mark.parametrize(
    ("stage", "tier", "level"),
    [
        ("pilot", "high", 2),
        ("internal", "low", 3),
        ("limited", "low", 3),
        ("limited", "high", 4),
        ("general", "medium", 4),
    ],
)
def test_the_level_that_the_next_stage_asks_for(stage: str, tier: str, level: int) -> None:
    assert required_level(stage, tier) == level  # type: ignore[arg-type]


def test_a_criterion_is_asked_from_its_stage_and_only_where_it_applies() -> None:
    assert not applies(criterion(from_stage="limited"), "internal", set())
    assert applies(criterion(from_stage="limited"), "limited", set())
    assert not applies(criterion(applies_if="notebook"), "pilot", set())
    assert applies(criterion(applies_if="notebook"), "pilot", {"notebook"})


# ---- the criteria as data


def test_the_packaged_criteria_are_whole() -> None:
    loaded = load_criteria()
    assert {c.dimension for c in loaded.values()} == set(DIMENSIONS)
    assert all(c.id.split(".")[0] == c.dimension for c in loaded.values())
    assert all(c.text and c.risk and c.mend and 1 <= c.weight <= 3 for c in loaded.values())
    assert all(0 < c.days[0] <= c.days[1] <= c.days[2] for c in loaded.values())
    named = {c.id for c in loaded.values() if c.knock_out}
    assert {"governance.secrets", "model.loads", "team.owners", "model.held_out", "data.rights"} <= named
    assert all(set(CAPS[c.kind]) == {"E0", "E1", "E2", "E3", "E4"} for c in loaded.values())


@pytest.mark.parametrize("document", [None, {}, {"criteria": []}, {"criteria": [{"id": "x"}]}])
def test_criteria_that_cannot_be_used_are_refused(document: object) -> None:
    with pytest.raises(InputError):
        parse_criteria(document)
