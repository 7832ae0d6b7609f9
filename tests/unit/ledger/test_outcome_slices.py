"""Outcomes by slice: counted from the declaration on, older ones by a backfill, each decision once, exactly."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import update

from pilotage.errors import Unavailable
from pilotage.kernel.ids import uuid7
from pilotage.ledger.backfill import backfill
from pilotage.ledger.erasure import erase
from pilotage.ledger.frames import FrameKind
from pilotage.ledger.outcomes import Outcomes
from pilotage.ledger.rebuild import rebuild_index
from pilotage.ledger.record import Event, Payload, Times, commitment
from pilotage.ledger.said import OUTCOME, category
from pilotage.ledger.said_tables import outcome_counts
from pilotage.ledger.sealing import Steward
from pilotage.ledger.slicing import ALL, DECLARED, read_key
from pilotage.ledger.verify import verify_ledger
from pilotage.profiles.build import build_profile
from pilotage.profiles.counts import count_values, total
from pilotage.profiles.model import SCORE
from pilotage.profiles.slices import slice_cell, slice_labels
from pilotage.storage import outbox
from pilotage.storage.database import writing
from tests.ledger_world import RELEASE, START, Frame, World, frame_id, make_world, plain_and_secret

REGIONS = ("north", "south", "west")
PROFILE = build_profile(
    {"age": "numeric", "region": "categorical"},
    [[20.0 + n, REGIONS[n % 3]] for n in range(300)],
    [n / 300 for n in range(300)],
)
Counted = Counter[tuple[str, int, str, str, int]]
"""(slice, its cell, answer, outcome, cell of the score) -> decisions."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path)
    made.profile = PROFILE
    yield made
    made.control.dispose()
    made.ledger.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def any_world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path, request.getfixturevalue("postgres_url") if request.param == "postgresql" else "")
    made.profile = PROFILE
    yield made
    made.control.dispose()
    made.ledger.dispose()


def answered(subject: str, age: float | None, region: str | None, score: float) -> Frame:
    payload = Payload(
        subject=subject,
        request=b"{}",
        names=["age", "region"],
        features=[age, region],
        answer={"score": score, "label": "adverse" if score > 0.5 else "favourable"},
        score=score,
    )
    content = msgspec.msgpack.encode(payload)
    return FrameKind.decision, *plain_and_secret(uuid7(), content, times=Times(received=START, answer=50))


def some(count: int, seed: int = 1) -> list[Frame]:
    """Decisions all over the cells, nulls and values that the reference never had among them."""
    draw = random.Random(seed)
    ages: Sequence[float | None] = (None, 7.0, 999.0)
    return [
        answered(
            f"p-{seed}-{n}",
            draw.uniform(20, 320) if n % 7 else draw.choice(ages),
            draw.choice((*REGIONS, None, "a name somebody typed")),
            draw.random(),
        )
        for n in range(count)
    ]


def told(about: str, value: object, system: str = "credit") -> Frame:
    content = msgspec.msgpack.encode({"value": value, "at": START + 9, "source": "s", "by": "key:k1"})
    salt = os.urandom(32)
    facts = {"decision": about}
    sealed = commitment(salt, content)
    leaf = Event(id=uuid7(), kind=OUTCOME, at=START, system=system, facts=facts, commitment=sealed)
    return FrameKind.event, msgspec.json.encode(leaf), salt + content


def declare(world: World, *slices: str) -> None:
    with writing(world.control) as connection:
        outbox.emit(connection, DECLARED, system="credit", facts={"slices": list(slices)}, at=START)


def seal(world: World, steward: Steward, *frames: Frame) -> None:
    if frames:
        world.write(frames)
    steward.seal_all()
    verdict = verify_ledger(world.home, world.ledger, world.keyring)
    assert verdict.ok, verdict.faults


def counted(world: World) -> Counted:
    """What the sums of the ledger say."""
    found: Counted = Counter()
    for each in Outcomes(world.ledger).counted("credit", RELEASE):
        for key, cells in each.counts.items():
            if each.slice:
                for at, count in enumerate(cells):
                    found[each.slice, *read_key(key), at] += count
    assert all(count >= 0 for count in found.values()), "a sum over batches has no decision less than not at all"
    return +found


