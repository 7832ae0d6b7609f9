"""Workflow files of CI services: the same commands in the words of each."""

from __future__ import annotations

import shlex
from pathlib import Path

from pilotage import __version__

__all__ = ["PLACES", "ci_commands", "ci_file"]

PLACES = {"github": ".github/workflows/pilotage.yml", "gitlab": ".gitlab-ci.yml"}
"""Where each service looks for its file."""

_HEAD = "# Runs the pipeline, each command twice, checks the gate, keeps the papers. Written by pilotage init.\n"


def ci_commands(folder: Path, data: str = "", contract: str = "", tests: str = "") -> list[tuple[str, str]]:
    """(name, line for sh) of each step after the installation; papers go to `papers/`.

    `data` is held to `contract`, both relative to the folder, where the system declares one, and that to the one of the
    branch that the change goes to (else the main one): a change that breaks callers fails the job, unless its
    variable CONTRACT_MAY_BREAK is `yes`. `tests` is the folder of
    its own tests, with requirements-dev.txt beside it.

    Two people are made in the fresh home of the job: an admin, because somebody must be first, and the engineer who
    builds. The gate says no-go with status 3 until people have approved, which is told and does not fail the job.
    """
    place = shlex.quote(str(folder))
    known = "export PILOTAGE_TOKEN=$(cat .pilotage-token)"
    people = (
        "export PILOTAGE_TOKEN=$(pilotage people add ci-admin --role admin --token) && "
        "pilotage people add ci --role ml_engineer --token > .pilotage-token && mkdir -p papers"
    )
    release = "$(python -c \"import json; print(json.load(open('papers/run.json'))['release'])\")"
    check = change = ""
    if contract:
        place_of = shlex.quote(str(folder / contract))
        before = "papers/contract-before.yaml"
        branch = '"${BASE_BRANCH:-${CI_MERGE_REQUEST_TARGET_BRANCH_NAME:-${CI_DEFAULT_BRANCH:-main}}}"'
        change = (
            f"git fetch --quiet --depth 1 origin {branch} && "
            f"if git show FETCH_HEAD:{place_of} > {before} 2> papers/git.txt; "
            f"then pilotage contract diff {before} {place_of} --json > papers/contract-diff.json "
            '|| { test $? -eq 3 && test "${CONTRACT_MAY_BREAK:-}" = yes; }; '
            f"else echo 'no contract there yet'; fi"
        )
    if data and contract:
        files = " ".join(shlex.quote(str(folder / each)) for each in (contract, data))
        check = f"pilotage contract check {files} --json > papers/contract.json"
    packages = f"python -m pip install -r {shlex.quote(str(folder / 'requirements-dev.txt'))}"
    own = f"python -m pytest -q {shlex.quote(str(folder / tests))}"
    return [
        *([("packages", packages), ("tests", own)] if tests else []),
        ("people", people),
        *([("contract change", change)] if change else []),
        *([("contract", check)] if check else []),
        ("pipeline", f"{known} && pilotage pipeline run {place} --twice --json > papers/run.json"),
        ("lineage", f"{known} && pilotage pipeline lineage last --out papers/lineage.jsonl"),
        (
            "gate",
            f"{known} && {{ pilotage gate check --release {release} --to internal --json > papers/gate.json "
            "|| test $? -eq 3; }",
        ),
        ("papers", f"{known} && pilotage release show {release} --card > papers/model-card.md"),
    ]


def ci_file(service: str, folder: Path, data: str = "", contract: str = "", tests: str = "") -> str:
    """The workflow file of a service for the pilot in a folder, relative to the repository's."""
    commands = ci_commands(folder, data, contract, tests)
    install = f"python -m pip install 'pilotage[onnx,sklearn]=={__version__}'"
    return _github(install, commands) if service == "github" else _gitlab(install, commands)


def _github(install: str, commands: list[tuple[str, str]]) -> str:
    steps = "".join(f"      - name: {name}\n        run: |\n          {line}\n" for name, line in commands)
    return f"""{_HEAD}name: pilotage
on: [push, pull_request]
permissions:
  contents: read
jobs:
  pilotage:
    runs-on: ubuntu-latest
    env:
      BASE_BRANCH: ${{{{ github.base_ref || github.event.repository.default_branch }}}}
      CONTRACT_MAY_BREAK: ${{{{ vars.CONTRACT_MAY_BREAK }}}}
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.11"
      - name: install
        run: |
          {install}
{steps}      - uses: actions/upload-artifact@v4
        if: always()
        with:
          name: papers
          path: papers/
"""


def _gitlab(install: str, commands: list[tuple[str, str]]) -> str:
    lines = "".join(f"    - |\n      {line}\n" for _, line in commands)
    return f"""{_HEAD}pilotage:
  image: python:3.11
  script:
    - |
      {install}
{lines}  artifacts:
    when: always
    paths:
      - papers/
"""
