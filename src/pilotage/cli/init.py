"""Start something: a new system from an empty folder, or a workflow file that runs a pilot's checks at each change."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pilotage.cli.output import as_json, json_option
from pilotage.errors import Conflict, InputError
from pilotage.storage.objects import write_durably
from pilotage.systems.parse import parse_system
from pilotage.workflows.ci import PLACES, ci_file

__all__ = ["init", "owners_of"]

_ROLES = ("business", "model", "operations", "risk")


@click.command()
@click.argument("path", type=click.Path(file_okay=False, path_type=Path), default=".")
@click.option("--production-first", "first", is_flag=True, help="Start a new system in PATH, before any model exists.")
@click.option("--ci", type=click.Choice(sorted(PLACES)), help="Whose workflow file to write (a new system: github).")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Where to (default: its usual place).")
@click.option("--name", default="", help="A new system's name (default: the folder's).")
@click.option("--purpose", default="", help="What it decides, of whom, and what follows, in a sentence.")
@click.option(
    "--risk-tier",
    type=click.Choice(["low", "medium", "high"]),
    default="high",
    show_default=True,
    help="How many eyes each gate asks for.",
)
@click.option("--owner", "owners", multiple=True, metavar="ROLE=WHO", help=f"{', '.join(_ROLES)}; repeat.")
@click.option("--example", is_flag=True, help="With made-up rows, on which the pipeline runs to a release.")
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="With the rows of this CSV.")
@click.option("--target", default="", metavar="COLUMN", help="With --data: the column that the model predicts.")
@click.option("--positive", default="1", show_default=True, help="With --data: its value that the score is of.")
@click.option("--subject", default="", metavar="COLUMN", help="With --data: whom or what a row is about.")
@click.option("--force", is_flag=True, help="Write over a workflow file; of a new system only what is untouched.")
@json_option
def init(
    path: Path,
    first: bool,
    ci: str | None,
    out: Path | None,
    name: str,
    purpose: str,
    risk_tier: str,
    owners: tuple[str, ...],
    example: bool,
    data: Path | None,
    target: str,
    positive: str,
    subject: str,
    force: bool,
    json_: bool,
) -> None:
    """Start a new system in PATH with --production-first, or write a CI workflow for the pilot in PATH with --ci.

    A new system gets its declaration, data contract, limits, runbooks, tests, CI, pipeline and roadmap before it has a
    model. Nothing that is there is written over.

    A CI workflow is run from the folder of the repository. It installs Pilotage, holds the data to the contract, runs
    the pipeline, checks the gate and keeps the papers.
    """
    if first:
        if out is not None:
            raise click.UsageError("--out is for a CI workflow alone; a new system's goes to its usual place")
        _check_data(example, data, target, bool(subject) or positive != "1")
        from pilotage.cli.scaffolded import start
        from pilotage.scaffold.starting import new_system

        system = new_system(
            name or path.resolve().name,
            purpose=purpose,
            risk_tier=risk_tier,
            owners=owners_of(owners, ask=not json_),
            target=target,
            positive=positive,
            subject=subject,
        )
        start(path, system, ci=ci or "github", example=example, data=data, force=force, json_=json_)
        return
    if ci is None:
        raise click.UsageError("say --production-first to start a new system, or --ci for a workflow file")
    _ci(path, ci, out, force, json_)


def owners_of(given: tuple[str, ...], *, ask: bool) -> dict[str, str]:
    """Who answers for what: as given, else asked for on a terminal, else open. Raises InputError."""
    found: dict[str, str] = {}
    for each in given:
        role, equals, who = each.partition("=")
        if role not in _ROLES or not equals or not who.strip():
            mend = "write it as business=name@example.org"
            raise InputError("this names no owner", got=each, expected=f"one of {', '.join(_ROLES)}, =, who", mend=mend)
        found[role] = who.strip()
    if ask and len(found) < len(_ROLES) and sys.stdin.isatty() and sys.stdout.isatty():
        click.echo("Who answers for it? A person or a role that somebody holds; Enter leaves it open.")
        for role in _ROLES:
            if role not in found and (who := click.prompt(f"  {role}", default="", show_default=False).strip()):
                found[role] = who
    return found


def _check_data(example: bool, data: Path | None, target: str, marked: bool) -> None:
    if example and data is not None:
        raise click.UsageError("take --example or --data, not both")
    if data is not None and not target:
        raise click.UsageError("--data needs --target, the column that the model predicts")
    if data is None and (target or marked):
        raise click.UsageError("--target, --positive and --subject are columns of --data: name the file as well")


def _ci(path: Path, ci: str, out: Path | None, force: bool, json_: bool) -> None:
    if not (path / "pilotage.yaml").is_file():
        raise InputError(
            "there is no pilotage.yaml",
            got=path,
            mend="declare the system first: docs/how-to/pipelines.md, or start one: pilotage init --production-first",
        )
    declared = parse_system((path / "pilotage.yaml").read_bytes())
    data = declared.pilot.data if (path / declared.pilot.data).is_file() else ""
    target = out or Path(PLACES[ci])
    if target.exists() and not force:
        raise Conflict(f"there is a {target} already", mend="name another with --out, or write over it with --force")
    write_durably(target, ci_file(ci, path, data, declared.contract).encode(), mode=0o644)
    if json_:
        as_json({"ci": ci, "file": str(target)})
    else:
        click.echo(f"wrote {target}\nnext: commit it")
