"""The serving environment: the same here and in a fresh process, another when anything in it is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pilotage.runtimes.environment import (
    environment_digest,
    installed_distributions,
    kernel_variables,
    serving_environment,
)


def test_a_fresh_process_has_the_same_environment() -> None:
    code = "from pilotage.runtimes.environment import environment_digest as d; print(d())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == environment_digest()


def test_every_fact_counts_in_the_digest() -> None:
    facts = serving_environment()
    whole = environment_digest(facts)
    for name in facts:
        assert environment_digest({**facts, name: "something else"}) != whole


def test_the_lock_names_what_computes() -> None:
    lines = installed_distributions().splitlines()
    assert lines == sorted(lines)
    names = {line.partition("==")[0] for line in lines}
    assert {"numpy", "onnxruntime", "pilotage"} <= names


def test_kernels_chosen_by_a_variable_are_another_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES"):
        monkeypatch.delenv(name, raising=False)
    plain = serving_environment()
    assert kernel_variables() == {} and "numpy_disabled" not in plain
    assert kernel_variables(plain) == {"OPENBLAS_CORETYPE": "", "NPY_DISABLE_CPU_FEATURES": ""}
    for name, value in (("OPENBLAS_CORETYPE", "Nehalem"), ("NPY_DISABLE_CPU_FEATURES", "AVX2")):
        monkeypatch.setenv(name, value)
        told = serving_environment()
        assert environment_digest(told) != environment_digest(plain)
        assert kernel_variables()[name] == kernel_variables(told)[name] == value
        monkeypatch.delenv(name)
