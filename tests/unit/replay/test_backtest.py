"""A candidate answers recorded decisions: figures that can be recounted by hand, evidence, pages, and no decision."""

from __future__ import annotations

import json
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from pilotage.cli.main import main
from pilotage.evaluation.metrics import auc, confusion
from pilotage.evidence.store import latest
from pilotage.kernel.clock import now_us
from pilotage.ledger.about import emit_about
from pilotage.ledger.erasure import erase
from pilotage.ledger.outcomes import Outcomes
from pilotage.ledger.queries import DecisionFilter
from pilotage.ledger.said import OUTCOME
from pilotage.releases.load import LoadedRelease
from pilotage.replay.against import Known, Reckoning
from pilotage.replay.backtest import FEWEST, Backtest, Limits, Tally, Trial
from pilotage.replay.backtesting import CHECK, backtest, find_backtest, keep_backtest
from pilotage.replay.segments import Segments
from pilotage.replay.window import Window
from pilotage.runtimes.open import open_runtime
from pilotage.storage.database import reading, writing
from pilotage.testing.releases import COLUMNS, make_release, make_rows
from pilotage.web import backtests
from pilotage.web.console.app import create_app
from tests.console.client import TestClient
from tests.console.world import SYSTEM, ConsoleWorld, make_console_world

ROWS = 300
SHIFT = 0.6
ALL = Window(wanted=DecisionFilter())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleWorld]:
    made = make_console_world(tmp_path_factory.mktemp("backtest"))
    made.seal([*made.answered(ROWS), *made.rejected(2), *made.interrupted()])
    made.seal(made.answered(1, seed=3))
    erase("c-3-0", "asked", "tests", steward=made.steward)
    yield made
    made.close()


@pytest.fixture(scope="module")
def candidate(world: ConsoleWorld) -> str:
    return world.governed.release(SHIFT).digest


@pytest.fixture(scope="module")
def told(world: ConsoleWorld) -> dict[str, object]:
    """Outcomes of most decisions, by id; one of another system, one that tells no class, one corrected later."""
    draw, said = random.Random(11), {}
    rows = world.installation.ledger().decisions(DecisionFilter(outcome="answered"), limit=1_000)
    rows = [row for row in rows if row.score is not None]
    for number, row in enumerate(rows[:250]):
        said[row.id] = int(draw.random() < 0.15 + 0.7 * (row.score or 0.0)) if number else 0.5
    with writing(world.installation.control) as connection:

        def tell(id_: str, value: object, system: str = SYSTEM) -> None:
            private = {"value": value, "at": now_us(), "source": "tests", "by": "p1"}
            key = world.installation.keyring.steward_public
            emit_about(connection, key, OUTCOME, id_, system=system, private=private)

        tell(rows[1].id, 1 - int(str(said[rows[1].id])))
        for id_, value in said.items():
            tell(id_, value)
        tell(rows[2].id, 1 - int(str(said[rows[2].id])), "another")
    world.steward.seal_all()
    return said


OUTCOME_COSTS = {("approve", "1"): 900.0, ("refer", "0"): 25.0, ("refer", "1"): 30.0}


@pytest.fixture(scope="module")
def found(world: ConsoleWorld, candidate: str, told: dict[str, object]) -> Backtest:
    costs = {("approve", "refer"): 2.5}
    return backtest(
        world.installation.ledger(),
        world.installation.releases,
        candidate,
        ALL,
        costs=costs,
        outcomes=Outcomes(world.installation.ledger_engine),
        outcome_costs=OUTCOME_COSTS,
    )


