"""Pipelines by API: the newest runs, and one with its steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pilotage.kernel.clock import now_us
from pilotage.storage.database import reading
from pilotage.storage.objects import Objects
from pilotage.web.filters import page_of
from pilotage.wiring.installation import Installation
from pilotage.workflows.shown import document, reasons, state_of
from pilotage.workflows.store import find_run, list_runs, steps_of

__all__ = ["list_pipelines", "read_pipeline"]

_MOST_LISTED = 1_000


def list_pipelines(installation: Installation, query: Mapping[str, str]) -> list[dict[str, Any]]:
    """The newest runs without their steps; `system` and `limit` may be given. Raises InputError."""
    limit, _ = page_of(query, limit=100, most=_MOST_LISTED)
    now = now_us()
    with reading(installation.control) as connection:
        found = list_runs(connection, query.get("system", ""), limit=limit)
        return [{**msgspec.to_builtins(each), "state": state_of(connection, each, now)} for each in found]


def read_pipeline(installation: Installation, id_: str) -> dict[str, Any]:
    """One run, as `pilotage pipeline show --json` prints it. Raises NotFound."""
    objects = Objects(root=installation.home.pipelines / "objects")
    with reading(installation.control) as connection:
        run = find_run(connection, id_)
        steps = steps_of(connection, run.id)
        why = reasons(connection, objects, run, steps)
        return document(run, steps, state_of(connection, run, now_us()), why)
