"""Signing in to the console at an issuer: the code flow with PKCE, state and nonce; what is not ours is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pilotage.access.issuers import Grant, Issuer
from pilotage.web.console.app import create_app
from tests.console.client import TestClient
from tests.console.world import ConsoleWorld, make_console_world
from tests.issuer_twin import AUDIENCE, IssuerTwin, b64, issuer_twin

CONSOLE = "https://console.example"
GRANT = Grant(claim="groups", value="auditors", right="role:auditor")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleWorld]:
    made = make_console_world(tmp_path_factory.mktemp("sign-in"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def twin(world: ConsoleWorld) -> Iterator[IssuerTwin]:
    with issuer_twin() as made:
        made.document |= {"authorization_endpoint": f"{made.url}/authorize", "token_endpoint": f"{made.url}/token"}
        yield made


@pytest.fixture
def browser(world: ConsoleWorld, twin: IssuerTwin) -> Iterator[TestClient]:
    facts: dict[str, Any] = {"issuer": twin.url, "audiences": (AUDIENCE,), "grants": (GRANT,)}
    issuer = Issuer(name="corp", client="console", console=CONSOLE, **facts)
    world.installation.rollout.add_issuer(world.governed.admin, issuer, replace=True)
    with TestClient(create_app(world.installation), CONSOLE, follow_redirects=False) as made:
        yield made


def go(browser: TestClient) -> dict[str, str]:
    """Begin; what the issuer was asked."""
    away = browser.get("/sign-in/with/corp")
    assert away.status_code == 303, away.text
    cookie = away.headers["set-cookie"].lower()
    assert all(word in cookie for word in ("httponly", "secure", "samesite=lax", "path=/sign-in", "max-age=600"))
    return {name: value for name, (value,) in parse_qs(urlsplit(away.headers["location"]).query).items()}


def signs_in(twin: IssuerTwin, asked: dict[str, str], **changes: Any) -> None:
    """Let the issuer give an ID token for the code, when it is redeemed by whoever has the verifier."""

    def redeem(content: bytes, _headers: Any) -> tuple[int, Any]:
        form = {name: value for name, (value,) in parse_qs(content.decode()).items()}
        challenge = b64(hashlib.sha256(form["code_verifier"].encode()).digest())
        fits = challenge == asked["code_challenge"] and form["redirect_uri"] == asked["redirect_uri"]
        if not fits or form["code"] != "good" or form["client_id"] != "console":
            return 400, {"error": "invalid_grant"}
        facts = {"aud": "console", "nonce": asked["nonce"], "sub": "u-1", "groups": ["auditors"]} | changes
        return 200, {
            "id_token": twin.token(header={"typ": "JWT"}, **facts),
            "access_token": "x",
            "token_type": "Bearer",
        }

    twin.answers["/token"] = redeem


def back(browser: TestClient, **query: str) -> Any:
    return browser.get("/sign-in/back/corp", params=query)


def test_who_the_issuer_signed_in_has_a_session_and_signs_out(browser: TestClient, twin: IssuerTwin) -> None:
    assert "Sign in with corp" in browser.get("/sign-in").text
    asked = go(browser)
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == f"{CONSOLE}/sign-in/back/corp"
    signs_in(twin, asked)
    done = back(browser, code="good", state=asked["state"], iss=twin.url)
    assert done.status_code == 200, done.text
    assert "samesite=strict" in done.headers["set-cookie"].lower()
    assert browser.get("/systems").status_code == 200
    assert browser.get("/retention").status_code == 200, "an auditor may"
    again = back(browser, code="good", state=asked["state"])
    assert again.status_code == 401, "the attempt is over"
    browser.post("/sign-out", headers={"sec-fetch-site": "same-origin"})
    assert browser.get("/systems", headers={"accept": "text/html"}).status_code == 303


@pytest.mark.parametrize(
    ("query", "claims"),
    [
        ({"state": "another"}, {}),
        ({"state": ""}, {}),
        ({"code": "stolen"}, {}),
        ({"code": ""}, {}),
        ({"error": "access_denied"}, {}),
        ({"iss": "https://evil.example"}, {}),
        ({}, {"nonce": "another"}),
        ({}, {"nonce": None}),
        ({}, {"aud": "another"}),
        ({}, {"aud": ["console", "x"], "azp": "x"}),
        ({}, {"iss": "https://evil.example"}),
        ({}, {"groups": ["none"]}),
    ],
    ids=json.dumps,
)
def test_what_is_not_the_answer_to_this_browsers_attempt_is_refused(
    browser: TestClient, twin: IssuerTwin, query: dict[str, str], claims: dict[str, Any]
) -> None:
    asked = go(browser)
    signs_in(twin, asked, **({"sub": "bad"} | claims))
    done = back(browser, **({"code": "good", "state": asked["state"]} | query))
    assert done.status_code == 401
    assert "did not work" in done.text
    assert browser.get("/systems", headers={"accept": "text/html"}).status_code == 303


def test_another_browser_cannot_finish_it_and_no_other_issuer_is_there(
    browser: TestClient, twin: IssuerTwin, world: ConsoleWorld
) -> None:
    asked = go(browser)
    signs_in(twin, asked)
    browser.cookies.clear()
    assert back(browser, code="good", state=asked["state"]).status_code == 401
    browser.cookies.set("pilotage_attempt", "garbage")
    assert back(browser, code="good", state="x").status_code == 401
    assert browser.get("/sign-in/with/nosuch").status_code == 404


def test_a_session_ends_when_the_issuer_is_trusted_no_more(
    browser: TestClient, twin: IssuerTwin, world: ConsoleWorld
) -> None:
    asked = go(browser)
    signs_in(twin, asked)
    assert back(browser, code="good", state=asked["state"]).status_code == 200
    assert browser.get("/systems").status_code == 200
    world.installation.rollout.remove_issuer(world.governed.admin, "corp")
    assert browser.get("/systems", headers={"accept": "text/html"}).status_code == 303