def test_both_are_held_against_what_became_of_the_decisions(
    world: ConsoleWorld, found: Backtest, told: dict[str, object]
) -> None:
    """Recounted from the requests on record, by the two models themselves."""
    ids = [id_ for id_, value in told.items() if value != 0.5]
    truth = np.array([told[id_] == 1 for id_ in ids])
    rows = [world.installation.ledger().decision(id_).payload.features for id_ in ids]  # type: ignore[union-attr]
    served = (world.loaded, make_release(world.installation.home, shift=SHIFT))
    scores = [_scores(release, rows) for release in served]
    assert found.realised is not None
    whole = found.realised.whole
    assert (whole.known.count, whole.known.of, found.realised.unclear) == (249, ROWS, 1)
    label = world.loaded.serving.label
    right = []
    for side, own in zip((whole.champion, whole.candidate), scores, strict=True):
        assert side is not None and side.auc is not None and side.cost is not None
        expected = confusion(truth, own, 0.5)
        for name in ("true_positive", "false_positive", "false_negative", "true_negative"):
            assert getattr(side.figures, name) == expected[name]
        assert side.auc.area == pytest.approx(auc(truth, own)) and side.auc.low < side.auc.area < side.auc.high
        answers = [(label(float(score)), str(int(each))) for score, each in zip(own, truth, strict=True)]
        assert side.cost == pytest.approx(sum(OUTCOME_COSTS.get(each, 0.0) for each in answers))
        right.append(((own >= 0.5) == truth).astype(float))
    moved = right[1] - right[0]
    assert whole.accuracy_change is not None and whole.accuracy_change[0] == pytest.approx(moved.mean())
    assert whole.accuracy_change[1] < moved.mean() < whole.accuracy_change[2]
    assert whole.auc_change is not None and whole.cost_change is not None
    assert whole.auc_change[0] == pytest.approx(auc(truth, scores[1]) - auc(truth, scores[0]))  # type: ignore[operator]
    by_answer = [each for each in found.realised.segments if each.dimension == "answer"]
    assert sum(each.known.count for each in by_answer) == 249 and len(by_answer) == 2
    for each in by_answer:
        assert each.champion is not None
        figures = each.champion.figures
        flagged = figures.true_positive + figures.false_positive
        assert flagged == (figures.decisions if each.value == "refer" else 0)


@pytest.mark.slow
def test_without_outcomes_or_with_few_nothing_is_claimed(
    world: ConsoleWorld, candidate: str, told: dict[str, object]
) -> None:
    few = Window(wanted=DecisionFilter(), last=25)
    made = (world.installation.ledger(), world.installation.releases, candidate, few)
    assert backtest(*made).realised is None
    found = backtest(*made, outcomes=Outcomes(world.installation.ledger_engine)).realised
    assert found is not None and 0 < found.whole.known.count < 30
    assert found.whole.champion is None and found.whole.accuracy_change is None and found.segments == []


def _scores(release: LoadedRelease, rows: list[tuple[Any, ...]]) -> np.ndarray:
    runtime = open_runtime(release.folder, release.serving)
    return np.array([runtime.score(row) for row in rows])


def test_flips_and_scores_are_those_that_the_two_models_give(
    world: ConsoleWorld, found: Backtest, candidate: str
) -> None:
    rows = make_rows(COLUMNS, ROWS, 7)
    new = _scores(make_release(world.installation.home, shift=SHIFT), rows)
    old = _scores(world.loaded, rows)
    flipped = Counter(
        (world.loaded.serving.label(float(a)), world.loaded.serving.label(float(b)))
        for a, b in zip(old, new, strict=True)
        if (a >= 0.5) != (b >= 0.5)
    )
    assert flipped.total() > 5
    assert {(each.old, each.new): each.decisions for each in found.changes} == flipped
    assert (found.flips.count, found.flips.of) == (flipped.total(), ROWS)
    assert found.shift is not None
    assert found.shift.mean == pytest.approx(float((new - old).mean()))
    assert found.shift.old[3] == pytest.approx(float(np.median(old)))
    assert found.cost == pytest.approx(2.5 * flipped["approve", "refer"])
    assert found.cost_per_1000 == pytest.approx(found.cost / ROWS * 1_000)
    assert found.champions == {world.release.digest: ROWS + 2}
    assert found.environment == world.environment
    assert {name: each.decisions for name, each in found.latency.items()} == {
        "recorded": ROWS,
        "champion": ROWS,
        "candidate": ROWS,
    }
    assert all(0 < each.p50_us <= each.p99_us for each in found.latency.values())


def test_every_kind_of_decision_is_accounted_for(found: Backtest) -> None:
    assert found.outcomes == {"answered": ROWS + 1, "rejected": 2, "interrupted": 1}
    assert sorted(found.skipped.values()) == [1, 1]
    assert found.skipped["erased"] == 1
    assert (found.newly_answered.count, found.newly_answered.of) == (0, 2)
    assert found.gone_faults == {"above_maximum@inputs.age": 2, "unseen_category@inputs.home": 2}


