"""The boxed runtime: a real model in a real box, answering, failing, dying, and never mixing up answers."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import joblib
import msgspec
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from pilotage.errors import Unavailable
from pilotage.runtimes import process
from pilotage.runtimes.model import ServingSpec
from pilotage.runtimes.process import ProcessRuntime
from pilotage.testing.runtimes import check_runtime

SPEC = ServingSpec(
    runtime="process",
    artefact="model.joblib",
    names=["a", "b"],
    kinds=["number", "number"],
    positive="yes",
    threshold=0.5,
    adverse="refer",
    favourable="approve",
    tolerance=1e-9,
)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    generator = np.random.default_rng(1)
    table = generator.exponential(size=(300, 2))
    labels = np.where(table[:, 0] > table[:, 1], "yes", "no")
    model = make_pipeline(FunctionTransformer(np.log1p), StandardScaler(), LogisticRegression()).fit(table, labels)
    path = tmp_path_factory.mktemp("model") / "model.joblib"
    joblib.dump(model, path)
    return path, model


def _run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(coroutine)


def test_it_answers_as_the_model_does_and_outlives_its_process(fitted: tuple[Path, Any], monkeypatch: Any) -> None:
    path, model = fitted
    monkeypatch.setattr(process, "RESTART_S", 0.0)

    async def scene() -> None:
        runtime = ProcessRuntime(path, SPEC)
        await runtime.start()
        rows = [(float(a), float(b)) for a, b in np.random.default_rng(2).exponential(size=(20, 2))]
        own = [float(model.predict_proba(np.array([row]))[0, 1]) for row in rows]
        try:
            assert list(await asyncio.gather(*map(runtime.score_async, rows))) == own
            with pytest.raises(Unavailable, match="process failed"):
                await runtime.score_async((1.0, None))  # the model takes no null
            assert await runtime.score_async(rows[0]) == own[0]
            assert runtime._box is not None
            first, runtime._patience_s = runtime._box, 0.4
            (child,) = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
            os.kill(int(child), signal.SIGSTOP)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(runtime.score_async(rows[1]), 0.05)
            assert first.alive, "a caller with little patience ends no process"
            assert await runtime.score_async(rows[2]) == own[2], "a process that hangs is replaced, no answer mixed up"
            assert runtime._box is not first and not first.alive
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(runtime.score_async(rows[1]), 0.0001)
            assert await runtime.score_async(rows[2]) == own[2]
            assert runtime._box is not None
            os.killpg(runtime._box.pid, signal.SIGKILL)
            answers = [await _try(runtime, rows[3]) for _ in range(2)]
            assert answers[-1] == own[3]
        finally:
            await runtime.close()
        with pytest.raises(Unavailable, match="closed"):
            await runtime.score_async(rows[0])

    _run(scene())


async def _try(runtime: ProcessRuntime, row: tuple[float, ...]) -> float | None:
    try:
        return await runtime.score_async(row)
    except Unavailable:
        return None


def test_it_holds_to_the_port(fitted: tuple[Path, Any]) -> None:
    path, model = fitted
    rows = [(float(a), float(b)) for a, b in np.random.default_rng(4).exponential(size=(10, 2))]
    own = [float(model.predict_proba(np.array([row]))[0, 1]) for row in rows]
    _run(check_runtime(lambda: ProcessRuntime(path, SPEC), rows, own, (1.0, None)))


@pytest.mark.parametrize(
    ("content", "positive", "words"),
    [(b"no pickle at all", "yes", "does not open"), (None, "maybe", "positive class")],
)
def test_what_cannot_serve_says_why(
    fitted: tuple[Path, Any], tmp_path: Path, content: bytes | None, positive: str, words: str
) -> None:
    path = tmp_path / "model.joblib"
    path.write_bytes(fitted[0].read_bytes() if content is None else content)

    async def scene() -> None:
        runtime = ProcessRuntime(path, msgspec.structs.replace(SPEC, positive=positive))
        with pytest.raises(Unavailable, match=words):
            await runtime.start()
        with pytest.raises(Unavailable, match="just failed"):
            await runtime.start()
        await runtime.close()

    _run(scene())
