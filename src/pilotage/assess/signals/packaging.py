"""Whether a stranger can install, run and test it: pins, tests, CI, container, paths, missing and hollow files."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pilotage.assess.folder import Folder
from pilotage.assess.model import Finding
from pilotage.assess.signals.python import finding, literal, scripts
from pilotage.assess.signals.seen import Seen
from pilotage.assess.source import dotted

__all__ = ["ci", "complete", "handover", "paths", "pins", "python", "requirements", "tests"]

_EXACT = re.compile(r"===|==\s*[\w.!+-]+(?![\w.*!+-])|@\s*\S+(@[0-9a-f]{7,}|#sha\w+=|==)")
_PYTHON = (
    (r"(^|/)(\.python-version|runtime\.txt)$", r"\d"),
    (r"(^|/)pyproject\.toml$", r"^\s*(requires-python|python)\s*="),
    (r"(^|/)(setup\.cfg|setup\.py)$", r"python_requires\s*="),
    (r"(^|/)(Dockerfile|Containerfile)[^/]*$", r"^FROM\s+\S*python:\d"),
    (r"(^|/)environment\.ya?ml$", r"python\s*=+\s*\d"),
    (r"(^|/)Pipfile$", r"python_version\s*="),
)
_LOCKS = ("uv.lock", "poetry.lock", "pipfile.lock", "pdm.lock", "conda-lock.yml", "pylock.toml")
_DEAD = {
    "sklearn": "scikit-learn",
    "pickle5": "nothing: it is in Python",
    "cv2": "opencv-python",
    "bs4": "beautifulsoup4",
}
_PERSONAL = re.compile(r"(/home/\w[\w.-]*/|/Users/\w[\w.-]*/|[A-Za-z]:\\+Users\\+|/content/drive/|/mnt/[a-z]/Users/)")
_CI = re.compile(
    r"(^|/)(\.github/workflows/.+\.ya?ml|\.gitlab-ci\.yml|Jenkinsfile|azure-pipelines\.yml|\.circleci/config\.yml)$"
)
_RUNS_TESTS = re.compile(r"\b(pytest|unittest|tox|nox|make (test|check))\b")
_CANNOT_FAIL = re.compile(r"\|\|\s*(true|:|exit 0|echo)|;\s*true\s*$")
_LOADS = {"load", "load_model", "load_local", "read_pickle", "InferenceSession", "load_from_checkpoint"}
_OTHER_LISTS = ("environment.yml", "environment.yaml", "setup.py", "setup.cfg", "pipfile")
_BROUGHT = {
    "pandas": "numpy dateutil python_dateutil pytz",
    "scikit_learn": "numpy scipy joblib threadpoolctl",
    "torch": "numpy",
    "tensorflow": "numpy keras",
    "fastapi": "starlette pydantic",
    "flask": "werkzeug jinja2 click",
    "boto3": "botocore",
    "lightgbm": "numpy scipy",
    "xgboost": "numpy scipy",
    "matplotlib": "numpy pillow",
    "streamlit": "numpy pandas",
    "transformers": "numpy",
}
_MUST_HOLD = ("dockerfile", "requirements.txt", "dvc.yaml", "makefile", "readme.md", "docker-compose.yml")


def requirements(folder: Folder) -> Iterator[tuple[str, int, str]]:
    """(file, line, requirement) of requirement files and pyproject.toml."""
    for path in folder.files:
        name = Path(path).name
        if re.fullmatch(r"requirements.*\.(txt|in)", name) and (text := folder.text(path)):
            for number, line in enumerate(text.lines, 1):
                if re.match(r"[A-Za-z0-9]", line.strip()):
                    yield path, number, line.split("#")[0].strip()
        elif name == "pyproject.toml" and (text := folder.text(path)):
            for requirement in _project_requirements("\n".join(text.lines)):
                at = next((i for i, line in enumerate(text.lines, 1) if requirement in line), 0)
                yield path, at, requirement


def _project_requirements(content: str) -> list[str]:
    try:
        project: dict[str, Any] = tomllib.loads(content).get("project", {})
    except tomllib.TOMLDecodeError:
        return []
    return [each for each in project.get("dependencies", []) if isinstance(each, str)]


def pins(folder: Folder) -> Iterator[Seen]:
    """Every dependency is pinned to one version, or a lock file lies beside it."""
    asked = list(requirements(folder))
    locks = [path for path in folder.named(*_LOCKS) if folder.files[path]]
    loose = [(path, line, each) for path, line, each in asked if not _EXACT.search(each)]
    findings = [
        Finding(file=path, line=line, message=f"{each} is not pinned", mend="write ==version")
        for path, line, each in loose
    ]
    for path, line, each in asked:
        plain = re.split(r"[^A-Za-z0-9_.-]", each)[0].lower()
        if plain in _DEAD:
            findings.append(
                Finding(file=path, line=line, message=f"{plain} is no such package", mend=f"ask for {_DEAD[plain]}")
            )
    if locks and not findings:
        yield Seen(criterion="infrastructure.pins", level=1, summary=f"locked by {locks[0]}")
    elif locks:
        yield Seen(criterion="infrastructure.pins", level=1, summary=f"loose, but locked by {locks[0]}")
    elif asked:
        bad = f"{len(loose)} of {len(asked)} dependencies are not pinned"
        yield Seen.of("infrastructure.pins", findings, bad, f"all {len(asked)} dependencies are pinned")
    elif scripts(folder):
        yield Seen(criterion="infrastructure.pins", level=0, summary="no file says which packages it needs")


def python(folder: Folder) -> Iterator[Seen]:
    """A file says for which Python it is."""
    if not folder.modules:
        return
    for path in folder.files:
        for name, stated in _PYTHON:
            if re.search(name, path) and (text := folder.text(path)):
                line = next((line for line in text.lines if re.search(stated, line)), None)
                if line is not None:
                    yield Seen(criterion="infrastructure.python", level=1, summary=f"{path} says {line.strip()}")
                    return
    yield Seen(criterion="infrastructure.python", level=0, summary="nothing says for which Python it is")


def tests(folder: Folder) -> Iterator[Seen]:
    """Tests exist that assert something."""
    if not folder.modules:
        return
    functions = [
        (module, node)
        for module in folder.modules
        if module.is_test
        for node in module.nodes
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test")
    ]
    hollow = [
        finding(module, node, f"{node.name} asserts nothing", "assert what a user would miss")
        for module, node in functions
        if not any(_asserts(each) for each in ast.walk(node))
    ]
    good = len(functions) - len(hollow)
    summary = f"{good} tests assert something" if good else "no test asserts anything" if functions else "no tests"
    yield Seen(criterion="infrastructure.tests", level=1 if good else 0, summary=summary, findings=hollow)


def _asserts(node: ast.AST) -> bool:
    if isinstance(node, ast.Assert):
        return not isinstance(node.test, ast.Constant)
    name = dotted(node.func).rpartition(".")[2] if isinstance(node, ast.Call) else ""
    return name.startswith("assert") or name in ("raises", "warns", "fail")


def ci(folder: Folder) -> Iterator[Seen]:
    """A CI file runs the tests, and the run can fail."""
    texts = [text for path in folder.files if _CI.search(path) and (text := folder.text(path))]
    running = [
        (text, number, line)
        for text in texts
        for number, line in enumerate(text.lines, 1)
        if _RUNS_TESTS.search(line.partition("#")[0]) and "install" not in line
    ]
    sure = [text for text, _, line in running if not _CANNOT_FAIL.search(line)]
    if sure:
        yield Seen(criterion="infrastructure.ci", level=1, summary=f"{sure[0].path} runs the tests")
    elif running:
        mute = [
            Finding(file=text.path, line=number, message="the tests cannot fail here", digest=text.line_digest(number))
            for text, number, _ in running
        ]
        yield Seen(criterion="infrastructure.ci", level=0, summary="CI runs the tests and ignores them", findings=mute)
    elif texts:
        hollow = [Finding(file=text.path, line=0, message="runs no tests", mend="run them") for text in texts]
        yield Seen(criterion="infrastructure.ci", level=0, summary="CI runs no tests", findings=hollow)
    elif folder.modules:
        yield Seen(criterion="infrastructure.ci", level=0, summary="no CI")


def paths(folder: Folder) -> Iterator[Seen]:
    """No path of one person's machine; a comment or a notebook is half as bad as code."""
    findings, severe = [], False
    for module in folder.modules:
        for line, source in zip(module.places, module.lines, strict=True):
            found = _PERSONAL.search(source)
            if found:
                where = (
                    "in a comment" if source.lstrip().startswith("#") else "in a notebook" if module.notebook else ""
                )
                severe = severe or not where
                message = f"a path of one person's machine: {found[0]}... {where}".strip()
                findings.append(finding(module, line, message, "use a path relative to the project"))
    if folder.modules:
        level = 1.0 if not findings else 0.0 if severe else 0.5
        summary = f"{len(findings)} personal paths" if findings else "no personal path"
        if findings and not severe:
            summary += ", all in notebooks or comments"
        yield Seen(criterion="infrastructure.paths", level=level, summary=summary, findings=findings)


