"""A contract as a file that a person edits: ODCS YAML in a stable order, with comments that say what to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pilotage.contracts.model import DataContract
from pilotage.contracts.odcs import to_odcs

__all__ = ["to_file"]

_HEAD = """\
# Data contract {name}, in the Open Data Contract Standard (ODCS). Edit it like code, then name it in pilotage.yaml:
#   contract: <this file>
# {source}
# Lines that say CONFIRM were guessed. What each word means: docs/how-to/contract.md.
#
# A column may further have:
#   unique: true                                                  no value comes twice in a file
#   customProperties:
#     - {{property: unit, value: EUR}}                              what a number counts
#     - {{property: format, value: date}}                           or datetime, email, uuid
#     - {{property: protected, value: true}}                        decisions must not turn on it
#     - {{property: purposes, value: [credit-risk]}}                it may be used for these only
#     - {{property: on_fault, value: {{wrong_type: repair}}}}       reject (default), repair, review, fallback
#     - {{property: impute, value: 0}}                              what repairs a fault
# and the table: quality rules over several columns, keys of several columns, and `slaProperties: freshness`.
"""


def to_file(contract: DataContract, notes: Mapping[str, Sequence[str]], source: str) -> str:
    """The contract as text; `notes` are said above their columns, `source` at the head. It reads back as the same."""
    lines, places = [], iter(contract.columns)
    inside = False
    for line in to_odcs(contract).splitlines():
        if line == "  properties:":
            inside = True
        elif inside and not line.startswith("  "):
            inside = False
        elif inside and line.startswith("  - "):
            column = next(places, None)
            lines += [f"  # {_plain(note)}" for note in notes.get(column.name if column else "", ())]
        elif inside and line.startswith("  ") and line[2] not in " -":
            inside = False
        lines.append(line)
    return _HEAD.format(name=_plain(contract.name), source=_plain(source)) + "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """One line: a comment ends with its line."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