def test_segments_add_up_and_small_ones_are_left_out(found: Backtest) -> None:
    answers = {each.value: each for each in found.segments if each.dimension == "answer"}
    assert sum(each.flips.count for each in answers.values()) == found.flips.count
    assert sum(each.decisions for each in answers.values()) == ROWS
    assert all(each.decisions >= FEWEST for each in found.segments)


def test_declared_slices_part_numbers_by_the_reference(world: ConsoleWorld) -> None:
    declared = world.loaded.system()
    pilot = msgspec.structs.replace(declared.pilot, slices=["home", "income", "nosuch"])

    class Sliced(LoadedRelease):
        def system(self) -> Any:
            return msgspec.structs.replace(declared, pilot=pilot)

    fields = {name: getattr(world.loaded, name) for name in LoadedRelease.__dataclass_fields__}
    segments = Segments(Sliced(**fields))
    (row, *_) = world.installation.ledger().decisions(DecisionFilter(outcome="answered"), limit=1)
    decision = world.installation.ledger().decision(row.id)
    assert segments.of(decision, {"home": "rent", "income": None})[-3:] == [
        ("home", "rent"),
        ("income", "null"),
        ("nosuch", "not given"),
    ]
    values = {dict(segments.of(decision, {"income": income}))["income"] for income in range(0, 500_001, 5_000)}
    assert len(values) == 4
    assert dict(segments.of(decision, {"home": ["rent"]}))["home"] == "not a value"


def test_a_stricter_contract_is_seen_before_it_is_live(world: ConsoleWorld) -> None:
    columns = [replace_column(each) for each in COLUMNS]
    strict = make_release(world.installation.home, columns=columns)
    ages = [row[3] for row in make_rows(COLUMNS, ROWS, 7)]
    found = backtest(world.installation.ledger(), world.installation.releases, strict.digest, ALL)
    assert found.newly_faulty.count == sum(age > 60 for age in ages) > 0
    assert found.new_faults["above_maximum@inputs.age"] == found.newly_faulty.count
    assert found.flips.of == ROWS - found.newly_faulty.count
    assert not found.passed and any("rejected" in why for why in found.missing)


def replace_column(column: Any) -> Any:
    return msgspec.structs.replace(column, maximum=60) if column.name == "age" else column


def test_what_the_model_did_not_answer_is_no_flip() -> None:
    tally = Tally(known=Known(reckoning=Reckoning(positive="1", adverse="refer", favourable="approve")))
    for outcome, new in (("fallback", ("refer", 0.9)), ("refused", None), ("answered", ("refer", 0.9))):
        old = ("approve", 0.1) if outcome == "answered" else None
        tally.add("a", Trial(outcome=outcome, old=old, new=new, failure="" if new else "the model process failed"))
    found = tally.report(
        system="s", candidate="c", environment="e", window={}, at=1, limits=Limits(fewest=1), costs={}, seconds=1.0
    )
    assert (found.flips.count, found.flips.of) == (1, 1)
    assert (found.unanswered["fallback"].count, found.unanswered["refused"].count) == (1, 0)
    assert found.failures == {"the model process failed": 1}
    assert not found.passed


def test_it_is_kept_as_evidence_about_the_candidate_and_decides_nothing(
    world: ConsoleWorld, found: Backtest, candidate: str
) -> None:
    before = world.installation.ledger().count()
    evidence = keep_backtest(world.installation.control, world.installation.objects, found, "p-1")
    with reading(world.installation.control) as connection:
        newest = latest(connection, candidate, CHECK)
    assert newest == evidence
    assert (evidence.grade, evidence.subject, evidence.passed) == ("E3", candidate, found.passed)
    assert evidence.expires > evidence.collected > 0
    assert find_backtest(world.installation.control, world.installation.objects, evidence.id) == (evidence, found)
    world.steward.seal_all()
    assert world.installation.ledger().count() == before
    assert not list(world.installation.home.journal.glob("replay*"))


def test_the_pages_show_it(world: ConsoleWorld, found: Backtest) -> None:
    evidence = keep_backtest(world.installation.control, world.installation.objects, found, "p-1")
    with TestClient(create_app(world.installation)) as client:
        client.headers.update({"accept": "text/html", "origin": "http://testserver"})
        client.post("/sign-in", data={"token": world.token("auditor")})
        assert f"/backtests/{evidence.id}" in client.get("/backtests").text
        page = client.get(f"/backtests/{evidence.id}").text
        assert f"{100 * found.flips.rate:.2f} %" in page and "<svg" in page and "answer: refer" in page
        assert "Against outcomes" in page and "249 of 300" in page
        assert client.get("/backtests/nosuch").status_code == 404


