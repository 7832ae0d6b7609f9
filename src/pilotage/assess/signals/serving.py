"""The pilot's own server: checks at the door, fitness, what can be watched, calls to others."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from pilotage.assess.folder import Folder
from pilotage.assess.model import Finding
from pilotage.assess.signals.llm.pilot import home
from pilotage.assess.signals.llm.reading import read
from pilotage.assess.signals.python import (
    argument,
    finding,
    handlers,
    is_server,
    literal,
    name_in,
    scripts,
)
from pilotage.assess.signals.seen import Seen
from pilotage.assess.source import Module, dotted

__all__ = ["access", "calls_others", "limits", "observable", "server", "threshold", "upstream", "validated"]

_CHECKS = ("validate", "schema", "basemodel", "marshmallow", "pydantic", "contract", "isinstance", "msgspec")
_HEALTH = re.compile(
    r"/(health|healthz|health[-_]?check|live|livez|liveness|ready|readyz|readiness|ping|status|alive)\b"
)
_APPS = {"Flask", "FastAPI", "Starlette", "Bottle", "Sanic", "Quart", "Litestar", "App"}
_GUARDS = re.compile(r"(?i)auth|login|jwt|api_?key|token_required|security|permission|credential")
_REFUSES = (401, 403, 1008, 4401, 4403)
_REFUSAL = re.compile(
    r"^(HTTP_40[13]_\w+|WS_1008_\w+|(HTTP)?(Unauthorized|Forbidden)|UNAUTHORIZED|FORBIDDEN|PermissionDenied)$"
)
_EVERYWHERE = frozenset({"add_middleware"})
_DJANGO_GUARDS = (
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "rest_framework.permissions.IsAuthenticated",
)
_LOOSE = {"dict", "Dict", "Any", "list", "List", "Request", "object"}
_TEXT_LOADS = ("json.load", "yaml.load", "toml.load", "tomllib.load", "yaml.safe_load")
_CHANCE = re.compile(r"(?i)prob|score|pred|risk|likelihood")
_HTTP = {"get", "post", "put", "patch", "delete", "request", "urlopen"}


def _servers(folder: Folder) -> list[Module]:
    return [module for module in scripts(folder) if is_server(module) and handlers(module)]


def _reads_request(node: ast.AST) -> bool:
    return name_in(node, "request.json", "request.form", "request.get_json", "request.args", "request.values")


def validated(folder: Folder) -> Iterator[Seen]:
    """Handlers that predict check their input, and take it by name."""
    findings, looked = [], 0
    for module in _servers(folder):
        for handler in handlers(module):
            names = [name.rpartition(".")[2] for _, name in module.calls_in(handler)]
            if not {"predict", "predict_proba"} & set(names):
                continue
            looked += 1
            given = [each.annotation for each in handler.args.args if each.annotation is not None]
            typed = any(not set(_parts(each)) & _LOOSE for each in given)
            loose = any(set(_parts(each)) & _LOOSE for each in given)
            if (_reads_request(handler) or loose) and not typed and not name_in(handler, *_CHECKS):
                findings.append(
                    finding(module, handler, f"{handler.name} predicts on an unchecked request", "check a schema")
                )
            findings += list(_by_position(module, handler))
    if looked:
        bad = "requests reach the model unchecked"
        yield Seen.of("data.validated", findings, bad, "inputs are checked at the door")


def _parts(annotation: ast.AST) -> list[str]:
    """The last names in an annotation: `dict[str, Any]` gives dict, str, Any."""
    return [
        dotted(each).rpartition(".")[2] for each in ast.walk(annotation) if isinstance(each, (ast.Name, ast.Attribute))
    ]


def _by_position(module: Module, handler: ast.AST) -> Iterator[Finding]:
    for call, name in module.calls_in(handler):
        if name.endswith(("form.values", "args.values")):
            yield finding(module, call, "inputs are taken by position", "take each by its name")
    for node in ast.walk(handler):
        if isinstance(node, ast.Compare) and dotted(node.left).startswith(("request.form", "request.args")):
            numbers = [other for other in node.comparators if isinstance(literal(other), (int, float))]
            if numbers:
                yield finding(module, node, "text of a form is compared with a number", "convert it first")


def server(folder: Folder) -> Iterator[Seen]:
    """The model is loaded once, debug mode is off, no error is swallowed."""
    findings = []
    for module in _servers(folder):
        findings += list(_loaded_each_time(module))
        for call, name in module.calls:
            if name.endswith("run") and literal(argument(call, "debug")) is True:
                findings.append(finding(module, call, "debug mode lets callers run code", "remove debug=True"))
        for node in module.nodes:
            if isinstance(node, ast.ExceptHandler) and _swallows(node):
                findings.append(
                    finding(module, node, "every error is swallowed", "catch what you expect, answer an error")
                )
    if _servers(folder):
        yield Seen.of(
            "infrastructure.server", findings, "the server is not fit for use", "no known defect in the server"
        )


def _loaded_each_time(module: Module) -> Iterator[Finding]:
    """Loads in a handler, or in a function that it calls and that keeps nothing."""
    functions = {
        node.name: node for node in module.nodes if isinstance(node, ast.FunctionDef) and not node.decorator_list
    }
    told: set[int] = set()
    for handler in handlers(module):
        called = [functions[name] for _, name in module.calls_in(handler) if name in functions]
        for function in [handler, *called]:
            kept = {
                id(each)
                for node in ast.walk(function)
                if isinstance(node, ast.If)
                and any(isinstance(e, ast.Constant) and e.value is None for e in ast.walk(node.test))
                for each in ast.walk(node)
            }
            for call, name in module.calls_in(function):
                loads = (
                    name.endswith((".load", "load_model", "read_pickle", "from_pretrained"))
                    and name not in _TEXT_LOADS
                    and not name.endswith(("Loader.load", "Reader.load"))
                )
                if loads and id(call) not in kept | told:
                    told.add(id(call))
                    yield finding(module, call, "the model is loaded for every request", "load it at start")


def _swallows(node: ast.ExceptHandler) -> bool:
    broad = node.type is None or any(name in ("Exception", "BaseException") for name in _parts(node.type))
    said = any(
        isinstance(each, (ast.Raise, ast.Return)) or (isinstance(each, ast.Call) and _logs(dotted(each.func)))
        for each in ast.walk(node)
    )
    return broad and not said


def _logs(name: str) -> bool:
    return name.rpartition(".")[2] in ("exception", "error", "warning", "critical", "capture_exception", "abort")


def _app(module: Module) -> ast.Call | int:
    return next((call for call, name in module.calls if name.rpartition(".")[2] in _APPS), 1)


def observable(folder: Folder) -> Iterator[Seen]:
    """A health address, and logging instead of prints."""
    servers = _servers(folder)
    if not servers:
        return
    routes = [
        literal(each)
        for module in servers
        for handler in handlers(module)
        for decorator in handler.decorator_list
        if isinstance(decorator, ast.Call)
        for each in [*decorator.args, *(word.value for word in decorator.keywords)]
    ]
    healthy = any(isinstance(route, str) and _HEALTH.search(route) for route in routes)
    prints = [
        finding(module, call, "print instead of logging", "use logging")
        for module in servers
        for call, name in module.calls
        if name == "print"
    ]
    blind = [] if healthy else [finding(servers[0], _app(servers[0]), "no health address", "add one")]
    parts = ["" if healthy else "no health address", f"{len(prints)} prints" if prints else ""]
    summary = ", ".join(part for part in parts if part) or "health address and logging"
    level = 0.5 * healthy + 0.5 * (not prints)
    yield Seen(criterion="infrastructure.observable", level=level, summary=summary, findings=[*blind, *prints])


def _answers(handler: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a handler takes something: it is posted to, or predicts."""
    verbs = [dotted(each).rpartition(".")[2] for each in handler.decorator_list]
    posted = any(verb in ("post", "put", "patch", "websocket") for verb in verbs) or any(
        literal(each) == "POST" for decorator in handler.decorator_list for each in ast.walk(decorator)
    )
    return posted or any(
        dotted(each.func).rpartition(".")[2] in ("predict", "predict_proba")
        for each in ast.walk(handler)
        if isinstance(each, ast.Call)
    )


