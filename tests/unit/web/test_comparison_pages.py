"""What differs between releases, what a contract asks, what a scan found, and what was yanked: by page and by API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import msgspec
import pytest

from pilotage.kernel.clock import now_us
from pilotage.releases.diff import diff_releases
from pilotage.releases.load import open_release
from pilotage.releases.model import Release
from pilotage.releases.scan.advisories import read_advisories
from pilotage.releases.scan.packages import locked_packages
from pilotage.releases.scan.scanning import keep_scan, scan_release
from pilotage.systems.papers import PackageRules
from pilotage.testing.releases import COLUMNS
from pilotage.web.console.app import create_app
from pilotage.web.console.release_charts import two_spans
from pilotage.wiring.releases import set_yank
from tests.console.client import TestClient
from tests.console.world import ConsoleWorld, make_console_world

CHANGED = {
    "age": {"maximum": 65.0, "purposes": ("credit-risk",)},
    "income": {"unit": "EUR a year", "description": "What they earn, <before> tax", "unique": True},
}
NARROW = tuple(msgspec.structs.replace(each, **CHANGED.get(each.name, {})) for each in COLUMNS)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleWorld]:
    """`example@1` live, `example@2` beside it with a narrower contract."""
    made = make_console_world(tmp_path_factory.mktemp("compared"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def second(world: ConsoleWorld) -> Release:
    return world.governed.release(columns=NARROW, threshold=0.7, evaluated=True)


@pytest.fixture
def auditor(world: ConsoleWorld, second: Release) -> Iterator[TestClient]:
    headers = {"Authorization": f"Bearer {world.token('auditor')}"}
    with TestClient(create_app(world.installation), headers=headers) as made:
        yield made


def test_what_differs_from_the_one_in_production_is_told_with_what_breaks(
    world: ConsoleWorld, second: Release, auditor: TestClient
) -> None:
    told = auditor.get("/api/v1/releases/example@2/diff").json()
    expected = diff_releases(world.loaded, open_release(world.installation.releases, second.digest))
    assert told == {"from": "example@1", "to": "example@2", **msgspec.to_builtins(expected)}
    assert [(each["path"], each["what"]) for each in told["contract"] if each["breaking"]] == [
        ("income", "unit"),
        ("age", "maximum"),
    ]
    page = unescape(auditor.get("/releases/example@2/diff").text)
    assert "What differs in example@2 from example@1" in page
    for each in told["contract"]:
        assert each["why"] in page
    for each in told["metrics"]:
        assert each["new"] is None or f"{each['new']:.4f}" in page
    assert page.count('class="pair"') == sum(
        bool(each["old_interval"] and each["new_interval"]) for each in told["metrics"] + told["fairness"]
    )
    assert f"/papers/notes.html?against={world.release.digest}" in page
    assert 'href="/releases/' + second.folder + '/diff"' in auditor.get("/systems/example").text


def test_the_one_in_production_is_compared_with_another_that_is_named(
    world: ConsoleWorld, second: Release, auditor: TestClient
) -> None:
    assert auditor.get("/api/v1/releases/example@1/diff").status_code == 404
    page = auditor.get("/releases/example@1/diff")
    assert page.status_code == 200 and "example@1 is the one in production. Choose one" in page.text
    assert f'<option value="{second.digest}"' in page.text
    back = auditor.get("/api/v1/releases/example@1/diff", params={"against": "example@2"}).json()
    assert not [each for each in back["contract"] if each["breaking"] and each["path"] == "age"]
    assert auditor.get("/releases/example@1/diff?against=example@2").text.count(">breaks<") == 1, "the unit"
    assert "does not differ from itself" in auditor.get("/releases/example@1/diff?against=example@1").text
    assert auditor.get("/releases/example@1/diff?against=nothing").status_code == 404


def test_a_contract_is_told_in_words_with_its_purposes_and_what_it_breaks(
    world: ConsoleWorld, second: Release, auditor: TestClient
) -> None:
    page = auditor.get("/releases/example@2/contract").text
    assert "&lt;before&gt; tax" in page and "EUR a year" in page and "no value twice" in page
    assert "18 to 65" in page and page.count('tag bad">protected<') == 1
    assert "age (feature) may not be used for" in page and ">against it<" in page
    assert page.count(">breaks<") == 2 and "Changes since example@1" in page
    told = auditor.get("/api/v1/releases/example@2/contract").json()
    assert told["digest"] == second.contract and told["against"] == world.release.digest
    assert set(told["against_purpose"]) == {"age"} and len(told["contract"]["columns"]) == len(NARROW)
    first = auditor.get("/api/v1/releases/example@1/contract").json()
    assert first["against"] is None and first["changes"] == []
    file = auditor.get("/releases/example@2/contract/dictionary.html")
    assert "attachment" in file.headers["content-disposition"] and "EUR a year" in file.text


def test_a_scan_is_shown_unknown_apart_from_clean(
    world: ConsoleWorld, second: Release, auditor: TestClient, tmp_path: Path
) -> None:
    address = "/api/v1/releases/example@2/scan"
    assert auditor.get(address).status_code == 404
    assert "Not scanned" in auditor.get("/releases/example@2").text
    loaded, rules = open_release(world.installation.releases, second.digest), PackageRules()
    locked = locked_packages(loaded.file("environment.lock"))[0]
    affected = {"package": {"ecosystem": "PyPI", "name": locked.name}, "versions": [locked.version]}
    advisory = {"id": "OSV-1", "summary": "opens <doors>", "modified": "2026-11-01T00:00:00Z", "affected": [affected]}
    (tmp_path / "osv.json").write_text(json.dumps([advisory]))
    found = scan_release(loaded, rules, read_advisories(tmp_path / "osv.json"), at=now_us())
    keep_scan(world.installation.control, world.installation.objects, found, rules)
    page = auditor.get("/releases/example@2").text
    counts = found.counts
    assert counts["packages_vulnerable"] == 1 and counts["packages_unknown"] > 1
    assert "opens &lt;doors&gt;" in page and "OSV-1" in page and ">not passed<" in page
    for word in ("clean", "vulnerable", "unknown"):
        assert f">{counts[f'packages_{word}']} {word}<" in page
    told = auditor.get(address).json()
    assert told["counts"] == counts and not told["passed"] and len(told["packages"]) == len(found.packages)


def test_a_yanked_release_is_marked_wherever_it_is_named(world: ConsoleWorld, auditor: TestClient) -> None:
    third = world.governed.release(0.3)
    address = f"/api/v1/releases/{third.name}"
    assert auditor.get(address).json()["yanked"] is None
    set_yank(world.installation, world.governed.people["ml_engineer"], third.digest, "ages in <months>")
    told = auditor.get(address).json()
    assert told["yanked"]["reason"] == "ages in <months>" and not told["live"] and told["name"] == third.name
    listed = {each["name"]: each for each in auditor.get("/api/v1/releases?system=example").json()}
    assert listed[third.name] == told and listed["example@1"]["live"] and listed["example@1"]["yanked"] is None
    assert len(auditor.get("/api/v1/releases?limit=1").json()) == 1
    assert auditor.get("/api/v1/releases?system=none").status_code == 404
    assert "ages in &lt;months&gt;" in auditor.get("/systems/example").text
    for page in ("", "/diff", "/contract"):
        assert ">yanked<" in auditor.get(f"/releases/{third.name}{page}").text, page


def test_two_intervals_share_a_scale() -> None:
    pair = two_spans((0.7, [0.6, 0.8]), (0.9, [0.85, 1.0]), width=100)
    assert pair is not None
    assert (pair[0].low, pair[1].high) == (0, 100)
    assert pair[0].high == pytest.approx(50) and pair[1].low == pytest.approx(62.5)
    assert two_spans((0.7, [0.6, 0.8]), (None, None)) is None
    flat = two_spans((0.5, [0.5, 0.5]), (0.5, [0.5, 0.5]))
    assert flat is not None and flat[0].x == 0
