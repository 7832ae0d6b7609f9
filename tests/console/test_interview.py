"""The interview in a browser without scripts: one person states, a fault stands by its field, another confirms."""

from __future__ import annotations

import pytest

from tests.console.conftest import Visitor

pytestmark = pytest.mark.browser

PATH = "/systems/example/interview"
STATE = "button:text-is('State it')"


def test_one_states_and_another_confirms_without_scripts(visitor: Visitor) -> None:
    first, second = (visitor(java_script_enabled=False) for _ in range(2))
    first.sign_in("business_owner")
    page = first.go(PATH)
    question = page.locator("#q-business\\.success_metric")
    question.locator("input[value=yes]").check()
    question.locator("[name^=document]").fill("plan of March, page 2")
    page.fill("[name='fact:deadline_weeks']", "soon")
    page.click(STATE)
    fault = page.locator("#q-deadline_weeks .fault")
    field = page.locator("[name='fact:deadline_weeks']")
    assert "number above 0" in fault.inner_text() and field.get_attribute("aria-invalid") == "true"
    assert fault.bounding_box()["y"] >= field.bounding_box()["y"] + field.bounding_box()["height"]  # type: ignore[index]
    assert question.locator("[name^=document]").input_value() == "plan of March, page 2"
    field.fill("12")
    page.click(STATE)
    page.wait_for_url("**done=stated")
    assert page.locator("td input[type=checkbox]").count() == 0, "nobody is offered their own"

    second.sign_in("risk_officer")
    page = second.go(PATH)
    page.check("tr:has-text('plan of March') input[type=checkbox]")
    page.click("text=I confirm what is ticked")
    page.wait_for_url("**done=confirmed")
    said = page.locator("article:has-text('Who said what') tr:has-text('plan of March')").inner_text()
    assert "business owner" in said and "risk officer" in said
    page = second.go("/systems/example/readiness")
    page.click("text=Business >> nth=0")
    assert page.locator("#business\\.success_metric").inner_text().startswith("✓ 1.00")
    assert page.locator("#in-business").is_visible(), "the number led to its evidence"
