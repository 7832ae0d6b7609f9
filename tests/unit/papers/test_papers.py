"""Papers say what evidence says: every figure is found again in its source, and nothing else in them is a number."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from pilotage.kernel.digests import short
from pilotage.papers.bom import bill_of_materials
from pilotage.papers.model import KINDS, NOT_STATED, Bullets, Figure, Kind, Line, Paper, Table, Words
from pilotage.papers.service import Made
from pilotage.releases.scan.packages import locked_packages
from pilotage.web.paper_files import paper_page
from tests.unit.papers.conftest import PaperWorld

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_SHORT_DIGEST = re.compile(r"\b(?=\d*[a-f])[0-9a-f]{12}\b")


def lines(paper: Paper) -> Iterator[Line]:
    yield paper.lead
    for section in paper.sections:
        yield (section.title,)
        for block in section.blocks:
            match block:
                case Words():
                    yield block.line
                case Bullets():
                    yield from block.lines
                case Table():
                    yield block.head
                    for row in block.rows:
                        yield from row


def strings(value: Any) -> Iterator[str]:
    """Every text in JSON values, names of fields included."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield str(key)
            yield from strings(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from strings(each)
    else:
        yield str(value)


def at(document: Any, path: str) -> Any:
    """What stands at a path whose steps may themselves hold dots."""
    if not path:
        return document
    if isinstance(document, list | tuple):
        first, _, rest = path.partition(".")
        return at(document[int(first)], rest)
    for key in document:
        if path == key or path.startswith(f"{key}."):
            return at(document[key], path[len(key) + 1 :])
    raise KeyError(path)


def read_back(text: str) -> float:
    """The number that a figure's text stands for."""
    number = float(text.rstrip("%").replace(",", ""))
    return number / 100 if text.endswith("%") else number


@pytest.mark.parametrize("kind", KINDS)
def test_no_number_in_a_paper_is_absent_from_evidence(world: PaperWorld, kind: Kind) -> None:
    for release in (world.live, world.candidate):
        dossier = world.dossier(release)
        documents: dict[str, Any] = {name: document for name, (_, document) in dossier.sources.known.items()}
        made = world.paper(release, kind)
        told = [*strings(list(documents.values())), *dossier.names.values()]
        # A digest may be cut within a run of digits.
        told += [short(text) for text in told if text.startswith("sha256:")]
        known = {number for text in told for number in _NUMBER.findall(text)}
        figures = 0
        for line in lines(made.paper):
            for part in line:
                if isinstance(part, Figure):
                    figures += 1
                    if part.source in documents:
                        assert at(documents[part.source], part.path) == part.value, part
                    if isinstance(part.value, int | float):
                        digits = len(part.text.rstrip("%").partition(".")[2])
                        step = 10.0**-digits / (100 if part.text.endswith("%") else 1)
                        assert read_back(part.text) == pytest.approx(part.value, abs=0.51 * step, rel=1e-2), part
                else:
                    free = {number for number in _NUMBER.findall(_SHORT_DIGEST.sub("", part)) if number not in known}
                    assert free <= {"95"}, f"{part!r} holds numbers that no source holds"
        assert figures >= 3


def test_figures_are_those_of_the_evaluation_and_link_to_it(world: PaperWorld) -> None:
    made = world.paper(world.live, "model-card")
    found = json.loads(world.dossier(world.live).loaded.file("evaluation.json"))
    assert f"| AUC (larger is better) | {found['metrics']['auc']:.4f} |" in made.markdown
    source = next(each for each in made.paper.sources if each.name == "evaluation")
    assert source.digest == world.dossier(world.live).loaded.manifest.files["evaluation.json"].digest
    assert source.address.endswith("/evaluation.json") and f"]({source.address})" in made.markdown
    evidence = next(each for each in made.paper.sources if each.name == "evaluation.holdout")
    assert evidence.id == world.dossier(world.live).evidence["evaluation.holdout"][0].id


def test_the_header_is_the_hubs(world: PaperWorld) -> None:
    """The form that the hub's own reader takes: a list of models, each with results of task, dataset and metrics."""
    text = world.paper(world.live, "model-card").markdown
    head = yaml.safe_load(text.split("---\n")[1])
    (model,) = head["model-index"]
    (result,) = model["results"]
    found = json.loads(world.dossier(world.live).loaded.file("evaluation.json"))["metrics"]
    assert set(result["task"]) == {"type"} and {"type", "name"} <= set(result["dataset"])
    assert {each["type"]: each["value"] for each in result["metrics"]} == found
    assert set(result["source"]) == {"name", "url"}


def test_what_nobody_declared_is_not_stated(world: PaperWorld) -> None:
    for kind, title in (("model-card", "Out of scope"), ("system-card", "Intended use"), ("data-sheet", "Contact")):
        paper = next(world.paper(world.live, each).paper for each in KINDS if each == kind)
        section = next(each for each in paper.sections if each.title == title)
        assert section.blocks == (Words(line=(NOT_STATED,)),)


def test_a_bill_of_materials_is_strict_cyclonedx_and_the_same_again(world: PaperWorld) -> None:
    made = world.paper(world.live, "bom")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(made.json.decode()) is None
    broken = made.document | {"components": [{**made.document["components"][0], "typo": 1}]}
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(broken)) is not None
    assert world.paper(world.live, "bom").json == made.json
    assert made.document["serialNumber"] != world.paper(world.candidate, "bom").document["serialNumber"]


