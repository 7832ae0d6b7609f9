"""The serving environment: the same here and in a fresh process, another when anything in it is."""

from __future__ import annotations

import subprocess
import sys

from pilotage.runtimes.environment import environment_digest, installed_distributions, serving_environment


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
