"""AI systems: declare them from `pilotage.yaml`, list them, show one."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from pilotage.access.model import require
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, show_facts, show_table
from pilotage.kernel.clock import rfc3339
from pilotage.kernel.digests import short
from pilotage.rollout.service import history, live, live_systems
from pilotage.storage.database import reading, writing
from pilotage.systems.parse import load_system
from pilotage.systems.store import declare_system, find_system, list_systems

__all__ = ["system"]


@click.group()
def system() -> None:
    """AI systems: the unit of governance."""


@system.command("declare")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@json_option
@click.pass_obj
def declare(chosen: Chosen, path: Path, json_: bool) -> None:
    """Declare a system from its pilotage.yaml (release build does it too)."""
    installation = opened(chosen, create=True)
    person = acting(installation)
    require(person, "system.declare")
    declared = load_system(path / "pilotage.yaml" if path.is_dir() else path)
    with writing(installation.control) as connection:
        digest = declare_system(connection, declared, by=person.id)
    if json_:
        as_json({"id": declared.id, "digest": digest})
    else:
        click.echo(f"declared {declared.id}, {short(digest)}")


@system.command("list")
@json_option
@click.pass_obj
def list_(chosen: Chosen, json_: bool) -> None:
    """List the declared systems with what is live."""
    installation = opened(chosen)
    with reading(installation.control) as connection:
        found = list_systems(connection)
    placed = {each.system: each for each in live_systems(installation.control)}
    rows = [
        {
            "id": each.id,
            "name": each.name,
            "risk_tier": each.risk_tier,
            "stage": placed[each.id].stage if each.id in placed else "pilot",
            "release": placed[each.id].release if each.id in placed else "",
            "stopped": placed[each.id].stopped if each.id in placed else "",
        }
        for each in found
    ]
    if json_:
        as_json(rows)
        return
    show_table(
        ("system", "risk", "stage", "release", "state"),
        [
            (
                r["id"],
                r["risk_tier"],
                r["stage"],
                short(r["release"]),
                "stopped: " + r["stopped"] if r["stopped"] else "",
            )
            for r in rows
        ],
    )


@system.command("show")
@click.argument("id_", metavar="ID")
@json_option
@click.pass_obj
def show(chosen: Chosen, id_: str, json_: bool) -> None:
    """Show a system's declaration, what is live, and the acts that led there."""
    installation = opened(chosen)
    with reading(installation.control) as connection:
        found = find_system(connection, id_)
    placed = live(installation.control, id_)
    acts = history(installation.control, id_)
    if json_:
        as_json(
            {
                "system": msgspec.to_builtins(found),
                "live": None if placed is None else {"release": placed.release, "stage": placed.stage},
                "history": msgspec.to_builtins(acts),
            }
        )
        return
    show_facts(
        [
            ("system", f"{found.id}  {found.name}"),
            ("purpose", found.purpose),
            ("risk tier", found.risk_tier),
            ("owners", ", ".join(f"{k}: {v}" for k, v in msgspec.to_builtins(found.owners).items())),
            ("live", f"{short(placed.release)} at {placed.stage}" if placed else "nothing"),
        ]
    )
    show_table(
        ("when", "act", "stage", "release", "plan"),
        [(rfc3339(act.at), act.action, act.stage, short(act.release), act.plan) for act in acts],
    )
