"""Inline answers: what the graph says, row by row, and nothing when it is no number."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.errors import IntegrityError, Unavailable
from pilotage.evaluation.explainer import CategoryTerm, LinearForm, NumberTerm, score_linear
from pilotage.releases.linear_graph import linear_graph
from pilotage.runtimes.model import ServingSpec, row_encoder
from pilotage.runtimes.onnx import INPUT, OUTPUT, OnnxRuntime, open_session
from pilotage.testing.runtimes import check_runtime

NAMES = ["amount", "home", "grade", "vip"]
FORM = LinearForm(
    intercept=0.3,
    terms=[
        NumberTerm(feature="amount", weight=-1.5, center=10.0, scale=4.0, fill=12.0),
        CategoryTerm(feature="home", categories=["own", "rent"], weights=[-0.7, 0.2], other=0.05, fill="own"),
        CategoryTerm(feature="grade", categories=[1.0, 2.0, 3.0], weights=[0.5, -0.25, 0.125]),
        NumberTerm(feature="vip", weight=-0.4),
    ],
)
SPEC = ServingSpec(
    runtime="onnx",
    artefact="model.onnx",
    names=NAMES,
    kinds=["number", "string", "integer", "boolean"],
    texts={"home": ["own", "rent", "boat"]},
    numbers="float64",
    positive="1",
    threshold=0.5,
    adverse="refer",
    favourable="approve",
    tolerance=1e-9,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(linear_graph(FORM, NAMES, SPEC.texts))
    return path


@given(
    st.tuples(
        st.one_of(st.none(), st.floats(-1e6, 1e6)),
        st.sampled_from(["own", "rent", "boat", "castle", None]),
        st.sampled_from([1.0, 2.0, 3.0, 4.0, None]),
        st.booleans(),
    )
)
@settings(max_examples=150, deadline=None)
def test_the_graph_is_the_form(model: Path, values: tuple[float | str | bool | None, ...]) -> None:
    runtime = OnnxRuntime(model, SPEC)
    assert runtime.score(values) == pytest.approx(score_linear(FORM, NAMES, [values])[0], abs=1e-14)


def test_the_same_row_gives_the_same_bits_alone_and_again(model: Path) -> None:
    row = (123.456, "rent", 2.0, True)
    first = OnnxRuntime(model, SPEC).score(row)
    assert {OnnxRuntime(model, SPEC).score(row).hex() for _ in range(5)} == {first.hex()}


def test_a_score_that_is_no_number_is_no_answer(tmp_path: Path) -> None:
    bare = LinearForm(intercept=0.0, terms=[NumberTerm(feature="amount", weight=1.0)])
    path = tmp_path / "model.onnx"
    path.write_bytes(linear_graph(bare, ["amount"], {}))
    spec = msgspec.structs.replace(SPEC, names=["amount"], kinds=["number"], texts={})
    runtime = OnnxRuntime(path, spec)
    assert runtime.score((0.0,)) == 0.5
    with pytest.raises(Unavailable):
        runtime.score((None,))


def test_it_holds_to_the_port(tmp_path: Path) -> None:
    bare = LinearForm(intercept=0.1, terms=[NumberTerm(feature="a", weight=0.3), NumberTerm(feature="b", weight=-2.0)])
    path = tmp_path / "model.onnx"
    path.write_bytes(linear_graph(bare, ["a", "b"], {}))
    spec = msgspec.structs.replace(SPEC, names=["a", "b"], kinds=["number", "number"], texts={})
    rows = [(float(a), float(b)) for a, b in np.random.default_rng(4).normal(size=(50, 2))]
    session = open_session(path)
    own = [float(session.run([OUTPUT], {INPUT: np.array([row])})[0][0, 0]) for row in rows]
    asyncio.run(check_runtime(lambda: OnnxRuntime(path, spec), rows, own, (None, 1.0)))
    asyncio.run(check_runtime(lambda: OnnxRuntime(path, spec), rows, own, (1.0,)))


def test_a_model_of_other_features_is_refused(model: Path) -> None:
    with pytest.raises(IntegrityError, match=r"serving\.json"):
        OnnxRuntime(model, msgspec.structs.replace(SPEC, names=NAMES[:3], kinds=SPEC.kinds[:3]))


def test_text_becomes_its_place_and_other_text_the_place_after() -> None:
    encode = row_encoder(SPEC)
    assert list(encode((1.0, "rent", 2.0, True))) == [1.0, 1.0, 2.0, True]
    assert list(encode((None, "castle", None, False))) == [None, 3.0, None, False]
    assert list(encode((None, None, None, False))) == [None, None, None, False]


def test_the_label_turns_at_the_threshold() -> None:
    below = float(np.nextafter(0.5, 0.0))
    assert [SPEC.label(score) for score in (0.5, below)] == ["refer", "approve"]
