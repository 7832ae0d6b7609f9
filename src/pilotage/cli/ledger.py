"""The ledger as data: its figures, exports of it, and its index made anew."""

from __future__ import annotations

import click

from pilotage.access.model import require
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, show_facts
from pilotage.kernel.clock import parse_time

__all__ = ["ledger"]


@click.group()
def ledger() -> None:
    """Count, export and rebuild what is sealed."""


@ledger.command("stats")
@click.option("--system", default="", help="The system's id; all when left out.")
@click.option("--since", default="", help="2026-03-01T10:00Z, rounded down to its minute.")
@json_option
@click.pass_obj
def stats(chosen: Chosen, system: str, since: str, json_: bool) -> None:
    """Count the live decisions, from sums made when they were sealed. Times are at most 3.2 % off."""
    installation = opened(chosen)
    require(acting(installation), "decision.read")
    found = installation.ledger().stats(system, parse_time(since) if since else None, seconds=0)
    facts = {
        "decisions": found.decisions,
        "outcomes": found.outcomes,
        "faults": found.faults,
        "p50_us": found.p50_us,
        "p99_us": found.p99_us,
        "workers": installation.settings.workers,
    }
    if json_:
        as_json(facts)
    else:
        show_facts(list(facts.items()))
