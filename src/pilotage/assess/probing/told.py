"""What a boxed probe told: read with care, since whatever ran in the box could write it."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from pilotage.assess.folder import Folder
from pilotage.assess.model import Finding
from pilotage.assess.reading import shown
from pilotage.contracts.guessing import Guessed
from pilotage.sandbox.model import BoxResult

__all__ = ["Step", "Told", "read_told"]

_MAX_LINES, _MAX_LINE, _MAX_TEXT, _MAX_FINDINGS, _MAX_DEPTH = 500, 1 << 20, 300, 20, 6


class Place(msgspec.Struct, frozen=True, kw_only=True):
    message: str
    file: str = ""
    line: int = 0
    mend: str = ""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One result: what it says of a criterion, from 0 to 1, with figures and places in the pilot's files."""

    criterion: str
    level: float
    summary: str
    figures: dict[str, Any] = {}
    findings: list[Finding] = []


class _Raw(msgspec.Struct, kw_only=True):
    criterion: str
    level: float
    summary: str
    figures: dict[str, Any] = {}
    findings: list[Place] = []


@dataclass(frozen=True, kw_only=True)
class Told:
    """`done` names the steps that were finished, in order; `skipped` what stayed unknown, and why.

    `draft` is the contract that the data suggests; None where none was made.
    """

    steps: list[Step] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    draft: Guessed | None = None


def read_told(result: BoxResult, folder: Folder, allowed: Collection[str], what: str) -> Told:
    """The results of one box. One for a criterion that this probe does not feed is not taken: the pilot wrote it."""
    told, draft = Told(), None
    for line in result.stdout.splitlines()[:_MAX_LINES]:
        if len(line) > _MAX_LINE:
            told.skipped.append(f"{what} told something of over {_MAX_LINE >> 10} KiB, which was not taken")
            continue
        try:
            entry = json.loads(line, parse_constant=lambda _: None)
            if not isinstance(entry, dict):
                continue
            if "criterion" in entry:
                _take(told, msgspec.convert(entry, _Raw), folder, allowed)
            elif "unknown" in entry:
                told.skipped.append(f"not probed: {_short(entry['unknown'])}: {_short(entry.get('why', ''))}")
            elif "draft" in entry:
                draft = msgspec.convert(entry["draft"], Guessed)
            elif "done" in entry:
                told.done.append(_short(entry["done"]))
        except (ValueError, RecursionError):  # msgspec's ValidationError is a ValueError
            continue
    if not result.ok:
        why = result.killed_reason or f"status {result.returncode}"
        last = result.stderr.decode(errors="replace").strip().splitlines()[-1:]
        after = told.done[-1] if told.done else "its start"
        told.skipped.append(f"{what} ended early after {after} ({why}) {_short(' '.join(last))}".strip())
    return replace(told, draft=draft)


def _take(told: Told, raw: _Raw, folder: Folder, allowed: Collection[str]) -> None:
    if raw.criterion not in allowed or any(each.criterion == raw.criterion for each in told.steps):
        return
    told.steps.append(
        Step(
            criterion=raw.criterion,
            level=min(1.0, max(0.0, raw.level)),
            summary=_short(raw.summary),
            figures=_plain(raw.figures, 0),
            findings=[_placed(each, folder) for each in raw.findings[:_MAX_FINDINGS]],
        )
    )


def _placed(place: Place, folder: Folder) -> Finding:
    """A place that the box names is believed only where the folder has that file and line."""
    text = folder.text(place.file) if place.file in folder.files else None
    line = place.line if text and 0 < place.line <= len(text.lines) else 0
    return Finding(
        file=shown(place.file) if place.file in folder.files else ".",
        line=line,
        message=_short(place.message),
        mend=_short(place.mend),
        digest=text.line_digest(line) if text else "",
    )


def _short(text: object) -> str:
    plain = shown(str(text))
    return plain if len(plain) <= _MAX_TEXT else plain[:_MAX_TEXT] + "…"


def _plain(value: Any, depth: int) -> Any:
    """JSON values whose texts can be printed, bounded in depth and length."""
    if isinstance(value, str):
        return _short(value)
    if depth > _MAX_DEPTH:
        return None
    if isinstance(value, dict):
        return {_short(key): _plain(item, depth + 1) for key, item in list(value.items())[:_MAX_TEXT]}
    if isinstance(value, list):
        return [_plain(item, depth + 1) for item in value[:_MAX_TEXT]]
    return value
