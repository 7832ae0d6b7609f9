"""Traces as trees: order, turns, orphans, circles; every decision is shown once, whatever callers sent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.errors import NotFound
from pilotage.kernel.ids import uuid7
from pilotage.ledger.frames import FrameKind
from pilotage.ledger.queries import DecisionRow
from pilotage.ledger.rebuild import rebuild_index
from pilotage.ledger.record import Payload, Times
from pilotage.ledger.tables import decisions
from pilotage.ledger.traces import trace_tree, untraced
from pilotage.storage.database import writing
from tests.ledger_world import START, chunk, decision, frame_id, make_world, opened, plain_and_secret

ROW = DecisionRow(
    leaf=0, id="", at=0, request_id="r", system="s", release="", contract="", plan="", stage="internal",
    arm="champion", mode="live", kind="model", outcome="answered", subject=None, score=None, label=None, faults=0,
    fault_text="", answer_us=5, node="n", worker=0, journal=1, segment="", offset=0, length=0, key_id="k", trace="t",
    parent="", turn=0,
)  # fmt: skip


def row(id_: str, parent: str = "", *, turn: int = 0, at: int = 0) -> DecisionRow:
    return replace(ROW, id=id_, parent=parent, turn=turn, at=at, leaf=at)


def shown(*rows: DecisionRow) -> list[str]:
    marks = {(True, False): "?", (False, True): "@", (False, False): ""}
    return ["-" * n.depth + n.row.id + marks[n.orphan, n.looped] for n in trace_tree(rows)]


def test_parents_come_first_and_children_by_turn_then_time() -> None:
    rows = [row("c", "a", turn=2, at=3), row("b", "a", turn=1, at=9), row("a", at=1), row("d", "b", at=4)]
    assert shown(*rows) == ["a", "-b", "--d", "-c"]
    assert [node.after_us for node in trace_tree(rows)] == [0, 8, 3, 2]


def test_a_parent_of_another_trace_makes_an_orphan() -> None:
    assert shown(row("a", at=1), row("b", "elsewhere", at=2), row("c", "b", at=3)) == ["a", "b?", "-c"]


def test_parents_in_a_circle_are_cut_at_the_oldest() -> None:
    rows = [row("b", "c", at=2), row("c", "a", at=3), row("a", "b", at=1), row("under", "c", at=0), row("self", "self")]
    assert shown(*rows) == ["self@", "a@", "-c", "--under", "--b"]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12)), max_size=10, unique_by=lambda pair: pair[0]))
def test_every_decision_is_shown_exactly_once(pairs: list[tuple[int, int]]) -> None:
    rows = [row(str(id_), str(parent), at=n) for n, (id_, parent) in enumerate(pairs)]
    assert sorted(node.row.id for node in trace_tree(rows)) == sorted(each.id for each in rows)


def test_a_very_deep_trace_needs_no_stack() -> None:
    rows = [row(str(n), str(n - 1), at=n) for n in range(5_000)]
    assert [node.depth for node in trace_tree(rows)] == list(range(5_000))


def test_a_sealed_trace_with_tools_and_a_stream_that_broke_off(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    first = decision(trace="t1", turn=1, at=START)
    a = frame_id(first)
    times = Times(received=START + 5)
    answered = msgspec.msgpack.encode(Payload(answer={"found": 3}))
    tool = (
        FrameKind.decision,
        *plain_and_secret(uuid7(), answered, kind="tool", trace="t1", parent=a, turn=1, times=times),
    )
    world.write([first, tool, decision(trace="t2"), opened("stream-1", trace="t1", parent=a, turn=2)], close=False)
    world.write([chunk("stream-1", 0, "so")], worker=1)
    world.steward().seal_all()
    world.write([decision()])
    world.steward().seal_all()
    found = trace_tree(world.queries.trace("t1"))
    assert [(n.depth, n.row.kind, n.row.outcome, n.row.turn) for n in found] == [
        (0, "model", "answered", 1),
        (1, "tool", "answered", 1),
        (1, "model", "interrupted", 2),
    ]
    assert [n.row.id for n in trace_tree(world.queries.trace(frame_id(tool)))] == [n.row.id for n in found]
    request = world.queries.decision(a).row.request_id
    assert [each.id for each in world.queries.trace(request)] == [a]
    with pytest.raises(NotFound):
        world.queries.trace("nothing")


def test_a_decision_from_before_traces_were_indexed_says_what_to_do(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    world.write([decision(trace="ab" * 16), decision()])
    world.steward().seal_all()
    traced = [world.queries.decision(row.id) for row in world.queries.decisions()]
    assert not any(map(untraced, traced))
    with writing(world.ledger) as connection:
        connection.execute(decisions.update().values(trace=""))
    assert sorted(untraced(world.queries.decision(each.row.id)) for each in traced) == [False, True]
    with pytest.raises(NotFound, match="rebuild-index"):
        world.queries.trace("ab" * 16)
    rebuild_index(world.steward(), lambda release: None)
    [row] = world.queries.trace("ab" * 16)
    assert not untraced(world.queries.decision(row.id))
