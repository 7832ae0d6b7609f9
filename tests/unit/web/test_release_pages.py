"""The page of a release: its evidence, its figures, and files that are for everybody who may read evidence."""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path

from pilotage.web.console.app import create_app
from pilotage.wiring.releases import set_yank, sign
from tests.console.client import TestClient
from tests.console.world import ConsoleWorld, make_console_world


def test_the_page_shows_evidence_figures_and_groups(world: ConsoleWorld, auditor: TestClient) -> None:
    page = auditor.get("/releases/example@1")
    assert page.status_code == 200
    found = json.loads(world.loaded.file("evaluation.json"))
    assert f"{found['metrics']['auc']:.4f}" in page.text
    assert "contract.valid" in page.text
    block = next(each for each in found["fairness"] if each["column"] == "age")
    for group in block["groups"]:
        assert group["group"] in page.text
    assert f"{block['disparities']['disparate_impact_ratio']['value']:.3f}" in page.text
    messy = found["messy_cases"]
    assert (
        f"{messy['counts']['silent']} silent" in page.text and f"{len(messy['cases'])} ways to spoil rows" in page.text
    )
    for each in messy["cases"]:
        assert not each["line"] or each["line"].split(":")[0] in page.text
    assert 'id="leaks"' in page.text and "every number ten spans beyond its range" in page.text
    assert auditor.get("/systems/example").text.count("/releases/") >= 1


def test_its_card_and_figures_are_downloaded_and_nothing_else(world: ConsoleWorld, auditor: TestClient) -> None:
    address = f"/releases/{world.loaded.folder.name}"
    got = auditor.get(f"{address}/evaluation.json")
    assert got.content == world.loaded.file("evaluation.json")
    assert "attachment" in got.headers["content-disposition"]
    for name in ("background.json", "model.onnx", "serving.json", "none"):
        assert auditor.get(f"{address}/{name}").status_code == 404
    assert auditor.get("/releases/example@99").status_code == 404


def test_the_page_says_who_signed_it_and_that_it_was_taken_back(tmp_path: Path) -> None:
    world = make_console_world(tmp_path)
    auditor = TestClient(create_app(world.installation), headers={"Authorization": f"Bearer {world.token('auditor')}"})
    people, other = world.governed.people, world.release.digest
    assert "pilotage release sign" in auditor.get(f"/releases/{other}").text
    sign(world.installation, people["ml_engineer"], other)
    text = auditor.get(f"/releases/{other}").text
    assert world.installation.keyring.vkeys[0] in unescape(text)
    assert "yanked" not in text + auditor.get("/systems").text + auditor.get("/systems/example").text
    set_yank(world.installation, people["ml_engineer"], other, "ages <in> months")
    text = auditor.get(f"/releases/{other}").text
    assert "ages &lt;in&gt; months" in text and "what serves it goes on" in text
    assert "The live release is yanked:</strong> ages &lt;in&gt; months" in auditor.get("/systems/example").text
    assert ">yanked<" in auditor.get("/systems").text
    world.close()
