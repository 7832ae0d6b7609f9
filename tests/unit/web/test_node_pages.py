"""The page of nodes and the figures of their lag, for whoever may read systems."""

from __future__ import annotations

from pilotage.kernel.clock import now_us
from pilotage.nodes.model import Node
from pilotage.nodes.store import nodes_table, save_node
from pilotage.storage.database import writing
from tests.console.client import TestClient
from tests.console.world import ConsoleWorld


def test_lag_is_shown_and_exported(world: ConsoleWorld, auditor: TestClient) -> None:
    behind = now_us() - 90_000_000
    facts = {"certificate": "", "invited": 1, "caught_up": behind}
    with writing(world.installation.control) as connection:
        away = Node(name="branch-7", address="https://b7:8702", lag_bytes=5_000, fault="<b>away</b>\nmore", **facts)
        save_node(connection, away)
        save_node(connection, Node(name="truck", address="", **facts))
    try:
        page = auditor.get("/nodes", headers={"accept": "text/html"})
        assert page.status_code == 200 and "branch-7" in page.text and "&lt;b&gt;away" in page.text
        assert "edge: by hand" in page.text
        lines = auditor.get("/metrics").text.splitlines()
        (seconds,) = (line for line in lines if line.startswith("pilotage_journal_pull_lag_seconds{"))
        assert 'node="branch-7"' in seconds and 90 <= float(seconds.split()[-1]) < 200
        assert 'pilotage_journal_pull_lag_bytes{node="branch-7"} 5000.0' in lines
    finally:
        with writing(world.installation.control) as connection:
            connection.execute(nodes_table.delete())


def test_nobody_else_reads_them(client: TestClient) -> None:
    assert client.get("/metrics").status_code in (401, 303)
