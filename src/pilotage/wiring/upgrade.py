"""What an installation does about its own serving environment: keep it, notice that it changed, check the releases."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from pilotage.errors import PilotageError
from pilotage.replay.environments import keep_environment
from pilotage.replay.service import Replayer
from pilotage.replay.upgrade import ReleaseCheck, check_release
from pilotage.rollout.service import live_systems
from pilotage.storage.objects import write_durably
from pilotage.wiring.installation import Installation

__all__ = ["SAMPLE", "check_upgrade", "watch_environment"]

SAMPLE = 200
"""Decisions of each live release that are asked again."""

_log = logging.getLogger(__name__)


def check_upgrade(
    installation: Installation, *, sample: int = SAMPLE, progress: Callable[[int, int], None] = lambda done, total: None
) -> list[ReleaseCheck]:
    """Ask each live release some of its newest decisions again, in the running environment. Raises Unavailable."""
    placed = live_systems(installation.control)
    checks: list[ReleaseCheck] = []
    progress(0, len(placed))
    with Replayer(installation.releases, here=True) as replayer:
        for live in placed:
            found = check_release(
                installation.ledger(), installation.control, replayer, live.system, live.release, sample=sample
            )
            checks.append(found)
            progress(len(checks), len(placed))
    return checks


def watch_environment(installation: Installation) -> threading.Thread:
    """Beside sealing: keep the environment, and after an upgrade check the releases. The started thread."""
    thread = threading.Thread(target=_watch, args=(installation,), daemon=True, name="environment")
    thread.start()
    return thread


def _watch(installation: Installation) -> None:
    noted = installation.home.environments / "checked"
    try:
        name = keep_environment(installation.home, installation.control)
        before = noted.read_text().strip() if noted.exists() else ""
        if before and before != name:
            _log.warning("the serving environment changed since the last run; asking each live release again")
            for each in check_upgrade(installation):
                level = logging.ERROR if each.differs else logging.INFO
                _log.log(level, "release %s of %s after the upgrade: %s", each.release, each.system, _words(each))
        # Only now: a check that was broken off is made again at the next start.
        if before != name:
            write_durably(noted, f"{name}\n".encode())
    except (PilotageError, OSError) as error:
        _log.error("the serving environment could not be kept or checked: %s", error)


def _words(each: ReleaseCheck) -> str:
    counts = ", ".join(f"{each.found[name]} {name}" for name in ("bit_exact", "within_tolerance", "differs"))
    stale = f"; stale now: {', '.join(each.stale)}" if each.stale else ""
    return f"{counts}, worst difference {each.found['worst']:.3g}{stale}"
