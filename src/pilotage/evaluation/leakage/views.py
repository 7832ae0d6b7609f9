"""The ways in which one column may carry the answer: by its value, its gap, its form, its group, its step."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from pilotage.evaluation.leakage.cells import number_cells
from pilotage.evaluation.leakage.table import Codes, Field, Floats, moments

__all__ = ["FEW", "STATES", "View", "views"]

FEW = 64
"""Up to so many distinct values are read as they are."""
STATES = 20
"""More words than this are names, and their form is looked at."""
GROUP_ROWS = 3
_PARTS = re.compile(r"[^0-9A-Za-z]+")
_MOST_PARTS = 6


class View(NamedTuple):
    """One way to read a column: what it is called, in words, and its cells."""

    name: str
    said: str
    cells: Codes


def views(field: Field, before: Codes) -> Iterator[View]:
    """Every way to read a column that may tell something. `before` is the place of the row before, -1 for none."""
    missing = field.missing
    numbers = field.numbers
    yield View("value", "its value", number_cells(numbers) if numbers is not None else field.levels)
    if missing.any() and not missing.all():
        yield View("missing", "whether it is there", missing.astype(np.int64))
    distinct = int(field.levels.max()) + 1 if len(field.levels) else 0
    if distinct <= (FEW if numbers is not None else STATES):
        return
    if numbers is not None:
        if distinct * GROUP_ROWS <= len(numbers):
            yield View("group", "which of its many values it is", field.levels)
        yield from _number_forms(numbers)
        yield View("step", "its difference from the row before", number_cells(_steps(numbers, before)))
        return
    for name, said, form in _text_forms(field):
        yield View(name, said, form)
    if (seconds := moments(field)) is not None:
        yield View("moment", "its place in time", number_cells(seconds))


def _steps(numbers: Floats, before: Codes) -> Floats:
    steps = numbers - numbers[before]
    steps[before < 0] = np.nan
    return steps


def _number_forms(numbers: Floats) -> Iterator[View]:
    known = ~np.isnan(numbers)
    whole = np.where(known, numbers, 0.0)
    if (np.mod(whole, 1) == 0).all():
        for size, said in ((2, "whether it is even"), (10, "its last digit"), (100, "its last two digits")):
            yield View("form", said, np.where(known, np.mod(whole, size) + 1, 0).astype(np.int64))
        return
    decimals = np.full(len(numbers), 9, dtype=np.int64)
    for places in range(8, -1, -1):
        scaled = whole * 10.0**places
        fits = np.abs(scaled - np.round(scaled)) <= 1e-9 * np.maximum(1.0, np.abs(scaled))
        decimals[fits] = places
    yield View("form", "how many decimals it has", np.where(known, decimals + 1, 0))


def _text_forms(field: Field) -> Iterator[tuple[str, str, Codes]]:
    """The forms of text of many distinct values: how it begins and ends, how long it is, its parts, its digits."""
    labels = field.labels
    forms: list[tuple[str, Callable[[str], str]]] = [
        ("its first character", lambda text: text[:1]),
        ("its last character", lambda text: text[-1:]),
        ("its last two characters", lambda text: text[-2:]),
        ("its length", lambda text: str(len(text))),
        ("the case of its letters", lambda text: f"{text.isupper()}{text.islower()}{text.istitle()}"),
        ("the spaces around it", lambda text: f"{text[:1].isspace()}{text[-1:].isspace()}"),
    ]
    parts = [[part for part in _PARTS.split(label) if part][:_MOST_PARTS] for label in labels]
    for at in range(max(map(len, parts), default=0)):
        yield "form", f"part {at + 1} of it", _coded(field, [part[at] if at < len(part) else "" for part in parts])
    yield "form", "its last part", _coded(field, [part[-1] if part else "" for part in parts])
    for said, form in forms:
        yield "form", said, _coded(field, [form(label) for label in labels])
    digits = [re.sub(r"\D", "", label)[:15] for label in labels]
    order = np.array([float(each) if each else np.nan for each in [*digits, ""]])[field.codes]
    yield "form", "the number in it", number_cells(order)


def _coded(field: Field, forms: list[str]) -> Codes:
    places: dict[str, int] = {}
    codes = np.array([*(places.setdefault(form, len(places)) for form in forms), -1], dtype=np.int64)
    return codes[field.codes] + 1
