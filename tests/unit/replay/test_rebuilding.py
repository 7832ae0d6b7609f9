"""The environment of a release, built anew, answers its evaluation set as its build did; or it is said what hinders."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sqlalchemy import Engine

from pilotage.errors import InputError, NotFound
from pilotage.evidence.store import latest, record
from pilotage.kernel.clock import now_us
from pilotage.kernel.digests import digest
from pilotage.kernel.ids import uuid7
from pilotage.releases.answers import CHECK as ANSWERS
from pilotage.releases.answers import answers_bytes, chosen_rows, read_answers, set_digest
from pilotage.releases.load import LoadedRelease, open_release
from pilotage.replay.environments import Environments, Interpreter, keep_environment
from pilotage.replay.rebuilding import CHECK, Rebuilt, prove_environment
from pilotage.runtimes.environment import environment_digest
from pilotage.storage.database import control, open_engine, reading, writing
from pilotage.storage.home import Home
from pilotage.storage.objects import Objects
from tests.unit.releases.test_build import FEATURES, _build, _pilot, _table


class Running(Environments):
    """The running interpreter in the place of a rebuilt one, which takes long: it is the same environment."""

    def rebuild(self, name: str, here: Mapping[str, Any], *, checked: bool = False) -> Interpreter:
        return Interpreter(python=sys.executable, env={})


class World:
    def __init__(self, folder: Path) -> None:
        data = _table(600)
        model = make_pipeline(StandardScaler(), LogisticRegression()).fit(data[FEATURES], data["bad"])
        path = _pilot(folder / "pilot", model, data)
        self.data = path.parent / "data.csv"
        self.home = Home(root=folder / "home").create()
        self.control: Engine = open_engine(f"sqlite:///{self.home.control_database}")
        control.create_all(self.control)
        self.loaded: LoadedRelease = open_release(self.home.releases, _build(path, self.home, self.control).digest)
        self.objects = Objects(root=self.home.objects)
        with reading(self.control) as connection:
            kept = latest(connection, self.loaded.digest, ANSWERS)
        assert kept is not None
        self.kept = kept

    def prove(self, environments: Environments | None = None, data: Path | None = None) -> Rebuilt:
        return prove_environment(
            self.control, self.objects, environments or Running(self.home), self.loaded, data or self.data
        )

    def answered(self, scores: np.ndarray, *, stored: bool = True, **figures: Any) -> None:
        """As if the build had answered otherwise."""
        content = answers_bytes(scores.tolist())
        kept = msgspec.structs.replace(
            self.kept,
            id=uuid7(),
            collected=now_us(),
            artefact=self.objects.put(content) if stored else "sha256:" + "0" * 64,
            figures=self.kept.figures | {"answers": digest(content)} | figures,
        )
        with writing(self.control) as connection:
            record(connection, kept)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("rebuilding"))


@pytest.fixture
def world(built: World) -> World:
    built.answered(read_answers(built.objects.get(built.kept.artefact)))
    return built


def test_a_build_keeps_what_its_release_answers(world: World) -> None:
    figures = world.kept.figures
    assert figures["rows"] == figures["held_out"] > 100 and figures["environment"] == environment_digest()
    content = world.objects.get(world.kept.artefact)
    assert digest(content) == figures["answers"] and len(read_answers(content)) == figures["rows"]
    assert ((read_answers(content) > 0) & (read_answers(content) < 1)).all()


def test_the_same_environment_answers_to_the_last_bit_and_that_is_evidence(world: World) -> None:
    found = world.prove()
    count = world.kept.figures["rows"]
    assert (found.verdict, found.rows, found.bit_exact, found.largest) == ("bit_exact", count, count, 0.0)
    with reading(world.control) as connection:
        evidence = latest(connection, world.loaded.digest, CHECK)
    assert evidence is not None and evidence.passed and evidence.figures["verdict"] == "bit_exact"
    assert evidence.figures["set"] == world.kept.figures["set"]


@pytest.mark.slow
def test_how_far_answers_are_apart_is_told(world: World) -> None:
    first = read_answers(world.objects.get(world.kept.artefact))
    world.answered(first + np.where(np.arange(len(first)) < 3, 1e-9, 0.0))
    found = world.prove()
    assert (found.verdict, found.within_tolerance, found.differs) == ("within_tolerance", 3, 0)
    assert found.largest == pytest.approx(1e-9, rel=1e-3) and found.holds and "1e-09 apart" in found.reason
    world.answered(np.where(np.arange(len(first)) == 5, 1 - first, first))
    found = world.prove()
    assert (found.verdict, found.differs, found.holds) == ("differs", 1, False)
    assert found.labels_changed == 1 and found.bit_exact == len(first) - 1
    with reading(world.control) as connection:
        evidence = latest(connection, world.loaded.digest, CHECK)
    assert evidence is not None and not evidence.passed


@pytest.mark.slow
def test_without_the_first_answers_their_digest_tells(world: World) -> None:
    first = read_answers(world.objects.get(world.kept.artefact))
    world.answered(first, stored=False)
    assert world.prove().verdict == "bit_exact"
    world.answered(np.nextafter(first, 1), stored=False)
    found = world.prove()
    assert (found.verdict, found.largest) == ("differs", None) and "not known" in found.reason


def test_what_hinders_is_the_verdict_and_says_why(world: World, tmp_path: Path) -> None:
    first = read_answers(world.objects.get(world.kept.artefact))
    found = world.prove(Environments(Home(root=tmp_path / "other").create()))
    assert found.verdict == "cannot" and "nothing was kept of this environment" in found.reason
    world.answered(first, environment="sha256:" + "1" * 64)
    assert "another environment" in world.prove().reason
    world.answered(first, set="sha256:" + "2" * 64)
    assert "another evaluation set" in world.prove().reason
    world.answered(first[:0], rows=0)
    assert "kept no answers" in world.prove().reason


def test_another_file_is_not_the_evaluation_set(world: World, tmp_path: Path) -> None:
    other = tmp_path / "data.csv"
    lines = world.data.read_text().splitlines()
    other.write_text("\n".join(lines[:300]) + "\n")
    found = world.prove(data=other)
    assert found.verdict == "cannot" and "another evaluation set" in found.reason
    with pytest.raises(NotFound):
        world.prove(data=tmp_path / "none.csv")
    moved = tmp_path / "moved.csv"
    moved.write_bytes(world.data.read_bytes())
    assert world.prove(data=moved).verdict == "bit_exact"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(InputError):
        world.prove(data=other)


def test_a_set_is_its_rows_in_their_order_to_the_last_bit() -> None:
    rows = [[1.0, "a", None], [0.1, "b", True]]
    assert set_digest(rows) != set_digest(rows[::-1])
    assert set_digest(rows) != set_digest([[1.0, "a", None], [0.10000000000000002, "b", True]])
    many = [[float(at)] for at in range(1_000)]
    few = chosen_rows(many, "process")
    assert len(few) == 200 and few[0] == [0.0] and few[-1] == [995.0]
    assert chosen_rows(many, "onnx") == many and chosen_rows(many, "remote") == []


@pytest.mark.slow
def test_an_environment_is_really_built_anew_and_a_changed_one_again(built: World) -> None:
    """All distributions of this environment are installed; offline where their wheels are cached."""
    built.answered(read_answers(built.objects.get(built.kept.artefact)))
    name = keep_environment(built.home, built.control)
    environments = Environments(built.home)
    found = built.prove(environments)
    assert (found.verdict, found.reason) == ("bit_exact", "") and found.distributions > 50
    venv = built.home.environments / name[7:] / "venv"
    [changed] = venv.glob("lib/python*/site-packages/msgspec/__init__.py")
    # A cache may share the file: it is replaced, not written to.
    content = changed.read_text()
    changed.unlink()
    changed.write_text(content + "import os\nos._exit(7)\n")
    assert built.prove(environments).verdict == "bit_exact"
    assert changed.read_text() == content
