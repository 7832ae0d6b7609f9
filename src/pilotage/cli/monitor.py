"""Watch a system: drift against its release's reference profile."""

from __future__ import annotations

import click
import msgspec

from pilotage.access.model import require
from pilotage.assess.operating import STABLE
from pilotage.cli.gate import chosen_release
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, show_table
from pilotage.cli.performance import show_performance
from pilotage.errors import NotFound
from pilotage.evidence.model import Evidence
from pilotage.kernel.clock import now_us, parse_time
from pilotage.kernel.digests import short
from pilotage.ledger.outcomes import Outcomes
from pilotage.monitor.days import utc_day
from pilotage.monitor.outcomes import realised_performance
from pilotage.monitor.service import status as drift_status
from pilotage.rollout.service import live
from pilotage.wiring.installation import Installation
from pilotage.wiring.operating import keep_operation

__all__ = ["monitor"]

_NOT_ALL = 3


def _live_or(installation: Installation, system: str, release: str) -> str:
    """The digest of the release named, or of the live one."""
    if release:
        return chosen_release(installation, system, release)
    placed = live(installation.control, system)
    if placed is None:
        raise NotFound(f"{system} has no live release", mend="promote one: pilotage promote --to internal")
    return placed.release


@click.group()
def monitor() -> None:
    """What the live data looks like beside the reference."""


@monitor.command("outcomes")
@click.option("--system", required=True)
@click.option("--release", default="", help="A digest, a short digest, or system@version (default: the live one).")
@click.option("--arm", default="", help="Only of this arm.")
@click.option("--since", default="", metavar="DAY", help="Decisions from this UTC day on, such as 2026-03-01.")
@click.option("--until", default="", metavar="DAY", help="Decisions up to this UTC day.")
@json_option
@click.pass_obj
def outcomes(chosen: Chosen, system: str, release: str, arm: str, since: str, until: str, json_: bool) -> None:
    """Realised performance: coverage by age, observed rate by score, figures at the threshold, also by slice.

    Each rate has its Wilson interval at 95 %; what rests on fewer than 30 decisions is said to be not enough data.
    """
    installation = opened(chosen)
    require(acting(installation), "monitor.read")
    found = realised_performance(
        installation.control,
        Outcomes(installation.ledger_engine),
        installation.releases,
        system,
        _live_or(installation, system, release),
        arm=arm,
        since=utc_day(since),
        until=utc_day(until),
        now=now_us(),
    )
    if json_:
        as_json(msgspec.to_builtins(found))
    else:
        show_performance(found)


@monitor.command("keep")
@click.option("--system", required=True, help="The system's id; what is kept is of its live release.")
@json_option
@click.pass_obj
def keep(chosen: Chosen, system: str, json_: bool) -> None:
    """Keep how the live release ran as evidence for the next gate: days, failures, times, drift.

    Exit code 3 where something could not be told, or does not hold. An approval binds evidence: keep first, then
    approve.
    """
    installation = opened(chosen)
    found = keep_operation(installation, acting(installation), system)
    if json_:
        as_json({"made": msgspec.to_builtins(found.made), "lacks": found.lacks})
    else:
        show_table(
            ("evidence", "says", "figures"),
            [(fact.check, "holds" if fact.passed else "does NOT hold", _brief(fact)) for fact in found.made]
            + [(check, "cannot be told", why) for check, why in found.lacks.items()],
        )
    if found.lacks or not all(fact.passed for fact in found.made):
        raise SystemExit(_NOT_ALL)


def _brief(fact: Evidence) -> str:
    figures = fact.figures
    if fact.check == STABLE:
        drifted = ", ".join(figures["drifted"]) or "nothing"
        return f"{figures['rows']:,} rows: {drifted} drifted"
    told = f"{figures['days']:g} days, {figures['decisions']:,} decisions, {figures['failed']:,} failed"
    return "; ".join([f"{told}, 95 % in {figures['p95_ms']:g} ms", *figures["missing"]])


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
    release = _live_or(installation, system, release)
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
