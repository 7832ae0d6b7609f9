"""Watch a system: drift against its release's reference profile."""

from __future__ import annotations

import click
import msgspec

from pilotage.access.model import require
from pilotage.cli.gate import chosen_release
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, show_table
from pilotage.errors import NotFound
from pilotage.kernel.clock import parse_time
from pilotage.kernel.digests import short
from pilotage.monitor.service import status as drift_status
from pilotage.rollout.service import live

__all__ = ["monitor"]


@click.group()
def monitor() -> None:
    """What the live data looks like beside the reference."""


@monitor.command("status")
@click.option("--system", required=True)
@click.option("--release", default="", help="A digest, a short digest, or system@version (default: the live one).")
@click.option("--since", default="", help="2026-03-01T10:00Z")
@click.option("--since-us", type=int, help="The same in Unix microseconds.")
@click.option("--last", type=click.IntRange(1), help="Only the newest batches that together hold this many rows.")
@click.option(
    "--self-test", type=click.IntRange(0, 2_000), default=0, help="Measure the false-alarm rate in N windows."
)
@json_option
@click.pass_obj
def status(
    chosen: Chosen,
    system: str,
    release: str,
    since: str,
    since_us: int | None,
    last: int | None,
    self_test: int,
    json_: bool,
) -> None:
    """Name the columns that drifted, with effect, chance and counts; too little data is said, never called ok."""
    installation = opened(chosen)
    require(acting(installation), "monitor.read")
    if not release:
        placed = live(installation.control, system)
        if placed is None:
            raise NotFound(f"{system} has no live release", mend="promote one: pilotage promote --to internal")
        release = placed.release
    else:
        release = chosen_release(installation, system, release)
    found = drift_status(
        installation.ledger(),
        installation.profile_of,
        system,
        release,
        since=parse_time(since) if since else since_us,
        last=last,
        self_test=self_test,
    )
    if json_:
        as_json(msgspec.to_builtins(found))
        return
    click.echo(
        f"{system} {short(release)}: {found.rows:,} rows against {found.reference} ({found.reference_rows:,} rows)"
    )
    show_table(
        ("column", "verdict", "PSI", "JS", "KS", "p", "n"),
        [
            (
                c.label,
                c.verdict,
                f"{c.psi:.3f}",
                f"{c.js:.3f}",
                f"{'' if c.ks is None else format(c.ks, '.3f')}",
                f"{c.p:.2g}",
                c.n,
            )
            for c in found.columns
        ],
    )
    click.echo(f"shifted: {', '.join(found.shifted) or 'none'}")
    if found.false_alarms is not None:
        click.echo(
            f"false alarms: {found.false_alarms:.1%} of {self_test} windows of this size from the reference itself"
        )
