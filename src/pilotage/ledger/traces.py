"""The decisions of one trace as a tree: who asked whom, in which turn, how each ended. Pure.

A decision's `parent` is the id of the decision that asked for it. What callers send may be wrong: a parent that is not
of this trace makes an orphan, parents that lead round in a circle are cut at its oldest decision. Every decision is in
the tree once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pilotage.ledger.queries import DecisionRow, RecordedDecision

__all__ = ["TRACE_LIMIT", "TraceNode", "trace_tree", "tree_document", "untraced"]

TRACE_LIMIT = 10_000
"""The most decisions of one trace that are shown."""


@dataclass(frozen=True, kw_only=True)
class TraceNode:
    """A decision in its trace. `depth` is 0 for a root; `after_us` the time since the trace's first decision.

    `orphan`: its parent is not of this trace. `looped`: its parents led back to itself, and it was taken as a root.
    """

    row: DecisionRow
    depth: int
    after_us: int
    orphan: bool = False
    looped: bool = False


def untraced(found: RecordedDecision) -> bool:
    """Whether the index lacks a decision's trace, which the leaf has: it was sealed before traces were indexed."""
    return bool(found.plain.trace or found.plain.parent) and not (found.row.trace or found.row.parent)


def trace_tree(rows: Sequence[DecisionRow]) -> list[TraceNode]:
    """The nodes in reading order: a parent before its children, these by turn, then by time."""
    by_id = {row.id: row for row in rows}
    ordered = sorted(by_id.values(), key=lambda row: (row.turn, row.at, row.leaf))
    children: dict[str, list[DecisionRow]] = {}
    roots: list[DecisionRow] = []
    for row in ordered:
        if row.parent in by_id and row.parent != row.id:
            children.setdefault(row.parent, []).append(row)
        else:
            roots.append(row)
    start = min((row.at for row in ordered), default=0)
    seen: set[str] = set()
    nodes = [node for root in roots for node in _below(root, children, seen, start)]
    # What no root leads to lies on, or under, a circle: its oldest decision stands for the root.
    for row in sorted(ordered, key=lambda row: (row.at, row.leaf)):
        if row.id not in seen and _on_circle(row, by_id):
            nodes += _below(row, children, seen, start, looped=True)
    return nodes


def _below(
    root: DecisionRow, children: dict[str, list[DecisionRow]], seen: set[str], start: int, *, looped: bool = False
) -> Iterator[TraceNode]:
    """A root and all below it, each once; not by recursion, since a trace may be deeper than the stack."""
    waiting = [(root, 0)]
    while waiting:
        row, depth = waiting.pop()
        if row.id in seen:
            continue
        seen.add(row.id)
        top = depth == 0
        yield TraceNode(
            row=row,
            depth=depth,
            after_us=row.at - start,
            orphan=top and not looped and row.parent not in ("", row.id),
            looped=top and (looped or row.parent == row.id),
        )
        waiting += [(child, depth + 1) for child in reversed(children.get(row.id, []))]


def _on_circle(row: DecisionRow, by_id: dict[str, DecisionRow]) -> bool:
    passed: set[str] = set()
    at = row.parent
    while at in by_id and at not in passed:
        if at == row.id:
            return True
        passed.add(at)
        at = by_id[at].parent
    return False


def tree_document(rows: Sequence[DecisionRow]) -> dict[str, Any]:
    """The tree as JSON values: {nodes: [{depth, after_us, orphan, looped, row}], whole}; `whole` is False when more
    decisions than TRACE_LIMIT are of it.
    """
    nodes = [{**asdict(node), "row": asdict(node.row)} for node in trace_tree(rows)]
    return {"nodes": nodes, "whole": len(rows) < TRACE_LIMIT}
