"""What every test may use: shared builders under `tests.`, and a private PostgreSQL."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytest
from hypothesis import HealthCheck, settings

from tests.postgres import fresh_postgres, postgres_server, postgres_url

__all__ = ["fresh_postgres", "postgres_server", "postgres_url"]

# How fast inputs are made is the machine's matter: other work beside it must not fail what is tested.
_USUAL = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
# The same examples in every run, so that a change is judged by what it changed. New ones are looked for on purpose:
# `make test ARGS="-m hypothesis --hypothesis-profile search"`.
settings.register_profile("pilotage", _USUAL, derandomize=True, database=None)
settings.register_profile("search", _USUAL, max_examples=1000, database=None)
settings.load_profile("pilotage")

_LEDGER = Path(__file__).parent / "unit" / "ledger"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The rules of the ledger run on SQLite by default; the same tests on PostgreSQL run with the slow ones."""
    for item in items:
        if _LEDGER in item.path.parents and item.get_closest_marker("postgres"):
            item.add_marker(pytest.mark.slow)
