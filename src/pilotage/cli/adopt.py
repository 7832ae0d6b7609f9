"""Turn a pilot that was found into a production-first system beside it."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import msgspec

from pilotage.assess.reading import shown
from pilotage.cli.init import owners_of
from pilotage.cli.output import as_json, json_option, show_facts, step_bar
from pilotage.cli.scaffolded import show_next, show_tree
from pilotage.scaffold.adopting import Adopted
from pilotage.scaffold.adopting import adopt as adopt_pilot
from pilotage.scaffold.placing import place
from pilotage.scaffold.starting import new_system, told_of
from pilotage.workflows.ci import PLACES

__all__ = ["adopt"]


@click.command()
@click.argument("pilot", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--into", type=click.Path(file_okay=False, path_type=Path), required=True, help="The new folder.")
@click.option("--ci", type=click.Choice(sorted(PLACES)), default="github", show_default=True, help="Whose workflow.")
@click.option(
    "--name", default="", help="The system's name, where the pilot does not declare it (default: the folder's)."
)
@click.option("--purpose", default="", help="What it decides, of whom, and what follows, in a sentence.")
@click.option("--risk-tier", type=click.Choice(["low", "medium", "high"]), default="high", show_default=True,
              help="How many eyes each gate asks for.")  # fmt: skip
@click.option("--owner", "owners", multiple=True, metavar="ROLE=WHO", help="business, model, operations, risk; repeat.")
@click.option("--force", is_flag=True, help="Replace files of an earlier adoption that nobody has touched since.")
@json_option
def adopt(
    pilot: Path,
    into: Path,
    ci: str,
    name: str,
    purpose: str,
    risk_tier: str,
    owners: tuple[str, ...],
    force: bool,
    json_: bool,
) -> None:
    """Turn the pilot in PILOT into a production-first system in the folder --into; the pilot stays as it is.

    Its code comes along, notebooks as scripts; a contract is drawn up from its data, its versions are pinned, its
    training becomes a step of the pipeline. Secrets, data with personal columns and artefacts stay behind.
    MIGRATION.md says what became of each file and finding, and what is left to do. Nothing of the pilot is run.
    """
    declared = (pilot / "pilotage.yaml").is_file()
    said = owners_of(owners, ask=not json_ and not declared)
    system = new_system(name or pilot.resolve().name, purpose=purpose, risk_tier=risk_tier, owners=said)
    with step_bar("adopting") as progress:
        made = adopt_pilot(pilot, into, system, ci=ci, progress=progress)
    placed = place(into, made.files, force=force)
    steps = _next(pilot, into, made)
    if json_:
        told = {"folder": str(into), "open": made.open_fields, "bring": made.bring, "next": steps}
        as_json(told | msgspec.to_builtins(placed) | {"migration": msgspec.to_builtins(made.migration)})
        return
    show_tree(into, [*made.files], placed, told_of(made.files))
    files, found = made.migration.files, [each for work in made.migration.work for each in work.found]
    counts = {fate: sum(each.fate == fate for each in files) for fate in ("kept", "converted", "moved", "left out")}
    show_facts(
        [
            ("files", ", ".join(f"{count} {fate}" for fate, count in counts.items())),
            ("findings", f"{len(found)}, {sum(not each.left for each in found)} of them mended on the way"),
            ("work", f"{len(made.migration.work)} items, in MIGRATION.md in the order to do them"),
        ]
    )
    show_next(steps)


def _next(pilot: Path, into: Path, made: Adopted) -> list[str]:
    here = shlex.quote(str(into))
    copies = [
        f"if you may: mkdir -p {shlex.quote(str((into / path).parent))} && "
        f"cp {shlex.quote(str(pilot / path))} {shlex.quote(str(into / path))}"
        for path in map(shown, made.bring)
    ]
    fill = [f"fill in {into / 'pilotage.yaml'}: {', '.join(made.open_fields)}"] if made.open_fields else []
    apart = "decide what the gateway is to serve: this pilot asks a language model, these files are for a model of rows"
    return [
        *copies,
        *([apart] if made.asks_a_model else []),
        *fill,
        f"read {into / 'MIGRATION.md'}",
        f"cd {here} && pilotage pipeline run .",
        "pilotage assess .",
    ]
