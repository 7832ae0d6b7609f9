"""How a pilot's service is started and called, read from its recipe, its code, its README and its data.

Nothing here runs anything: it makes the commands and the requests that the box tries in turn.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pilotage.assess.folder import Folder
from pilotage.assess.signals.container import steps_of
from pilotage.assess.signals.python import argument, handlers, is_server, literal, name_in, scripts
from pilotage.assess.source import Module, dotted

__all__ = ["Call", "Command", "calls", "commands", "debug_place", "exposed", "health_paths", "places", "serves"]

_PAGES = {"streamlit", "gradio", "dash"}
_STARTERS = {"python", "python3", "uvicorn", "gunicorn", "flask", "fastapi", "streamlit", "hypercorn", "waitress-serve"}
_AS_MODULE = {"waitress-serve": "waitress"}
_RUNS = {"run", "run_simple", "serve", "launch", "run_server"}
_RUNS_OTHERS = ("subprocess.", "asyncio.")
_APPS = {"Flask": "flask", "FastAPI": "fastapi", "Starlette": "fastapi"}
_PREDICTS = re.compile(r"(?i)predict|score|infer|classif|answer|invoke")
_HEALTH = re.compile(r"(?i)/(health\w*|live\w*|ready\w*|ping|status|alive)\b")
_USUAL = ("/health", "/healthz", "/ping", "/ready", "/status")
_BODY = re.compile(r"""-d\s+(?:'([^']*)'|"((?:\\.|[^"\\])*)")|--data(?:-\w+)?[ =](?:'([^']*)'|"((?:\\.|[^"\\])*)")""")
_URL = re.compile(r"https?://(?:localhost|127\.0\.0\.1|0\.0\.0\.0)(?::\d+)?(/[^\s'\"\\]*)?")
_PYTHON_JSON = re.compile(r"json\s*=\s*(\{[^{}]*\})", re.DOTALL)
_PYTHON_URL = re.compile(r"post\(\s*f?[\"']([^\"']+)[\"']")
_PORT = re.compile(r"\$\{?PORT(:-\d+)?\}?")
_MOST = 12


@dataclass(frozen=True, kw_only=True)
class Command:
    """`argv` starts the service in `cwd` (relative to the pilot); a first word `python` is the environment's."""

    argv: list[str]
    cwd: str = ""
    said: str = ""
    env: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One example request. `stated`: the pilot itself gives it; else it was put together from code and data.

    `kind` says how `body` is sent: json, form or query; empty for none. `file` and `line` are where it comes from.
    """

    method: str
    path: str
    kind: str = ""
    body: Any = None
    stated: bool = False
    file: str = ""
    line: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def _roots(module: Module) -> set[str]:
    return {
        name.split(".")[0]
        for node in module.nodes
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }


def _page(module: Module) -> str:
    return next(iter(sorted(_roots(module) & _PAGES)), "")


def _servers(folder: Folder) -> list[Module]:
    return [module for module in scripts(folder) if is_server(module) and handlers(module)]


def serves(folder: Folder) -> bool:
    """Whether there is a service or a page to start."""
    return bool(_servers(folder)) or any(_page(module) for module in scripts(folder))


# ---- starting it


def commands(folder: Folder) -> list[Command]:
    """What may start it, the pilot's own words first."""
    found = [*_recipes(folder), *_procfile(folder)]
    for module in _servers(folder):
        found += list(_of_server(folder, module))
    found += [command for module in scripts(folder) if (page := _page(module)) for command in _of_page(module, page)]
    once = {json.dumps([each.argv, each.cwd]): each for each in reversed(found)}
    return [each for each in found if once.get(json.dumps([each.argv, each.cwd])) is each][:6]


def _recipes(folder: Folder) -> Iterator[Command]:
    for path in folder.named("Dockerfile", "Containerfile"):
        text = folder.text(path)
        if text is None:
            continue
        env: dict[str, str] = {}
        start: tuple[int, str] | None = None
        for line, word, rest in steps_of(text):
            if word == "ENV" and (pair := re.match(r"(\w+)[ =]\"?([^\"\s]*)\"?$", rest)):
                env[pair[1]] = pair[2]
            elif word in ("CMD", "ENTRYPOINT"):
                start = (line, rest)
        argv = _words(start[1]) if start else []
        if start and argv:
            folder_of = str(Path(path).parent)
            cwd = "" if folder_of == "." else folder_of
            yield Command(argv=argv, cwd=cwd, said=f"{path}:{start[0]}", env=_harmless(env))


def _procfile(folder: Folder) -> Iterator[Command]:
    if "Procfile" in folder.files and (text := folder.text("Procfile")):
        for number, line in enumerate(text.lines, 1):
            if line.startswith("web:") and (argv := _words(line[4:].strip())):
                yield Command(argv=argv, said=f"Procfile:{number}")


def _harmless(env: dict[str, str]) -> dict[str, str]:
    """What a recipe sets, without what would change which interpreter or libraries run."""
    return {name: value for name, value in env.items() if not re.match(r"PATH$|LD_|PYTHON(HOME|PATH)", name)}


