"""Print the decisions of a trace as a tree."""

from __future__ import annotations

import click

from pilotage.cli.output import as_json, show_table
from pilotage.kernel.clock import rfc3339
from pilotage.ledger.queries import Ledger
from pilotage.ledger.traces import TRACE_LIMIT, TraceNode, trace_tree, tree_document

__all__ = ["show_trace"]


def show_trace(ledger: Ledger, ref: str, *, json_: bool) -> None:
    """Print the tree of a trace or a request; `ref` is its id, or that of a decision in it. Raises NotFound."""
    rows = ledger.trace(ref, TRACE_LIMIT)
    if json_:
        as_json(tree_document(rows))
        return
    show_table(
        ("decision", "kind", "turn", "outcome", "answer", "received", "after ms", "took ms", "note"),
        [_line(node) for node in trace_tree(rows)],
    )
    if len(rows) >= TRACE_LIMIT:
        click.echo(f"only the oldest {TRACE_LIMIT} decisions are shown", err=True)


def _line(node: TraceNode) -> tuple[object, ...]:
    row = node.row
    note = "asked for elsewhere" if node.orphan else "parents in a circle" if node.looped else ""
    return (
        "  " * node.depth + row.id,
        row.kind,
        row.turn,
        row.outcome,
        row.label or "",
        rfc3339(row.at),
        f"{node.after_us / 1000:.2f}",
        f"{row.answer_us / 1000:.2f}",
        note,
    )
