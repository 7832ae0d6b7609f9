"""The secrets of the installation: show, rotate, prune."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, errors_console, json_option, show_facts, show_table
from pilotage.errors import InputError
from pilotage.ledger.rotation import Progress
from pilotage.wiring.keys import KINDS, KeyKind, Rotated, key_states
from pilotage.wiring.keys import prune as prune_keys
from pilotage.wiring.keys import rotate as rotate_key

__all__ = ["keys"]

_OUTPUT = click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A new file for the changed keyring (mode 0600), where it is not in a file of the home.",
)


@click.group()
def keys() -> None:
    """The installation's own secrets: what wraps, seals and signs the record.

    The master key wraps the keys of people and days. The steward key opens the journals that gateways write. The
    signing key signs the log. API keys of the gateway are another thing: pilotage key.
    """


@keys.command("show")
@json_option
@click.pass_obj
def show(chosen: Chosen, json_: bool) -> None:
    """Show every secret by its public name, and what still needs it.

    Nothing secret is printed. The newest of each kind comes first. An old one stays until nothing needs it; pilotage
    keys prune then drops it.
    """
    installation = opened(chosen)
    states = key_states(installation, acting(installation))
    if json_:
        as_json({"held": installation.keyrings.held, "keys": [asdict(state) for state in states]})
        return
    show_facts([("held in", installation.keyrings.held)])
    show_table(("kind", "name", "state"), [(state.kind, state.name, state.state) for state in states])


@keys.command("rotate")
@click.option("--master", is_flag=True, help="What wraps the keys of people and days.")
@click.option("--steward", is_flag=True, help="What journals are sealed to.")
@click.option("--signing", is_flag=True, help="What signs the log.")
@_OUTPUT
@json_option
@click.pass_obj
def rotate(chosen: Chosen, master: bool, steward: bool, signing: bool, output: Path | None, json_: bool) -> None:
    """Put a new secret into use; the service goes on, no payload is rewritten.

    Cut off, run it again: it goes on where it stopped. The old secret stays in the keyring until pilotage keys prune.
    Back up the keyring before and after.
    """
    kind = _kind(master=master, steward=steward, signing=signing)
    installation = opened(chosen)
    person = acting(installation)
    with _progress("wrapping anew") as progress:
        done = rotate_key(installation, person, kind, output, progress)
    if json_:
        as_json(asdict(done))
    else:
        _say(done)


@keys.command("prune")
@_OUTPUT
@json_option
@click.pass_obj
def prune(chosen: Chosen, output: Path | None, json_: bool) -> None:
    """Drop old secrets that nothing needs any more.

    An old steward key stays while a journal file here is sealed to it: bring back nodes that were away first. Of an
    old signing key the public part stays for ever. Backups of the databases from before need the old keyring.
    """
    installation = opened(chosen)
    person = acting(installation)
    with _progress("looking at what is wrapped") as progress:
        done = prune_keys(installation, person, output, progress)
    if json_:
        as_json(asdict(done))
        return
    for kind, names in done.dropped.items():
        for name in names:
            click.echo(f"dropped {kind} {name}")
    for reason in done.kept:
        click.echo(f"kept {reason}")
    if not any(done.dropped.values()) and not done.kept:
        click.echo("there is nothing to drop")
    if done.output:
        click.echo(f"The smaller keyring is in {done.output}: install it, start every process again, delete the file.")


def _say(done: Rotated) -> None:
    if done.output:
        click.echo(f"The new keyring is in {done.output}, with the old secrets still in it.")
        click.echo("1. Install it where processes read the keyring. 2. Start every process again.")
        click.echo(f"3. Run again: pilotage keys rotate --{done.kind}. 4. Delete the file.")
        return
    facts: list[tuple[str, object]] = [("rotated", done.kind), ("old", done.old), ("new", done.new)]
    if done.kind == "master":
        facts.append(("wrapped anew", f"{done.moved} rows"))
    if done.plan:
        facts.append(("serving plan", f"version {done.plan}: gateways begin new journal files"))
    show_facts(facts)
    if done.kind == "signing":
        click.echo("Give auditors and witnesses the new list: pilotage audit vkey --all")


def _kind(**chosen: bool) -> KeyKind:
    wanted = [kind for kind in KINDS if chosen[kind]]
    if len(wanted) != 1:
        raise InputError(
            "name one secret to rotate", expected="--master, --steward or --signing", mend="add one of them"
        )
    return wanted[0]


@contextmanager
def _progress(words: str) -> Iterator[Progress]:
    columns = (TextColumn(words), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=errors_console(), transient=True) as bar:
        task = bar.add_task("rows", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
