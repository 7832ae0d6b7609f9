"""What differs between two releases."""

from __future__ import annotations

from collections.abc import Sequence

import click
import msgspec

from pilotage.access.model import require
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, show_table
from pilotage.releases.diff import Difference, Moved, diff_releases
from pilotage.releases.load import open_release
from pilotage.wiring.releases import found

__all__ = ["diff_command"]


@click.command("diff")
@click.argument("old")
@click.argument("new")
@json_option
@click.pass_obj
def diff_command(chosen: Chosen, old: str, new: str, json_: bool) -> None:
    """Say what differs between two releases: contract, answers, figures, fairness, reasons, packages, files.

    The changes of a contract that break its callers come first. Every byte of both is checked before.
    """
    installation = opened(chosen)
    require(acting(installation), "evidence.read")
    named = [found(installation, ref) for ref in (old, new)]
    before, after = (open_release(installation.releases, each.digest) for each in named)
    made = diff_releases(before, after)
    if json_:
        as_json(msgspec.to_builtins(made))
        return
    click.echo(f"{named[0].name} to {named[1].name}" + ("" if made.same_data else ": built from other data"))
    if made.contract:
        click.echo("\ncontract")
        show_table(
            ("what", "change", "was", "is", "for callers"),
            [(c.path, c.what, c.old, c.new, "breaks" if c.breaking else "holds") for c in made.contract],
        )
    _moved("figures", made.metrics)
    _moved("fairness", made.fairness)
    for title, rows in (
        ("answers", made.serving),
        ("reasons", made.reasons),
        ("built from", made.origin),
        ("packages", made.packages),
        ("environment of the build", made.environment),
        ("files", made.files),
    ):
        _differences(title, rows)


def _moved(title: str, rows: Sequence[Moved]) -> None:
    if rows:
        click.echo(f"\n{title} (95 % interval)")
        show_table(
            ("figure", "was", "is", "moved"),
            [
                (
                    each.name,
                    _figure(each.old, each.old_interval),
                    _figure(each.new, each.new_interval),
                    "beyond chance" if each.apart else "" if each.old == each.new else "not beyond chance",
                )
                for each in rows
            ],
        )


def _figure(value: float | None, interval: list[float] | None) -> str:
    if value is None:
        return "none"
    return f"{value:.4f}" + (f" ({interval[0]:.4f} to {interval[1]:.4f})" if interval else "")


def _differences(title: str, rows: Sequence[Difference]) -> None:
    if rows:
        click.echo(f"\n{title}")
        show_table(("name", "was", "is"), [(each.name, _short(each.old), _short(each.new)) for each in rows])


def _short(text: str) -> str:
    return text[7:19] if text.startswith("sha256:") else text
