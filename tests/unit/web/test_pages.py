"""The pages as HTML: what is shown, to whom, and what is escaped; the browser's part is in tests/console."""

from __future__ import annotations

import json
import re
import time

import pytest

from pilotage.kernel.clock import now_us
from pilotage.ledger.about import emit_about
from pilotage.ledger.erasure import erase
from pilotage.ledger.said import OUTCOME
from pilotage.storage.database import writing
from pilotage.web.console.live import LiveFigures, Totals, live_figures, read_totals
from tests.console.client import TestClient
from tests.console.world import SYSTEM, ConsoleWorld

HERE = {"origin": "http://testserver"}


@pytest.fixture
def pages(world: ConsoleWorld, client: TestClient) -> TestClient:
    """The auditor in a browser."""
    client.headers.update({"accept": "text/html", **HERE})
    assert client.post("/sign-in", data={"token": world.token("auditor")}).status_code == 303
    return client


class TestSignIn:
    def test_a_token_opens_a_session_that_no_script_and_no_other_site_gets(
        self, world: ConsoleWorld, client: TestClient
    ) -> None:
        answer = client.post("/sign-in", data={"token": world.token("auditor")}, headers=HERE)
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie and "pt_" not in cookie
        assert client.get("/systems", headers={"accept": "text/html"}).status_code == 200

    @pytest.mark.parametrize("token", ["", "pt_nothing", "pl_x", "x" * 500, "pt_\x00"])
    def test_another_text_does_not(self, client: TestClient, token: str) -> None:
        answer = client.post("/sign-in", data={"token": token}, headers=HERE)
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers and "did not work" in answer.text

    def test_looking_at_a_link_does_not_use_it_up_but_using_it_does(
        self, world: ConsoleWorld, client: TestClient
    ) -> None:
        code = world.link("auditor")
        for _ in range(2):
            assert client.get("/sign-in/link", params={"code": code}).status_code == 200
        assert client.post("/sign-in/link", data={"code": code}, headers=HERE).status_code == 303
        client.cookies.clear()
        assert client.post("/sign-in/link", data={"code": code}, headers=HERE).status_code == 401

    def test_signing_out_ends_the_session_itself(self, pages: TestClient) -> None:
        cookie = pages.cookies["pilotage_session"]
        assert pages.post("/sign-out").status_code == 303
        pages.cookies.set("pilotage_session", cookie)
        answer = pages.get("/systems")
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")

    def test_a_piece_of_a_page_is_not_replaced_by_the_sign_in_page(self, client: TestClient) -> None:
        answer = client.get("/decisions", headers={"accept": "text/html", "hx-request": "true"})
        assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/sign-in")