def test_a_bill_of_materials_names_the_model_its_data_and_every_locked_package(world: PaperWorld) -> None:
    dossier = world.dossier(world.live)
    document = bill_of_materials(dossier)
    parts = {each["bom-ref"]: each for each in document["components"]}
    for package in locked_packages(dossier.loaded.file("environment.lock")):
        assert parts[package.purl]["version"] == package.version
        told = {each["name"]: each["value"] for each in parts[package.purl]["properties"]}["pilotage:files_sha256"]
        assert told == "unknown" if package.name == "pilotage" else len(told) == 64
    assert parts["pkg:pypi/numpy@" + _version("numpy")]["licenses"][0]["expression"].startswith("BSD-3-Clause")
    model = next(each for each in parts.values() if each["type"] == "machine-learning-model")
    (auc,) = [
        each
        for each in model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
        if each["type"] == "auc" and each["slice"] == "held-out rows"
    ]
    assert float(auc["value"]) == json.loads(dossier.loaded.file("evaluation.json"))["metrics"]["auc"]
    assert model["hashes"][0]["content"] == dossier.loaded.manifest.files["model.onnx"].digest.removeprefix("sha256:")
    assert parts[model["modelCard"]["modelParameters"]["datasets"][0]["ref"]]["type"] == "data"


def test_a_package_that_is_not_installed_here_in_that_version_gets_no_licence(world: PaperWorld) -> None:
    document = bill_of_materials(world.dossier(world.live), known={})
    libraries = [each for each in document["components"] if each["type"] == "library"]
    assert libraries and not any("licenses" in each for each in libraries)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is None


def _version(name: str) -> str:
    from importlib.metadata import version

    return version(name)


def test_notes_without_a_backtest_say_so_and_name_the_command(world: PaperWorld) -> None:
    text = world.paper(world.candidate, "notes").markdown
    assert f"pilotage decisions replay --release {world.candidate.name}" in text
    assert f"against {world.live.name}" in text and "the data contract is the same" in text
    assert "nothing changes" in world.paper(world.live, "notes").markdown


def test_a_system_card_tells_stage_gate_and_approvers(world: PaperWorld) -> None:
    text = world.paper(world.live, "system-card").markdown
    assert "Live at stage internal: this release" in text
    assert "| internal | model_validator | model validator |" in text
    passage = world.dossier(world.live).passages["internal"]
    assert passage.digest in text and "No stop and no rollback is recorded." in text


@pytest.mark.parametrize("kind", KINDS)
def test_pages_load_nothing_and_carry_no_markup_of_a_declaration(world: PaperWorld, kind: Kind) -> None:
    made: Made = world.paper(world.live, kind)
    page = paper_page(made.paper)
    assert "<script" not in page and "default-src 'none'" in page and "src=" not in page
    assert page.count('class="figure"') >= 3
    for target in set(re.findall(r'href="#([^"]+)"', page)):
        assert f'id="{target}"' in page
