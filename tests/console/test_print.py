"""The report of readiness on paper: nothing folded, clipped or dark; every page numbered; the text all there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from pilotage.assess.criteria import load_criteria
from pilotage.assess.interview import Facts
from pilotage.assess.model import Finding, Observation
from pilotage.assess.planning import plan_from
from pilotage.assess.standing import stand
from pilotage.web.console.readiness_report import report_file
from tests.console.pdf import page_count, text_of

pytestmark = pytest.mark.browser

DAY = 86_400_000_000
AT = 1_000 * DAY
_A4_INSIDE = {"width": 695, "height": 1000}
"""A4 between the margins of the report, at 96 dots an inch."""

_HIDDEN = """() => [...document.querySelectorAll('li, td, .rating')]
    .filter(each => !each.checkVisibility({contentVisibilityAuto: true})).map(each => each.textContent.slice(0, 60))"""
_BROKEN = "names => names.filter(each => each.getClientRects().length > 1).map(each => each.textContent)"
_CUT = "tables => tables.filter(each => each.scrollWidth > each.parentElement.clientWidth).map(each => each.innerText)"
_TOO_WIDE = """() => [...document.querySelectorAll('body *')]
    .filter(each => each.getBoundingClientRect().right > document.documentElement.clientWidth + 1
        || (each.scrollWidth > each.clientWidth + 1 && each.clientWidth > 0
            && getComputedStyle(each).overflowX !== 'visible'))
    .map(each => `${each.tagName} ${each.textContent.slice(0, 60)}`)"""


def report() -> str:
    """A long report: every criterion looked at, with places in files of long names."""
    places = [
        Finding(
            file=f"src/a/rather/long/way/to/the/file_number_{n}.py", line=n, message=f"place number {n}", mend="mend"
        )
        for n in range(1, 31)
    ]
    seen = [
        Observation(
            criterion=name,
            grade="E3",
            level=level,
            summary=f"looked at {name}",
            collector="tests",
            collected=AT - 5 * DAY,
            findings=places if not level else [],
        )
        for number, name in enumerate(load_criteria())
        for level in [float(number % 3 > 0)]
    ]
    facts = {each.applies_if for each in load_criteria().values()}
    usual = {"system": "example", "risk_tier": "high", "stage": "limited", "facts": facts}
    found = stand(load_criteria(), seen, [], at=AT, release="sha256:" + "a" * 64, release_name="example@1", **usual)  # type: ignore[arg-type]
    return report_file(found.assessment, plan_from(found.assessment, Facts(), None), found)


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Page:
    """The report as a file, in a browser whose user likes it dark, as on paper."""
    file = tmp_path / "report.html"
    file.write_text(report(), encoding="utf-8")
    made = browser.new_context(color_scheme="dark", viewport=_A4_INSIDE).new_page()  # type: ignore[arg-type]
    made.goto(file.as_uri())
    made.emulate_media(media="print", color_scheme="dark")
    return made


def test_on_paper_nothing_is_folded_clipped_or_dark(page: Page) -> None:
    assert page.evaluate(_HIDDEN) == []
    assert page.evaluate(_TOO_WIDE) == []
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.emulate_media(media="screen")
    assert page.evaluate(_HIDDEN) != [], "the control: on the screen much is folded"


def test_no_name_in_the_roadmap_is_broken_or_cut_off_on_paper_a_phone_and_a_desk(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    names, tables = page.locator(".items code"), page.locator(".items")
    assert names.count() > 40
    for media, width in (("print", 695), ("screen", 390), ("screen", 1280)):
        page.emulate_media(media=media)  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": 900})
        assert names.evaluate_all(_BROKEN) == [], (media, width)
        assert tables.evaluate_all(_CUT) == [], (media, width)


def test_the_pdf_has_all_text_in_pages_with_numbers(page: Page) -> None:
    pdf = page.pdf(prefer_css_page_size=True, print_background=True)
    pages, text = page_count(pdf), text_of(pdf)
    assert 10 <= pages <= 60
    assert f"1/{pages}" in text and f"{pages}/{pages}" in text
    folded = set(re.findall(r"lookedat([a-z]+\.[a-z_]+)", text))
    assert set(load_criteria()) <= folded, "the evidence of every criterion"
    assert "file_number_30.py:30placenumber30" in text, "the last of the places, which the screen folds"
    for part in ("Readinessofexample", "Roadmap", "Whatisnotknown", "Asitruns", "team.on_call"):
        assert part in text