class TestSystems:
    def test_each_system_is_listed_with_what_matters(self, pages: TestClient) -> None:
        text = pages.get("/systems").text
        assert f'href="/systems/{SYSTEM}"' in text and "level 2 of 5" in text and "internal" in text

    def test_one_system_shows_all_its_parts(self, pages: TestClient, world: ConsoleWorld) -> None:
        text = pages.get(f"/systems/{SYSTEM}").text
        for words in ("Readiness", "Drift", "Next gate", "Releases", "Outcomes and faults", "Latest events", "Owners"):
            assert words in text, words
        assert "above_maximum" in text and world.release.digest[7:19] in text and "to limited" in text
        assert re.search(r'data-points="\[\[\d+', text)

    def test_an_unknown_system_is_not_found_also_live(self, pages: TestClient) -> None:
        for path in ("/systems/none", "/systems/none/live"):
            answer = pages.get(path)
            assert answer.status_code == 404 and "no such system" in answer.text.lower()

    def test_figures_are_read_once_for_all_who_watch(self, world: ConsoleWorld) -> None:
        moment = [0.0]
        figures = LiveFigures(world.installation.ledger, lambda: moment[0])
        first = figures.of(SYSTEM)
        assert figures.of(SYSTEM) is first
        moment[0] = 1.0
        assert figures.of(SYSTEM) is not first

    def test_totals_that_take_long_are_read_less_often(
        self, world: ConsoleWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        moment, read = [0.0], []

        def slow(*_: object) -> Totals:
            moment[0] += 2.0
            read.append(moment[0])
            return read_totals(world.installation.ledger(), SYSTEM, now_us())

        monkeypatch.setattr("pilotage.web.console.live.read_totals", slow)
        figures = LiveFigures(world.installation.ledger, lambda: moment[0])
        for second in range(100):
            moment[0] = max(moment[0], float(second))
            figures.of(SYSTEM)
        assert len(read) == 3, "2 s of reading, 38 s of rest"

    def test_a_quiet_hour_is_answered_with_a_longer_window(self, world: ConsoleWorld) -> None:
        ledger = world.installation.ledger()
        assert read_totals(ledger, SYSTEM, now_us()).window == "last hour"
        later = now_us() + 7_200_000_000
        found = live_figures(ledger, SYSTEM, later, read_totals(ledger, SYSTEM, later))
        assert found.window == "last 24 hours" and found.total >= 30 and found.per_second == 0
        assert read_totals(ledger, "none", now_us()).window == "last 30 days"

    def test_the_series_ends_before_what_is_still_being_sealed(self, world: ConsoleWorld) -> None:
        now = now_us()
        world.seal(world.answered(3, seed=41, at=now - 10_000_000, step_us=1))
        found = live_figures(
            world.installation.ledger(), SYSTEM, now, read_totals(world.installation.ledger(), SYSTEM, now)
        )
        seconds, values = json.loads(found.points)
        assert len(seconds) == len(values) == 180 and seconds[-1] == now // 1_000_000 - 3
        assert values[seconds.index((now - 10_000_000) // 1_000_000)] >= 3


class TestDecisions:
    def test_a_filter_works_as_page_and_as_piece(self, pages: TestClient) -> None:
        page = pages.get("/decisions?outcome=rejected").text
        assert "<html" in page and page.count('href="/decisions/') == 2
        piece = pages.get("/decisions?outcome=rejected", headers={"hx-request": "true"}).text
        assert "<html" not in piece and piece.count('href="/decisions/') == 2
        back = pages.get("/decisions", headers={"hx-request": "true", "hx-history-restore-request": "true"}).text
        assert "<html" in back

    @pytest.mark.parametrize("headers", [{}, {"hx-request": "true"}])
    def test_a_filter_that_cannot_be_read_is_told_so(self, pages: TestClient, headers: dict[str, str]) -> None:
        text = pages.get("/decisions?since=yesterday&score_min=<b>&before=x", headers=headers).text
        assert "cannot be read" in text and "<code>since</code>" in text and "&lt;b&gt;" in text and "<b>" not in text

    def test_text_from_outside_is_never_markup(self, pages: TestClient) -> None:
        listed = pages.get("/decisions?outcome=rejected")
        ids = re.findall(r'href="/decisions/([^"]+)"', listed.text)
        assert listed.status_code == 200 and len(ids) >= 2, listed.text
        answers = [pages.get(f"/decisions/{id_}") for id_ in ids]
        assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
        texts = [answer.text for answer in answers]
        assert not any("<script>alert" in text for text in texts)
        told = [text for text in texts if "&lt;script&gt;alert(1)" in text and "&lt;script&gt;alert(2)" in text]
        assert told, texts
        assert all("There is no answer to explain" in text for text in told)

    def test_reasons_features_and_replay(self, pages: TestClient) -> None:
        id_ = re.findall(r'href="/decisions/([^"]+)"', pages.get("/decisions?outcome=answered").text)[0]
        text = pages.get(f"/decisions/{id_}").text
        assert "late_payments" in text and "raised the score" in text and f"/decisions/{id_}/proof" in text
        assert "the same answer to the last bit" in pages.post(f"/decisions/{id_}/replay").text

    def test_reasons_are_told_as_they_were_made_and_slow_ones_made_on_request(
        self, pages: TestClient, world: ConsoleWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        quick, slow = world.seal(world.answered(2, seed=31))
        (event,) = re.findall(r"on record as event <code>([^<]+)<", pages.get(f"/decisions/{quick}").text)
        assert event in pages.get(f"/decisions/{quick}").text
        monkeypatch.setattr("pilotage.web.console.decision_pages.quick_to_explain", lambda *_: False)
        text = pages.get(f"/decisions/{slow}").text
        assert "Make the reasons" in text and "raised the score" not in text
        made = pages.post(f"/decisions/{slow}/explain")
        assert (made.status_code, made.headers["location"]) == (303, f"/decisions/{slow}")
        world.seal([])
        for id_ in (quick, slow):
            assert "raised the score" in pages.get(f"/decisions/{id_}").text

    def test_who_may_not_read_payloads_sees_none(self, world: ConsoleWorld, client: TestClient) -> None:
        client.headers.update({"accept": "text/html", **HERE})
        client.post("/sign-in", data={"token": world.token("operator")})
        id_ = re.findall(r'href="/decisions/([^"]+)"', client.get("/decisions?outcome=answered").text)[0]
        text = client.get(f"/decisions/{id_}").text
        assert "may not read payloads" in text and "late_payments" not in text
        replayed = client.post(f"/decisions/{id_}/replay").text
        assert "bit exact" in replayed and "recorded <code>" not in replayed

    def test_what_was_said_later_and_who_approved_then_is_shown(self, pages: TestClient, world: ConsoleWorld) -> None:
        (id_,) = world.seal(world.answered(1, seed=98))
        text = pages.get(f"/decisions/{id_}").text
        assert "no other answer is on record" in text
        approved = [role for role in ("model validator", "business owner") if role in text]
        assert approved, "the approvals then in force are named"
        words = {"answer": "grant-98", "reason": "income was <proven>"}
        reviewer = {"authorization": f"Bearer {world.token('reviewer')}", "cookie": ""}
        answer = pages.post(f"/api/v1/decisions/{id_}/override", json=words, headers=reviewer)
        assert answer.status_code == 201, answer.text
        world.seal([])
        text = pages.get(f"/decisions/{id_}").text
        assert "grant-98" in text and "income was &lt;proven&gt;" in text and "reviewer" in text
        listed = pages.get("/decisions?reviewer=reviewer").text
        assert re.findall(r'href="/decisions/([0-9a-f-]{36})"', listed) == [id_]

    def test_a_fallback_shows_its_attempts_and_what_was_repaired(self, pages: TestClient, world: ConsoleWorld) -> None:
        (id_,) = world.seal([world.fallen_back()])
        text = pages.get(f"/decisions/{id_}").text
        assert "the rules answered; the reply said so" in text and "breaker open" in text
        assert "<strong>Rules</strong> rules@abc" in text and "1 fault, repaired" in text
        assert "inputs.income" in text and "&lt;12&gt;" in text, "the repair, its text escaped"
        assert id_ in pages.get("/decisions?outcome=fallback").text

    def test_an_outcome_without_a_reason_is_shown(self, pages: TestClient, world: ConsoleWorld) -> None:
        (id_,) = world.seal(world.answered(1, seed=77))
        private = {"value": "grant-77", "at": now_us(), "source": "upload <1>", "by": "p1"}
        with writing(world.installation.control) as connection:
            key = world.installation.keyring.steward_public
            emit_about(connection, key, OUTCOME, id_, system=SYSTEM, private=private)
        world.seal([])
        answer = pages.get(f"/decisions/{id_}")
        assert answer.status_code == 200 and "grant-77" in answer.text and "upload &lt;1&gt;" in answer.text

    def test_erased_and_interrupted_decisions_have_pages(self, pages: TestClient, world: ConsoleWorld) -> None:
        (id_,) = world.seal(world.answered(1, seed=99))
        assert "late_payments" in pages.get(f"/decisions/{id_}").text
        erase("c-99-0", "asked", "tests", steward=world.steward)
        text = pages.get(f"/decisions/{id_}").text
        assert "<strong>Erased.</strong>" in text and "late_payments" not in text
        assert pages.get(f"/decisions/{id_}/proof").status_code == 200
        world.seal(world.interrupted())
        text = pages.get("/decisions?outcome=interrupted").text
        (stream,) = re.findall(r'href="/decisions/([^"]+)"', text)
        assert "because &lt;b&gt;" in pages.get(f"/decisions/{stream}").text

    @pytest.mark.slow
    def test_a_page_is_quick_with_ten_thousand_decisions(self, pages: TestClient, world: ConsoleWorld) -> None:
        world.seal(world.answered(10_000, seed=5, at=now_us() - 3_000_000, step_us=5_000))
        for path in (f"/systems/{SYSTEM}", "/decisions", "/systems"):
            pages.get(path)
            took = []  # of the processor, since tests share the machine
            for _ in range(3):
                began = time.process_time()
                assert pages.get(path).status_code == 200
                took.append(time.process_time() - began)
                time.sleep(0.35)
            assert min(took) < 0.3, f"{path} took {min(took):.3f} s"


class TestWhatWasInProduction:
    def test_the_moment_its_approvals_and_evidence(self, pages: TestClient, world: ConsoleWorld) -> None:
        page = pages.get(f"/systems/{SYSTEM}/at").text
        assert world.release.name in page and "answering" in page and page.count(">valid<") == 2
        assert "fresh" in page and "<svg" in page and "In production since" in page
        assert pages.get(f"/systems/{SYSTEM}").text.count(f"/systems/{SYSTEM}/at") == 1
        before = pages.get(f"/systems/{SYSTEM}/at?time=2001-01-01T00:00:00")
        assert before.status_code == 200 and "Nothing of example was in production at 2001-01-01" in before.text

    def test_a_moment_that_is_none_and_a_system_that_is_none(self, pages: TestClient) -> None:
        wrong = pages.get(f"/systems/{SYSTEM}/at?time=<b>yesterday")
        assert wrong.status_code == 200 and "cannot be read" in wrong.text and "<b>" not in wrong.text
        assert pages.get("/systems/none/at").status_code == 404

    def test_names_are_for_those_who_may_read_them(self, world: ConsoleWorld, client: TestClient) -> None:
        told = {}
        for role in ("auditor", "operator"):
            client.headers["authorization"] = f"Bearer {world.token(role)}"
            told[role] = client.get(f"/systems/{SYSTEM}/at").text
        assert "promoted by ml engineer" in told["auditor"] and "not for your roles" not in told["auditor"]
        assert "promoted by" not in told["operator"] and told["operator"].count("not for your roles") == 2


def test_errors_are_pages_for_people_and_json_for_tools(pages: TestClient) -> None:
    page = pages.get("/decisions/none")
    assert page.status_code == 404 and "<h1>No such decision" in page.text and "Sign out" in page.text
    assert pages.get("/decisions/none", headers={"accept": "application/json"}).json()["error"]["code"] == "not_found"
    assert pages.get("/nothing").status_code == 404


class TestExports:
    def test_links_carry_the_filter_and_give_the_file(self, pages: TestClient) -> None:
        page = pages.get("/decisions?outcome=rejected&arm=champion").text
        assert '<details class="more" open>' in page
        links = re.findall(r'href="(/exports/decisions\?[^"]+)"', page)
        assert len(links) == 6 and all("outcome=rejected&amp;arm=champion" in link for link in links)
        content = pages.get(links[0].replace("&amp;", "&"))
        assert content.headers["content-type"].startswith("text/csv") and "rejected" in content.text
        assert "answered," not in content.text

    def test_payloads_are_offered_only_to_those_who_may_read_them(
        self, world: ConsoleWorld, client: TestClient
    ) -> None:
        client.headers.update({"accept": "text/html", **HERE})
        client.post("/sign-in", data={"token": world.token("operator")})
        assert "payload=yes" not in client.get("/decisions").text
        assert client.get("/exports/decisions?payload=yes").status_code == 403

    def test_a_decision_leads_to_its_trace(self, pages: TestClient) -> None:
        id_ = re.findall(r'href="/decisions/([^"]+)"', pages.get("/decisions?outcome=answered").text)[0]
        link = re.findall(r'href="(/traces/[^"]+)"', pages.get(f"/decisions/{id_}").text)[0]
        text = pages.get(link).text
        assert f'href="/decisions/{id_}"' in text and "1 decision in" in text
