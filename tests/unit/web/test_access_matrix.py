"""Every route of console, API and log, for every role and for nobody: who may not is refused, who may is not.

Made from the application's own table of routes: one that nobody has given a permission here, or in the reference of the
API, fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Mount, Route

from pilotage.access.model import PERMISSIONS, ROLES
from pilotage.web.console.app import create_app
from tests.console.client import TestClient
from tests.console.world import ConsoleWorld, make_console_world

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "api.md"
OPEN = {
    ("GET", "/"),
    ("GET", "/live"),
    ("GET", "/ready"),
    ("GET", "/sign-in"),
    ("POST", "/sign-in"),
    ("GET", "/sign-in/link"),
    ("POST", "/sign-in/link"),
    ("GET", "/sign-in/with/{issuer}"),
    ("GET", "/sign-in/back/{issuer}"),
    ("POST", "/sign-out"),
}
"""What needs nobody: it shows nothing, or is the way in and out."""

PAGES = {
    ("GET", "/systems"): "system.read",
    ("GET", "/systems/{system}"): "system.read",
    ("GET", "/systems/{system}/live"): "system.read",
    ("GET", "/systems/{system}/at"): "decision.read",
    ("GET", "/systems/{system}/readiness"): "evidence.read",
    ("GET", "/systems/{system}/readiness/report"): "evidence.read",
    ("GET", "/systems/{system}/interview"): "evidence.read",
    ("POST", "/systems/{system}/interview"): "interview.answer",
    ("POST", "/systems/{system}/interview/draft"): "interview.answer",
    ("POST", "/systems/{system}/interview/confirm"): "interview.confirm",
    ("GET", "/decisions"): "decision.read",
    ("GET", "/exports/decisions"): "decision.read",
    ("GET", "/traces/{id}"): "decision.read",
    ("GET", "/decisions/{id}"): "decision.read",
    ("GET", "/decisions/{id}/proof"): "decision.read",
    ("GET", "/decisions/{id}/record"): "decision.read",
    ("POST", "/decisions/{id}/replay"): "decision.read",
    ("POST", "/decisions/{id}/explain"): "decision.read_payload",
    ("GET", "/releases/{ref}"): "evidence.read",
    ("GET", "/releases/{ref}/diff"): "evidence.read",
    ("GET", "/releases/{ref}/contract"): "evidence.read",
    ("GET", "/releases/{ref}/contract/dictionary.html"): "evidence.read",
    ("GET", "/releases/{ref}/{file}"): "evidence.read",
    ("GET", "/releases/{ref}/papers/{file}"): "evidence.read",
    ("GET", "/backtests"): "evidence.read",
    ("GET", "/backtests/{id}"): "evidence.read",
    ("GET", "/pipelines"): "system.read",
    ("GET", "/pipelines/{id}"): "system.read",
    ("GET", "/nodes"): "system.read",
    ("GET", "/metrics"): "system.read",
    ("GET", "/access"): "system.read",
    ("POST", "/access/keys"): "key.issue",
    ("POST", "/access/keys/rotate"): "key.issue",
    ("POST", "/access/keys/revoke"): "key.revoke",
    ("POST", "/access/limits"): "limit.edit",
    ("POST", "/access/limits/remove"): "limit.edit",
    ("POST", "/access/suspend"): "issuer.edit",
    ("POST", "/access/resume"): "issuer.edit",
    ("POST", "/systems/{system}/stop"): "system.stop",
    ("POST", "/systems/{system}/start"): "system.start",
    ("GET", "/retention"): "retention.read",
    ("GET", "/erasure"): "retention.read",
    ("POST", "/retention/set"): "retention.set",
    ("POST", "/retention/enforce"): "retention.enforce",
    ("POST", "/erasure"): "subject.erase",
    ("POST", "/erasure/holds"): "hold.edit",
    ("POST", "/erasure/holds/release"): "hold.edit",
}
"""The permission of each page; those of API and log are in the reference."""


def written() -> dict[tuple[str, str], str]:
    """(method, path) to permission, from the reference, which other tests hold to the source."""
    rows = re.findall(r"^\| `(GET|POST) (/(?:api/v1|log)/\S*)` \| ([a-z_.]+)", PAGE.read_text(), flags=re.MULTILINE)
    return {(method, path): permission for method, path, permission in rows}


def routes(world: ConsoleWorld) -> Iterator[tuple[str, str]]:
    app: Any = create_app(world.installation)
    for route in app.app.routes:
        if isinstance(route, Mount):
            assert route.path == "/static", "what is mounted has no permissions"
            continue
        assert isinstance(route, Route)
        for method in sorted((route.methods or {"GET"}) - {"HEAD"}):
            yield method, re.sub(r":\w+\}", "}", route.path)


def ask(client: TestClient, method: str, path: str, token: str = "") -> int:
    address = re.sub(r"\{\w+\}", "none", path)
    headers = {"authorization": f"Bearer {token}"} if token else {}
    content = b"{}" if method == "POST" and path.startswith(("/api/", "/log/")) else b""
    return int(client.request(method, address, headers=headers, content=content).status_code)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleWorld]:
    """One of its own: who may is let do it, such as enforce retention, which takes the steward's lease."""
    made = make_console_world(tmp_path_factory.mktemp("matrix"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def tokens(world: ConsoleWorld) -> dict[str, str]:
    return {role: world.token(role) for role in ROLES}


def test_every_route_has_a_permission_or_is_open_and_no_name_is_left_over(world: ConsoleWorld) -> None:
    found, known = set(routes(world)), OPEN | set(PAGES) | set(written())
    assert len(found) > 50, "the table is seen"
    assert found - known == set(), "say in PAGES, or in docs/reference/api.md, who may"
    assert known - found == set()
    permissions = {*PAGES.values(), *written().values()}
    assert permissions <= set().union(*PERMISSIONS.values())


def test_nobody_gets_in_anywhere_else(world: ConsoleWorld, client: TestClient) -> None:
    wrong = {}
    for method, path in routes(world):
        for token in ("", "pt_" + "0" * 16 + "_" + "a" * 43):
            status = ask(client, method, path, token)
            if (method, path) not in OPEN and status not in (401, 403):
                wrong[method, path, token[:2]] = status
    # A write without any token has no origin either: it is refused as cross-site before anybody is looked for.
    assert wrong == {}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_gets_what_its_permissions_say_and_nothing_else(
    world: ConsoleWorld, client: TestClient, tokens: dict[str, str], role: str
) -> None:
    wrong, allowed = {}, PERMISSIONS[role]
    for (method, path), permission in (PAGES | written()).items():
        status = ask(client, method, path, tokens[role])
        if (status == 403) != (permission not in allowed) or status in (401, 500):
            wrong[method, path] = (permission, status)
    assert wrong == {}
