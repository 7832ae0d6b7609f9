"""The pilot's own server: checks at the door, fitness, what can be watched, calls to others."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from pilotage.assess.folder import Folder, Module
from pilotage.assess.model import Finding
from pilotage.assess.signals.python import (
    argument,
    calls,
    dotted,
    finding,
    handlers,
    is_server,
    literal,
    name_in,
    scripts,
)
from pilotage.assess.signals.seen import Seen

__all__ = ["calls_others", "observable", "server", "upstream", "validated"]

_CHECKS = ("validate", "schema", "basemodel", "marshmallow", "pydantic", "contract", "isinstance", "msgspec")
_HEALTH = ("/health", "/healthz", "/live", "/ready", "/ping", "/status")
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
            names = [name.rpartition(".")[2] for _, name in calls(handler)]
            if not {"predict", "predict_proba"} & set(names):
                continue
            looked += 1
            typed = any(each.annotation is not None for each in handler.args.args)
            if _reads_request(handler) and not typed and not name_in(handler, *_CHECKS):
                findings.append(
                    finding(module, handler, f"{handler.name} predicts on an unchecked request", "check a schema")
                )
            findings += list(_by_position(module, handler))
    if looked:
        bad = "requests reach the model unchecked"
        yield Seen.of("data.validated", findings, bad, "inputs are checked at the door")


def _by_position(module: Module, handler: ast.AST) -> Iterator[Finding]:
    for call, name in calls(handler):
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
        for handler in handlers(module):
            for call, name in calls(handler):
                if name.endswith((".load", "load_model", "read_pickle")) and name != "json.load":
                    findings.append(finding(module, call, "the model is loaded for every request", "load it at start"))
        for call, name in calls(module.tree):
            if name.endswith("run") and literal(argument(call, "debug")) is True:
                findings.append(finding(module, call, "debug mode lets callers run code", "remove debug=True"))
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ExceptHandler) and _swallows(node):
                findings.append(
                    finding(module, node, "every error is swallowed", "catch what you expect, answer an error")
                )
    if _servers(folder):
        yield Seen.of(
            "infrastructure.server", findings, "the server is not fit for use", "no known defect in the server"
        )


def _swallows(node: ast.ExceptHandler) -> bool:
    broad = node.type is None or dotted(node.type) in ("Exception", "BaseException")
    return broad and not any(isinstance(each, (ast.Raise, ast.Return)) for each in ast.walk(node))


def observable(folder: Folder) -> Iterator[Seen]:
    """A health address, and logging instead of prints."""
    for module in _servers(folder):
        routes = [
            literal(arg)
            for h in handlers(module)
            for d in h.decorator_list
            if isinstance(d, ast.Call)
            for arg in d.args
        ]
        healthy = any(isinstance(route, str) and route.startswith(_HEALTH) for route in routes)
        prints = [
            finding(module, call, "print instead of logging", "use logging")
            for call, name in calls(module.tree)
            if name == "print"
        ]
        level = 0.5 * healthy + 0.5 * (not prints)
        parts = ["" if healthy else "no health address", f"{len(prints)} prints" if prints else ""]
        summary = ", ".join(part for part in parts if part) or "health address and logging"
        yield Seen(criterion="infrastructure.observable", level=level, summary=summary, findings=prints)


def calls_others(folder: Folder) -> bool:
    """Whether the pilot's code calls other services over HTTP."""
    return any(_is_http(name) for module in scripts(folder) for _, name in calls(module.tree))


def _is_http(name: str) -> bool:
    root, _, last = name.rpartition(".")
    return root in ("requests", "urllib.request", "httpx") and last in _HTTP


def upstream(folder: Folder) -> Iterator[Seen]:
    """HTTP calls to others pass a time limit."""
    findings, looked = [], 0
    for module in scripts(folder):
        for call, name in calls(module.tree):
            if _is_http(name):
                looked += 1
                if argument(call, "timeout") is None:
                    findings.append(finding(module, call, f"{name} without a time limit", "pass timeout="))
    if looked:
        yield Seen.of("infrastructure.upstream", findings, f"{len(findings)} calls may hang", "all have a time limit")