@pytest.mark.slow
def test_the_command_prints_writes_and_judges(
    world: ConsoleWorld,
    candidate: str,
    told: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    report = tmp_path / "report.html"

    def call(role: str, *words: str) -> tuple[int, str, str]:
        monkeypatch.setenv("PILOTAGE_TOKEN", world.token(role))
        home = str(world.installation.home.root)
        line = ["pilotage", "--home", home, "decisions", "replay", "--last", "500", "--release", candidate, *words]
        monkeypatch.setattr(sys, "argv", line)
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    wide = ("--max-flips", "1", "--max-new-faults", "0.05")
    costs = ("--cost", "approve>refer=2", "--outcome-cost", "approve/1=900")
    code, out, err = call("ml_engineer", *wide, "--report", str(report), *costs, "--json")
    assert code == 0, err
    document = json.loads(out)
    assert document["passed"] and document["flips"]["of"] == ROWS and document["cost"] > 0
    assert document["realised"]["whole"]["known"]["count"] == 249 and document["realised"]["whole"]["cost_change"]
    text = report.read_text()
    assert "Against outcomes" in text and "Change of cost" in text and "249 of 300" in text
    assert "<svg" in text and "default-src 'none'" in text
    assert not re.search(r"""(?:src|href)=|url\(|@import""", text), "the file loads nothing"
    code, out, _ = call("model_validator")
    assert code == 3
    assert "against outcome 1: 83.00%" in out
    assert "BEYOND LIMITS" in out and "answer: refer" in out and "\x1b" not in out
    assert call("auditor")[0] == 1, "an auditor makes no evidence"
    code, _, err = call("ml_engineer", "--cost", "nonsense")
    assert code == 1 and "OLD>NEW=COST" in err


def test_by_api_it_is_started_read_and_listed(world: ConsoleWorld, candidate: str, told: dict[str, object]) -> None:
    with TestClient(create_app(world.installation), raise_server_exceptions=False) as client:

        def as_(role: str) -> dict[str, str]:
            return {"authorization": f"Bearer {world.token(role)}"}

        body = {"release": candidate, "last": 120, "outcome_costs": {"approve/1": 900.0}, "max_flips": 0.9}
        refused = client.post("/api/v1/backtests", json=body, headers=as_("operator"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
        made = client.post("/api/v1/backtests", json=body, headers=as_("ml_engineer"))
        assert made.status_code == 201, made.text
        found = made.json()
        assert found["candidate"] == candidate and found["report"]["flips"]["of"] == 116
        assert found["report"]["realised"]["whole"]["candidate"]["cost"] >= 0
        assert found["figures"]["realised"]["known"]["count"] > 50
        read = client.get(f"/api/v1/backtests/{found['id']}", headers=as_("auditor"))
        assert read.json() == found
        listed = client.get(f"/api/v1/backtests?system={SYSTEM}&limit=1", headers=as_("auditor")).json()
        assert [each["id"] for each in listed] == [found["id"]] and "report" not in listed[0]
        assert client.get("/api/v1/backtests?system=none", headers=as_("auditor")).json() == []
        assert client.get("/api/v1/backtests/none", headers=as_("auditor")).status_code == 404
        assert client.get("/api/v1/backtests?limit=0", headers=as_("auditor")).status_code == 422
        for wrong in (
            {**body, "last": 5_001, "sample": 0, "max_flips": 2},
            {**body, "window": "yesterday"},
            {**body, "costs": {"approve": 1}},
            {"last": 5},
        ):
            answer = client.post("/api/v1/backtests", json=wrong, headers=as_("ml_engineer"))
            assert answer.status_code == 422, wrong
        assert client.post("/api/v1/backtests", json={"release": "x@9"}, headers=as_("ml_engineer")).status_code == 404
        with backtests._running:
            busy = client.post("/api/v1/backtests", json=body, headers=as_("ml_engineer"))
        assert (busy.status_code, busy.json()["error"]["code"]) == (409, "backtest_running")
