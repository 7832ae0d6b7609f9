"""A candidate answers recorded decisions: figures that can be recounted by hand, evidence, pages, and no decision."""

from __future__ import annotations

import json
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
from pilotage.evidence.store import latest
from pilotage.ledger.erasure import erase
from pilotage.ledger.queries import DecisionFilter
from pilotage.releases.load import LoadedRelease
from pilotage.replay.backtest import FEWEST, Backtest, Limits, Tally, Trial
from pilotage.replay.backtesting import CHECK, backtest, find_backtest, keep_backtest
from pilotage.replay.segments import Segments
from pilotage.replay.window import Window
from pilotage.runtimes.open import open_runtime
from pilotage.storage.database import reading
from pilotage.testing.releases import COLUMNS, make_release, make_rows
from pilotage.web.console.app import create_app
from tests.console.client import TestClient
from tests.console.world import ConsoleWorld, make_console_world

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
def found(world: ConsoleWorld, candidate: str) -> Backtest:
    costs = {("approve", "refer"): 2.5}
    return backtest(world.installation.ledger(), world.installation.releases, candidate, ALL, costs=costs)


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
    tally = Tally()
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
        assert client.get("/backtests/nosuch").status_code == 404


def test_the_command_prints_writes_and_judges(
    world: ConsoleWorld, candidate: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
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
    code, out, err = call("ml_engineer", *wide, "--report", str(report), "--cost", "approve>refer=2", "--json")
    assert code == 0, err
    document = json.loads(out)
    assert document["passed"] and document["flips"]["of"] == ROWS and document["cost"] > 0
    text = report.read_text()
    assert "<svg" in text and "default-src 'none'" in text
    assert not re.search(r"""(?:src|href)=|url\(|@import""", text), "the file loads nothing"
    code, out, _ = call("model_validator")
    assert code == 3
    assert "BEYOND LIMITS" in out and "answer: refer" in out and "\x1b" not in out
    assert call("auditor")[0] == 1, "an auditor makes no evidence"
    code, _, err = call("ml_engineer", "--cost", "nonsense")
    assert code == 1 and "OLD>NEW=COST" in err
