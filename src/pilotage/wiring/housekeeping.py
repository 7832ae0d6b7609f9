"""What the active steward does by itself beside sealing: erasures that have come due; once a day retention, and where
each live system stands, with a warning of what expires soon.

Every few minutes it asks the remote models of live releases whether they still are those that were released.
"""

from __future__ import annotations

import logging
import math
import threading
import time

from sqlalchemy.exc import SQLAlchemyError

from pilotage.errors import PilotageError
from pilotage.evidence.store import latest
from pilotage.kernel.clock import day, rfc3339
from pilotage.ledger.erasure import erase_due
from pilotage.ledger.sealing import Steward
from pilotage.rollout.service import live_systems
from pilotage.storage.database import reading
from pilotage.wiring.erasing import clear_journals, floors_of
from pilotage.wiring.installation import Installation
from pilotage.wiring.readiness import subject_of
from pilotage.wiring.remotes import look_at_remotes
from pilotage.wiring.retention import enforce_now
from pilotage.wiring.standing import KEPT, keep_standing, standing_of

__all__ = ["keep_house"]

_EVERY_S = 10.0
_REMOTES_S = 300.0
_STANDING_S = 60.0
_log = logging.getLogger(__name__)


def keep_house(installation: Installation, steward: Steward, stop: threading.Event, every_s: float = _EVERY_S) -> None:
    """Look every few seconds, while this steward is the active one, until told to stop. Troubles are logged."""
    complaint, enforced, looked, stood = "", "", -math.inf, -math.inf
    while not stop.wait(every_s):
        if not steward.active:
            continue
        try:
            _tend(installation, steward)
            if (today := rfc3339(steward.clock())[:10]) != enforced:
                done = enforce_now(installation, steward, "schedule")
                enforced = today
                if done.something:
                    figures = done.records, done.entries, done.evidence, done.journals
                    _log.info("retention deleted %d payloads, %d entries, %d evidence, %d copies of journals", *figures)
            if time.monotonic() - stood >= _STANDING_S:
                stood = time.monotonic()
                _keep_standings(installation, steward.clock())
            if time.monotonic() - looked >= _REMOTES_S:
                looked = time.monotonic()
                _look_at_remotes(installation)
            complaint = ""
        except (PilotageError, SQLAlchemyError, OSError) as error:
            if str(error) != complaint:
                _log.error("housekeeping stopped for now: %s", error)
            complaint = str(error)


def _keep_standings(installation: Installation, now: int) -> None:
    """Once a UTC day, and when another release or stage is live, keep where each live system stands, and warn."""
    for each in live_systems(installation.control):
        with reading(installation.control) as connection:
            before = latest(connection, subject_of(each.system), KEPT)
        same = before is not None and (
            before.figures.get("release"),
            before.figures.get("stage"),
            day(before.collected),
        )
        if same == (each.release, each.stage, day(now)):
            continue
        for due in keep_standing(installation, standing_of(installation, each.system, at=now)):
            what = due.criterion or due.text
            _log.warning("evidence of %s on %s expires on %s: %s", each.system, what, day(due.due), due.renew)


def _look_at_remotes(installation: Installation) -> None:
    for found in look_at_remotes(installation.control, installation.home):
        if found.stale:
            _log.warning("the remote model of release %s says that it is another: its evidence is stale", found.release)
        elif found.state == "unreachable":
            _log.warning("the remote model of release %s gives no answer", found.release)


def _tend(installation: Installation, steward: Steward) -> None:
    for report in erase_due(steward, floors_of(installation)):
        if report.restricted_until:
            continue
        _log.info("an erasure came due: %d decisions are unreadable", report.unreadable)
        if report.journals:
            clear_journals(installation, steward, report)
