"""Decisions: list, export, show, explain, replay, prove."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import click
import msgspec

from pilotage.access.model import may, require
from pilotage.cli.export import export
from pilotage.cli.filters import filter_options, wanted_decisions
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, show_facts, show_table
from pilotage.cli.override import override
from pilotage.cli.replay import replay
from pilotage.cli.traces import show_trace
from pilotage.evaluation.reasons import Explanation
from pilotage.kernel.clock import rfc3339
from pilotage.kernel.digests import short
from pilotage.ledger.overriding import said_about
from pilotage.ledger.queries import DecisionRow, Ledger, RecordedDecision
from pilotage.ledger.record import Finding, Payload
from pilotage.ledger.traces import untraced
from pilotage.rollout.past import in_production

__all__ = ["decisions"]


@click.group()
def decisions() -> None:
    """Decisions on record: what was answered, why, by which release, and the proof of it."""


@decisions.command("list")
@filter_options
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="At most so many.")
@click.option("--all", "all_", is_flag=True, help="No limit.")
@json_option
@click.pass_obj
def list_(chosen: Chosen, /, limit: int, all_: bool, json_: bool, **given: Any) -> None:
    """List sealed decisions, newest first."""
    installation = opened(chosen)
    require(acting(installation), "decision.read")
    wanted = wanted_decisions(installation, given)
    pages = installation.ledger().each(wanted, limit=None if all_ else limit)
    rows = (row for page in pages for row in page)
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


def _stream_json(rows: Iterable[DecisionRow]) -> None:
    opening = "["
    for row in rows:
        sys.stdout.write(opening + json.dumps(asdict(row), ensure_ascii=False))
        opening = ",\n"
    sys.stdout.write("[]\n" if opening == "[" else "]\n")


decisions.add_command(export)


@decisions.command("show")
@click.argument("id_", metavar="[ID]", default="")
@click.option("--trace", metavar="ID", help="Show the tree of a trace or a request instead: its id, or a decision's.")
@json_option
@click.pass_obj
def show(chosen: Chosen, id_: str, trace: str | None, json_: bool) -> None:
    """Show every factor of one decision.

    The payload only to roles that may read payloads.
    """
    if bool(id_) == bool(trace):
        raise click.UsageError("name one decision, or a trace with --trace")
    installation = opened(chosen)
    person = acting(installation)
    require(person, "decision.read")
    if trace:
        show_trace(installation.ledger(), trace, json_=json_)
        return
    found = installation.ledger().decision(id_)
    readable = may(person, "decision.read_payload")
    if json_:
        as_json(as_document(found, readable) | beside(installation.ledger(), found, readable))
        return
    plain, row = found.plain, found.row
    if found.past is not None:
        _show_past(found)
        return
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
            ("findings", ", ".join(map(_finding, plain.findings)) or "none"),
            ("time", f"contract {plain.times.contract} µs, answer {plain.times.answer} µs"),
            ("ledger", f"leaf {row.leaf}, commitment {plain.commitment}"),
        ]
    )
    if untraced(found):
        click.echo("the index does not know its trace: run pilotage ledger rebuild-index", err=True)
    _show_beside(beside(installation.ledger(), found, readable))
    if found.payload is None:
        click.echo(f"payload: cannot be read ({found.unreadable})")
    elif not readable:
        click.echo("payload: your roles may not read it")
    else:
        if found.payload.repairs:
            columns = ("path", "code", "got", "used")
            repairs = [[each.get(name) for name in columns] for each in found.payload.repairs]
            show_table(("repaired", "fault", "sent", "used"), repairs)
        if found.payload.enriched:
            show_table(
                ("enriched", "value", "source", "its time", "age", "what became of it"), _enriched(found.payload)
            )
        show_table(("feature", "value"), list(zip(found.payload.names, found.payload.features, strict=False)))


def _enriched(payload: Payload) -> list[list[object]]:
    """What came from feature sources, by column."""
    return [
        [
            each["column"],
            each.get("value"),
            each["source"],
            rfc3339(each["at"]) if each.get("at") is not None else "",
            f"{each['age_s']:.0f} s" if each.get("age_s") is not None else "",
            " ".join(
                word
                for word in (
                    each.get("fault") or "used",
                    "from cache" if each.get("cached") else "",
                    f"({each['status']})" if each.get("status", "ok") != "ok" else "",
                )
                if word
            ),
        ]
        for each in payload.enriched
    ]


def _show_past(found: RecordedDecision) -> None:
    row = found.row
    show_facts(
        [
            ("decision", row.id),
            ("received", rfc3339(row.at)),
            ("system", row.system),
            (
                "ledger",
                f"leaf {row.leaf}; its hash is still in the tree, so the proof holds for whoever kept the record",
            ),
            ("record", found.unreadable),
        ]
    )


def _finding(found: Finding) -> str:
    """A finding in a few words: what found what, where, and what was done."""
    return " ".join(each for each in (found.check, found.path, found.verdict, f"({found.action})") if each)


def beside(ledger: Ledger, found: RecordedDecision, readable: bool) -> dict[str, Any]:
    """What was said about a decision, and the gate and approvals then in force, as JSON values."""
    then = in_production(ledger, found.row.system, found.row.at, names=readable)
    return {"said": said_about(ledger, found.row.id, readable), "in_force": msgspec.to_builtins(then)}


def _show_beside(known: dict[str, Any]) -> None:
    then = known["in_force"]
    if then is not None:
        approved = ", ".join(f"{each['role']} {each['by']}".strip() for each in then["approvals"])
        show_facts(
            [("then in force", f"{short(then['release'])} since {rfc3339(then['since'])}; approved as {approved}")]
        )
    for each in known["said"]:
        private = each["private"] or {}
        told = private.get("value", each["unreadable"] or "your roles may not read it")
        click.echo(f"{each['kind']}: {told} ({rfc3339(each['at'])}, event {each['event']})")


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
        "past_retention": None if found.past is None else asdict(found.past),
    }


@decisions.command("explain")
@click.argument("id_", metavar="ID")
@json_option
@click.pass_obj
def explain(chosen: Chosen, id_: str, json_: bool) -> None:
    """Say why it was answered so.

    Up to four principal reasons, the whole attribution, and what would have altered the answer.

    The first time puts it on record, under the decision's own key; from then on it is read from there.
    """
    installation = opened(chosen)
    person = acting(installation)
    require(person, "decision.read_payload")
    kept = installation.explanations.make(installation.ledger().decision(id_), person.id)
    if json_:
        as_json(kept.as_dict())
        return
    made = kept.explanation
    click.echo(f"{made.label}, score {made.score:.6f}  ({made.method}, {'exact' if made.exact else 'an estimate'})")
    for number, reason in enumerate(made.reasons, 1):
        mark = "" if reason.approved else ", text approved by nobody"
        click.echo(f"{number}. {reason.text}  [{reason.code}, {reason.contribution:+.3f}{mark}]")
    if made.withheld:
        click.echo(f"among the four strongest factors and may not be told: {', '.join(made.withheld)}")
    if made.counterfactual:
        click.echo(made.counterfactual)
    click.echo(f"{'made now' if kept.fresh else f'made {rfc3339(kept.made)}'} by explainer {made.version}, on record")
    _show_attributions(made)


def _show_attributions(made: Explanation) -> None:
    ordered = sorted(made.attributions.items(), key=lambda item: -abs(item[1]))
    if made.exact:
        show_table(("feature", made.unit), [(name, f"{value:+.4f}") for name, value in ordered])
        return
    rows = [(name, f"{value:+.4f}", f"{made.standard_errors[name]:.4f}") for name, value in ordered]
    show_table(("feature", made.unit, "standard error"), rows)


decisions.add_command(replay)
decisions.add_command(override)


@decisions.command("prove")
@click.argument("id_", metavar="ID")
@click.option("--record", is_flag=True, help="Print the record that the proof is about, instead of the proof.")
@click.pass_obj
def prove(chosen: Chosen, id_: str, record: bool) -> None:
    """Print the proof that a decision is on record.

    An inclusion proof (c2sp.org/tlog-proof); it verifies offline, also after an erasure.
    """
    installation = opened(chosen)
    require(acting(installation), "decision.read")
    ledger = installation.ledger()
    if record:
        sys.stdout.buffer.write(ledger.entry(ledger.leaf_of(id_)))
        return
    click.echo(ledger.prove(id_), nl=False)
