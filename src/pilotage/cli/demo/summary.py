"""The summary table that ends the demo."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from pilotage.cli.demo.journey import Journey

__all__ = ["show_summary"]


def show_summary(journey: Journey) -> None:
    """Print what the journey found, one line a figure, on standard output."""
    found = journey.result()
    caught = sum(fault.right for fault in journey.faults)
    rows = [
        ("readiness", f"level {journey.assessment['level']} of 5, held by {journey.assessment['weakest']}"),
        ("release", journey.release["digest"]),
        (
            "gate",
            f"{found['gate']['before']}, then {found['gate']['after']}",
        ),
        ("decisions", f"{journey.answered():,} answered, {journey.recorded:,} of them on record"),
        ("throughput", f"{found['throughput_per_s']:,.0f} a second at concurrency 64, client on the same machine"),
        ("latency", f"p50 {found['latency_ms']['p50']:.1f} ms, p99 {found['latency_ms']['p99']:.1f} ms"),
        ("faults caught", f"{caught} of {len(journey.faults)} hostile requests got the right answer"),
        ("replay", journey.replay["verdict"]),
        ("proof", "verified offline" if journey.proof["verified"] else "NOT verified"),
        ("ledger", f"verified, {journey.ledger['size']:,} entries" if journey.ledger["verified"] else "NOT verified"),
        ("erasure", "payload unreadable, proofs verify" if journey.erasure["unreadable"] else "STILL READABLE"),
        (
            "drift found",
            ", ".join(journey.drift["columns"]) + (" (as shifted)" if journey.drift["exact"] else " (NOT as shifted)"),
        ),
        ("rollback", f"{journey.rollback_ms:.0f} ms to the last worker's first answer"),
        ("seconds", ", ".join(f"{name} {value:.1f}" for name, value in journey.shell.seconds.items())),
    ]
    table = Table(
        title="\nFrom a pilot to a governed answer, on record", title_justify="left", box=None, show_header=False
    )
    table.add_column(style="bold cyan")
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)
