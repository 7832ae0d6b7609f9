"""Delete the files of old runs: what the newest runs of each system read, made and printed stays."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from sqlalchemy import Engine

from pilotage.storage.database import reading
from pilotage.storage.objects import Objects
from pilotage.workflows.sources import RELEASE
from pilotage.workflows.store import list_runs, steps_of

__all__ = ["prune"]

_EVERY = 1_000_000
_DRAFT_S = 86_400.0


def prune(control: Engine, objects: Objects, keep: int, now_s: float) -> tuple[int, int]:
    """(files, bytes) deleted: all that the `keep` newest runs of no system, and no run under way, refer to.

    Drafts that a killed process left go after a day. What another run keeps meanwhile is newer than `now_s` less a day
    and stays, since its row may not be there yet.
    """
    seen: Counter[str] = Counter()
    kept: set[str] = set()
    with reading(control) as connection:
        for run in list_runs(connection, limit=_EVERY):
            seen[run.system] += 1
            if seen[run.system] > keep and run.state != "running":
                continue
            kept |= {*run.plan.sources.values()}
            for step in steps_of(connection, run.id):
                kept |= {step.log, *(name for path, name in step.outputs.items() if path != RELEASE)}
    files = [path for path in (objects.root / "sha256").rglob("*") if path.is_file()]
    gone = [path for path in files if f"sha256:{path.name}" not in kept and _old(path, now_s)]
    size = sum(path.stat().st_size for path in gone)
    for path in gone:
        path.unlink(missing_ok=True)
    return len(gone), size


def _old(path: Path, now_s: float) -> bool:
    return now_s - path.stat().st_mtime > _DRAFT_S
