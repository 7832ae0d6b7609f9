"""A pickle is read without being opened: every name it calls, the versions it states, joblib's raw arrays skipped."""

from __future__ import annotations

import collections
import io
import os
import pickle
import pickletools
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pilotage.assess.reading import unpacked
from pilotage.assess.signals.pickles import read_pickle, suspicious

EXAMPLE = Path(__file__).parents[3] / "examples" / "credit_default" / "model.joblib"


class Bomb:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/exploded",)


def names_when_opened(content: bytes) -> set[tuple[str, str]]:
    """The oracle: what a real unpickler asks for."""
    asked: set[tuple[str, str]] = set()

    class Spy(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            asked.add((module, name))
            return super().find_class(module, name)

    Spy(io.BytesIO(content)).load()
    return asked


def models() -> list[Any]:
    rows, labels = np.arange(40.0).reshape(20, 2), np.array(["no", "yes"] * 10)
    return [
        make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, labels),
        RandomForestClassifier(n_estimators=3, random_state=0).fit(rows, labels),
    ]


def test_the_examples_artefact_is_followed_to_its_end_and_states_its_version() -> None:
    facts = read_pickle(unpacked(EXAMPLE.read_bytes()))
    assert facts.complete, facts.why
    assert facts.versions["_sklearn_version"] == "1.9.1"
    assert ("sklearn.linear_model._logistic", "LogisticRegression") in facts.names
    assert facts.arrays > 5
    assert suspicious(facts.names) == []


@pytest.mark.parametrize("protocol", range(6))
def test_it_asks_for_what_a_real_unpickler_asks_for(protocol: int) -> None:
    for model in models():
        content = pickle.dumps(model, protocol=protocol)
        facts = read_pickle(content)
        assert facts.complete, facts.why
        assert facts.names == names_when_opened(content)
        assert suspicious(facts.names) == []


@pytest.mark.parametrize("compress", [0, 3])
def test_arrays_between_opcodes_are_skipped(tmp_path: Path, compress: int) -> None:
    arrays = {"f": np.arange(500.0), "i": np.ones((7, 3), "int16"), "u": np.array(["ab", "c"]), "b": np.zeros(3, bool)}
    mixed = [arrays, np.array(["a", None], dtype=object), Bomb(), np.arange(3.0)]
    joblib.dump(mixed, tmp_path / "m.joblib", compress=compress)
    facts = read_pickle(unpacked((tmp_path / "m.joblib").read_bytes()))
    assert facts.complete, facts.why
    assert facts.arrays == 6
    assert suspicious(facts.names) == ["posix.system"]


def test_a_bomb_is_named_and_not_set_off(tmp_path: Path) -> None:
    facts = read_pickle(pickle.dumps({"model": Bomb(), "also": collections.OrderedDict(a=1)}))
    assert suspicious(facts.names) == ["posix.system"]
    assert not Path("/tmp/exploded").exists()


@pytest.mark.parametrize("name", ["eval", "exec", "getattr", "__import__"])
def test_what_is_not_listed_is_denied(name: str) -> None:
    assert suspicious({("builtins", name)}) == [f"builtins.{name}"]
    assert suspicious({("sklearn.utils.fixes", "exec_like"), ("sklearn.x", "A.method")}) != []


def test_a_torn_pickle_is_incomplete_not_clean() -> None:
    content = pickle.dumps(models()[0])
    facts = read_pickle(content[: len(content) // 2])
    assert not facts.complete and facts.why


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers(),
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner) | st.sets(st.integers())
    ),
    max_leaves=12,
)


@given(plain, st.integers(0, 5), st.booleans())
def test_any_plain_value_is_followed_to_its_end(value: object, protocol: int, optimised: bool) -> None:
    content = pickle.dumps([value, value], protocol=protocol)
    facts = read_pickle(pickletools.optimize(content) if optimised else content)
    assert facts.complete, facts.why


@given(st.binary(max_size=200))
def test_hostile_bytes_never_raise(content: bytes) -> None:
    read_pickle(content)
    read_pickle(unpacked(content))
