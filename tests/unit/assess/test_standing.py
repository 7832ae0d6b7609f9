"""Live readiness: what evidence is worth, when it stops to count, what is warned of; and properties of all of it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pilotage.assess.criteria import load_criteria
from pilotage.assess.model import DIMENSIONS, Assessment, Criterion, Grade, Observation
from pilotage.assess.platform import SPEAKS_FOR, Known, approved, evaluated, lapsed, told
from pilotage.assess.score import freshness, needed, rate, required_level, score
from pilotage.assess.standing import Standing, newest_words, replaced, stand, still_current
from pilotage.assess.telemetry import FEWEST, LIFE_DAYS, Telemetry, observed_live
from pilotage.evidence.model import Evidence
from pilotage.gates.model import Approval
from pilotage.systems.evaluating import Load
from tests.unit.assess.passages import passage
from tests.unit.assess.test_score import AT, DAY, criteria, criterion, grades, judged, levels, seen

CRITERIA = load_criteria()
RELEASE = "sha256:" + "a" * 64


def fact(check: str, passed: bool = True, *, age_days: float = 0, expires_in: float = 0, **figures: object) -> Known:
    collected = int(AT - age_days * DAY)
    made = Evidence(
        id=f"{check}-{age_days}",
        check=check,
        subject=RELEASE,
        grade="E3",
        method="TEST",
        producer="tests",
        collected=collected,
        expires=int(AT + expires_in * DAY) if expires_in else 0,
        passed=passed,
        figures=figures,
    )
    return Known(made)


def standing(observations: list[Observation], at: int = AT, **changes: object) -> Standing:
    usual = {"system": "s", "risk_tier": "high", "stage": "internal", "facts": {"classic"}}
    return stand(CRITERIA, observations, [], at=at, **{**usual, **changes})  # type: ignore[arg-type]


def scores(found: Standing) -> dict[str, float]:
    return {r.criterion.id: r.score for d in found.assessment.dimensions for r in d.ratings}


def live(**changes: object) -> Telemetry:
    usual: dict[str, object] = {
        "release": RELEASE,
        "since": AT - 10 * DAY,
        "until": AT,
        "outcomes": {"answered": 5_000, "rejected": 5},
        "p95_us": 20_000,
        "per_second": 3.0,
        "lately": 900,
        "overruled": 3,
        "load": Load(rows_per_second=50, p95_ms=50),
        "verified": True,
        "drift": None,
        "performance": None,
    }
    return Telemetry(**{**usual, **changes})  # type: ignore[arg-type]


def levels_of(found: Telemetry) -> dict[str, float]:
    return {each.criterion: each.level for each in observed_live(found)}


# ---- what is worth what


def test_every_criterion_that_is_spoken_for_exists_and_every_check_is_the_gates() -> None:
    named = {name for names in SPEAKS_FOR.values() for name in names}
    named |= set(levels_of(live())) | {"model.drift_watched", "model.beats_baseline", "business.operating_point"}
    assert named <= set(CRITERIA)
    known = {check: fact(check) for check in SPEAKS_FOR}
    known["evaluation.stability"] = fact("evaluation.stability", by={"rows": {"flips": {"pair": 0.01}}})
    assert all(each.summary.rpartition(": ")[2] for each in told(known, [], AT)), "each is said in words"


def test_a_passed_check_is_a_test_by_the_platform_and_a_failed_one_says_no() -> None:
    good = standing(list(told({"evaluation.leakage": fact("evaluation.leakage")}, [], AT)))
    bad = standing(list(told({"evaluation.leakage": fact("evaluation.leakage", passed=False)}, [], AT)))
    assert scores(good)["data.leakage"] == 0.85
    data = bad.assessment.dimensions[0]
    assert scores(bad)["data.leakage"] == 0 and data.level == 1 and "knock-out" in data.caps[0]
    assert [b.criterion for b in bad.assessment.blockers] == ["data.leakage"]


def test_bias_within_limits_counts_in_full_only_while_people_approved_this_very_evidence() -> None:
    known = {"evaluation.fairness": fact("evaluation.fairness")}
    approval = Approval(
        id="a",
        system="s",
        release=RELEASE,
        stage="limited",
        person="p",
        role="risk_officer",
        policy="p",
        evidence={"evaluation.fairness": "d"},
        statement="",
        granted=AT - DAY,
        expires=AT + DAY,
    )

    def bias(*approvals: Approval, at: int = AT) -> float:
        return scores(standing(list(told(known, approvals, at)), at))["governance.bias"]

    assert (bias(), bias(approval)) == (0.5, 0.85)
    assert bias(approval, at=AT + DAY) == 0.5, "expired"
    assert bias(msgspec.structs.replace(approval, withdrawn=AT - 1)) == 0.5
    assert bias(msgspec.structs.replace(approval, evidence={"contract.valid": "d"})) == 0.5


def test_a_scan_fades_after_a_week_and_splits_licences_from_advisories() -> None:
    missing = ["left-pad 1.0: the licence GPL-3.0 is not allowed"]
    known = {"environment.scanned": fact("environment.scanned", False, expires_in=7, missing=missing)}
    found = list(told(known, [], AT))

    def now(days: float) -> dict[str, float]:
        return scores(standing(found, int(AT + days * DAY)))

    assert now(0)["infrastructure.vulnerabilities"] == 0.85
    assert now(0)["governance.dependency_licences"] == 0
    assert now(7)["infrastructure.vulnerabilities"] == 0.85
    assert now(10.5)["infrastructure.vulnerabilities"] == pytest.approx(0.425)
    assert now(14)["infrastructure.vulnerabilities"] == 0


def test_evidence_without_the_figure_says_nothing_of_it() -> None:
    known = {"contract.valid": fact("contract.valid"), "evaluation.baseline": fact("evaluation.baseline")}
    assert {each.criterion for each in told(known, [], AT)} == {"data.schema", "model.beats_baseline"}
    entry = {"beaten": True}
    lost = fact("evaluation.baseline", single_feature=entry, shallow_tree={"beaten": False})
    by_name = {each.criterion: each for each in told({"evaluation.baseline": lost}, [], AT)}
    assert by_name["model.simpler"].level == 0 and "not than shallow tree" in by_name["model.simpler"].summary


def evaluation(positives: int, held_out: int, others: int, error: float, hit: int, false: int) -> dict[str, object]:
    return {
        "rows": {"held_out": held_out, "others": others, "positives_held_out": positives},
        "calibration": {"expected_error": error},
        "confusion": {"true_positive": hit, "false_positive": false},
    }


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        # the credit default release: 1,683 of 7,531 held out, 57.5 % of what it flags, calibration .0165
        (evaluation(1683, 7531, 22469, 0.0165, 812, 600), (1.0, 1.0, 1.0)),
        (evaluation(50, 250, 750, 0.2, 20, 80), (1.0, 0.0, 0.5)),
        (evaluation(20, 250, 650, 0.05, 0, 90), (0.5, 1.0, 0.0)),
        (evaluation(5, 100, 200, 0.01, 3, 2), (0.0, 1.0, 1.0)),
    ],
)
def test_the_evaluation_of_a_build_shows_volume_calibration_and_operating_point(
    document: dict[str, object], expected: tuple[float, float, float]
) -> None:
    found = {each.criterion: each.level for each in evaluated(document, RELEASE, AT)}
    assert (found["data.volume"], found["model.calibrated"], found["business.operating_point"]) == expected
    bare = {"rows": document["rows"], "calibration": None}
    assert {each.criterion for each in evaluated(bare, RELEASE, AT)} == {"data.volume"}
    assert list(evaluated({"metrics": {}}, RELEASE, AT)) == []


def test_an_environment_that_could_not_be_built_anew_is_unknown_and_not_bad() -> None:
    def levels_for(passed: bool, verdict: str) -> list[float]:
        known = {"environment.rebuilt": fact("environment.rebuilt", passed, verdict=verdict)}
        return [each.level for each in told(known, [], AT)]

    assert levels_for(True, "bit_exact") == [1.0]
    assert levels_for(False, "differs") == [0.0]
    assert levels_for(False, "cannot") == []


@pytest.mark.parametrize(
    ("flips", "level"),
    [
        ({"seed": 0.0, "rows": 0.026}, 1.0),
        ({"rows": 0.05}, 1.0),
        ({"seed": 0.02, "rows": 0.03}, 0.5),
        ({"seed": 0.0, "rows": 0.2}, 0.0),
        ({}, None),
    ],
)
def test_a_model_is_as_stable_as_its_worst_kind_of_refit(flips: dict[str, float], level: float | None) -> None:
    by = {kind: {"flips": {"pair": share}} for kind, share in flips.items()}
    found = list(told({"evaluation.stability": fact("evaluation.stability", bool(by), by=by)}, [], AT))
    assert [(each.criterion, each.level) for each in found] == ([("model.stable", level)] if by else [])


def test_evidence_undone_by_an_event_counts_for_nothing_and_says_why() -> None:
    undone = {"evaluation.holdout": Known(fact("evaluation.holdout").fact, "the remote model is another")}
    assert list(told(undone, [], AT)) == []
    [gone] = lapsed(undone)
    assert (gone.criterion, gone.why) == ("model.held_out", "the remote model is another")


def test_nobody_counts_twice_nor_the_author_among_the_eyes() -> None:
    assert list(approved(None, ["a"], "a")) == []

    one = next(iter(approved(passage(RELEASE), ["a", "b"], "a")))
    two = next(iter(approved(passage(RELEASE), ["b", "c", "b"], "a")))
    assert (one.level, two.level) == (0.5, 1.0)


# ---- telemetry


def test_telemetry_names_its_window_and_fades_when_traffic_stops() -> None:
    found = {each.criterion: each for each in observed_live(live())}
    quality = found["data.live_quality"]
    assert quality.grade == "E4" and quality.level == 1.0
    assert "5 of 5,005" in quality.summary and live().window in quality.summary
    late = AT + LIFE_DAYS * DAY
    assert scores(standing([quality], late))["data.live_quality"] == 1.0
    assert scores(standing([quality], late + 15 * DAY))["data.live_quality"] == pytest.approx(0.5)
    assert scores(standing([quality], late + 30 * DAY))["data.live_quality"] == 0


def test_too_few_decisions_say_nothing_but_how_much_it_is_used() -> None:
    assert set(levels_of(live(outcomes={"answered": FEWEST - 1}))) == {"business.used"}
    assert levels_of(live(outcomes={"answered": FEWEST - 1}))["business.used"] == 0.5
    assert levels_of(live(outcomes={})) == {}


@pytest.mark.parametrize(
    ("changes", "criterion", "level"),
    [
        ({"outcomes": {"answered": 5_000, "rejected": 150}}, "data.live_quality", 0.5),
        ({"outcomes": {"answered": 5_000, "rejected": 900}}, "data.live_quality", 0.0),
        ({"outcomes": {"answered": 5_000, "fallback": 150}}, "infrastructure.server", 0.5),
        ({"outcomes": {"answered": 5_000, "fallback": 900}}, "infrastructure.server", 0.0),
        ({"outcomes": {"answered": 0, "fallback": 5_000}}, "model.predicts", 0.0),
        ({"p95_us": 60_000}, "infrastructure.load", 0.0),
        ({"per_second": 80.0}, "infrastructure.load", 1.0),
        ({"lately": 0}, "business.used", 0.0),
        ({"overruled": 2_000}, "business.used", 0.5),
        ({"verified": None}, "governance.recorded", 0.5),
        ({"verified": False}, "governance.recorded", 0.0),
    ],
)
def test_what_live_traffic_shows(changes: dict[str, object], criterion: str, level: float) -> None:
    assert levels_of(live(**changes))[criterion] == level


def test_in_time_under_a_light_load_contradicts_no_drill() -> None:
    assert "infrastructure.load" not in levels_of(live())


# ---- what an assessment of the pilot is still worth


def assessment(**changes: object) -> Assessment:
    pieces = [
        seen("infrastructure.tests", "E2", subject="folder"),
        seen("model.calibrated", "E3", subject="model"),
        seen("data.quality", "E3", subject="data"),
        seen("team.sponsor", "E1", subject="folder"),
    ]
    made = standing(pieces).assessment
    return msgspec.structs.replace(made, subject="folder", model="model", **changes)  # type: ignore[arg-type]


def test_another_model_or_other_data_undoes_at_once_what_was_measured_on_the_old_one() -> None:
    def worth(artefact: str, data: str) -> set[str]:
        return {each.criterion for each in still_current(assessment(), artefact, data)[0]}

    said = "team.sponsor"
    assert worth("model", "data") == {"infrastructure.tests", "model.calibrated", "data.quality", said}
    assert worth("model", "other") == {"infrastructure.tests", "model.calibrated", said}
    assert worth("other", "data") == {"data.quality", said}
    kept, gone = still_current(assessment(), "other", "other")
    assert [each.criterion for each in kept] == [said]
    assert {each.criterion for each in gone} == {"infrastructure.tests", "model.calibrated", "data.quality"}
    before = scores(standing(still_current(assessment(), "model", "data")[0]))
    after = scores(standing(kept))
    assert before["model.calibrated"] == 0.85 and after["model.calibrated"] == 0


def test_later_evidence_of_the_release_takes_the_place_of_the_pilots_and_keeps_it() -> None:
    pilot = [seen("data.leakage", "E3", 0.5, age_days=9), seen("data.leakage", "E2", 0, age_days=9)]
    kept, gone = replaced(pilot, [seen("data.leakage", "E3", 1, age_days=1)])
    assert [each.grade for each in kept] == ["E2"] and [each.grade for each in gone] == ["E3"]
    assert replaced(pilot, [seen("data.leakage", "E3", 1, age_days=20)])[1] == []


def test_of_statements_of_one_class_the_newest_counts() -> None:
    old, new = seen("team.sponsor", "E1", 0, age_days=40), seen("team.sponsor", "E1", 1, age_days=1)
    unsure = seen("team.sponsor", "E0", 0, age_days=0)
    assert newest_words([old, new, unsure]) == [new, unsure]
    assert newest_words([seen(grade="E3", age_days=3), seen(grade="E3")]) == [
        seen(grade="E3", age_days=3),
        seen(grade="E3"),
    ]


# ---- what expires soon


def test_what_a_score_rests_on_is_warned_of_ahead_with_what_renews_it() -> None:
    scan = list(told({"environment.scanned": fact("environment.scanned", expires_in=7, missing=[])}, [], AT))
    by_name = {each.criterion: each for each in standing(scan).due}
    assert set(by_name) == {"infrastructure.vulnerabilities", "governance.dependency_licences"}
    due = by_name["infrastructure.vulnerabilities"]
    assert (due.criterion, due.due, due.gone) == ("infrastructure.vulnerabilities", AT + 7 * DAY, AT + 14 * DAY)
    assert due.loses == 0.85 and due.renew == "pilotage release scan"
    assert standing(scan, ahead_days=3).due == []
    fading = standing(scan, AT + 8 * DAY)
    assert fading.due[0].due < AT + 8 * DAY, "also once it has begun to fade"
    gone = standing(scan, AT + 15 * DAY)
    assert gone.due == [] and "it expired on" in gone.lapsed[0].why


def test_what_something_else_holds_up_as_well_is_not_warned_of() -> None:
    old = seen("team.sponsor", "E1", 1, age_days=85)
    assert [each.criterion for each in standing([old]).due] == ["team.sponsor"]
    assert standing([old, seen("team.sponsor", "E1", 1)]).due == []


def test_an_approval_that_is_not_used_yet_is_warned_of_too() -> None:
    approval = Approval(
        id="a",
        system="s",
        release=RELEASE,
        stage="limited",
        person="p",
        role="risk_officer",
        policy="p",
        evidence={},
        statement="",
        granted=AT - 25 * DAY,
        expires=AT + 5 * DAY,
    )
    [due] = standing([], approvals=[approval]).due
    assert due.text == "approval of a risk officer for stage limited" and "--to limited" in due.renew
    assert standing([], approvals=[msgspec.structs.replace(approval, withdrawn=AT)]).due == []


# ---- what a stage asks for


@pytest.mark.parametrize(
    ("tier", "stage", "level", "strict"),
    [
        ("low", "internal", 2, 2),
        ("low", "limited", 3, 3),
        ("low", "general", 3, 3),
        ("medium", "general", 4, 4),
        ("high", "internal", 2, 2),
        ("high", "general", 4, 5),
    ],
)
def test_required_levels_by_stage_and_tier(tier: str, stage: str, level: int, strict: int) -> None:
    asked = needed(stage, tier)  # type: ignore[arg-type]
    assert {asked[name] for name in DIMENSIONS if name not in ("model", "governance")} == {level}
    assert asked["model"] == asked["governance"] == strict
    assert required_level("pilot", tier) == 2


def test_a_stage_says_which_dimensions_are_short_of_it() -> None:
    found = standing([])
    assert [each.stage for each in found.stages] == ["internal", "limited", "general"]
    assert all(each.short == list(DIMENSIONS) for each in found.stages)
    assert found.assessment.verdict == 1 and found.assessment.required == 3


# ---- properties


@given(judged(), grades, st.data())
def test_more_good_evidence_never_lowers(
    case: tuple[list[Criterion], list[Observation]], grade: Grade, data: st.DataObject
) -> None:
    chosen, pieces = case
    name = data.draw(st.sampled_from([c.id for c in chosen]))
    new = seen(name, grade, 1, expires=AT + data.draw(st.integers(1, 400)) * DAY)
    before, after = _scored(chosen, pieces, AT), _scored(chosen, [*pieces, new], AT)
    assert after >= before - 1e-12


pieces_of = st.lists(st.builds(seen, st.sampled_from(["a", "b"]), grades, levels, st.integers(0, 300)), max_size=6)


@given(pieces_of, pieces_of, st.sampled_from(["a", "b"]), grades)
def test_a_good_test_of_the_release_never_lowers_what_the_pilot_had(
    pilot: list[Observation], release: list[Observation], name: str, grade: Grade
) -> None:
    chosen = [criterion(each, ttl_days=ttl) for each, ttl in (("a", 0), ("b", 90))]

    def worth(tested: list[Observation]) -> float:
        return _scored(chosen, newest_words([*replaced(pilot, tested)[0], *tested]), AT)

    assert worth([*release, seen(name, grade, 1)]) >= worth(release) - 1e-12


@example([("E4", 0, 50), ("E3", 1, 0)], 0, 20)
@given(
    st.lists(st.tuples(grades, levels, st.integers(0, 50)), min_size=1, max_size=4),
    st.integers(0, 40),
    st.integers(0, 40),
)
def test_time_alone_never_raises(pieces: list[tuple[Grade, float, int]], first: int, second: int) -> None:
    each = criterion(ttl_days=30)
    own = [seen(each.id, grade, level, age_days=age) for grade, level, age in pieces]
    sooner, later = (AT + days * DAY for days in sorted((first, second)))
    assert rate(each, own, later).score <= rate(each, own, sooner).score + 1e-12


def test_a_bad_finding_that_grew_old_mends_nothing() -> None:
    each = criterion(ttl_days=30)
    bad, good = seen(grade="E4", level=0, age_days=70), seen(grade="E3", level=1, age_days=1)
    rating = rate(each, [bad, good], AT)
    assert (rating.score, rating.state) == (0, "fails") and bad in rating.evidence, "and it is shown"
    assert rate(each, [msgspec.structs.replace(bad, current=False), good], AT).score == 0.85


@given(criteria, st.lists(st.tuples(grades, levels, st.integers(1, 300)), max_size=6), st.floats(0, 900))
def test_an_expiry_of_its_own_only_shortens_a_life(
    chosen: Criterion, pieces: list[tuple[Grade, float, int]], days: float
) -> None:
    at = int(AT + days * DAY)
    plain = [seen(chosen.id, grade, level) for grade, level, _ in pieces]
    short = [seen(chosen.id, grade, level, expires=AT + life * DAY) for grade, level, life in pieces]
    for one, other in zip(plain, short, strict=True):
        assert freshness(other, chosen.ttl_days, at) <= freshness(one, chosen.ttl_days, at) + 1e-12
    assert rate(chosen, short, at).score <= rate(chosen, plain, at).score + 1e-12


@given(judged(), st.data())
def test_a_changed_subject_drops_what_was_measured_on_it_at_once(
    case: tuple[list[Criterion], list[Observation]], data: st.DataObject
) -> None:
    chosen, _ = case
    name = data.draw(st.sampled_from([c.id for c in chosen]))
    piece = seen(name, "E4", 1)
    assert _scored(chosen, [piece], AT) > 0
    assert _scored(chosen, [msgspec.structs.replace(piece, current=False)], AT) == 0


def _scored(chosen: list[Criterion], pieces: list[Observation], at: int) -> float:
    return score("data", [rate(c, [p for p in pieces if p.criterion == c.id], at) for c in chosen]).score
