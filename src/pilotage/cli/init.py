"""Start something: a workflow file that runs contract, pipeline and gate at each change."""

from __future__ import annotations

from pathlib import Path

import click

from pilotage.cli.output import as_json, json_option
from pilotage.errors import Conflict, InputError
from pilotage.storage.objects import write_durably
from pilotage.systems.parse import parse_system
from pilotage.workflows.ci import PLACES, ci_file

__all__ = ["init"]


@click.command()
@click.argument("path", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".")
@click.option("--ci", type=click.Choice(sorted(PLACES)), required=True, help="Whose workflow file to write.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Where to (default: its usual place).")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@json_option
def init(path: Path, ci: str, out: Path | None, force: bool, json_: bool) -> None:
    """Write a CI workflow for the pilot in PATH, run from the folder of the repository.

    It installs Pilotage, holds the data to the contract, runs the pipeline, checks the gate and keeps the papers.
    """
    if not (path / "pilotage.yaml").is_file():
        raise InputError(
            "there is no pilotage.yaml", got=path, mend="declare the system first: docs/how-to/pipelines.md"
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
