"""The options that choose decisions: the same names and meanings as the API's parameters and the console's form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import click

from pilotage.ledger.queries import DecisionFilter
from pilotage.web.exports import look_ups
from pilotage.web.filters import FIELDS, decision_filter
from pilotage.wiring.installation import Installation

__all__ = ["filter_options", "wanted_decisions"]

_NUMBERS = frozenset({"score_min", "score_max"})


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command an option for each filter, and `--since-us`."""
    command = click.option("--since-us", type=int, help="Since, in Unix microseconds.")(command)
    for field in reversed(FIELDS):
        kind = click.Choice(field.choices) if field.choices else float if field.name in _NUMBERS else str
        option = click.option(f"--{field.name.replace('_', '-')}", field.name, type=kind, help=field.help)
        command = option(command)
    return command


def wanted_decisions(installation: Installation, given: Mapping[str, Any]) -> DecisionFilter:
    """The filter that the options describe. Raises InputError with every fault."""
    texts = {field.name: str(given[field.name]) for field in FIELDS if given[field.name] is not None}
    wanted = decision_filter(texts, look_ups(installation))
    if given["since_us"] is not None and wanted.since is None:
        return replace(wanted, since=given["since_us"])
    return wanted
