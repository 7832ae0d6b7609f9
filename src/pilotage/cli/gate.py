"""The gate between two stages: check it, approve for it."""

from __future__ import annotations

import sys

import click

from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, show_facts, show_table
from pilotage.errors import InputError, NotFound
from pilotage.evidence.store import latest
from pilotage.gates.model import GateVerdict
from pilotage.gates.service import approve as grant
from pilotage.gates.service import check as check_gate
from pilotage.kernel.clock import rfc3339
from pilotage.kernel.digests import short
from pilotage.releases.store import find_release, list_releases
from pilotage.storage.database import reading
from pilotage.systems.model import STAGES
from pilotage.systems.store import find_system
from pilotage.wiring.installation import Installation
from pilotage.wiring.readiness import subject_of
from pilotage.wiring.standing import KEPT

__all__ = ["STAGE", "approve", "chosen_release", "gate"]

NO_GO = 3
"""The exit code of `pilotage gate check` when the gate is closed."""

STAGE = click.Choice([stage for stage in STAGES if stage not in ("pilot", "retired")])


def chosen_release(installation: Installation, system: str, release: str) -> str:
    """The digest of the release named, or of the system's newest. Raises InputError, NotFound."""
    with reading(installation.control) as connection:
        if release:
            return find_release(connection, release).digest
        if not system:
            raise InputError("no release is named", mend="give --release DIGEST, or --system for its newest release")
        found = list_releases(connection, find_system(connection, system).id)
    if not found:
        raise NotFound(f"{system} has no release", mend="run: pilotage release build")
    return found[0].digest


@click.group()
def gate() -> None:
    """The gate of a stage: go or no-go, from fresh evidence and approvals."""


@gate.command("check")
@click.option("--system", default="", help="The system; its newest release is checked unless --release is given.")
@click.option("--release", default="", help="A digest, a short digest, or system@version.")
@click.option("--to", "stage", type=STAGE, required=True, help="The stage to enter.")
@json_option
@click.pass_obj
def check(chosen: Chosen, system: str, release: str, stage: str, json_: bool) -> None:
    """Say go or no-go, and name what is missing. Exit code 3 on no-go."""
    installation = opened(chosen)
    verdict = check_gate(installation.control, system, chosen_release(installation, system, release), stage)
    if json_:
        as_json(verdict.as_dict())
    else:
        _show(verdict)
        _warn(installation, verdict.system)
    sys.exit(0 if verdict.go else NO_GO)


def _warn(installation: Installation, system: str) -> None:
    """What the steward saw expire soon when it looked last."""
    with reading(installation.control) as connection:
        kept = latest(connection, subject_of(system), KEPT)
    if kept is not None and kept.figures["due"]:
        count = len(kept.figures["due"])
        what = "a piece of evidence expires" if count == 1 else f"{count} pieces of evidence expire"
        word = click.style("warning", fg="yellow")
        click.echo(f"{word}: {what} soon; see what renews it: pilotage readiness --system {system}", err=True)


def _show(verdict: GateVerdict) -> None:
    word = click.style("GO", fg="green", bold=True) if verdict.go else click.style("NO-GO", fg="red", bold=True)
    click.echo(f"{word}  {verdict.system} {short(verdict.release)} to {verdict.stage} ({verdict.tier} risk)")
    show_table(
        ("what", "state", "detail"),
        [(check.title, check.state, check.detail) for check in verdict.checks]
        + [(f"approval of a {approval.role}", approval.state, approval.detail) for approval in verdict.approvals],
    )
    for line in verdict.missing:
        click.echo(f"- {line}")


@click.command()
@click.option("--system", default="", help="The system; its newest release is approved unless --release is given.")
@click.option("--release", default="", help="A digest, a short digest, or system@version.")
@click.option("--to", "stage", type=STAGE, required=True, help="The stage to approve it for.")
@click.option("--role", default="", help="In which of your roles, where several fit.")
@click.option("--statement", default="", help="What you looked at, in your words; kept encrypted.")
@json_option
@click.pass_obj
def approve(chosen: Chosen, system: str, release: str, stage: str, role: str, statement: str, json_: bool) -> None:
    """Approve a release for a stage, in your name (PILOTAGE_TOKEN). Never your own work, never twice."""
    installation = opened(chosen)
    person = acting(installation)
    release = chosen_release(installation, system, release)
    approval = grant(installation.control, person, release=release, stage=stage, role=role, statement=statement)
    if json_:
        as_json({"id": approval.id, "release": approval.release, "stage": approval.stage, "role": approval.role})
        return
    show_facts(
        [
            ("approved", f"{approval.system} {short(approval.release)} for {approval.stage} as {approval.role}"),
            ("binds", f"{len(approval.evidence)} pieces of evidence, policy {short(approval.policy)}"),
            ("expires", rfc3339(approval.expires)),
        ]
    )
