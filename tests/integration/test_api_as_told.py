"""The control API does what its OpenAPI document says, also to all that schemathesis makes of it, whoever asks."""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from pilotage.access.issuers import Grant, Issuer
from pilotage.access.model import PERMISSIONS, ROLES
from pilotage.web.console.app import create_app
from tests.console.world import SYSTEM, ConsoleWorld, make_console_world
from tests.postgres import create_database

CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
INTERNALS = re.compile(r"Traceback|site-packages|\.py\b|sqlalchemy|sqlite3?\.|psycopg|<class '|object at 0x", re.I)
"""What no answer may hold."""


HOSTILE_TEXTS = (
    "9" * 5_000,
    "٣",
    "²",
    "-1",
    "nan",
    "1e400",
    "0001-01-01T00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "2026-02-30",
    "\x00",
    "%",
    "_" * 64,
    "' OR 1=1 --",
    "sha256:%",
    "x" * 20_000,
    "..",
    "*",
)
HOSTILE_VALUES = (*HOSTILE_TEXTS, "\ud800", 2**70, -(2**63), -1, 0, 1e308, True, None, [], {}, ["\ud800"], {"\x00": 1})
"""What schemathesis would seldom make, and has broken something somewhere."""


@dataclass(kw_only=True)
class Served:
    """A console on a port, tokens of every role, and what is there to be asked for by name."""

    url: str
    tokens: dict[str, str]
    known: dict[str, list[str]]
    home: str


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    url = create_database(request.getfixturevalue("postgres_server")) if request.param == "postgresql" else None
    world = make_console_world(tmp_path_factory.mktemp("told"), url)
    facts = {"audiences": ("pilotage",), "grants": (Grant(claim="groups", value="desk", right="role:auditor"),)}
    issuer = Issuer(name="corp", issuer="https://issuer.example", keys='{"keys": []}', **facts)
    world.installation.rollout.add_issuer(world.governed.admin, issuer)
    ids = world.seal([*world.answered(5), *world.rejected(1), world.fallen_back()])
    server = uvicorn.Server(
        uvicorn.Config(create_app(world.installation), port=0, log_level="critical", lifespan="off")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Served(
        url=f"http://127.0.0.1:{port}",
        tokens={role: world.token(role) for role in ROLES},
        known=known(world, ids),
        home=str(world.installation.home.root),
    )
    server.should_exit = True
    thread.join(20)
    world.close()


def known(world: ConsoleWorld, ids: list[str]) -> dict[str, list[str]]:
    """Values of the parts of paths that name something."""
    return {
        "system": [SYSTEM],
        "id": ids,
        "ref": [world.release.digest, f"{SYSTEM}@1"],
        "file": ["model-card.md", "bom.json", "notes.html"],
        "issuer": ["corp"],
    }


def document(served: Served) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {served.tokens['auditor']}"}
    found = requests.get(f"{served.url}/api/v1/openapi.json", headers=headers, timeout=10)
    assert found.status_code == 200
    return dict(found.json())


def test_it_is_valid_and_says_what_each_operation_needs(served: Served) -> None:
    found = document(served)
    OpenAPIV31SpecValidator(found).validate()
    operations = [each for path in found["paths"].values() for each in path.values()]
    assert len(operations) == len({each["operationId"] for each in operations}) > 40
    permissions = {each["description"].removeprefix("Permission: ").rstrip(".") for each in operations}
    assert permissions <= set().union(*PERMISSIONS.values())
    assert found["components"]["schemas"]["Approve"]["required"] == ["release", "stage"]
    assert requests.get(f"{served.url}/api/v1/openapi.json", timeout=10).status_code == 401


def told(served: Served, examples: int, only: str = "") -> tuple[Counter[int], list[str]]:
    """(answers by status, what was wrong with some): of requests that schemathesis makes of each operation."""
    schema = schemathesis.openapi.from_dict(document(served))
    schema.config.update(base_url=served.url)
    statuses: Counter[int] = Counter()
    wrong: list[str] = []
    with requests.Session() as session:
        for result in schema.get_all_operations():
            operation = result.ok()
            if only not in operation.label:
                continue
            permission = operation.definition.raw["description"].removeprefix("Permission: ").rstrip(".")
            roles = [role for role in ROLES if permission in PERMISSIONS[role]]
            others = [role for role in ROLES if role not in roles]
            for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
                # Nothing can be wrong about an operation without input.
                with suppress(Unsatisfiable):
                    ask(served, operation, mode, examples, session, (roles, others), statuses, wrong)
    return statuses, wrong


def ask(
    served: Served,
    operation: Any,
    mode: Any,
    examples: int,
    session: requests.Session,
    roles: tuple[list[str], list[str]],
    statuses: Counter[int],
    wrong: list[str],
) -> None:
    chance = random.Random(operation.label)

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    def run(case: Any) -> None:
        for name in case.path_parameters or {}:
            if chance.random() < 0.7:
                case.path_parameters[name] = chance.choice(served.known[name])
        for parameter in operation.query:
            if chance.random() < 0.2:
                case.query = {**(case.query or {}), parameter.name: chance.choice(HOSTILE_TEXTS)}
        if isinstance(case.body, dict) and case.body and chance.random() < 0.5:
            case.body = {**case.body, chance.choice(sorted(case.body)): chance.choice(HOSTILE_VALUES)}
        may = not roles[1] or chance.random() < 0.9
        role = chance.choice(roles[0] if may else roles[1])
        answer = case.call(headers={"authorization": f"Bearer {served.tokens[role]}"}, session=session)
        statuses[answer.status_code] += 1
        body = answer.content.decode(errors="replace")
        code = re.search(r'"code": ?"(\w+)"', body)
        at = f"{operation.label} as {role}: {answer.status_code} {body[:300]!r}\n  {case.as_curl_command()[:600]}"
        if answer.status_code >= 500:
            wrong.append(f"broke: {at}")
        if not may and answer.status_code not in (401, 403, 404, 405) and "character NUL" not in body:
            wrong.append(f"let in: {at}")
        if answer.status_code >= 400 and (found := INTERNALS.search(body) or (served.home in body)):
            wrong.append(f"told {found} ({code}): {at}")
        try:
            case.validate_response(answer, checks=CHECKS)
        except FailureGroup as failed:
            wrong.extend(f"{str(error)[:300]}: {at}" for error in failed.exceptions)

    run()


@pytest.mark.filterwarnings("ignore")
def test_some_of_what_schemathesis_makes_of_it_is_answered_as_the_document_says(served: Served) -> None:
    statuses, wrong = told(served, 2, only="system")
    assert not wrong, "\n".join(wrong[:5])
    assert statuses[200] >= 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(900)
def test_what_schemathesis_makes_of_it_is_answered_as_the_document_says(served: Served) -> None:
    statuses, wrong = told(served, 25)
    assert not wrong, f"{len(wrong)} of {statuses}:\n" + "\n".join(wrong[:20])
    assert statuses[200] > 100 and statuses[422] > 100 and statuses[403] > 100, statuses
