"""`pilotage audit at`: what was in production then, who approved it, on what evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from pilotage.access.model import may, require
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, show_facts, show_table
from pilotage.kernel.clock import parse_time, rfc3339
from pilotage.kernel.digests import short
from pilotage.rollout.past import InProduction
from pilotage.rollout.then import EvidenceThen, Then, then
from pilotage.storage.database import reading
from pilotage.systems.store import find_system

__all__ = ["at"]

_MOST_FIGURES, _MOST_LETTERS = 4, 40
_CHANGED = "the act's row in the control plane was changed or removed"


@click.command("at")
@click.argument("time")
@click.option("--system", required=True, help="The AI system's id.")
@json_option
@click.pass_obj
def at(chosen: Chosen, time: str, system: str, json_: bool) -> None:
    """Say what was in production at TIME, and why.

    TIME is such as 2026-03-01T10:00Z. Since when, who approved it, on what evidence.

    It is answered from the sealed ledger, not from the tables that run the system today: figures and dates of evidence
    come from rows that are shown only while they are what the ledger attests.
    """
    installation = opened(chosen)
    person = acting(installation)
    require(person, "decision.read")
    with reading(installation.control) as connection:
        find_system(connection, system)
    names = may(person, "decision.read_payload")
    found = then(installation.ledger(), installation.control, system, parse_time(time), names=names)
    if json_:
        as_json(None if found is None else found.as_dict())
    elif found is None:
        click.echo(f"nothing of {system} was in production at {rfc3339(parse_time(time))}, as far as the ledger knows")
    else:
        _show(found, names)


def _show(told: Then, names: bool) -> None:
    unnamed = "(your roles may not read names)" if not names else "(unknown)"
    found, stop = told.production, told.production.stop
    show_facts(
        [
            ("system, stage", f"{found.system}, {found.stage}"),
            ("release", found.release),
            ("since", f"{rfc3339(found.since)}, {found.action}, plan {found.plan}, by {found.by or unnamed}"),
            ("contract", told.contract or _CHANGED),
            ("release's policy", told.rules or _CHANGED),
            ("gate passed", rfc3339(found.gate_passed) if found.gate_passed else "no passage is on record"),
            ("gate's policy", found.policy),
            ("verdict", found.verdict),
            ("stopped", f"since {rfc3339(stop.since)}: {stop.reason} (by {stop.by or unnamed})" if stop else "no"),
            ("proof of it", f"pilotage decisions prove {found.event}"),
        ]
    )
    click.echo()
    show_table(
        ("approved as", "by", "state then", "granted", "expires", "withdrawn", "event"),
        [
            (
                each.role,
                each.by or unnamed,
                each.state,
                rfc3339(each.granted),
                rfc3339(each.expires),
                rfc3339(each.withdrawn) if each.withdrawn else "",
                each.event,
            )
            for each in found.approvals
        ],
    )
    click.echo()
    show_table(
        ("evidence", "state then", "collected", "expires", "grade", "figures", "artefact", "digest"),
        [_evidence_row(each) for each in told.evidence],
    )
    _show_acts(found, unnamed)


def _evidence_row(each: EvidenceThen) -> tuple[object, ...]:
    newer = f"; newer evidence by then {'passed' if each.newer_passed else 'failed'}" if each.newer else ""
    return (
        each.check,
        each.state + (f": {each.why}" if each.why else "") + newer,
        rfc3339(each.collected) if each.collected else "",
        rfc3339(each.expires) if each.expires else "with the release",
        each.grade,
        _figures(each.figures),
        short(each.artefact) if each.artefact else "",
        short(each.digest),
    )


def _figures(figures: Mapping[str, Any]) -> str:
    """The first figures, those within others by their path; how many more `--json` has."""
    found = [f"{name} {_value(value)}" for name, value in _flat(figures)]
    more = f"{len(found) - _MOST_FIGURES} more by --json"
    return ", ".join([*found[:_MOST_FIGURES], *([more] if len(found) > _MOST_FIGURES else [])])


def _flat(figures: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, object]]:
    for name, value in figures.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{path}{name}.")
        else:
            yield path + name, value


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | Mapping):
        if value and not any(isinstance(each, list | Mapping) for each in value):
            return _cut(" ".join(map(_value, value)))
        return f"({len(value)} entries)" if value else "none"
    return _cut(f"{value:.4g}" if isinstance(value, float) else str(value))


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 1] + "…"


def _show_acts(found: InProduction, unnamed: str) -> None:
    """What came before, and every stop until then."""
    click.echo()
    show_table(
        ("in production", "until", "stage", "how"),
        [
            (f"{short(each.release)} since {rfc3339(each.since)}", _moment(each.until), each.stage, each.action)
            for each in found.history
        ],
    )
    if found.stops:
        click.echo()
        show_table(
            ("stopped", "started again", "why", "by"),
            [
                (rfc3339(each.since), _moment(each.until, "in force"), each.reason, each.by or unnamed)
                for each in found.stops
            ],
        )


def _moment(at: int, otherwise: str = "then") -> str:
    return rfc3339(at) if at else otherwise
