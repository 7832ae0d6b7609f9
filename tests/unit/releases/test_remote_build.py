"""A release whose model answers at another address, built and looked at over real sockets."""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sqlalchemy import Engine

from pilotage.errors import InputError, Refused
from pilotage.evidence.stale import marks_about, stale_reason
from pilotage.evidence.store import for_subject
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.queries import RecordedDecision
from pilotage.ledger.record import Payload
from pilotage.releases.build import build_release
from pilotage.releases.load import open_release
from pilotage.releases.model import Release
from pilotage.releases.sealed_rows import rows_key
from pilotage.replay import reasons
from pilotage.storage.database import control, open_engine, reading
from pilotage.storage.home import Home
from pilotage.systems.parse import parse_system
from pilotage.wiring.remotes import look_at_remote
from tests.remote_twin import SECRET, RemoteTwin

FEATURES = ("income", "late")
METADATA = {"name": "late", "versions": ["1", "3"], "platform": "sklearn", "inputs": [], "outputs": [], "extra": 1}


def _score(row: dict[str, Any]) -> float:
    return 1 / (1 + math.exp(1.5 - 0.5 * row["late"] + row["income"] / 20_000))


@pytest.fixture
def twin() -> Iterator[RemoteTwin]:
    """A model server on a loop of its own, as another machine's would be."""
    made = RemoteTwin(lambda: "well")
    made.metadata, made.scores = dict(METADATA), _score
    loop, up, over = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def run() -> None:
        async with made:
            up.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert up.wait(10)
    yield made
    loop.call_soon_threadsafe(over.set)
    thread.join(10)
    loop.close()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(root=tmp_path / "home").create()


@pytest.fixture
def engine(home: Home) -> Iterator[Engine]:
    made = open_engine(f"sqlite:///{home.control_database}")
    control.create_all(made)
    yield made
    made.dispose()


def _pilot(folder: Path, url: str, **remote: Any) -> Path:
    folder.mkdir()
    generator = np.random.default_rng(5)
    table = pd.DataFrame({"customer": [f"c{at}" for at in range(180)]})
    table["income"] = np.round(generator.exponential(30_000, 180), 2)
    table["late"] = generator.integers(0, 9, 180)
    odds = [_score(row) for row in table[[*FEATURES]].to_dict("records")]
    table["bad"] = (generator.random(180) < odds).astype(int)
    table.to_csv(folder / "data.csv", index=False)
    declared = {
        "id": "scoring", "name": "Scoring", "purpose": "To test builds.", "risk_tier": "high",
        "owners": dict.fromkeys(("business", "model", "operations", "risk"), "role@example.org"),
        "pilot": {
            "data": "data.csv", "target": "bad", "positive": "1", "subject": "customer",
            "remote": {"url": url, "model": "late", "output": "score", **remote},
        },
        "answer": {"threshold": 0.4, "adverse": "refer", "favourable": "approve"},
        "reasons": [
            {"code": "LATE", "text": "Payments were late", "features": ["late"]},
            {"code": "INCOME", "text": "Income", "features": ["income"]},
        ],
    }  # fmt: skip
    path = folder / "pilotage.yaml"
    path.write_text(yaml.safe_dump(declared))
    return path


def _build(path: Path, home: Home, engine: Engine) -> Release:
    keyring = Keyring.create_or_open(home.keyring)
    return build_release(path, home=home, control=engine, keyring=keyring, author="author")


@pytest.mark.slow
def test_a_remote_model_is_measured_within_its_calls_and_pinned_by_what_it_says(
    tmp_path: Path, home: Home, engine: Engine, twin: RemoteTwin
) -> None:
    path = _pilot(tmp_path / "pilot", twin.url, version="3", calls=900, explain=2_000)
    release = _build(path, home, engine)
    assert release.runtime == "remote" and sum(twin.asked.values()) <= 900
    loaded = open_release(home.releases, release.digest)
    assert not {"model.onnx", "model.joblib"} & loaded.manifest.files.keys()
    evaluation = json.loads(loaded.file("evaluation.json"))
    assert evaluation["metrics"]["auc"] > 0.7 and evaluation["rows"]["held_out"] > 30
    assert evaluation["remote"]["repeated"] == {"rows": 10, "same": 10}
    assert evaluation["remote"]["calls"] == sum(twin.asked.values())
    assert "no answer can be replayed" in loaded.file("card.md").decode()
    with reading(engine) as connection:
        evidence = {each.check: each for each in for_subject(connection, release.digest)}
    assert evidence["remote.identity"].passed and evidence["reasons.stable"].passed
    assert evidence["serving.together"].figures["most"] == 0
    assert "cannot be proven" in evidence["serving.together"].figures["why"]
    assert _build(path, Home(root=tmp_path / "other").create(), engine).digest == release.digest

    # What it says it is: another version beside the pinned one is no change; another platform is, and is marked once.
    assert look_at_remote(engine, loaded).state == "as_built"
    assert twin.metadata is not None
    twin.metadata["versions"] = ["1", "3", "4"]
    assert look_at_remote(engine, loaded).state == "as_built"
    twin.metadata["platform"] = "another"
    changed = look_at_remote(engine, loaded)
    assert changed.state == "changed" and {"evaluation.holdout", "remote.identity"} <= set(changed.stale)
    assert look_at_remote(engine, loaded).stale == []
    with reading(engine) as connection:
        marks = marks_about(connection, release.digest)
    assert len(marks) == 1 and "says that it is another" in stale_reason(evidence["evaluation.holdout"], marks)
    twin.metadata = None
    assert look_at_remote(engine, loaded).state == "silent"


