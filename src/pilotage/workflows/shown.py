"""What people see of a run: its state, why it differs from an earlier one, the end of a log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from pilotage.errors import PilotageError
from pilotage.storage.objects import Objects
from pilotage.workflows.compare import Reason, first_difference, why_different
from pilotage.workflows.model import Run, StepRun
from pilotage.workflows.store import find_run, held_by, list_runs, steps_of

__all__ = ["Why", "document", "log_tail", "reasons", "state_of"]

_LOOKED_AT = 50


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """How a run compares to an earlier one, `run` (empty: there is none): no reasons means the same digests."""

    run: str = ""
    reasons: list[Reason] = []


def state_of(connection: Connection, run: Run, now: int) -> str:
    """The state as it is: a run that says it is running while nobody works on it was `interrupted`."""
    return run.state if run.state != "running" or held_by(connection, run.system, now) == run.id else "interrupted"


def reasons(connection: Connection, objects: Objects, run: Run, steps: Sequence[StepRun], against: str = "") -> Why:
    """Why a run differs from the named one, or else, if it succeeded, from the newest before it that did.

    Raises NotFound.
    """
    if run.state != "succeeded" and not against:
        return Why()
    if against:
        earlier: Run | None = find_run(connection, against)
    else:
        before = list_runs(connection, run.system, limit=_LOOKED_AT, state="succeeded")
        earlier = next((each for each in before if each.started < run.started), None)
    if earlier is None:
        return Why()

    def difference(one: str, other: str) -> str:
        return first_difference(objects.path(one), objects.path(other))

    return Why(run=earlier.id, reasons=why_different(steps_of(connection, earlier.id), steps, difference))


def log_tail(objects: Objects, step: StepRun) -> str:
    """The end of what a step printed, at most 128 KiB, control characters made visible; empty when none is kept."""
    try:
        text = objects.get(step.log).decode("utf-8", "replace") if step.log else ""
    except PilotageError:
        return ""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text.replace("\r\n", "\n"))


def document(run: Run, steps: Sequence[StepRun], state: str, why: Why) -> dict[str, Any]:
    """A run as one JSON value."""
    return {
        **msgspec.to_builtins(run),
        "state": state,
        "steps": [msgspec.to_builtins(step) for step in steps],
        "compared": msgspec.to_builtins(why),
    }