def from_rows(world: World, *slices: str) -> Counted:
    """The same, recomputed from every outcome that counts and its decision's own payload."""
    found: Counted = Counter()
    score = PROFILE.column(SCORE)
    assert score is not None
    for row in Outcomes(world.ledger).list(state="current", limit=100_000):
        payload = world.queries.decision(row.decision).payload
        assert payload is not None and row.value is not None and payload.score is not None
        features = dict(zip(payload.names, payload.features, strict=True))
        tail = (row.label or "", category(row.value, row.number), count_values(score, [payload.score]).index(1))
        for name in slices:
            column = PROFILE.column(name)
            cell = 0 if column is None else slice_cell(column, features[name])
            found[name, cell, *tail] += 1
    return found


def filling(world: World, steward: Steward, *slices: str, step: int = 7, **given: Any) -> Any:
    """A backfill whose steward seals whenever it waits."""
    given = {"wait": lambda _: seal(world, steward), **given}
    return backfill(world.control, world.ledger, "credit", slices, by="p1", step=step, **given)


def test_sums_are_what_the_rows_say_whatever_came_when(any_world: World) -> None:
    world = any_world
    steward, draw = world.steward(), random.Random(5)
    declare(world, "region", "age")
    seal(world, steward)
    sealed: list[str] = []
    for turn in range(4):
        fresh = some(30, seed=turn)
        sealed += [frame_id(frame) for frame in fresh]
        # Of this batch, of older ones, twice for some, before its decision for others.
        about = draw.choices(sealed, k=25)
        frames = [*fresh, *(told(id_, draw.choice(["1", "0", 1, 0.5, "other"])) for id_ in about)]
        seal(world, steward, *frames)
        assert counted(world) == from_rows(world, ALL, "region", "age")
    unseen = slice_labels(PROFILE.column("region") or PROFILE.columns[0]).index("unseen")
    assert any(key[:2] == ("region", unseen) for key in counted(world)), "text that was typed is a cell"


def test_a_slice_counts_from_its_declaration_and_a_backfill_counts_the_rest(world: World) -> None:
    steward = world.steward()
    frames = some(40)
    ids = [frame_id(frame) for frame in frames]
    seal(world, steward, *frames, *(told(id_, n % 2) for n, id_ in enumerate(ids[:30])))
    assert counted(world) == Counter()
    declare(world, "region")
    seal(world, steward)
    # One is corrected after the declaration, one is told for the first time.
    seal(world, steward, told(ids[0], "1"), told(ids[35], 1))
    assert sum(count for key, count in counted(world).items() if key[0] == "region") == 2
    outcomes = Outcomes(world.ledger)
    assert outcomes.waiting("credit") == 30

    report = filling(world, steward, "region")

    assert (report.outcomes, report.slices) == (30, (ALL, "region")) and report.steps == 5
    assert counted(world) == from_rows(world, ALL, "region")
    assert outcomes.waiting("credit") == 0
    assert filling(world, steward, "region").steps == 0
    # A slice that is declared later has what is older to catch up on, the others nothing.
    report = filling(world, steward, "region", "age")
    assert report.outcomes == 32 and counted(world) == from_rows(world, ALL, "age", "region")
    seal(world, steward, told(ids[3], "moved"), told(ids[39], "last"))
    assert counted(world) == from_rows(world, ALL, "age", "region")


def test_a_correction_between_two_steps_counts_once(world: World) -> None:
    steward, frames = world.steward(), some(12)
    ids = [frame_id(frame) for frame in frames]
    seal(world, steward, *frames, *(told(id_, "0") for id_ in ids))
    steps = 0

    def meanwhile(_seconds: float) -> None:
        nonlocal steps
        steps += 1
        seal(world, steward, *([told(ids[steps], "1"), told(ids[-steps], "1")] if steps < 6 else []))

    filling(world, steward, "region", step=3, wait=meanwhile)
    assert counted(world) == from_rows(world, ALL, "region")