def complete(folder: Folder) -> Iterator[Seen]:
    """Every model file that code loads is there, every import resolves, and no file is empty that must not be."""
    findings = [
        Finding(file=path, line=0, message="the file is empty", mend="fill it or remove it")
        for path, size in folder.files.items()
        if size == 0 and Path(path).name.lower() in _MUST_HOLD
    ]
    names = {Path(path).name for path in folder.files}
    made = {_written(call, name) for module in folder.modules for call, name in module.calls}
    for module in folder.modules:
        for call, name in module.calls:
            target = literal(call.args[0]) if call.args and name.rpartition(".")[2] in _LOADS else None
            if (
                isinstance(target, str)
                and "://" not in target
                and Path(target).suffix
                and Path(target).name not in names | made
            ):
                findings.append(
                    finding(module, call, f"{target} is loaded and not there", "add it or the step that makes it")
                )
    findings += [
        Finding(file=path, line=line, message=f"it is no Python: {why}", mend="mend or remove it")
        for path, line, why in folder.unparsed
        if path.endswith(".py")
    ]
    findings += list(_unresolved(folder))
    if folder.modules or folder.unparsed:
        yield Seen.of("infrastructure.complete", findings, f"missing or empty: {len(findings)}", "all is there")


def _written(call: ast.Call, name: str) -> str:
    """The base name of a file that a call writes; empty for others."""
    if name.rpartition(".")[2] not in ("dump", "save", "save_model", "to_pickle"):
        return ""
    values = [literal(each) for each in call.args]
    return next((Path(value).name for value in values if isinstance(value, str)), "")