def _recorded(release: str, row: tuple[float, float], score: float) -> RecordedDecision:
    payload = Payload(features=list(row), score=score, answer={"label": "refer" if score >= 0.4 else "approve"})
    made: Any = type("Recorded", (), {})()
    made.payload, made.plain = payload, type("Plain", (), {"release": release})()
    return made


def test_reasons_ask_a_remote_model_as_often_as_is_declared_and_never_another_one(
    tmp_path: Path, home: Home, engine: Engine, twin: RemoteTwin, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring = Keyring.create_or_open(home.keyring)
    row = (10_000.0, 8.0)
    score = _score(dict(zip(FEATURES, row, strict=True)))
    release = _build(_pilot(tmp_path / "some", twin.url, calls=250, explain=634), home, engine)
    before = sum(twin.asked.values())
    told = reasons.explain_recorded(_recorded(release.digest, row, score), home.releases, rows_key(keyring))
    assert told.reasons and not told.exact and sum(twin.asked.values()) - before <= 634
    with pytest.raises(Refused, match="otherwise by now"):
        reasons.explain_recorded(_recorded(release.digest, row, score - 0.01), home.releases, rows_key(keyring))
    monkeypatch.setattr(reasons, "_MOVES", 257)
    before = sum(twin.asked.values())
    with pytest.raises(Refused, match="too often") as refused:
        reasons.explain_recorded(_recorded(release.digest, row, score), home.releases, rows_key(keyring))
    assert refused.value.code == "remote_explanation" and "636 calls" in str(refused.value.got)
    assert sum(twin.asked.values()) == before, "refused before any row was sent"


def test_what_cannot_be_built_is_said_and_nothing_of_the_other_side_is_repeated(
    tmp_path: Path, home: Home, engine: Engine, twin: RemoteTwin
) -> None:
    with pytest.raises(InputError, match="more often than is declared") as found:
        _build(_pilot(tmp_path / "a", twin.url, calls=100), home, engine)
    assert found.value.code == "remote_calls" and not twin.asked
    with pytest.raises(InputError, match="cannot be asked"):
        _build(_pilot(tmp_path / "b", "http://models.example"), home, engine)
    with pytest.raises(InputError, match="no token"):
        _build(_pilot(tmp_path / "c", twin.url, token="scoring"), home, engine)
    for does in ("500", "garbage", "nan"):
        twin.does = lambda does=does: does  # type: ignore[misc]
        with pytest.raises(InputError) as found:
            _build(_pilot(tmp_path / does, twin.url, calls=250), home, engine)
        assert found.value.code == "remote_silent" and SECRET not in str(found.value)
    twin.does = lambda: "422"
    with pytest.raises(InputError, match="refused this row"):
        _build(_pilot(tmp_path / "row", twin.url, calls=250), home, engine)
    sometimes = iter(["500", "reset"] + ["well"] * 10_000)
    twin.does = lambda: next(sometimes)
    assert _build(_pilot(tmp_path / "once", twin.url, calls=250), home, engine).runtime == "remote"
    with reading(engine) as connection:
        assert len(for_subject(connection, "none")) == 0


def test_a_model_is_a_file_or_an_address() -> None:
    text = (
        "id: s\nname: n\npurpose: p\nrisk_tier: low\n"
        "owners: {business: b, model: m, operations: o, risk: r}\npilot: {data: d, target: t, positive: p"
    )
    for more, words in (
        ("}", "names no model"),
        (", artefact: a, remote: {url: 'http://localhost', model: m, output: o}}", "names two models"),
        (", remote: {url: 'http://localhost', model: m, output: o, calls: 5}}", "pilot.remote.calls"),
        (", remote: {url: 'http://localhost', adress: x}}", "remote.adress"),
    ):
        with pytest.raises(InputError) as found:
            parse_system(f"{text}{more}\n".encode())
        assert words in str(found.value)