def access(folder: Folder) -> Iterator[Seen]:
    """Each handler that takes something refuses whom it does not know: itself, by what it depends on, or before it."""
    modules = [module for module in folder.modules if not module.is_test]
    functions = [
        node for module in modules for node in module.nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    refusing = {node.name for node in functions if any(_refuses(each) for each in ast.walk(node))}
    asking = folder.once(read).asking
    wrapped = {
        dotted(given).rpartition(".")[2]
        for module in modules
        for call, name in module.calls
        for given in call.args
        if _GUARDS.search(name)
    }
    open_to_all = not any(_guarded_as_a_whole(module, refusing, _EVERYWHERE) for module in modules)
    findings, looked = [], 0
    for module in scripts(folder):
        asked = [
            handler
            for handler in (handlers(module) if is_server(module) else [])
            if _answers(handler) or (home(module), handler.name) in asking
        ]
        asked += _views(module, wrapped)
        looked += len(asked)
        if not open_to_all or _guarded_as_a_whole(module, refusing) or _included_guarded(modules, module, refusing):
            continue
        findings += [
            finding(module, handler, f"{handler.name} answers anybody")
            for handler in asked
            if not _names_of(handler) & refusing and not any(_GUARDS.search(name) for name in _names_of(handler))
        ]
    if looked:
        bad = f"{len(findings)} of {looked} handlers answer anybody"
        yield Seen.of("infrastructure.access", findings, bad, "callers must show who they are")


def _views(module: Module, wrapped: set[str]) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Django's functions that read what a request brings."""
    if "django" not in module.roots and "rest_framework" not in module.roots:
        return []
    return [
        node
        for node in module.nodes
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.name not in wrapped
        and [arg.arg for arg in node.args.args][:1] == ["request"]
        and name_in(node, "request.post", "request.get", "request.body", "request.data")
    ]


def _included_guarded(modules: list[Module], module: Module, refusing: set[str]) -> bool:
    """Whether another module takes in the routes of this one behind a guard."""
    for other in modules:
        for call, name in other.calls:
            if name.rpartition(".")[2] == "include_router" and call.args and _guards(call, refusing):
                own = home(module)
                if own in other.name_of(call.args[0]).split("."):
                    return True
    return False


def _refuses(node: ast.AST) -> bool:
    """Whether it is a status by which somebody unknown is turned away, as a number or by its name."""
    named = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return literal(node) in _REFUSES or bool(_REFUSAL.search(named))


def _names_of(node: ast.AST) -> set[str]:
    names = {
        part
        for each in ast.walk(node)
        if isinstance(each, (ast.Name, ast.Attribute))
        for part in dotted(each).split(".")
    }
    own = {node.name} if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) else set()
    inside = {"401"} if any(_refuses(each) for each in ast.walk(node)) else set()
    return (names - own) | ({"auth"} if inside else set())


