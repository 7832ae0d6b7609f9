"""One governed home for the tests of API and pages, and clients of its application."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pilotage.web.console.app import create_app
from tests.console.client import TestClient
from tests.console.world import ConsoleWorld, make_console_world


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleWorld]:
    made = make_console_world(tmp_path_factory.mktemp("console"))
    made.assess()
    made.seal([*made.answered(30), *made.rejected(2)])
    yield made
    made.close()


@pytest.fixture
def client(world: ConsoleWorld) -> Iterator[TestClient]:
    """Nobody in particular, who follows no redirect."""
    with TestClient(create_app(world.installation), follow_redirects=False, raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def auditor(world: ConsoleWorld, client: TestClient) -> TestClient:
    """The auditor by token."""
    client.headers["authorization"] = f"Bearer {world.token('auditor')}"
    return client