def _words(text: str) -> list[str]:
    """The words of a start command that runs one known program; empty for a shell's script or another program."""
    try:
        listed = (
            json.loads(text) if text.startswith("[") else shlex.split(re.sub(r"\$\{?PORT(:-\d+)?\}?", "8000", text))
        )
    except ValueError:
        return []
    words = [str(each) for each in listed] if isinstance(listed, list) else []
    if len(words) == 3 and words[0] in ("sh", "bash", "/bin/sh", "/bin/bash") and words[1] == "-c":
        return _words(words[2]) if not words[2].startswith("[") else []
    if words and words[0] == "exec":
        words = words[1:]
    if not words or any(each in ("&&", "||", ";", "|", "&", ">") for each in words):
        return []
    program = Path(words[0]).name
    if program not in _STARTERS:
        return []
    if program.startswith("python"):
        return ["python", *words[1:]]
    return ["python", "-m", _AS_MODULE.get(program, program), *words[1:]]


def _of_server(folder: Folder, module: Module) -> Iterator[Command]:
    runs = any(name.rpartition(".")[2] in _RUNS and not name.startswith(_RUNS_OTHERS) for _, name in module.calls)
    where, name = Path(module.path).parent, Path(module.path).name
    inside = "" if str(where) == "." else str(where)
    if runs:
        yield Command(argv=["python", name], cwd=inside, said=module.path)
        if inside:
            yield Command(argv=["python", module.path], said=module.path)
        return
    for node in module.tree.body:
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)):
            continue
        kind = _APPS.get(module.name_of(node.value.func).rpartition(".")[2], "")
        target = dotted(node.targets[0])
        if not kind or not target:
            continue
        for cwd, dotted_name in ((inside, Path(name).stem), ("", ".".join(Path(module.path).with_suffix("").parts))):
            port = ["--host", "127.0.0.1", "--port", "8000"]
            argv = ["uvicorn", f"{dotted_name}:{target}", *port]
            if kind == "flask":
                argv = ["flask", "--app", f"{dotted_name}:{target}", "run", *port]
            yield Command(argv=["python", "-m", *argv], cwd=cwd, said=f"{module.path} by {argv[0]}")


def _of_page(module: Module, page: str) -> Iterator[Command]:
    if page == "streamlit":
        argv = ["-m", "streamlit", "run", module.path, "--server.headless", "true", "--server.port", "8501"]
        yield Command(argv=["python", *argv, "--browser.gatherUsageStats", "false"], said=module.path)
    elif any(name.rpartition(".")[2] in _RUNS for _, name in module.calls):
        yield Command(argv=["python", module.path], said=module.path)


def exposed(folder: Folder) -> list[tuple[str, int, int]]:
    """(file, line, port) that recipes open."""
    found = []
    for path in folder.named("Dockerfile", "Containerfile"):
        if text := folder.text(path):
            for line, word, rest in steps_of(text):
                if word == "EXPOSE":
                    found += [(path, line, int(port)) for port in re.findall(r"\b(\d{2,5})\b", rest)]
    return found


# ---- calling it


def places(folder: Folder) -> dict[str, tuple[str, int]]:
    """Where each route is answered: path to (file, line)."""
    return {path: (module.path, module.place(handler)) for module, handler, path, _ in _routes(folder)}


def debug_place(folder: Folder) -> tuple[str, int]:
    """(file, line) of the call that switches debug mode on, else of the first route; ("", 0) without."""
    for module in _servers(folder):
        for call, _ in module.calls:
            if literal(argument(call, "debug")) is True:
                return module.path, module.place(call)
    return next(iter(places(folder).values()), ("", 0))


def _routes(folder: Folder) -> Iterator[tuple[Module, ast.FunctionDef | ast.AsyncFunctionDef, str, list[str]]]:
    """(module, handler, path, methods) of every route."""
    for module in _servers(folder):
        for handler in handlers(module):
            for decorator in handler.decorator_list:
                if not isinstance(decorator, ast.Call):
                    continue
                given = [literal(each) for each in decorator.args]
                path = next((each for each in given if isinstance(each, str) and each.startswith("/")), "")
                verb = dotted(decorator.func).rpartition(".")[2]
                methods = [verb.upper()] if verb in ("get", "post", "put") else _methods(decorator)
                if path:
                    yield module, handler, path, methods


def _methods(decorator: ast.Call) -> list[str]:
    given = next((word.value for word in decorator.keywords if word.arg == "methods"), None)
    listed = [literal(each) for each in getattr(given, "elts", [])]
    return [each for each in listed if isinstance(each, str)] or ["GET"]


def health_paths(folder: Folder) -> list[str]:
    """Addresses that may say whether it is well: those of the code, then the usual ones."""
    own = [path for _, _, path, methods in _routes(folder) if "GET" in methods and _HEALTH.search(path)]
    streamlit = any(_page(module) == "streamlit" for module in scripts(folder))
    return list(dict.fromkeys([*own, *(["/_stcore/health"] if streamlit else []), *_USUAL]))[:_MOST]


