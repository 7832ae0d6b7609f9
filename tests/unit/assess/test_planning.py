"""From what people say and what was measured to a triage, a roadmap and a report."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.assess.compare import compare, decode_report
from pilotage.assess.criteria import load_criteria
from pilotage.assess.interview import Answer, Answers, Facts, load_questions, observed, parse_answers, written
from pilotage.assess.keeping import Kept, keep_plan, read_plan
from pilotage.assess.model import DIMENSIONS, Assessment, Grade, Observation
from pilotage.assess.planning import make_plan, stated
from pilotage.assess.report import as_markdown as report_as_markdown
from pilotage.assess.roadmap import Progress, Roadmap, as_csv, as_markdown, load_work, make_roadmap, progressed
from pilotage.assess.score import rate, score
from pilotage.assess.service import assess
from pilotage.assess.triage import triage
from pilotage.cli.assess import assess as assess_command
from pilotage.cli.main import Chosen
from pilotage.cli.roadmap import roadmap as roadmap_command
from pilotage.errors import InputError, NotFound
from pilotage.value.case import judge
from pilotage.value.sheet import blank_sheet
from pilotage.web.console.burn_up import burn_up
from pilotage.web.console.readiness_report import report_file
from tests.unit.value.test_case import case

CRITERIA = load_criteria()
AT = 1_760_000_000_000_000


def found(**levels: float) -> Assessment:
    """A pilot of which everything was tested and holds, but what is named (dots as two underscores; -1: unknown)."""
    changed = {name.replace("__", "."): level for name, level in levels.items()}
    dimensions = []
    for dimension in DIMENSIONS:
        ratings = []
        for criterion in CRITERIA.values():
            if criterion.dimension != dimension or criterion.from_stage != "pilot":
                continue
            level = changed.get(criterion.id, 1.0)
            grade: Grade = criterion.proof or ("E3" if criterion.kind == "measurable" else "E1")
            piece = Observation(
                criterion=criterion.id,
                grade=grade,
                level=max(level, 0),
                summary=f"seen {level}",
                collector="t",
                collected=AT,
            )
            ratings.append(rate(criterion, [piece] if level >= 0 else [], AT))
        later = [each for each in CRITERIA.values() if each.dimension == dimension and each.from_stage != "pilot"]
        dimensions.append(score(dimension, ratings, later))
    return Assessment(
        path="pilot",
        subject="sha256:0",
        at=AT,
        stage="pilot",
        verdict=min(each.level for each in dimensions),
        required=2,
        dimensions=dimensions,
        blockers=[],
        contradictions=[],
        raises=[],
        findings=0,
        skipped=[],
        isolation={},
        seconds=0.1,
        version="0",
    )


def plan_of(pilot: Assessment, **more: Any) -> Roadmap:
    shape: dict[str, Any] = {"subject": "s", "at": AT, "verdict": pilot.verdict, "required": 2}
    return make_roadmap(pilot.dimensions, CRITERIA, **shape, **more)


class TestInterview:
    def test_every_question_is_of_a_criterion_that_people_answer_or_of_a_fact(self) -> None:
        facts = {field.name for field in msgspec.structs.fields(Facts)}
        questions = load_questions()
        assert {each.fact for each in questions if each.fact} == facts
        asked = {each.id for each in questions if each.id}
        assert {name for name, each in CRITERIA.items() if each.kind == "attestable"} <= asked <= {*CRITERIA}
        assert all(bool(each.id) != bool(each.fact) and each.whom and each.ask for each in questions)

    @given(
        st.dictionaries(
            st.sampled_from(sorted(CRITERIA)),
            st.builds(
                Answer,
                answer=st.sampled_from(["yes", "partly", "no"]),
                by=st.sampled_from(["", "risk", "  a: b #", "yes"]),
                date=st.sampled_from(["", "2025-03-01"]),
                document=st.sampled_from(["", "file 12", "- x"]),
                confirmed_by=st.sampled_from(["", "audit", "risk"]),
                note=st.text(max_size=20).filter(lambda text: text.isprintable()),
            ),
            max_size=4,
        ),
        st.builds(
            Facts,
            engineers=st.none() | st.floats(0.5, 20),
            needed_mode=st.none() | st.sampled_from(["batch", "real time"]),
            simpler_in_place=st.none() | st.booleans(),
            missing_skill=st.sampled_from(["", "MLOps"]),
        ),
    )
    def test_what_is_written_is_read_again(self, answers: dict[str, Answer], facts: Facts) -> None:
        given = Answers(answers=answers, facts=facts)
        assert parse_answers(written(given).encode(), CRITERIA) == given

    @pytest.mark.parametrize(
        ("text", "path"),
        [
            ("answers: {team.owner: {answer: yes}}", "answers.team.owner"),
            ("answers: {team.owners: {answer: maybe}}", "answers.team.owners.answer"),
            ("answers: {team.owners: {answer: yes, date: 3000-01-01}}", "answers.team.owners.date"),
            ("answers: {team.owners: {answer: yes, date: soon}}", "answers.team.owners.date"),
            ("answers: [1]", "answers"),
            ("facts: {engineers: 0}", "facts.engineers"),
            ("facts: {engineers: .nan}", "facts.engineers"),
            ("facts: {engineer: 2}", "facts.engineer"),
            ("facts: {mode: sometimes}", "facts.mode"),
            ("questions: {}", "questions"),
        ],
    )
    def test_a_fault_is_named(self, text: str, path: str) -> None:
        with pytest.raises(InputError) as caught:
            parse_answers(text.encode(), CRITERIA)
        assert path in [each["path"] for each in caught.value.faults], caught.value.faults

    def test_an_answer_counts_in_full_only_with_document_date_and_a_second_person(self) -> None:
        whole = Answer(answer="yes", by="risk", date="2025-10-01", document="minutes", confirmed_by="audit")
        lacking = [{"by": ""}, {"date": ""}, {"document": " "}, {"confirmed_by": ""}, {"confirmed_by": " RISK "}]
        answers = [whole, *(msgspec.structs.replace(whole, **each) for each in lacking)]
        grades = [next(observed(Answers(answers={"data.rights": each}), "s", AT)).grade for each in answers]
        assert grades == ["E1", "E0", "E0", "E0", "E0", "E0"]

    def test_an_old_answer_is_as_old_as_it_says(self) -> None:
        told = Answers(
            answers={"team.owners": Answer(answer="yes", by="a", date="2020-01-01", document="d", confirmed_by="b")}
        )
        [piece] = observed(told, "s", AT)
        assert rate(CRITERIA["team.owners"], [piece], AT).state == "unknown", "its evidence is long past its time"

    def test_a_statement_never_beats_a_measurement_that_says_less(self, tmp_path: Path) -> None:
        (tmp_path / "train.py").write_text("import pandas\n")
        (tmp_path / "readiness.yaml").write_text(
            "answers: {infrastructure.tests: {answer: yes, by: a, date: 2025-10-01, document: d, confirmed_by: b}}"
        )
        made = assess(tmp_path, probes=False)
        rating = next(r for d in made.dimensions for r in d.ratings if r.criterion.id == "infrastructure.tests")
        assert rating.state == "fails" and rating.score == 0 and len(rating.evidence) == 2
        assert any(each.criterion == "infrastructure.tests" for each in made.contradictions)


class TestTriage:
    def decided(self, pilot: Assessment, facts: Facts | None = None, **more: Any) -> Any:
        days: dict[str, Any] = {"fix_days": 20.0, "fix_days_p80": 30.0, **more}
        return triage(pilot.dimensions, facts or Facts(), **days)

    def test_fix_where_every_gap_can_be_closed(self) -> None:
        made = self.decided(found(infrastructure__tests=0))
        assert (made.what, made.who) == ("fix", "own team") and made.flips and not made.keep

    @pytest.mark.parametrize(
        ("pilot", "facts", "more", "word"),
        [
            (found(data__rights=0), Facts(), {}, "rights"),
            (found(model__simpler=0), Facts(simpler_in_place=True), {}, "simpler"),
            (found(), Facts(), {"case": judge(case(investment=(1e9, 1e9, 1e9)))}, "loses"),
        ],
    )
    def test_stop(self, pilot: Assessment, facts: Facts, more: dict[str, Any], word: str) -> None:
        made = self.decided(pilot, facts, **more)
        assert made.what == "stop" and word in made.because[0] and made.flips

    @pytest.mark.parametrize(
        ("pilot", "facts", "more", "word"),
        [
            (found(model__held_out=0), Facts(), {}, "quality is unknown"),
            (found(data__leakage=0), Facts(), {}, "not real"),
            (found(model__loads=0, model__reproduced=-1), Facts(), {}, "cannot be used"),
            (found(), Facts(mode="batch", needed_mode="real time"), {}, "real time"),
            (found(), Facts(licence_bars_use=True), {}, "licence"),
            (found(), Facts(rebuild_days=30), {"fix_days": 19.0}, "60 %"),
        ],
    )
    def test_rebuild(self, pilot: Assessment, facts: Facts, more: dict[str, Any], word: str) -> None:
        made = self.decided(pilot, facts, **more)
        assert made.what == "rebuild" and word in made.because[0]
        assert "the data" in made.keep and any(each.startswith("to fix") for each in made.flips)

    @pytest.mark.parametrize(
        ("figures", "server", "what"),
        [
            ({"p95_ms": 5_100.0, "limit_ms": 500.0, "rate": 40.0, "rate_stated": True}, 1.0, "rebuild"),
            ({"p95_ms": 4_900.0, "limit_ms": 500.0, "rate": 40.0, "rate_stated": True}, 1.0, "fix"),
            ({"p95_ms": 5_100.0, "limit_ms": 500.0, "rate": 10.0, "rate_stated": False}, 1.0, "fix"),
            ({"p95_ms": 5_100.0, "limit_ms": 500.0, "rate": 40.0, "rate_stated": True}, 0.0, "fix"),
            ({}, 1.0, "fix"),
        ],
        ids=["far too slow", "nearly", "nobody stated the rate", "first mend the server", "no figures"],
    )
    def test_far_too_slow_at_the_stated_rate_is_structural(
        self, figures: dict[str, Any], server: float, what: str
    ) -> None:
        pilot = found(infrastructure__latency=0, infrastructure__server=server)
        for dimension in pilot.dimensions:
            for rating in dimension.ratings:
                if rating.criterion.id == "infrastructure.latency":
                    rating.evidence[0].figures.update(figures)
        made = self.decided(pilot)
        assert made.what == what
        assert (what == "rebuild") == any("5100 ms at 40 requests a second" in each for each in made.because)

    def test_what_is_not_structural_is_none(self) -> None:
        for pilot, facts, more in (
            (found(model__simpler=0), Facts(simpler_in_place=False), {}),
            (found(model__loads=0), Facts(), {}),
            (found(), Facts(mode="batch", needed_mode="batch", licence_bars_use=False), {}),
            (found(), Facts(rebuild_days=30), {"fix_days": 17.0}),
            (found(), Facts(), {"case": judge(case())}),
        ):
            assert self.decided(pilot, facts, **more).what == "fix", (facts, more)

    def test_a_partner_where_a_weak_team_is_late_or_a_skill_comes_too_late(self) -> None:
        names = [name for name in CRITERIA if name.startswith("team.")]
        weak = found(**{name.replace(".", "__"): 0.0 for name in names})
        late = Facts(engineers=1, deadline_weeks=5)
        assert self.decided(weak, late).who == "partner", "30 days of one person are six weeks"
        assert self.decided(weak, msgspec.structs.replace(late, deadline_weeks=7)).who == "own team"
        assert self.decided(found(), late).who == "own team", "a strong team that is late needs time, not a partner"
        skill = Facts(missing_skill="MLOps", hiring_weeks=20, deadline_weeks=10)
        made = self.decided(found(), skill)
        assert made.who == "partner" and any("MLOps" in each for each in made.because)
        assert self.decided(found(), msgspec.structs.replace(skill, hiring_weeks=4)).who == "own team"

    def test_it_says_what_it_does_not_know(self) -> None:
        made = self.decided(found(data__rights=-1))
        assert {"the deadline", "whether the data may be used"} <= set(made.unknown)
        known = Facts(engineers=2, deadline_weeks=9, needed_mode="batch", simpler_in_place=False)
        assert self.decided(found(), known, case=judge(case())).unknown == []


class TestRoadmap:
    def test_every_criterion_has_its_work(self) -> None:
        assert load_work(CRITERIA).keys() == CRITERIA.keys()
        with pytest.raises(InputError):
            load_work({name: each for name, each in CRITERIA.items() if name != "data.rights"})

    @settings(max_examples=40, deadline=None)
    @given(
        st.dictionaries(st.sampled_from(sorted(CRITERIA)), st.sampled_from([-1.0, 0.0, 0.5, 1.0])), st.integers(1, 5)
    )
    def test_the_plan_is_of_what_does_not_hold_in_an_order_that_works(
        self, levels: dict[str, float], people: int
    ) -> None:
        pilot = found(**{name.replace(".", "__"): level for name, level in levels.items()})
        plan = plan_of(pilot, engineers=people)
        ids = [item.id for item in plan.items]
        asked = {name for name, each in CRITERIA.items() if each.from_stage == "pilot"}
        assert {name for name in ids if name in asked} == {n for n, level in levels.items() if level < 1 and n in asked}
        for at, item in enumerate(plan.items):
            assert set(item.after) <= set(ids[:at]), f"{item.id} comes before what it needs"
        assert [item.phase for item in plan.items] == sorted(item.phase for item in plan.items)
        for each in (plan.effort, plan.weeks, *(phase.effort for phase in plan.phases)):
            assert each.p10 <= each.p50 <= each.p80 <= each.p90
        low, high = (sum(item.days[end] for item in plan.items) for end in (0, 2))
        assert low - 0.01 <= plan.effort.p10 and plan.effort.p90 <= high + 0.01
        assert plan == plan_of(pilot, engineers=people), "the same pilot, the same plan"
        if people == 1:
            assert plan.weeks.p50 == pytest.approx(plan.effort.p50 / 5, abs=0.02), "one after the other"
        else:
            assert plan.weeks.p50 <= plan_of(pilot, engineers=1).weeks.p50 + 1e-9
            assert plan.weeks.p50 >= plan.effort.p50 / 5 / people - 0.05

    def test_status_counts_what_a_new_assessment_accepts(self) -> None:
        before = found(infrastructure__tests=0, infrastructure__ci=0, data__schema=0)
        plan = plan_of(before)
        now = progressed(plan, found(infrastructure__ci=0.5, model__seeded=0, data__volume=-1))
        assert {"infrastructure.tests", "data.schema"} <= set(now.done) and "infrastructure.ci" in now.open
        assert now.regressed == ["model.seeded"], "what was not looked at did not get worse"
        expected = {item.id: item.expected for item in plan.items}
        assert now.days_done == pytest.approx(expected["infrastructure.tests"] + expected["data.schema"], abs=0.01)
        assert progressed(plan, before).done == []

    def test_exports(self) -> None:
        plan = plan_of(found(data__schema=0, infrastructure__tests=0))
        first = plan.phases[1].items[0]
        nasty = msgspec.structs.replace(first, why="=cmd|' <script>\nx", deliverable="a | b")
        plan = msgspec.structs.replace(plan, phases=[msgspec.structs.replace(plan.phases[1], items=[nasty])])
        rows = list(csv.DictReader(io.StringIO(as_csv(plan))))
        assert len(rows) == 1 and rows[0]["why"].startswith("'=") and rows[0]["id"] == first.id
        text = as_markdown(plan)
        line = next(each for each in text.splitlines() if first.id in each and each.startswith("|"))
        assert "<script>" not in text and "a \\| b" in line and line.replace("\\|", "").count("|") == 8

    def test_it_is_kept_whole(self, tmp_path: Path) -> None:
        plan = plan_of(found(data__schema=0))
        with pytest.raises(NotFound, match="no roadmap"):
            read_plan(tmp_path)
        keep_plan(tmp_path, Kept(plan=plan, history=[progressed(plan, found())]))
        assert read_plan(tmp_path).plan == plan and list(tmp_path.iterdir()) == [tmp_path / "roadmap.json"]
        (tmp_path / "roadmap.json").write_text('{"plan": 3}')
        with pytest.raises(InputError, match="no roadmap"):
            read_plan(tmp_path)


@pytest.fixture(scope="module")
def pilot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pilot")
    (folder / "train.py").write_text("import pandas\nprint(1)\n")
    (folder / "README.md").write_text("# It\nThis is production-ready [red] <script>alert(1)</script>.\n")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Any]:
    def invoke(command: Any, *words: str, given: str = "") -> Any:
        return CliRunner().invoke(command, words, obj=Chosen(home=str(tmp_path / "home")), input=given)

    return invoke


def test_the_business_case_beside_a_pilot_is_evidence(pilot: Path, tmp_path: Path) -> None:
    from tests.unit.value.test_case import sheet

    told = {"low": 1, "likely": 2, "high": 3, "source": "study", "date": "2025-10-01"}
    costs = {"false_positive_cost": told, "false_negative_cost": {**told}}
    (tmp_path / "business-case.yaml").write_bytes(sheet(inputs=costs))
    seen = {each.criterion: each for each in stated(tmp_path, "s", AT)}
    assert seen["business.error_costs"].grade == "E2" and seen["business.baseline_cost"].grade == "E0"
    assert list(stated(pilot, "s", AT)) == []
    plan = make_plan(tmp_path, found())
    assert plan.case is not None and plan.case.verdict == "may pay"


def test_the_commands_from_assessment_to_status(pilot: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    for file in pilot.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    page, text, old = tmp_path / "r.html", tmp_path / "r.md", tmp_path / "old.json"
    made = run(assess_command, str(folder), "--no-probes", "--json", "--html", str(page), "--markdown", str(text))
    assert made.exit_code == 0, made.output
    report = json.loads(made.stdout)
    assert report["plan"]["triage"]["what"] in ("fix", "rebuild") and report["level"] == 1
    assert "<script>" not in page.read_text() and "&lt;script&gt;" in page.read_text()
    assert "<script>" not in text.read_text() and "## Roadmap to production" in text.read_text()
    old.write_text(made.stdout)
    assert run(roadmap_command, "make", str(folder), "--no-probes").exit_code == 0
    assert isinstance(run(roadmap_command, "make", str(folder), "--no-probes").exception, InputError)
    (folder / "tests").mkdir()
    (folder / "tests" / "test_it.py").write_text("from train import x\n\ndef test_x():\n    assert x(1) == 2\n")
    (folder / "LICENSE").write_text("Apache License\nVersion 2.0, January 2004\n" * 10)
    shown = run(assess_command, str(folder), "--no-probes", "--compare", str(old))
    assert "Triage:" in shown.output and "better:" in shown.output, shown.output
    status = json.loads(run(roadmap_command, "status", str(folder), "--no-probes", "--json").stdout)
    assert "governance.licence" in status["now"]["done"] and len(status["history"]) == 2
    drawn = tmp_path / "status.html"
    shown = run(roadmap_command, "status", str(folder), "--no-probes", "--html", str(drawn))
    history = read_plan(folder).history
    assert "burn-up" in shown.output and len(history) == 3
    assert drawn.read_text().count("<circle") == 3 and f"{history[-1].days_done:.1f} of" in drawn.read_text()
    assert "Roadmap to production" in run(roadmap_command, "export", str(folder)).output
    table = tmp_path / "plan.csv"
    assert run(roadmap_command, "export", str(folder), "--csv", str(table)).exit_code == 0
    assert len(table.read_text().splitlines()) == len(read_plan(folder).plan.items) + 1
    old.write_text('{"verdict": 1}')
    assert isinstance(run(assess_command, str(folder), "--compare", str(old)).exception, InputError)


def test_a_sheet_that_is_not_filled_in_yet_stops_nothing_and_is_told(pilot: Path, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_bytes((pilot / "train.py").read_bytes())
    (tmp_path / "business-case.yaml").write_text(blank_sheet("it", {}), encoding="utf-8")
    got = assess(tmp_path, probes=False)
    assert [line for line in got.skipped if line.startswith("business-case.yaml: it has 5 faults")]
    assert make_plan(tmp_path, got).case is None


def test_what_cannot_be_done_is_said_before_the_work(pilot: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    for option in ("--html", "--markdown", "--contract"):
        told = run(assess_command, str(pilot), option, str(tmp_path / "nowhere" / "r"))
        assert told.exit_code == 2 and "there is no folder" in told.output, told.output
    empty = tmp_path / "empty one"
    empty.mkdir()
    nothing = run(assess_command, str(empty), "--no-probes").exception
    assert isinstance(nothing, NotFound) and "pilotage init" in nothing.mend
    none = run(roadmap_command, "status", str(empty)).exception
    assert isinstance(none, NotFound) and none.mend == f"make it with `pilotage roadmap make '{empty}'`"


def test_the_burn_up_climbs_to_what_is_planned() -> None:
    looks = [
        Progress(at=AT + at, days_done=done, days_planned=20.0, done=[], open=[], regressed=[], phases=[], verdict=1)
        for at, done in ((0, 0.0), (10, 5.0), (40, 20.0))
    ]
    chart = burn_up(looks)
    (left, low), (x, y), (right, high) = chart.looks
    assert left < x < right and (x - left) / (right - left) == 0.25, "as far apart as the looks were in time"
    assert (low - y) / (low - high) == 0.25 and chart.done.split()[-1] == chart.planned.split()[-1]
    assert len(burn_up(looks[:1]).looks) == 1


def test_the_interview_keeps_each_answer_as_it_comes(pilot: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "train.py").write_bytes((pilot / "train.py").read_bytes())
    first = "yes\nbusiness\nyesterday\n2999-01-01\n2025-10-01\nminutes 4\nrisk\n"
    ended = run(assess_command, str(folder), "--no-probes", "--interview", given=first)
    assert ended.exit_code != 0, "the input ended before the questions did"
    assert "'yesterday': is no date" in ended.output and "'2999-01-01': lies in the future" in ended.output
    kept = parse_answers((folder / "readiness.yaml").read_bytes(), CRITERIA)
    assert kept.answers["business.decision"].confirmed
    rest: list[str] = []
    for question in load_questions()[1:]:
        rest += {"engineers": ["none", "3"], "simpler_in_place": ["no"]}.get(question.fact, [""])
    again = run(assess_command, str(folder), "--no-probes", "--interview", given="\n" * 5 + "\n".join(rest) + "\n" * 40)
    assert again.exit_code == 0, again.output
    kept = parse_answers((folder / "readiness.yaml").read_bytes(), CRITERIA)
    assert kept.answers["business.decision"].document == "minutes 4" and kept.facts.engineers == 3
    assert kept.facts.simpler_in_place is False and kept.facts.deadline_weeks is None
    assert "is no number" in again.output


def test_reports_of_a_pilot_that_holds_everything() -> None:
    pilot = found()
    plan = make_plan(Path("/nonexistent"), pilot)
    assert plan.triage.what == "fix" and "None." in report_file(pilot, plan)
    assert f"**Level {pilot.verdict} of 5**" in report_as_markdown(pilot, plan)
    moved = compare(found(data__schema=0), pilot)
    assert moved.better and not moved.worse
    back = compare(pilot, found(data__schema=0))
    assert back.worse and not back.better
    same = compare(pilot, decode_report(msgspec.json.encode(pilot), "x"))
    assert same.better == same.worse == []
