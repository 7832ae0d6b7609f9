"""The steward process."""

from __future__ import annotations

import gc
import os
import signal
import threading
from contextlib import suppress

import click

from pilotage.cli.identity import opened
from pilotage.cli.main import Chosen
from pilotage.wiring.housekeeping import keep_house
from pilotage.wiring.lifeline import log_as_json, watch_lifeline
from pilotage.wiring.pulls import pull_journals
from pilotage.wiring.schedules import run_schedules
from pilotage.wiring.upgrade import watch_environment
from pilotage.wiring.witnessing import start_witnessing

__all__ = ["steward"]

_POLITE = 5
"""Answers come first where gateways share the cores: what waits for its seal is safe in the journals meanwhile."""


@click.command()
@click.option("--once", is_flag=True, help="Seal what waits, then end.")
@click.pass_obj
def steward(chosen: Chosen, once: bool) -> None:
    """Seal journals and events into the ledger until SIGTERM, which seals what waits."""
    log_as_json()
    watch_lifeline()
    installation = opened(chosen, create=True)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if once:
        stop.set()
    else:
        watch_environment(installation)
    with suppress(OSError):
        os.nice(_POLITE)
    gc.freeze()
    active = installation.steward(holder=f"{installation.settings.node}/steward")
    house = threading.Thread(target=keep_house, args=(installation, active, stop), daemon=True, name="housekeeping")
    house.start()
    pulls = threading.Thread(target=pull_journals, args=(installation, active, stop), daemon=True, name="pulls")
    pulls.start()
    schedules = threading.Thread(target=run_schedules, args=(installation, active, stop), daemon=True, name="schedules")
    schedules.start()
    start_witnessing(installation, active, stop)
    active.run(stop)
    pulls.join()
    schedules.join()
    installation.close()
