"""Backtests by API: start one, list them, read one. What the command does, within the limits of a request."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import msgspec

from pilotage.access.model import Person
from pilotage.errors import Conflict, InputError
from pilotage.evidence.model import Evidence
from pilotage.evidence.store import for_check
from pilotage.ledger.outcomes import Outcomes
from pilotage.ledger.queries import DecisionFilter
from pilotage.releases.store import find_release, list_releases
from pilotage.replay.backtest import Limits
from pilotage.replay.backtesting import CHECK, backtest, find_backtest, keep_backtest
from pilotage.replay.window import Window, parse_window
from pilotage.storage.database import reading
from pilotage.web.bodies import StartBacktest
from pilotage.web.filters import page_of
from pilotage.wiring.installation import Installation

__all__ = ["list_backtests", "read_backtest", "start_backtest"]

_MOST = 5_000
_MOST_LISTED = 1_000
_running = threading.Lock()
"""Of each console process: a backtest takes a core, and the console has other work."""


def list_backtests(installation: Installation, query: Mapping[str, str]) -> list[dict[str, Any]]:
    """The newest, without their segments; `system` and `limit` may be given."""
    limit, _ = page_of(query, limit=100, most=_MOST_LISTED)
    with reading(installation.control) as connection:
        found = for_check(connection, CHECK, limit=limit)
        names = {each.digest: each.name for each in list_releases(connection)}
    system = query.get("system", "")
    return [
        {**_head(each), "release": names.get(each.subject, "")}
        for each in found
        if not system or names.get(each.subject, "").partition("@")[0] == system
    ]


def read_backtest(installation: Installation, id_: str) -> dict[str, Any]:
    """One of them, whole. Raises NotFound, IntegrityError."""
    evidence, found = find_backtest(installation.control, installation.objects, id_)
    return {**_head(evidence), "report": msgspec.to_builtins(found)}


def start_backtest(installation: Installation, person: Person, ask: StartBacktest) -> dict[str, Any]:
    """Run it now, keep it as evidence, return it. Raises InputError, NotFound, Conflict while another one runs."""
    _check(ask)
    with reading(installation.control) as connection:
        candidate = find_release(connection, ask.release).digest
    since, until = parse_window(ask.window) if ask.window else (None, None)
    window = Window(wanted=DecisionFilter(since=since, until=until), last=ask.last, sample=ask.sample)
    if not _running.acquire(blocking=False):
        raise Conflict("a backtest is running already", code="backtest_running", mend="wait for it, then ask again")
    try:
        found = backtest(
            installation.ledger(),
            installation.releases,
            candidate,
            window,
            limits=Limits(max_flips=ask.max_flips, max_new_faults=ask.max_new_faults),
            outcomes=Outcomes(installation.ledger_engine),
            costs=_costs(ask.costs, ">"),
            outcome_costs=_costs(ask.outcome_costs, "/"),
        )
    finally:
        _running.release()
    evidence = keep_backtest(installation.control, installation.objects, found, person.id)
    return {**_head(evidence), "report": msgspec.to_builtins(found)}


def _check(ask: StartBacktest) -> None:
    faults: list[dict[str, object]] = [
        {"path": name, "code": "unreadable", "message": f"this is {least} to {most}", "got": value}
        for name, value, least, most in (
            ("last", ask.last, 1, _MOST),
            ("sample", ask.sample, 1, _MOST),
            ("max_flips", ask.max_flips, 0, 1),
            ("max_new_faults", ask.max_new_faults, 0, 1),
        )
        if value is not None and not least <= value <= most
    ]
    if faults:
        mend = "mend them; a longer window is for `pilotage decisions replay --release`"
        raise InputError("the backtest cannot be run", mend=mend, faults=faults)


def _costs(given: Mapping[str, float], between: str) -> dict[tuple[str, str], float]:
    costs = {}
    for name, cost in given.items():
        one, found, other = name.partition(between)
        if not (one and found and other):
            raise InputError(
                "a cost is of two names", got=name[:80], expected=f"ONE{between}OTHER", mend="name them so"
            )
        costs[one.strip(), other.strip()] = cost
    return costs


def _head(evidence: Evidence) -> dict[str, Any]:
    return {
        "id": evidence.id,
        "candidate": evidence.subject,
        "passed": evidence.passed,
        "collected": evidence.collected,
        "expires": evidence.expires,
        "figures": evidence.figures,
    }