def _unresolved(folder: Folder) -> Iterator[Finding]:
    """Imports that are neither standard, nor local, nor asked for; only where a file says what is asked for."""
    asked = {re.split(r"[^A-Za-z0-9_.-]", each)[0].lower().replace("-", "_") for _, _, each in requirements(folder)}
    if not asked or folder.named(*_OTHER_LISTS):
        return
    known = {
        "sklearn": "scikit_learn",
        "cv2": "opencv_python",
        "PIL": "pillow",
        "yaml": "pyyaml",
        "bs4": "beautifulsoup4",
        "dotenv": "python_dotenv",
        "dateutil": "python_dateutil",
        "jwt": "pyjwt",
        "imblearn": "imbalanced_learn",
        "skimage": "scikit_image",
        "fitz": "pymupdf",
        "docx": "python_docx",
        "faiss": "faiss_cpu",
        "psycopg2": "psycopg2_binary",
        "pkg_resources": "setuptools",
    }
    brought = {part for name in asked for part in _BROUGHT.get(name, "").split()}
    local = {
        part for path in folder.files if path.endswith(".py") for part in [*Path(path).parts[:-1], Path(path).stem]
    }
    for module in folder.modules:
        for node in module.nodes:
            if isinstance(node, ast.Import):
                roots = [alias.name.split(".")[0] for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                roots = [node.module.split(".")[0]]
            else:
                continue
            for root in roots:
                wanted = known.get(root, root).lower()
                if (
                    root not in sys.stdlib_module_names
                    and root not in local
                    and not {wanted, root.lower()} & (asked | brought)
                ):
                    yield finding(module, node, f"{root} is imported and not asked for", "add it to the requirements")


def handover(folder: Folder) -> Iterator[Seen]:
    """The README holds commands, and the files they name are there."""
    readmes = [path for path in folder.named("readme.md", "readme.rst", "readme.txt", "readme") if "/" not in path]
    text = folder.text(readmes[0]) if readmes else None
    if text is None:
        if folder.modules:
            yield Seen(criterion="team.handover", level=0, summary="no README")
        return
    commands, fenced = [], False
    for number, line in enumerate(text.lines, 1):
        if line.strip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith(("    ", "$ ")):
            commands.append((number, line))
    used = [
        (number, name)
        for number, line in commands
        for name in re.findall(r"[\w./-]+\.(?:py|txt|ipynb|sh|json|csv|yaml)(?:\.gz)?\b", line)
    ]
    missing = [
        Finding(
            file=text.path,
            line=number,
            message=f"{name} is named and not there",
            mend="add it",
            digest=text.line_digest(number),
        )
        for number, name in used
        if Path(name).name not in {Path(path).name for path in folder.files}
    ]
    if commands:
        level = 0.5 if missing else 1.0
        summary = (
            f"the README's commands name {len(missing)} missing files"
            if missing
            else "the README's commands can be followed"
        )
        yield Seen(criterion="team.handover", level=level, summary=summary, findings=missing)
    else:
        yield Seen(criterion="team.handover", level=0, summary="the README says nothing about running it")