def _guarded_as_a_whole(module: Module, refusing: set[str], only: frozenset[str] = frozenset()) -> bool:
    """Whether all handlers of a module lie behind one guard; with `only`, whether those of the whole application do."""
    for node in module.nodes:
        if only and literal(node) in _DJANGO_GUARDS:
            return True
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            placed = [dotted(each).rpartition(".")[2] for each in node.decorator_list]
            on_app = {dotted(each).partition(".")[0] for each in node.decorator_list} & {
                "app",
                "application",
            } or not only
            before = set(placed) & {"before_request", "before_app_request", "middleware"}
            if on_app and before and node.name in refusing:
                return True
    for call, name in module.calls:
        last = name.rpartition(".")[2]
        given = argument(call, "dependencies") or argument(call, "middleware")
        if last in (_APPS if only else _APPS | {"APIRouter"}) and given is not None and _guards(given, refusing):
            return True
        if last in (only or {"add_middleware", "before_request", "include_router"}) and _guards(call, refusing):
            return True
    return False


def _guards(node: ast.AST, refusing: set[str]) -> bool:
    names = _names_of(node)
    return bool(names & refusing) or any(_GUARDS.search(name) for name in names)


def limits(folder: Folder) -> Iterator[Seen]:
    """What is sent is limited: Flask by its setting, a body that is read whole by a look at its length."""
    findings, looked = [], 0
    words = {
        word
        for module in scripts(folder)
        for node in module.nodes
        for word in (literal(node), node.arg if isinstance(node, ast.keyword) else None)
        if isinstance(word, str)
    }
    proxied = any(
        path.endswith(".conf")
        and (text := folder.text(path))
        and any("client_max_body_size" in row for row in text.lines)
        for path in folder.files
    )
    limited = proxied or "MAX_CONTENT_LENGTH" in words or any(word.lower() == "content-length" for word in words)
    for module in _servers(folder):
        if not any(_answers(handler) for handler in handlers(module)):
            continue
        looked += 1
        apps = [call for call, name in module.calls if name.rpartition(".")[2] == "Flask"]
        whole = [
            call
            for handler in handlers(module)
            for call, name in module.calls_in(handler)
            if (name.endswith("request.body") or _reads_upload(handler, name)) and not call.args
        ]
        if not limited:
            findings += [finding(module, call, "a request may be of any size") for call in [*apps[:1], *whole]]
    if looked:
        yield Seen.of(
            "infrastructure.limits", findings, "requests may be of any size", "no request is read without limit"
        )


