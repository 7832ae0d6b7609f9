"""What is printed of a folder that was made: its tree, and the commands that come next."""

from __future__ import annotations

import shlex
from pathlib import Path, PurePosixPath

import click
import msgspec
from rich.text import Text
from rich.tree import Tree

from pilotage.assess.keeping import PLAN, Kept, keep_plan
from pilotage.assess.planning import make_plan
from pilotage.assess.roadmap import progressed
from pilotage.assess.service import assess
from pilotage.cli.output import as_json, console
from pilotage.scaffold.model import NewSystem
from pilotage.scaffold.placing import Placed, place
from pilotage.scaffold.starting import production_first, told_of
from pilotage.systems.placeholders import UNSTATED

__all__ = ["show_next", "show_tree", "start"]


def start(
    path: Path, system: NewSystem, *, ci: str, example: bool, data: Path | None, force: bool, json_: bool
) -> None:
    """Make a new system in a folder and say what comes next."""
    files = production_first(system, ci=ci, example=example, data=data)
    placed = place(path, files, force=force)
    planned, here = _plan(path), shlex.quote(str(path))
    steps = [f"fill in pilotage.yaml: {', '.join(system.open_fields)}"] if system.open_fields else []
    if data is not None:
        steps.append(f"read contract.odcs.yaml, each line that says CONFIRM; fill in data/README.md ({UNSTATED})")
    elif not example:
        steps.append(f"put rows in {path / 'data' / 'raw.csv'} and follow README.md")
    steps += [
        f"cd {here} && python -m pytest -q tests",
        "pilotage pipeline run .",
        "pilotage assess . && pilotage roadmap status .",
    ]
    if json_:
        told = {"folder": str(path), "system": system.id, "open": system.open_fields, "next": steps, "items": planned}
        as_json(told | msgspec.to_builtins(placed))
        return
    show_tree(path, [*files], placed, told_of(files))
    click.echo(f"{planned} items of work stand between this and production: pilotage roadmap export {here}")
    show_next(steps)


def show_tree(path: Path, files: list[str], placed: Placed, told: list[tuple[str, str]]) -> None:
    """The files below a folder as a tree, what each is beside it; what was there already says so."""
    what = {each.rstrip("/"): said for each, said in told}
    tree = Tree(Text(f"{path}/", style="bold"), guide_style="dim")
    nodes: dict[str, Tree] = {".": tree}
    for file in sorted(files, key=lambda each: ("/" in each, each)):
        for folder in reversed(PurePosixPath(file).parents):
            if str(folder) not in nodes:
                line = _line(f"{folder.name}/", what.get(str(folder), ""), "bold")
                nodes[str(folder)] = nodes[str(folder.parent)].add(line)
        state = "(as it was)" if file in placed.same else "(replaced)" if file in placed.replaced else ""
        name = PurePosixPath(file)
        nodes[str(name.parent)].add(_line(name.name, f"{what.get(file, '')} {state}", ""))
    console().print(tree)


def _line(name: str, said: str, style: str) -> Text:
    return Text.assemble((name, style), (f"  {said.strip()}" if said.strip() else "", "dim"))


def show_next(steps: list[str]) -> None:
    """Numbered steps."""
    click.echo(click.style("next", bold=True))
    for number, step in enumerate(steps, 1):
        click.echo(f"  {number}. {step}")


def _plan(path: Path) -> int:
    """The items of the roadmap, which is made where there is none: by what is written down, nothing is run."""
    found = assess(path, probes=False)
    plan = make_plan(path, found).roadmap
    if not (path / PLAN).exists():
        keep_plan(path, Kept(plan=plan, history=[progressed(plan, found)]))
    return len(plan.items)
