"""Pipelines that run by themselves: the active steward starts what is due, each in a process of its own."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading

from sqlalchemy.exc import SQLAlchemyError

from pilotage.errors import PilotageError
from pilotage.kernel.clock import now_us
from pilotage.ledger.sealing import Steward
from pilotage.storage.database import reading
from pilotage.wiring.installation import Installation
from pilotage.workflows.schedule import due
from pilotage.workflows.service import Pipelines
from pilotage.workflows.store import list_schedules

__all__ = ["run_schedules", "scheduled_words"]

_EVERY_S = 5.0
_END_S = 10.0
_log = logging.getLogger(__name__)


def run_schedules(
    installation: Installation, steward: Steward, stop: threading.Event, every_s: float = _EVERY_S
) -> None:
    """Look every few seconds, while this steward is the active one, until told to stop; then end what runs.

    A run that ends so, or with the machine, is gone on with when a steward is active again, once in a steward's life.
    """
    running: dict[str, subprocess.Popen[bytes]] = {}
    tried: set[str] = set()
    while not stop.wait(every_s):
        if not steward.active:
            continue
        try:
            for system, words in scheduled_words(installation, tried):
                before = running.get(system)
                if before is None or before.poll() is not None:
                    running[system] = _start(installation, system, words)
        except (PilotageError, SQLAlchemyError, OSError) as error:
            _log.error("schedules stopped for now: %s", error)
    for process in running.values():
        process.terminate()
    for process in running.values():
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()


def scheduled_words(installation: Installation, tried: set[str]) -> list[tuple[str, list[str]]]:
    """(system, words for `pilotage pipeline scheduled`) of all that is due or was interrupted and not `tried` yet."""
    pipelines = Pipelines(home=installation.home, control=installation.control, keyring=installation.keyring)
    found = []
    for run in pipelines.unfinished():
        if run.due and run.id not in tried:
            tried.add(run.id)
            found.append((run.system, ["--resume", run.id]))
    now = now_us()
    with reading(installation.control) as connection:
        schedules = list_schedules(connection)
    busy = {system for system, _ in found}
    for schedule in schedules:
        if schedule.system not in busy and due(schedule, now) is not None:
            found.append((schedule.system, ["--system", schedule.system]))
    return found


def _start(installation: Installation, system: str, words: list[str]) -> subprocess.Popen[bytes]:
    _log.info("the pipeline of %s is started by its schedule", system)
    settings = installation.settings
    environ = dict(os.environ)
    if settings.database_url:
        environ["PILOTAGE_DATABASE_URL"] = settings.database_url
    settings.home.run.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pilotage", "--home", str(settings.home.root), "pipeline", "scheduled", *words]
    with (settings.home.run / f"pipeline-{system}.log").open("wb") as log:
        return subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