def _reads_upload(handler: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> bool:
    uploads = {each.arg for each in handler.args.args if each.annotation and "UploadFile" in _parts(each.annotation)}
    return name.endswith(".read") and name.partition(".")[0] in uploads


def threshold(folder: Folder) -> Iterator[Seen]:
    """Where a score is compared in what answers requests, it is with a name, not a number in the middle of code."""
    findings, looked = [], 0
    for module in scripts(folder):
        loads = any(name in ("joblib.load", "pickle.load") for _, name in module.calls)
        if not (loads or (is_server(module) and handlers(module))):
            continue
        for node in module.nodes:
            if not isinstance(node, ast.Compare) or len(node.comparators) != 1:
                continue
            sides = (node.left, node.comparators[0])
            if not any(_CHANCE.search(name) for side in sides for name in _names_of(side)):
                continue
            looked += 1
            if any(isinstance(value := literal(side), float) and 0 < value < 1 for side in sides):
                findings.append(finding(module, node, "the decision hangs on a number in the code"))
    if looked:
        yield Seen.of("business.threshold", findings, "the threshold is buried in the code", "the threshold has a name")


def calls_others(folder: Folder) -> bool:
    """Whether the pilot's code calls other services over HTTP."""
    return any(_is_http(name) for module in scripts(folder) for _, name in module.calls)


def _is_http(name: str) -> bool:
    root, _, last = name.rpartition(".")
    return root in ("requests", "urllib.request", "httpx") and last in _HTTP


def upstream(folder: Folder) -> Iterator[Seen]:
    """HTTP calls to others pass a time limit."""
    findings, looked = [], 0
    for module in scripts(folder):
        for call, name in module.calls:
            if _is_http(name):
                looked += 1
                if argument(call, "timeout") is None:
                    findings.append(finding(module, call, f"{name} without a time limit", "pass timeout="))
    if looked:
        yield Seen.of("infrastructure.upstream", findings, f"{len(findings)} calls may hang", "all have a time limit")
