"""Whether rows may be answered together: what a build finds by a real model, and what it makes of it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from pilotage.evidence.model import Evidence
from pilotage.releases import together
from pilotage.releases.conversion import ProofRows
from pilotage.releases.together import Judged, judge_together, proven_rows
from pilotage.runtimes.environment import environment_digest
from pilotage.runtimes.together import SIZES, filled
from pilotage.storage.home import Home
from pilotage.testing.releases import COLUMNS, make_release, make_rows

ROWS = [[float(at)] for at in range(70)]


class Runtime:
    """A runtime whose answer in company is `moved` at a size, or costs more than alone; `perf_counter` is its clock."""

    name, inline = "made", True

    def __init__(self, moved: int = 0, cost_s: float = 0.0) -> None:
        self.moved, self.cost_s, self.now = moved, cost_s, 0.0
        self.sizes: list[int] = []
        self.places: dict[float, set[int]] = {}

    def perf_counter(self) -> float:
        return self.now

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def score_async(self, values: Sequence[Any]) -> float:
        self.now += 0.0005
        return values[0] / 100

    async def score_together_async(self, rows: Sequence[Sequence[Any]]) -> list[float]:
        self.sizes.append(len(rows))
        for at, row in enumerate(rows):
            self.places.setdefault(row[0], set()).add(at)
        self.now += 0.0005 + self.cost_s * len(rows)
        scores = [row[0] / 100 for row in rows]
        if len(rows) == self.moved:
            scores[-1] = math.nextafter(scores[-1], 1.0)
        return scores


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Callable[[Runtime], Judged]:
    """Judges a runtime by its own clock."""

    def judge(runtime: Runtime) -> Judged:
        monkeypatch.setattr(together, "time", runtime)
        return asyncio.run(together._judged(runtime, ROWS, seed=1))[0]  # type: ignore[arg-type]

    return judge


Judge = Callable[[Runtime], Judged]


def test_each_size_is_asked_with_every_row_at_several_places(judged: Judge) -> None:
    runtime = Runtime()
    found = judged(runtime)
    assert (found.most, found.why, found.moved, found.sizes) == (64, "", 0, list(SIZES))
    assert found.gain == {str(size): size for size in SIZES}
    assert set(runtime.sizes) == set(SIZES)
    assert all(len(places) >= 4 for places in runtime.places.values())


@pytest.mark.parametrize("size", SIZES)
def test_one_bit_in_one_size_at_one_place_is_enough_to_answer_row_by_row(judged: Judge, size: int) -> None:
    found = judged(Runtime(moved=size))
    assert found.most == 0 and found.moved > 0 and str(size) in found.why
    assert found.sizes == [each for each in SIZES if each < size]


def test_what_is_no_faster_together_is_answered_row_by_row(judged: Judge) -> None:
    found = judged(Runtime(cost_s=0.002))
    assert (found.most, found.moved) == (0, 0) and "no faster" in found.why
    assert judged(Runtime(cost_s=0.0004)).most == 64, "a little faster is faster"


def test_a_proof_counts_as_it_was_made_and_nothing_else_does(tmp_path: Any) -> None:
    release = make_release(Home(root=tmp_path).create())
    proof = ProofRows(kinds={"held_out": make_rows(COLUMNS, 300)}, scores={})
    judged, _ = judge_together(release.folder, release.serving, proof, 1)
    assert judged.environment == environment_digest() and judged.rows == {"held_out": 300}
    good = Judged(most=8, environment="sha256:here")
    evidence = Evidence(
        id="1", check=together.CHECK, subject="s", grade="E3", method="TEST", producer="p", collected=1, expires=0,
        passed=True, figures=good.as_facts(),
    )  # fmt: skip
    assert proven_rows(evidence) == (8, "sha256:here")
    for changed in (
        None,
        msgspec.structs.replace(evidence, method="INTERVIEW"),
        msgspec.structs.replace(evidence, passed=False),
        msgspec.structs.replace(evidence, figures={"most": "all"}),
        msgspec.structs.replace(evidence, figures=good.as_facts() | {"most": 1_000}),
    ):
        assert proven_rows(changed) == (0, "")


def test_rows_are_chosen_of_every_kind() -> None:
    kinds = {"held_out": ROWS * 10, "messy": ROWS[:10], "boundary": ROWS}
    chosen = together._chosen(ProofRows(kinds=kinds, scores={}), 100)
    assert {kind: len(part) for kind, part in chosen.items()} == {"messy": 10, "boundary": 45, "held_out": 45}


def test_rows_are_filled_up_to_a_size_that_was_proven() -> None:
    assert [len(filled(ROWS[:count])) for count in (2, 3, 5, 33, 64)] == [2, 4, 8, 64, 64]
    assert filled(ROWS[:3])[-1] == ROWS[2]
