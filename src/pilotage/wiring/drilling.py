"""The ground of a drill on this installation: its gateway, its workers, and rows to ask."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pilotage.drills.probing import Prober
from pilotage.drills.service import Ground
from pilotage.errors import InputError, NotFound
from pilotage.gateway.describe import example_row
from pilotage.releases.load import open_release
from pilotage.rollout.service import live
from pilotage.wiring.endpoints import endpoints, own_context
from pilotage.wiring.installation import Installation
from pilotage.wiring.workers import await_workers, workers_of

__all__ = ["drill_ground"]


def drill_ground(installation: Installation, system: str, rows: Path | None, *, per_second: float) -> Ground:
    """What a drill of a system is made on. `rows` is a file of JSON objects, one a line; None: the contract's example.

    Raises Unavailable when nothing runs here, NotFound when nothing is live, InputError for rows that are none.
    """
    address = endpoints(installation.home.run)["gateway"]
    given = _example(installation, system) if rows is None else _read(rows)
    asking = partial(_prober, address, system, per_second)
    return Ground(rollout=installation.rollout, prober=asking, follow=partial(_follow, installation), rows=given)


def _prober(address: str, system: str, per_second: float, key: str, rows: Sequence[Mapping[str, Any]]) -> Prober:
    return Prober(address, system, key, rows, context=own_context(address), per_second=per_second)


def _follow(installation: Installation, version: int, seconds: float) -> tuple[int, int, int]:
    home = installation.home
    followed, workers = await_workers(
        home, lambda each: each.state == "ready" and each.plan >= version, seconds, least=1
    )
    return followed, workers, max((each.at for each in workers_of(home) if each.plan >= version), default=0)


def _example(installation: Installation, system: str) -> list[dict[str, Any]]:
    found = live(installation.control, system)
    if found is None:
        raise NotFound(f"{system} has no live release", mend="promote one, then drill")
    return [example_row(open_release(installation.releases, found.release).contract.inputs)]


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        expected = "one JSON object a line"
        raise InputError("the rows cannot be read", got=error, expected=expected, mend="mend the file") from error
    if not rows or not all(isinstance(each, dict) for each in rows):
        raise InputError("the file has no rows", got=path, expected="one JSON object a line", mend="name another file")
    return rows
