"""The console in a real browser: every page works, live and without scripts, in light and dark, for everybody."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from pilotage.ledger.notes import Signer
from tests.console.conftest import Console, Visitor

pytestmark = pytest.mark.browser

_AXE = Path(__file__).parent / "vendor" / "axe.min.js"
# Its preload of style sheets asks for what the page has loaded already.
_RUN_AXE = """axe.run(document, {preload: false, resultTypes: ['violations']}).then(
    found => found.violations.map(v => `${v.id}: ${v.nodes[0].html} ${v.nodes[0].failureSummary}`))"""
_TOO_WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


class TestSigningIn:
    def test_by_token_and_out_again(self, visitor: Visitor) -> None:
        visit = visitor()
        page = visit.go("/systems")
        assert page.url.endswith("/sign-in"), "who is not signed in is asked to"
        page.fill("#token", "pt_wrong")
        page.click("main button")
        assert "did not work" in page.inner_text("[role=alert]")
        visit.sign_in()
        assert page.inner_text("h1") == "AI systems"
        assert not page.evaluate("document.cookie"), "scripts see the session"
        page.click("text=Sign out")
        page.wait_for_url("**/sign-in")
        assert visit.go("/systems").url.endswith("/sign-in")

    def test_by_a_link_that_works_once(self, visitor: Visitor, console: Console) -> None:
        path = f"/sign-in/link?code={console.world.link('operator')}"
        first, second = visitor(), visitor()
        second.go(path)
        page = first.go(path)
        page.click("text=Sign in with this link")
        page.wait_for_url("**/systems")
        second.page.click("text=Sign in with this link")
        assert "did not work" in second.page.inner_text("[role=alert]")


class TestLive:
    def test_figures_arrive_without_a_reload_and_keep_the_chart(self, visitor: Visitor, console: Console) -> None:
        visit = visitor()
        page = visit.sign_in()
        page.click("text=An example")
        page.wait_for_selector("live-series canvas")
        before = int(page.inner_text(".figure:nth-child(2) dd").split()[0])
        page.evaluate(
            "() => { const series = document.querySelector('live-series');"
            " window.before = [series.shadowRoot.querySelector('canvas'), series]; }"
        )
        points = page.get_attribute("live-series", "data-points")
        console.world.seal([*console.world.answered(40, seed=before), *console.world.rejected(1)])
        _until(page, lambda: int(page.inner_text(".figure:nth-child(2) dd").split()[0]) >= before + 41)
        rejected = int(page.inner_text("#outcomes tr:has-text('rejected') .number a").split()[0])
        assert rejected >= 3
        _until(page, lambda: page.get_attribute("live-series", "data-points") != points)
        assert page.evaluate(
            "window.before[1] === document.querySelector('live-series') && window.before[0].isConnected"
        ), "the chart was made anew"
        assert page.is_hidden(".lost")

    def test_the_stream_ends_with_the_session_and_says_so(self, visitor: Visitor) -> None:
        visit = visitor()
        page = visit.sign_in()
        page.goto(visit.console.url + "/systems/example")
        page.wait_for_selector("live-series canvas")
        other = page.context.new_page()
        other.goto(visit.console.url + "/systems")
        other.click("text=Sign out")
        page.wait_for_selector(".lost", state="visible")


class TestDecisions:
    def test_filters_change_the_rows_and_the_address_and_go_back(self, visitor: Visitor) -> None:
        visit = visitor()
        page = visit.sign_in()
        page.click("nav >> text=Decisions")
        page.wait_for_selector("#rows tbody tr")
        page.wait_for_load_state("load")  # the scripts listen from here on
        page.evaluate("window.same = true")
        page.select_option("[name=outcome]", "rejected")
        _until(page, lambda: "answered" not in page.inner_text("#rows"))
        assert "outcome=rejected" in page.url and page.evaluate("window.same")
        page.fill("[name=since]", "yesterday")
        page.click("button >> text=Filter")
        page.wait_for_selector("#rows [role=alert]")
        assert "since" in page.inner_text("#rows [role=alert]") and page.evaluate("window.same")
        page.evaluate("history.go(-2)")
        page.wait_for_url("**/decisions")
        page.wait_for_selector("#rows tbody tr >> text=answered")
        assert page.inner_text("h1") == "Decisions"

    def test_pages_of_fifty(self, visitor: Visitor) -> None:
        visit = visitor()
        visit.sign_in()
        page = visit.go("/decisions?outcome=answered")
        first = page.locator("tbody .id").all_inner_texts()
        page.click("nav.pages >> text=Older")
        page.wait_for_url("**before=**")
        second = page.locator("tbody .id").all_inner_texts()
        assert len(first) == 50 and len(second) == 50 and not set(first) & set(second)
        page.click("nav.pages >> text=Newest")
        page.wait_for_url(re.compile(r"/decisions\?outcome=answered$"))

    def test_a_proof_is_downloaded_and_verifies_offline(
        self, visitor: Visitor, console: Console, tmp_path: Path
    ) -> None:
        visit = visitor()
        visit.sign_in()
        for id_ in (console.answered, console.erased):
            page = visit.go(f"/decisions/{id_}")
            files = []
            for words, name in (("Download proof", f"{id_}.tlog-proof"), ("Download record", f"{id_}.json")):
                with page.expect_download() as download:
                    page.click(f"text={words}")
                assert download.value.suggested_filename == name
                files.append(tmp_path / name)
                download.value.save_as(files[-1])
            assert _verify(console, *files).returncode == 0
            files[1].write_bytes(files[1].read_bytes().replace(b"internal", b"external"))
            assert _verify(console, *files).returncode != 0

    def test_replay_says_bit_exact(self, visitor: Visitor, console: Console) -> None:
        visit = visitor()
        visit.sign_in()
        page = visit.go(f"/decisions/{console.answered}")
        page.click("text=Replay now")
        page.wait_for_selector("#replay.good")
        assert "the same answer to the last bit" in page.inner_text("#replay")

    def test_what_each_kind_of_decision_shows(self, visitor: Visitor, console: Console) -> None:
        visit = visitor()
        visit.sign_in()
        shown = {
            console.answered: ["Features as used", "late_payments", "raised the score"],
            console.rejected: ["above maximum", "unseen category", "<script>alert(1)</script>"],
            console.erased: ["Erased.", "none, or erased"],
            console.interrupted: ["interrupted", "because <b>"],
        }
        for id_, words in shown.items():
            text = visit.go(f"/decisions/{id_}").inner_text("body")
            assert [each for each in words if each not in text] == [], text


def test_everything_works_without_scripts(visitor: Visitor, console: Console) -> None:
    visit = visitor(java_script_enabled=False)
    page = visit.sign_in()
    page.click("text=An example")
    assert page.is_visible("live-series svg.spark") and "reload for newer" in page.inner_text("main")
    visit.go("/decisions")
    page.select_option("[name=outcome]", "rejected")
    page.fill("[name=fault]", "above_maximum")
    page.click("button >> text=Filter")
    page.wait_for_url("**outcome=rejected**")
    assert page.locator("tbody tr").count() >= 2 and "answered" not in page.inner_text("tbody")
    visit.go(f"/decisions/{console.answered}")
    page.click("text=Replay now")
    assert "bit exact" in page.inner_text("#replay")
    page.click("text=How to check the proof")
    assert page.is_visible("text=pilotage audit verify-proof")
    page.click("text=Sign out")
    page.wait_for_url("**/sign-in")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_sound_in(visitor: Visitor, console: Console, scheme: str) -> None:
    """No fault that axe can find, no complaint of the browser, no page wider than a telephone."""
    visit = visitor(color_scheme=scheme)
    found: dict[str, Any] = {}
    axe = _AXE.read_text(encoding="utf-8")

    def look(name: str) -> None:
        if name == "system":
            visit.page.wait_for_selector("live-series canvas")
        told = len(visit.complaints)
        visit.page.evaluate(axe)
        if faults := visit.page.evaluate(_RUN_AXE):
            found[name] = faults
        # What axe itself does to a page is not the page's doing.
        del visit.complaints[told:]
        visit.page.set_viewport_size({"width": 420, "height": 900})
        if visit.page.evaluate(_TOO_WIDE):
            found[f"{name}, narrow"] = "wider than the window"
        visit.page.set_viewport_size({"width": 1280, "height": 900})

    visit.go("/sign-in")
    look("sign in")
    visit.go("/sign-in/link?code=pl_x")
    look("sign in by link")
    visit.sign_in("risk_officer")
    for name, path in console.pages.items():
        visit.go(path)
        look(name)
    assert found == {}
    light = visit.page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert light == (scheme == "light")


def test_the_policy_stops_a_script_in_the_page(visitor: Visitor) -> None:
    """The control for all the tests above: were the policy broken, a complaint would be seen."""
    visit = visitor()
    visit.go("/sign-in")
    visit.page.evaluate(
        "() => { const made = document.createElement('script'); made.textContent = 'window.ran = 1';"
        " document.body.append(made); }"
    )
    assert visit.page.evaluate("window.ran") is None
    assert any("Content Security Policy" in complaint for complaint in visit.complaints)
    visit.complaints.clear()


def _until(page: Page, holds: Callable[[], bool], seconds: float = 20) -> None:
    """Wait, not by `wait_for_function`: it evaluates text, which the policy forbids."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        page.wait_for_timeout(50)


def _verify(console: Console, proof: Path, record: Path) -> subprocess.CompletedProcess[bytes]:
    keyring = console.world.installation.keyring
    vkey = Signer(keyring.origin, keyring.signing).vkey()
    command = [sys.executable, "-m", "pilotage", "audit", "verify-proof", str(proof), str(record), "--vkey", vkey]
    return subprocess.run(command, capture_output=True, check=False, timeout=60)
