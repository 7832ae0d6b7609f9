"""`pilotage demo`: the example pilot's whole journey, by the commands and the API that a user has."""

from __future__ import annotations

import shlex
import shutil
import signal
import tempfile
from pathlib import Path

import click
from rich.console import Console

from pilotage.cli.demo.journey import Journey, travel
from pilotage.cli.demo.shell import Shell
from pilotage.cli.demo.summary import show_summary
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json
from pilotage.errors import NotFound

__all__ = ["demo"]


@click.command()
@click.option(
    "--example", type=click.Path(path_type=Path), help="The pilot's folder (default examples/credit_default)."
)
@click.option("--rows", type=click.IntRange(500, 25_000), default=5_000, show_default=True, help="Real rows to send.")
@click.option("--no-serve", is_flag=True, help="Stop everything at the end.")
@click.option("--json", "json_", is_flag=True, help="Print one JSON object of results.")
@click.pass_obj
def demo(chosen: Chosen, example: Path | None, rows: int, no_serve: bool, json_: bool) -> None:
    """Take the example pilot through the whole journey: assess, release, gate, serve, record, watch, roll back.

    Works in a temporary home unless --home is given (pilotage --home FOLDER demo), on 127.0.0.1 only. A given home
    stays, and with --no-serve the demo ends by saying how to go on in it.
    """
    screen = Console(stderr=True, highlight=False)
    kept = Path(chosen.home).resolve() if chosen.home else None
    home = kept or Path(tempfile.mkdtemp(prefix="pilotage-demo-"))
    shell = Shell(home=home / "home" if kept is None else home, screen=screen)
    try:
        journey = travel(shell, _pilot(example, home), rows)
        if json_:
            as_json(journey.result())
        else:
            show_summary(journey)
        if not no_serve:
            _stay(shell, journey, screen)
        elif kept is not None:
            _tell_how_to_go_on(kept, journey, screen)
    finally:
        shell.stop()
        if kept is None:
            shutil.rmtree(home, ignore_errors=True)


def _pilot(example: Path | None, home: Path) -> Path:
    """A copy of the pilot to work on, so that the demo writes nothing beside the original."""
    beside_source = Path(__file__).resolve().parents[4] / "examples" / "credit_default"
    for folder in [example] if example else [Path("examples/credit_default"), beside_source]:
        if (folder / "pilotage.yaml").is_file():
            shutil.copytree(folder, home / "pilot", dirs_exist_ok=True)
            return home / "pilot"
    raise NotFound(
        "the example pilot is not here",
        got=example or "examples/credit_default",
        expected="a folder with pilotage.yaml",
        mend="run the demo from a clone of the repository, or name the folder with --example",
    )


def _stay(shell: Shell, journey: Journey, screen: Console) -> None:
    """Leave everything running until Ctrl-C, and say where to look."""
    link = shell.run("sign-in", "--person", journey.people["auditor"]["id"], token=journey.token("admin"), show=False)
    screen.print(f"\n[bold]The console:[/] {journey.console}")
    screen.print(f"[bold]Sign in once with:[/] {link['url']}", soft_wrap=True)
    screen.print("Ctrl-C stops everything.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if shell.up is not None:
            shell.up.wait()
    except KeyboardInterrupt:
        screen.print("draining")


def _tell_how_to_go_on(home: Path, journey: Journey, screen: Console) -> None:
    """What to type next in a home that stays: tokens are on record only as digests, so this is where to read them."""
    screen.print(f"\n[bold]Go on in {home}[/] (keep these tokens: they are shown once)", soft_wrap=True)
    for person in ("admin", "auditor"):
        screen.print(f"export PILOTAGE_TOKEN={journey.token(person)}  # {person}", soft_wrap=True)
    screen.print(f"pilotage --home {shlex.quote(str(home))} decisions list", soft_wrap=True)
    screen.print(f"pilotage --home {shlex.quote(str(home))} up", soft_wrap=True)
    auditor = journey.people["auditor"]["id"]
    screen.print(f"pilotage --home {shlex.quote(str(home))} sign-in --person {auditor}  # as admin", soft_wrap=True)
