"""A real model that a real build proved, in a worker: rows that arrive at once share a call, and no bit moves."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from pilotage.evidence.store import latest
from pilotage.gateway.plan import Target, Together
from pilotage.releases.build import build_release
from pilotage.releases.load import open_release
from pilotage.releases.together import CHECK, proven_rows
from pilotage.runtimes.open import open_runtime
from pilotage.storage.database import control, open_engine, reading

from .conftest import KEY, SYSTEM, make_stand

FEATURES = ["income", "late", "months"]
RULES = 'version: "1"\nrules:\n  - {name: late, when: late > 90, answer: adverse}\n'


def _built(stand: Any, model: Any) -> tuple[Any, Together, pd.DataFrame]:
    """The release of a fitted model, and what its evidence lets a gateway do."""
    generator = np.random.default_rng(5)
    table = pd.DataFrame({name: generator.integers(18, 80, 700).astype(float) for name in FEATURES})
    table["bad"] = (table["late"] + generator.normal(0, 9, 700) > table["income"]).astype(int)
    folder = stand.home.root / "pilot"
    folder.mkdir()
    joblib.dump(model.fit(table[FEATURES], table["bad"]), folder / "model.joblib")
    table.to_csv(folder / "data.csv", index=False)
    (folder / "rules.yaml").write_text(RULES)
    declared = {
        "id": SYSTEM, "name": "n", "purpose": "p", "risk_tier": "low",
        "owners": dict.fromkeys(("business", "model", "operations", "risk"), "role@example.org"),
        "pilot": {"artefact": "model.joblib", "data": "data.csv", "target": "bad", "positive": "1"},
        "serving": {"rules": "rules.yaml", "fallback": ["rules"]},
    }  # fmt: skip
    (folder / "pilotage.yaml").write_text(yaml.safe_dump(declared))
    engine = open_engine(f"sqlite:///{stand.home.control_database}")
    control.create_all(engine)
    keyring = stand.keyring
    built = build_release(folder / "pilotage.yaml", home=stand.home, control=engine, keyring=keyring, author="a")
    with reading(engine) as connection:
        rows, environment = proven_rows(latest(connection, built.digest, CHECK))
    engine.dispose()
    return open_release(stand.home.releases, built.digest), Together(rows=rows, environment=environment), table


def _alone(release: Any, rows: list[list[float]]) -> list[str]:
    async def scene() -> list[str]:
        runtime = open_runtime(release.folder, release.serving)
        await runtime.start()
        try:
            return [(await runtime.score_async(row)).hex() for row in rows]
        finally:
            await runtime.close()

    return asyncio.run(scene())


def _at_once(worker: Any, rows: list[list[float]]) -> list[dict[str, Any]]:
    """Each row on a connection of its own; all have arrived when the worker goes on."""
    host, port = worker.url.removeprefix("http://").split(":")
    sockets = [socket.create_connection((host, int(port)), 20) for _ in rows]
    head = f"POST /v1/systems/{SYSTEM}/decide HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\nconnection: close\r\n"
    worker.ask(dict(zip(FEATURES, rows[0], strict=True)))
    os.kill(worker.process.pid, signal.SIGSTOP)
    for each, row in zip(sockets, rows, strict=True):
        body = json.dumps({"inputs": dict(zip(FEATURES, row, strict=True))})
        each.sendall(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
    os.kill(worker.process.pid, signal.SIGCONT)
    return [_body(each) for each in sockets]


def _body(connection: socket.socket) -> dict[str, Any]:
    content = b""
    with connection:
        while piece := connection.recv(65_536):
            content += piece
    body: dict[str, Any] = json.loads(content.partition(b"\r\n\r\n")[2])
    return body


def _held(stand: Any, replies: list[dict[str, Any]], alone: list[str]) -> list[Any]:
    """The place of each answer in its batch; each score is that of the row alone, in the reply and on record."""
    assert [reply["answer"]["score"].hex() for reply in replies] == alone
    decisions = stand.decisions()
    assert [decisions[reply["id"]][2].score.hex() for reply in replies] == alone
    return [decisions[reply["id"]][0].attempts[0].batch or None for reply in replies]


@pytest.fixture
def place(tmp_path: Any) -> Any:
    made = make_stand(tmp_path / "home", releases=0)
    yield made
    made.stop()


@pytest.mark.slow
def test_rows_of_one_moment_and_of_one_request_share_calls_and_no_bit_moves(place: Any) -> None:
    release, together, table = _built(place, RandomForestClassifier(12, max_depth=5, random_state=1))
    assert (release.serving.runtime, together.rows) == ("onnx", 64)
    rows = table[FEATURES].to_numpy()[:40].tolist()
    alone = _alone(release, rows)
    place.publish(release, together=together)
    worker = place.start()
    batches = _held(place, _at_once(worker, rows), alone)
    assert len([each for each in batches if each]) >= 39
    assert {(each.size, each.at) for each in batches if each} <= {(64, at) for at in range(40)}
    inputs = [dict(zip(FEATURES, row, strict=True)) for row in rows]

    def many() -> list[Any]:
        body = worker.ask([*inputs[:20], {"income": "x"}, *inputs[20:]]).json()["decisions"]
        assert body[20]["outcome"] == "rejected"
        return _held(place, [*body[:20], *body[21:]], alone)

    assert [(each.size, each.at) for each in many()] == [(64, at) for at in range(40)]
    # A floor and a chain judge each answer; the calls are shared all the same.
    rules = Target(kind="rules", release=release.digest, contract=release.contract.digest(), policy="sha256:r")
    worker.wait_for(place.publish(release, together=together, fallback=[rules], floor=0.01))
    assert [(each.size, each.at) for each in many()] == [(64, at) for at in range(40)]
    for unproven in (Together(), Together(rows=64, environment="sha256:elsewhere")):
        worker.wait_for(place.publish(release, together=unproven))
        assert many() == [None] * 40
        assert _held(place, _at_once(worker, rows), alone) == [None] * 40


@pytest.mark.slow
def test_a_boxed_model_gets_in_one_round_trip_what_waited_during_the_last(place: Any) -> None:
    model = make_pipeline(FunctionTransformer(np.log1p), RandomForestClassifier(40, random_state=1))
    release, together, table = _built(place, model)
    assert (release.serving.runtime, together.rows) == ("process", 64)
    rows = table[FEATURES].to_numpy()[:40].tolist()
    alone = _alone(release, rows)
    place.publish(release, together=together)
    worker = place.start()
    batches = _held(place, _at_once(worker, rows), alone)
    assert max(each.size for each in batches if each) >= 32
    body = worker.ask([dict(zip(FEATURES, row, strict=True)) for row in rows]).json()["decisions"]
    assert [(each.size, each.at) for each in _held(place, body, alone)] == [(64, at) for at in range(40)]
