"""Every address is found by its path, and only by its path; the API page lists each."""

import re
from pathlib import Path

import pytest

from pilotage.gateway.addresses import ADDRESSES, find, is_open_inference

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "api.md"


@pytest.mark.parametrize("address", ADDRESSES, ids=lambda address: address.template)
def test_a_path_leads_to_its_address_with_its_parts(address):
    names = re.findall(r"{(\w+)}", address.template)
    path = address.template.format(**{name: f"a-{name}" for name in names})
    found = find(path)
    assert found is not None
    assert found.address is address
    assert found.parts == {name: f"a-{name}" for name in names}


NOWHERE = """
/ /v1 /v1/systems /v1/systems//decide /v1/systems/a/decide/ /v1/systems/a/b/decide /v2/ /v2/models /v2/models/
/v2/models/a/versions /v2/models/a/versions//infer /V2 /live/
"""


@pytest.mark.parametrize("path", ["", *NOWHERE.split()])
def test_any_other_path_leads_nowhere(path):
    assert find(path) is None


def test_templates_are_distinct():
    templates = [address.template for address in ADDRESSES]
    assert len(set(templates)) == len(templates)


@pytest.mark.parametrize(("path", "is_it"), [("/v2", True), ("/v2/x", True), ("/v20", False), ("/v1/v2", False)])
def test_the_protocol_of_a_path(path, is_it):
    assert is_open_inference(path) is is_it


def test_the_api_page_lists_every_address_with_its_methods():
    written = set(re.findall(r"^\| `([A-Z]+) (/[^`]*)` \|", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE))
    missing = [
        f"{method} {address.template}"
        for address in ADDRESSES
        for method in address.methods
        if (method, address.template) not in written
    ]
    assert missing == []
