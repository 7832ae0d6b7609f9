"""`pilotage decisions replay`: one decision, or a window of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from pilotage.access.model import Person, require
from pilotage.cli.backtest import run_backtest
from pilotage.cli.gate import chosen_release
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, progress_bar, show_table
from pilotage.errors import InputError
from pilotage.kernel.digests import short
from pilotage.ledger.queries import DecisionFilter
from pilotage.replay.environments import keep_environment
from pilotage.replay.service import Replayer
from pilotage.replay.service import replay as replay_recorded
from pilotage.replay.summary import Summary
from pilotage.replay.window import Window, parse_window
from pilotage.replay.windowed import record_replay, replay_window, runtimes_of
from pilotage.wiring.installation import Installation
from pilotage.wiring.upgrade import SAMPLE, check_upgrade

__all__ = ["replay"]

SHARE = click.FloatRange(0.0, 1.0)


@click.command("replay")
@click.argument("id_", metavar="ID", default="")
@click.option("--window", "span", default="", metavar="SINCE..UNTIL", help="2026-03-01T00:00Z..2026-03-08T00:00Z")
@click.option("--last", type=click.IntRange(1), metavar="N", help="The newest N decisions (of the window).")
@click.option("--system", default="", help="Only this system's.")
@click.option("--release-filter", "by", default="", metavar="REF", help="Only those that this release answered.")
@click.option("--sample", type=click.IntRange(1), metavar="N", help="N of them, the same N each time.")
@click.option("--release", "candidate", default="", metavar="REF", help="Backtest: let this release answer them.")
@click.option("--check-upgrade", "upgrade", is_flag=True, help="Ask every live release here, after an upgrade.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write the backtest as HTML.")
@click.option("--cost", "costs", multiple=True, metavar="OLD>NEW=COST", help="What a change of answers costs.")
@click.option("--outcome-cost", "outcome_costs", multiple=True, metavar="ANSWER/OUTCOME=COST", help="What it costs.")
@click.option("--max-flips", type=SHARE, default=0.1, show_default=True, help="Changed answers that still pass.")
@click.option("--max-new-faults", type=SHARE, default=0.01, show_default=True, help="New rejections that still pass.")
@json_option
@click.pass_obj
def replay(chosen: Chosen, /, id_: str, json_: bool, **kw: Any) -> None:
    """Answer it again, and compare bit for bit.

    From the same release, in the recorded serving environment.

    With --window or --last: many. Exit code 1 when anything differs. With --release: the backtest of a candidate on
    what was decided; exit code 3 when it is beyond its limits. With --check-upgrade: a sample of each live
    release in the running environment; what differs makes the release's evidence stale.
    """
    installation = opened(chosen)
    person = acting(installation)
    require(person, "release.backtest" if kw["candidate"] or kw["upgrade"] else "decision.read")
    if kw["upgrade"]:
        _check_upgrade(installation, kw["sample"] or SAMPLE, json_)
        return
    many = bool(kw["span"] or kw["last"] or kw["sample"])
    if bool(id_) == many:
        raise InputError(
            "nothing to replay is named" if not id_ else "both a decision and a window are named",
            expected="ID, or --window SINCE..UNTIL, or --last N",
            mend="give one of them",
        )
    if kw["candidate"]:
        run_backtest(installation, person, window_of(installation, kw), kw, json_)
    elif not many:
        _one(installation, id_, json_)
    else:
        _many(installation, person, window_of(installation, kw), json_)


def window_of(installation: Installation, given: dict[str, Any]) -> Window:
    """The window that the options describe. Raises InputError, NotFound."""
    since, until = parse_window(given["span"]) if given["span"] else (None, None)
    release = chosen_release(installation, "", given["by"]) if given["by"] else ""
    wanted = DecisionFilter(system=given["system"], release=release, since=since, until=until)
    return Window(wanted=wanted, last=given["last"], sample=given["sample"])


def _one(installation: Installation, id_: str, json_: bool) -> None:
    verdict = replay_recorded(installation.ledger().decision(id_), installation.releases, installation.environments)
    if json_:
        as_json(msgspec.to_builtins(verdict))
    else:
        click.echo(f"{verdict.verdict}" + (f": {verdict.reason}" if verdict.reason else ""))


def _many(installation: Installation, person: Person, window: Window, json_: bool) -> None:
    runtime_of = runtimes_of(installation.control, window.wanted.system)
    with Replayer(installation.releases, installation.environments) as replayer, progress_bar("replaying") as progress:
        summary = replay_window(installation.ledger(), window, replayer, runtime_of, progress)
    record_replay(installation.control, window, summary, person.id)
    if json_:
        as_json({"window": window.as_dict(), **summary.as_dict()})
    else:
        _show(summary)
    if summary.count("differs"):
        raise SystemExit(1)


def _check_upgrade(installation: Installation, sample: int, json_: bool) -> None:
    keep_environment(installation.home, installation.control)
    with progress_bar("asking releases") as progress:
        checks = check_upgrade(installation, sample=sample, progress=progress)
    if json_:
        as_json([msgspec.to_builtins(each) for each in checks])
    else:
        show_table(
            ("system", "release", "bit exact", "within tolerance", "differs", "worst difference", "stale now"),
            [
                (
                    each.system,
                    short(each.release),
                    *(each.found[name] for name in ("bit_exact", "within_tolerance", "differs")),
                    f"{each.found['worst']:.3g}",
                    ", ".join(each.stale) or "nothing",
                )
                for each in checks
            ],
        )
    if any(each.differs for each in checks):
        raise SystemExit(1)


def _show(summary: Summary) -> None:
    show_table(
        ("release", "runtime", "bit exact", "within tolerance", "differs", "unreplayable", "worst difference"),
        [
            (
                short(each.release),
                each.runtime,
                each.counts["bit_exact"],
                each.counts["within_tolerance"],
                each.counts["differs"],
                each.counts["unreplayable"],
                f"{each.worst:.3g}",
            )
            for each in summary.releases.values()
        ],
    )
    for each in summary.releases.values():
        for (verdict, reason), count in each.reasons.most_common():
            click.echo(f"{short(each.release)}: {count} {verdict}: {reason}")
        for id_ in each.examples:
            click.echo(f"differs: {id_}")
    rate = summary.decisions / summary.seconds if summary.seconds else 0.0
    click.echo(f"{summary.decisions:,} decisions in {summary.seconds:.1f} s ({rate:,.0f}/s)")
