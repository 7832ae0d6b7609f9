"""`pilotage audit at`: what was in production then, who approved it, on what evidence."""

from __future__ import annotations

import click
import msgspec

from pilotage.access.model import may, require
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, show_facts, show_table
from pilotage.kernel.clock import parse_time, rfc3339
from pilotage.kernel.digests import short
from pilotage.rollout.past import InProduction, in_production
from pilotage.storage.database import reading
from pilotage.systems.store import find_system

__all__ = ["at"]


@click.command("at")
@click.argument("time")
@click.option("--system", required=True, help="The AI system's id.")
@json_option
@click.pass_obj
def at(chosen: Chosen, time: str, system: str, json_: bool) -> None:
    """Say what was in production at TIME (2026-03-01T10:00Z), since when, who approved it, on what evidence.

    It is answered from the sealed ledger alone, not from the tables that run the system today.
    """
    installation = opened(chosen)
    person = acting(installation)
    require(person, "decision.read")
    with reading(installation.control) as connection:
        find_system(connection, system)
    names = may(person, "decision.read_payload")
    found = in_production(installation.ledger(), system, parse_time(time), names=names)
    if json_:
        as_json(None if found is None else msgspec.to_builtins(found))
    elif found is None:
        click.echo(f"nothing of {system} was in production at {rfc3339(parse_time(time))}, as far as the ledger knows")
    else:
        _show(found, names)


def _show(found: InProduction, names: bool) -> None:
    unnamed = "(your roles may not read names)" if not names else "(unknown)"
    stop = found.stop
    show_facts(
        [
            ("system, stage", f"{found.system}, {found.stage}"),
            ("release", found.release),
            ("since", f"{rfc3339(found.since)}, {found.action}, plan {found.plan}, by {found.by or unnamed}"),
            ("gate passed", rfc3339(found.gate_passed) if found.gate_passed else "no passage is on record"),
            ("policy", found.policy),
            ("verdict", found.verdict),
            ("stopped", f"since {rfc3339(stop.since)}: {stop.reason} (by {stop.by or unnamed})" if stop else "no"),
            ("proof of it", f"pilotage decisions prove {found.event}"),
        ]
    )
    show_table(
        ("approved as", "by", "granted", "expires", "withdrawn", "event"),
        [
            (
                each.role,
                each.by or unnamed,
                rfc3339(each.granted),
                rfc3339(each.expires),
                rfc3339(each.withdrawn) if each.withdrawn else "",
                each.event,
            )
            for each in found.approvals
        ],
    )
    show_table(("evidence", "digest"), [(name, short(value)) for name, value in sorted(found.evidence.items())])
