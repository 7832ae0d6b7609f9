"""How commands assess a pilot: with the same options, in the same way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.markup import escape

from pilotage.assess.model import Assessment
from pilotage.assess.probes import PROBE_TIME
from pilotage.assess.service import assess
from pilotage.cli.output import console, step_bar

__all__ = ["assessed", "probe_options", "show_skipped"]

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--no-probes", is_flag=True, help="Static signals only: nothing of the pilot runs, not even boxed."),
    click.option("--no-install", is_flag=True, help="Probe without fetching the pilot's own packages."),
    click.option(
        "--probe-time",
        type=click.FloatRange(1, 3600),
        default=PROBE_TIME,
        show_default=True,
        help="Seconds that all probes may take, installing included.",
    ),
)


def probe_options(command: Command) -> Command:
    """Give a command what `assessed` takes: no_probes, no_install, probe_time (seconds)."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def assessed(path: Path, *, no_probes: bool, no_install: bool, probe_time: float) -> Assessment:
    """The pilot in a folder, assessed under a bar that says what is done."""
    with step_bar("assessing") as progress:
        return assess(path, probes=not no_probes, install=not no_install, probe_time=probe_time, progress=progress)


def show_skipped(found: Assessment) -> None:
    """With whose packages it was probed, and what was not looked at and why."""
    if found.environment:
        console().print(f"[dim]probed with {escape(found.environment)}[/]")
    for skipped in found.skipped:
        what = skipped if skipped.startswith("not probed: ") else f"not looked at: {skipped}"
        console().print(f"[dim]{escape(what)}[/]")