def calls(folder: Folder, row: dict[str, Any], features: list[str]) -> list[Call]:
    """Example requests, the pilot's own first; then ones put together of what each handler reads and a row of data.

    `row` are the values of one row of the pilot's data, `features` the inputs in order.
    """
    routed = list(_routes(folder))
    made = [call for each in routed for call in _made(*each, row, features)]
    made.sort(key=lambda call: (not _PREDICTS.search(call.path), call.method == "GET"))
    return [*_stated(folder, {path for _, _, path, _ in routed}), *made][:_MOST]


def _stated(folder: Folder, known: set[str]) -> Iterator[Call]:
    """Requests written in a README or a request file: curl with a body, requests.post with json=."""
    for path in folder.files:
        if not re.search(r"(?i)(^|/)readme[^/]*$|\.http$|(^|/)(example|request|sample)[\w-]*\.(sh|py|md)$", path):
            continue
        text = folder.text(path)
        if text is None:
            continue
        whole = "\n".join(text.lines)[: 1 << 18]
        for found in re.finditer(r"(?m)^[ $>`]*curl\b(?:[^\n]|\\\n)*", whole):
            address, body = _URL.search(found[0]), _BODY.search(found[0])
            if address and body:
                sent = next(part for part in body.groups() if part is not None).replace('\\"', '"').replace("\\\n", "")
                line = whole.count("\n", 0, found.start()) + 1
                where = address[1] or "/"
                try:
                    yield Call(
                        method="POST", path=where, kind="json", body=json.loads(sent), stated=True, file=path, line=line
                    )
                except ValueError:
                    pairs = dict(pair.split("=", 1) for pair in sent.split("&") if "=" in pair)
                    if pairs:
                        yield Call(
                            method="POST", path=where, kind="form", body=pairs, stated=True, file=path, line=line
                        )
        for found in _PYTHON_JSON.finditer(whole):
            address = _PYTHON_URL.search(whole[max(0, found.start() - 200) : found.start()])
            try:
                value = ast.literal_eval(found[1])
            except (ValueError, SyntaxError):
                continue
            where = "/" + address[1].split("://", 1)[-1].partition("/")[2] if address else ""
            if isinstance(value, dict) and where in known:
                line = whole.count("\n", 0, found.start()) + 1
                yield Call(method="POST", path=where, kind="json", body=value, stated=True, file=path, line=line)


def _made(
    module: Module,
    handler: ast.FunctionDef | ast.AsyncFunctionDef,
    path: str,
    methods: list[str],
    row: dict[str, Any],
    features: list[str],
) -> Iterator[Call]:
    """What the handler reads, filled from a row of the data."""
    line = module.place(handler)
    method = next((each for each in ("POST", "PUT", "GET") if each in methods), "GET")
    if "<" in path or "{" in path or _HEALTH.search(path):
        return
    form = name_in(handler, "request.form", "form.")
    query = name_in(handler, "request.args", "query_params")
    kind = "form" if form else "query" if query or method == "GET" else "json"
    names = _read_names(handler)
    inputs = {name: row.get(name, 1) for name in features}
    common: dict[str, Any] = {"method": method, "path": path, "kind": kind, "file": module.path, "line": line}
    if names:
        within = next((name for name in names if name in ("features", "data", "inputs", "instances", "input")), "")
        known = {name: row.get(name, row.get(name.lower(), 1)) for name in names}
        if within and within not in row:
            values = [inputs[name] for name in features]
            for shape in (values, [values], inputs, [inputs]):
                yield Call(**common, body=known | {within: shape})
        else:
            yield Call(**common, body=known)
    if inputs and kind in ("json", "form"):
        yield Call(**common, body=inputs)
    if inputs and kind == "json":
        for shape in ([inputs], {"features": list(inputs.values())}, list(inputs.values())):
            yield Call(**common, body=shape)
    if not names and not inputs:
        yield Call(**common, body={} if kind == "json" else None)


def _read_names(handler: ast.AST) -> list[str]:
    """The keys that a handler takes out of what it was sent: x["a"], x.get("a"), request.form["a"]."""
    found: list[str] = []
    for node in ast.walk(handler):
        key: object = None
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            key = literal(node.slice) if _sent(node.value) else None
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            key = literal(node.args[0]) if node.args and _sent(node.func.value) else None
        if isinstance(key, str):
            found.append(key)
    return list(dict.fromkeys(found))


def _sent(node: ast.AST) -> bool:
    """Whether a node is, by its name, what the caller sent."""
    name = dotted(node).lower()
    return name.rpartition(".")[2] in {
        *("data", "payload", "body", "json", "form", "args", "content", "req", "inputs", "input", "get_json"),
        *("request_data", "values", "params", "json_data", "input_data", "query_params", "request"),
    }
