"""Decisions: list, show, explain, replay, prove."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click
import msgspec

from pilotage.access.model import may, require
from pilotage.cli.gate import chosen_release
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, show_facts, show_table
from pilotage.cli.replay import replay
from pilotage.kernel.clock import parse_time, rfc3339
from pilotage.kernel.digests import short
from pilotage.ledger.queries import DecisionFilter, DecisionRow, Ledger, RecordedDecision
from pilotage.replay.reasons import explain_recorded
from pilotage.systems.model import STAGES
from pilotage.web.filters import OUTCOMES

__all__ = ["decisions"]

_PAGE = 2_000


@click.group()
def decisions() -> None:
    """Decisions on record: what was answered, why, by which release, and the proof of it."""


@decisions.command("list")
@click.option("--system", default="")
@click.option("--release", default="", help="A digest, a short digest, or system@version.")
@click.option("--stage", type=click.Choice(STAGES))
@click.option("--outcome", type=click.Choice(OUTCOMES), help="How it ended.")
@click.option("--fault", default="", help="Part of a fault's code or path, such as missing or AGE.")
@click.option("--subject", default="", help="A person's reference, as the client sent it.")
@click.option("--since", default="", help="2026-03-01T10:00Z")
@click.option("--until", default="")
@click.option("--since-us", type=int, help="The same in Unix microseconds.")
@click.option("--score-min", type=float)
@click.option("--score-max", type=float)
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="At most so many.")
@click.option("--all", "all_", is_flag=True, help="No limit.")
@json_option
@click.pass_obj
def list_(
    chosen: Chosen, /, since: str, until: str, since_us: int | None, limit: int, all_: bool, json_: bool, **kw: Any
) -> None:
    """List sealed decisions, newest first."""
    installation = opened(chosen)
    require(acting(installation), "decision.read")
    kw |= {name: kw[name] or "" for name in ("stage", "outcome")}
    if kw["release"]:
        kw["release"] = chosen_release(installation, "", kw["release"])
    wanted = DecisionFilter(
        since=parse_time(since) if since else since_us, until=parse_time(until) if until else None, **kw
    )
    rows = _rows(installation.ledger(), wanted, None if all_ else limit)
    if json_:
        _stream_json(rows)
        return
    show_table(
        ("received", "id", "system", "stage", "outcome", "answer", "score", "release", "faults"),
        [
            (
                rfc3339(row.at),
                row.id,
                row.system,
                row.stage,
                row.outcome,
                row.label or "",
                "" if row.score is None else f"{row.score:.4f}",
                short(row.release),
                row.fault_text,
            )
            for row in rows
        ],
    )


def _rows(ledger: Ledger, wanted: DecisionFilter, limit: int | None) -> Iterator[DecisionRow]:
    """Rows page by page, so that a list of any size streams."""
    before: int | None = None
    while limit is None or limit > 0:
        page = ledger.decisions(wanted, limit=_PAGE if limit is None else min(_PAGE, limit), before=before)
        yield from page
        if len(page) < _PAGE:
            return
        before = page[-1].leaf
        limit = None if limit is None else limit - len(page)


def _stream_json(rows: Iterator[DecisionRow]) -> None:
    opening = "["
    for row in rows:
        sys.stdout.write(opening + json.dumps(asdict(row), ensure_ascii=False))
        opening = ",\n"
    sys.stdout.write("[]\n" if opening == "[" else "]\n")


@decisions.command("show")
@click.argument("id_", metavar="ID")
@json_option
@click.pass_obj
def show(chosen: Chosen, id_: str, json_: bool) -> None:
    """Show every factor of one decision. The payload only to roles that may read payloads."""
    installation = opened(chosen)
    person = acting(installation)
    require(person, "decision.read")
    found = installation.ledger().decision(id_)
    readable = may(person, "decision.read_payload")
    if json_:
        as_json(as_document(found, readable))
        return
    plain, row = found.plain, found.row
    show_facts(
        [
            ("decision", row.id),
            ("received", rfc3339(row.at)),
            ("outcome", f"{row.outcome} {row.label or ''} {'' if row.score is None else f'score {row.score:.6f}'}"),
            ("system, stage", f"{row.system}, {row.stage}, {row.arm}, {row.mode}"),
            ("release", plain.release),
            ("contract", plain.contract),
            ("policy", plain.policy),
            ("plan", plain.plan),
            ("environment", plain.environment),
            ("attempts", ", ".join(f"{a.target} {a.status} {a.ms:.3f} ms" for a in plain.attempts) or "none"),
            ("findings", ", ".join(f"{f.check} {f.path} ({f.action})" for f in plain.findings) or "none"),
            ("time", f"contract {plain.times.contract} µs, answer {plain.times.answer} µs"),
            ("ledger", f"leaf {row.leaf}, commitment {plain.commitment}"),
        ]
    )
    if found.payload is None:
        click.echo(f"payload: cannot be read ({found.unreadable})")
    elif not readable:
        click.echo("payload: your roles may not read it")
    else:
        show_table(("feature", "value"), list(zip(found.payload.names, found.payload.features, strict=False)))


def as_document(found: RecordedDecision, readable: bool) -> dict[str, Any]:
    """A recorded decision as one JSON value; `payload` is None unless it can and may be read."""
    payload = found.payload_values() if readable else None
    if payload is not None:
        payload.setdefault("upstream", [])
    return {
        "row": asdict(found.row),
        "plain": json.loads(msgspec.json.encode(found.plain)),
        "payload": payload,
        "unreadable": found.unreadable or ("" if readable else "your roles may not read payloads"),
    }


@decisions.command("explain")
@click.argument("id_", metavar="ID")
@json_option
@click.pass_obj
def explain(chosen: Chosen, id_: str, json_: bool) -> None:
    """Say why: up to four principal reasons, the whole attribution, and what would have altered the answer."""
    installation = opened(chosen)
    require(acting(installation), "decision.read_payload")
    made = explain_recorded(installation.ledger().decision(id_), installation.releases)
    if json_:
        as_json(msgspec.to_builtins(made))
        return
    click.echo(f"{made.label}, score {made.score:.6f}  ({made.method}, {'exact' if made.exact else 'an estimate'})")
    for number, reason in enumerate(made.reasons, 1):
        click.echo(f"{number}. {reason.text}  [{reason.code}, {reason.contribution:+.3f}]")
    if made.counterfactual:
        click.echo(made.counterfactual)
    ordered = sorted(made.attributions.items(), key=lambda item: -abs(item[1]))
    show_table(("feature", made.unit), [(name, f"{value:+.4f}") for name, value in ordered])


decisions.add_command(replay)


@decisions.command("prove")
@click.argument("id_", metavar="ID")
@click.option("--record", is_flag=True, help="Print the record that the proof is about, instead of the proof.")
@click.pass_obj
def prove(chosen: Chosen, id_: str, record: bool) -> None:
    """Print the inclusion proof (c2sp.org/tlog-proof) of one decision; it verifies offline, also after an erasure."""
    installation = opened(chosen)
    require(acting(installation), "decision.read")
    ledger = installation.ledger()
    if record:
        sys.stdout.buffer.write(ledger.decision(id_).entry)
        return
    click.echo(ledger.prove(id_), nl=False)
