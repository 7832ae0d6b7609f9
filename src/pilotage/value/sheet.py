"""The sheet as a YAML file: written with every question in it, read strictly."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from itertools import groupby
from typing import Any, cast

import msgspec

from pilotage.kernel.documents import Fault, fault, read_document, read_struct, refuse
from pilotage.value.model import INPUTS, Case, Estimate, Input

__all__ = ["blank_sheet", "parse_sheet"]

MOST_YEARS = 15
_START = "name: What is decided here"

_HEAD = """# The business case of a system: `pilotage value case` computes what it comes to.
#
# Each input is three figures: the lowest and the highest that you would not be surprised by, and the likely one. Say
# where each comes from (`source`: a document, a meter), who stated it and when; those without a source and a date are
# shown as assumptions. Leave out what does not apply. Money that was spent already is no input: it is gone either way.
{name}
currency: EUR
years: 3
# The part of the adoption that is reached in each year; the last figure holds on.
ramp: [0.5, 0.9, 1.0]
# How a gain will be known to come from the system: "a/b test", "before and after with a control" or "not attributed".
attribution: not attributed
inputs:
"""


def blank_sheet(name: str, known: Mapping[str, Estimate] | None = None) -> str:
    """A sheet to be filled in: every input with its question and unit; `known` ones with their figures."""
    known = known or {}
    text = [_HEAD.format(name="name: " + msgspec.yaml.encode(name).decode().strip())]
    for part, inputs in groupby(INPUTS.values(), key=lambda each: each.part):
        text.append(f"  # ---- {part.lower()}\n")
        text += [_line(each, known.get(each.name)) for each in inputs]
    return "".join(text)


def _line(each: Input, known: Estimate | None) -> str:
    asked = f"  # {each.ask[0].upper()}{each.ask[1:]} ({each.unit})\n"
    if known is not None:
        figures = f"low: {known.low:g}, likely: {known.likely:g}, high: {known.high:g}"
        source = msgspec.json.encode(known.source).decode()
        return f"{asked}  {each.name}: {{{figures}, source: {source}, by: '', date: '{known.date}'}}\n"
    # What must be given is left open, so that nobody's guess of ours becomes a figure of theirs.
    body = "{low: , likely: , high: , source: '', by: '', date: ''}"
    return f"{asked}  {'' if each.default is None else '# '}{each.name}: {body}\n"


def parse_sheet(content: bytes, name: str) -> Case:
    """The case that a sheet states. Raises InputError with every fault of it, each with its mend."""
    document = read_document(content, name, _START)
    faults: list[Fault] = []
    inputs = document.get("inputs")
    found: dict[str, Estimate] = {}
    if isinstance(inputs, dict):
        found = _inputs(inputs, faults)
    elif "inputs" in document:
        faults.append(
            fault("inputs", "must be a mapping", got=type(inputs).__name__, mend="indent the inputs below it")
        )
    case = read_struct(Case, {**document, "inputs": {}} if "inputs" in document else document, "", faults)
    if isinstance(case, Case):
        faults += _meaning(case)
        case = msgspec.structs.replace(case, inputs=found)
    refuse(name, faults)
    return cast(Case, case)


def _inputs(given: Mapping[object, object], faults: list[Fault]) -> dict[str, Estimate]:
    found = {}
    for name, value in given.items():
        path = f"inputs.{name}"
        if name not in INPUTS:
            faults.append(fault(path, "is no known input", mend=f"use one of: {', '.join(INPUTS)}"))
            continue
        if isinstance(value, dict) and all(value.get(each) is None for each in ("low", "likely", "high")):
            faults.append(fault(path, "is not filled in", mend="give low, likely and high, or leave the input out"))
            continue
        dated = {key: _text_of(each) for key, each in value.items()} if isinstance(value, dict) else value
        read = read_struct(Estimate, dated, path, faults)
        if isinstance(read, Estimate):
            faults += _ranges(path, INPUTS[str(name)], read)
            found[str(name)] = read
    for name, each in INPUTS.items():
        if each.default is None and name not in given:
            faults.append(fault(f"inputs.{name}", "is missing", mend=f"say {each.ask} ({each.unit})"))
    return found


def _text_of(value: Any) -> Any:
    """YAML makes a date of `2026-03-01`."""
    return value.isoformat() if isinstance(value, datetime.date) else value


def _ranges(path: str, asked: Input, read: Estimate) -> list[Fault]:
    figures = (read.low, read.likely, read.high)
    if not all(map(math.isfinite, figures)) or not read.low <= read.likely <= read.high:
        shown = ", ".join(f"{each:g}" for each in figures)
        return [fault(path, "its figures are not in order", got=shown, mend="write low ≤ likely ≤ high")]
    if read.low < asked.least or read.high > asked.most:
        bounds = f"from {asked.least:g} to {asked.most:g}"
        return [
            fault(
                path,
                f"is out of range for a {asked.unit}",
                got=f"{read.low:g} to {read.high:g}",
                mend=f"write figures {bounds}",
            )
        ]
    return []


def _meaning(case: Case) -> list[Fault]:
    faults = []
    if not 1 <= case.years <= MOST_YEARS:
        faults.append(fault("years", "is no horizon", got=case.years, mend=f"write 1 to {MOST_YEARS}"))
    if not case.ramp or not all(0 <= each <= 1 for each in case.ramp):
        faults.append(
            fault("ramp", "must be shares of the adoption, year by year", got=case.ramp, mend="write [0.5, 1.0]")
        )
    if not case.name.strip() or not case.name.isprintable():
        faults.append(fault("name", "is no name", got=repr(case.name), mend="write a line of text"))
    if not case.currency.strip() or len(case.currency) > 8:
        faults.append(fault("currency", "is no currency", got=case.currency, mend="write a code such as EUR"))
    return faults
