"""Templates of files, and the files that are made from facts: pins, gates, the workflow of CI."""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import BaseLoader, Environment, StrictUndefined, TemplateNotFound

from pilotage import __version__
from pilotage.gates.policy import gate_stages, rule_for
from pilotage.runtimes.environment import installed_distributions
from pilotage.scaffold.model import Files, NewSystem
from pilotage.systems.placeholders import UNNAMED, UNSTATED
from pilotage.workflows.ci import PLACES, ci_file

__all__ = ["RUNBOOKS", "WHAT", "gates", "pinned", "python_version", "rendered", "shared_files"]

RUNBOOKS = tuple(f"runbooks/{name}.md" for name in ("incident", "rollback", "retrain", "on-call", "erasure"))
WHAT = {
    "pilotage.yaml": "purpose, owners, limits, serving, pipeline",
    "contract.odcs.yaml": "what each input may look like",
    "rules.yaml": "what answers when no model can",
    "data/": "the rows to learn from, and where they come from",
    "steps/": "ingest, train, evaluate: the pipeline's own code",
    "serving/": "how a client system asks",
    "tests/": "of the contract and of the steps",
    "runbooks/": "incident, rollback, retrain, on call, erasure",
    "governance/": "what each gate asks for",
    ".github/": "the same commands at each change",
    "before/": "what the new system does not use, as text",
    "MIGRATION.md": "what became of each file and finding, and what is left",
    "Dockerfile": "gateway, steward and console in one container",
    "requirements.txt": "exact versions; the pipeline holds them",
}
"""What stands where, for people."""

_APART = {"pilotage", "pytest"}
_NEEDED = ("joblib", "numpy", "pandas", "pyyaml", "scikit-learn")


class _Packaged(BaseLoader):
    def get_source(self, environment: Environment, template: str) -> tuple[str, str | None, None]:
        found = resources.files("pilotage.scaffold").joinpath("templates", *template.split("/"))
        if not found.is_file():
            raise TemplateNotFound(template)
        return found.read_text(encoding="utf-8"), None, None


@cache
def _environment() -> Environment:
    made = Environment(  # noqa: S701 - YAML, Python and Markdown: nothing is HTML
        loader=_Packaged(), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    # A JSON string is one in YAML and in Python too.
    made.filters["quoted"] = lambda text: json.dumps(text, ensure_ascii=False)
    made.filters["shell"] = shlex.quote
    made.globals |= {"unnamed": UNNAMED, "unstated": UNSTATED, "version": __version__}
    return made


def rendered(template: str, **values: Any) -> bytes:
    """A packaged template with its values, UTF-8. A value that is missing is an error."""
    return _environment().get_template(f"{template}.j2").render(**values).encode()


def python_version() -> str:
    """The version of Python that this is, without its patch level."""
    return ".".join(platform.python_version_tuple()[:2])


def pinned(names: Sequence[str] = _NEEDED, known: Mapping[str, str] | None = None) -> Files:
    """Requirements with the versions in `known`, else those installed here, Pilotage among them; and those of tests.

    A package of which no version is known is asked for without one, and that is said.
    """
    here = dict(line.split("==", 1) for line in installed_distributions().splitlines())
    wanted = here | dict(known or {})
    lines = [f"pilotage[onnx,sklearn]=={__version__}", *(_pin(each, wanted) for each in sorted({*names} - _APART))]
    tests = ["-r requirements.txt", _pin("pytest", wanted)]
    told = {"requirements.txt": lines, "requirements-dev.txt": tests}
    return {path: "".join(f"{line}\n" for line in each).encode() for path, each in told.items()}


def _pin(name: str, versions: Mapping[str, str]) -> str:
    loose = f"{name}  # no version is known here: pin the one that you install"
    return f"{name}=={versions[name]}" if name in versions else loose


def gates(system: NewSystem) -> bytes:
    """What the gate to each stage asks of a system of this risk tier, from the gate policy."""
    rules = [rule_for(stage, system.risk_tier) for stage in gate_stages()]
    return rendered("governance/gates.md", system=system, rules=rules, days=rules[0].approval_days)


def shared_files(system: NewSystem, *, ci: str, raw: str, contract: str, made: Sequence[str], hidden: bool) -> Files:
    """What every system has, however it began.

    `raw` are its rows, held to the `contract` (empty: there is none yet), `made` the files that its steps make by hand;
    with `hidden` the rows stay out of version control.
    """
    files = {path: rendered(path, system=system, raw=raw, contract=contract or "CONTRACT") for path in RUNBOOKS}
    files |= {
        "governance/gates.md": gates(system),
        "serving/ask.py": rendered("serving/ask.py", system=system),
        "tests/conftest.py": rendered("tests/conftest.py"),
        "Dockerfile": rendered("Dockerfile", python=python_version()),
        ".python-version": f"{python_version()}\n".encode(),
        ".gitignore": rendered("gitignore", made=made, hidden=raw if hidden else ""),
        PLACES[ci]: ci_file(ci, Path(), raw if contract else "", contract, tests="tests").encode(),
    }
    if contract:
        files["tests/test_contract.py"] = rendered("tests/test_contract.py", raw=raw, contract=contract)
    return files
