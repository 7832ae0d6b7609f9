"""Why a run made something else than an earlier one: pure comparisons of what went in and what came out."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path

import msgspec

from pilotage.kernel.digests import short
from pilotage.workflows.model import StepRun

__all__ = ["Reason", "first_difference", "why_different"]

_PIECE = 1 << 20
_MOST_TEXT = 64 << 20
_SHOWN = 60


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a step differs; `what`: input, command, environment, seed, settings, added, removed, not_deterministic."""

    step: str
    what: str
    text: str


def why_different(
    before: Sequence[StepRun], now: Sequence[StepRun], difference: Callable[[str, str], str]
) -> list[Reason]:
    """The reasons, step by step in their order; none when the outputs of every step are the same.

    `difference` says how two objects differ, by their digests. A step that differs only because an earlier one does
    is told with that input, so the first reason is the cause of all.
    """
    known = {step.name: step for step in before}
    reasons: list[Reason] = []
    for step in now:
        earlier = known.pop(step.name, None)
        if earlier is None:
            reasons.append(Reason(step=step.name, what="added", text="the earlier run had no such step"))
        elif step.done and earlier.done and step.outputs != earlier.outputs:
            reasons += _step(earlier, step, difference)
    gone = [Reason(step=name, what="removed", text="only the earlier run had this step") for name in known]
    return [*reasons, *gone]


def _step(before: StepRun, now: StepRun, difference: Callable[[str, str], str]) -> list[Reason]:
    def reason(what: str, text: str) -> Reason:
        return Reason(step=now.name, what=what, text=text)

    one, other = before.made, now.made
    reasons = []
    inputs = one.get("inputs", {}), other.get("inputs", {})
    for path in sorted({*inputs[0], *inputs[1]}):
        was, is_ = inputs[0].get(path), inputs[1].get(path)
        if was is None or is_ is None:
            reasons.append(reason("input", f"{path} {'is new' if was is None else 'is gone'}"))
        elif was != is_:
            reasons.append(reason("input", f"{path} differs: {difference(was, is_)}"))
    for field, what in (("run", "command"), ("environment", "environment"), ("seed", "seed")):
        if one.get(field) != other.get(field):
            shown = f": {one.get(field)} then, {other.get(field)} now" if field == "seed" else ""
            reasons.append(reason(what, f"its {what} is another{shown}"))
    rest = [f for f in ("do", "env", "outputs", "secrets", "epoch", "network") if one.get(f) != other.get(f)]
    if rest:
        reasons.append(reason("settings", f"other settings: {', '.join(rest)}"))
    if not reasons:
        differ = "; ".join(
            f"{path}: {difference(before.outputs[path], name)}"
            for path, name in sorted(now.outputs.items())
            if before.outputs.get(path) not in (None, name)
        )
        network = " (it may use the network)" if other.get("network") else ""
        text = f"the command is not deterministic{network}: same inputs, other bytes: {differ}"
        reasons.append(reason("not_deterministic", text))
    return reasons


def first_difference(one: Path, other: Path) -> str:
    """Where two files differ first: row and column of a table in text (also .gz), else the byte."""
    if not (one.is_file() and other.is_file()):
        return f"{short(one.name)} and {short(other.name)}; the bytes of one are not kept any more"
    return _cells(one, other) or _bytes(one, other)


def _bytes(one: Path, other: Path) -> str:
    at = 0
    with one.open("rb") as first, other.open("rb") as second:
        while True:
            pieces = first.read(_PIECE), second.read(_PIECE)
            if pieces[0] != pieces[1]:
                same = next((i for i, (a, b) in enumerate(zip(*pieces, strict=False)) if a != b), min(map(len, pieces)))
                sizes = f"{one.stat().st_size:,} and {other.stat().st_size:,} bytes"
                return f"from byte {at + same:,} on ({sizes})"
            if not pieces[0]:
                return "the same bytes"
            at += len(pieces[0])


def _cells(one: Path, other: Path) -> str:
    """Row and column of the first cell that differs; empty when they are no tables in text."""
    texts = [_text(one), _text(other)]
    if any("," not in text.partition("\n")[0] or "\x00" in text for text in texts):
        return ""
    try:
        tables = [csv.reader(io.StringIO(text)) for text in texts]
        header: list[str] = []
        for at, (a, b) in enumerate(zip_longest(*tables)):
            if a is None or b is None:
                return f"row {at} is only in {'the later' if a is None else 'the earlier'} one"
            if at == 0:
                header = b
            if a != b:
                column = next((i for i, (x, y) in enumerate(zip_longest(a, b)) if x != y), 0)
                name = header[column] if column < len(header) else f"column {column + 1}"
                return f"row {at}, {name[:_SHOWN]}" if at else f"the header, {name[:_SHOWN]}"
    except csv.Error:
        return ""
    return ""


def _text(path: Path) -> str:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            content = file.read(_MOST_TEXT + 1)
    except (OSError, EOFError):
        return ""
    try:
        return content.decode() if len(content) <= _MOST_TEXT else ""
    except UnicodeDecodeError:
        return ""
