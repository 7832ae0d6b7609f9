"""Drills: rehearse what must work when things go wrong, on the installation that serves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, errors_console, json_option, show_facts
from pilotage.drills.judging import Drilled
from pilotage.drills.service import LIFE_DAYS, drill_fallback, drill_rollback
from pilotage.kernel.digests import short
from pilotage.wiring.drilling import drill_ground

__all__ = ["drill"]

FAILED = 3
"""Exit code of a drill that did not pass; it is on record all the same."""


def _options(hold: float) -> Callable[[Any], Any]:
    def given(command: Any) -> Any:
        for option in reversed(
            (
                click.option("--system", required=True, help="The system's id; what is rehearsed is its live release."),
                click.option(
                    "--hold",
                    type=click.FloatRange(0.5, 600),
                    default=hold,
                    show_default=True,
                    help="Seconds to stay there, once every worker follows.",
                ),
                click.option(
                    "--within",
                    type=click.FloatRange(0.1, 600),
                    default=120.0,
                    show_default=True,
                    help="Seconds that each change may take; 120 is a default of ours.",
                ),
                click.option(
                    "--rows",
                    type=click.Path(exists=True, dir_okay=False, path_type=Path),
                    help="Rows to ask, one JSON object a line; else the example of the contract.",
                ),
                click.option(
                    "--rate",
                    type=click.FloatRange(1, 1_000),
                    default=40.0,
                    show_default=True,
                    help="Requests a second.",
                ),
                json_option,
            )
        ):
            command = option(command)
        return command

    return given


@click.group()
def drill() -> None:
    """Rehearse a rollback, or a model that is away, while the installation serves; what is seen becomes evidence.

    The drill's own requests come by a key of their own and are on record as drills: nothing counts them, neither drift
    nor value. Exit code 3 when the drill did not pass.
    """


@drill.command("rollback")
@_options(2.0)
@click.pass_obj
def rollback(
    chosen: Chosen, system: str, hold: float, within: float, rows: Path | None, rate: float, json_: bool
) -> None:
    """Roll back to the release before, and bring the live one back.

    It is the rollback itself: for the seconds between, everybody is answered by the release before, on record.
    """
    _make(chosen, drill_rollback, system, hold, within, rows, rate, json_)


@drill.command("fallback")
@_options(5.0)
@click.pass_obj
def fallback(
    chosen: Chosen, system: str, hold: float, within: float, rows: Path | None, rate: float, json_: bool
) -> None:
    """Keep the model away from the drill's own requests, and let it come back.

    Every worker answers them by its fallback chain. All others are answered by the model as ever.
    """
    _make(chosen, drill_fallback, system, hold, within, rows, rate, json_)


def _make(
    chosen: Chosen,
    made_by: Callable[..., Drilled],
    system: str,
    hold: float,
    within: float,
    rows: Path | None,
    rate: float,
    json_: bool,
) -> None:
    installation = opened(chosen)
    person = acting(installation)
    ground = drill_ground(installation, system, rows, per_second=rate)
    with errors_console().status(f"drilling {system}"):
        found = made_by(ground, person, system, hold_s=hold, limit_s=within)
    if json_:
        told = {"check": found.check, "system": system, "release": found.release, "passed": found.passed}
        as_json(told | found.figures | {"faults": found.faults})
    else:
        _show(found)
    if not found.passed:
        raise SystemExit(FAILED)


def _show(found: Drilled) -> None:
    figures = found.figures
    asked = f"{figures['requests']:,} requests, {figures['failures']} without an answer"
    if found.check == "drill.rollback":
        there = f"on all {figures['workers']} workers after {figures['seconds']:g} s: {short(figures['to'])}"
        lines = [("rolled back", there), ("brought back", f"after {figures['return_seconds']:g} s")]
    else:
        arms = ", ".join(f"{count:,} by {arm}" for arm, count in figures["answered_by"].items()) or "none"
        lines = [
            ("fell back", f"on all {figures['workers']} workers after {figures['seconds']:g} s"),
            ("while away", f"{figures['away_seconds']:g} s: {arms}; {figures['unmarked']} not marked as fallbacks"),
            ("recovered", f"after {figures['recovery_seconds']:g} s"),
        ]
    show_facts(
        [
            ("drill", f"{found.check} of {found.system} {short(found.release)}"),
            *lines,
            ("asked", asked),
            ("verdict", f"passed; it counts for {LIFE_DAYS} days at most" if found.passed else "; ".join(found.faults)),
        ]
    )