def test_broken_off_it_goes_on_where_it_stopped(world: World) -> None:
    steward, frames = world.steward(), some(9)
    seal(world, steward, *frames, *(told(frame_id(frame), "0") for frame in frames))
    turns = iter(range(100))
    with pytest.raises(Unavailable, match="seals nothing"):
        filling(
            world,
            steward,
            "age",
            step=3,
            patience_s=0.3,
            wait=lambda _: seal(world, steward) if next(turns) < 2 else None,
        )
    seal(world, steward)  # what was asked for last
    report = filling(world, steward, "age", step=3)
    assert 0 < report.outcomes < 9 and counted(world) == from_rows(world, ALL, "age")


def test_what_was_counted_of_a_person_stays_and_no_more_comes(world: World) -> None:
    steward, frames = world.steward(), some(5)
    ids = [frame_id(frame) for frame in frames]
    seal(world, steward, *frames, told(ids[0], "0"))
    declare(world, "region")
    seal(world, steward)
    seal(world, steward, told(ids[1], "1"), told(ids[2], "1"))
    before = counted(world)
    for person in ("p-1-0", "p-1-1"):
        erase(person, "request", "privacy officer", steward=steward)
    seal(world, steward, told(ids[1], "0"))
    assert counted(world) == before, "the aggregate stays; a correction of what is erased is withheld"
    filling(world, steward, "region")
    assert counted(world) == before, "what was erased before it was counted cannot be counted"


def test_a_rebuilt_index_has_the_same_counts(any_world: World) -> None:
    world = any_world
    steward, frames = world.steward(), some(40)
    ids = [frame_id(frame) for frame in frames]
    seal(world, steward, *frames[:20], *(told(id_, "0") for id_ in ids[:20]))
    declare(world, "region", "age")
    seal(world, steward, *frames[20:])
    seal(world, steward, *(told(id_, "1") for id_ in ids[10:30]))
    filling(world, steward, "region", "age")
    before = counted(world)
    with writing(world.ledger) as connection:
        connection.execute(outcome_counts.delete())
    report = rebuild_index(steward, lambda release: PROFILE)
    assert not report.uncounted and counted(world) == before
    seal(world, steward)


def test_verification_finds_a_count_that_is_of_another_slice(world: World) -> None:
    steward, [frame] = world.steward(), some(1)
    declare(world, "region")
    seal(world, steward)
    seal(world, steward, frame, told(frame_id(frame), "1"))
    with writing(world.ledger) as connection:
        connection.execute(update(outcome_counts).where(outcome_counts.c.slice == "region").values(slice="age"))
    faults = verify_ledger(world.home, world.ledger, world.keyring).faults
    assert any("outcome_counts" in fault.place for fault in faults)


def test_a_gateway_cannot_declare_a_slice(world: World) -> None:
    steward, [frame] = world.steward(), some(1)
    salt, content = os.urandom(32), msgspec.msgpack.encode({})
    leaf = Event(
        id=uuid7(),
        kind=DECLARED,
        at=START,
        system="credit",
        facts={"slices": ["age"]},
        commitment=commitment(salt, content),
    )
    seal(world, steward, (FrameKind.event, msgspec.json.encode(leaf), salt + content))
    seal(world, steward, frame, told(frame_id(frame), "1"))
    assert counted(world) == Counter() and Outcomes(world.ledger).slices("credit").since == {}


def test_the_parts_of_a_column_of_numbers() -> None:
    age = PROFILE.column("age")
    assert age is not None
    labels = slice_labels(age)
    assert len(labels) == 6 and labels[-2:] == ("null", "fault")
    shares = Counter(slice_cell(age, 20.0 + n) for n in range(300))
    assert set(shares) == {0, 1, 2, 3} and all(70 <= count <= 80 for count in shares.values())
    cells = [slice_cell(age, value) for value in (None, float("nan"), "text", -1e9, 1e9)]
    assert [labels[cell] for cell in cells] == ["null", "fault", "fault", labels[0], labels[3]]
    assert total([{}]) == {}
