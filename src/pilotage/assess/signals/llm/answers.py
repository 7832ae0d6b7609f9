"""What becomes of a model's answer: never code, a command, a query or markup; and never in clear in a log."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from pilotage.assess.folder import Folder
from pilotage.assess.model import Finding
from pilotage.assess.signals.llm import libraries
from pilotage.assess.signals.llm.flow import Flow
from pilotage.assess.signals.llm.origins import ANSWER, PARTS, PLAIN, USER, WILD, Function
from pilotage.assess.signals.llm.pages import in_pages
from pilotage.assess.signals.llm.people import ui_functions
from pilotage.assess.signals.llm.reading import read
from pilotage.assess.signals.llm.tools import dispatches
from pilotage.assess.signals.python import argument, finding, handlers, is_server, literal
from pilotage.assess.signals.seen import Seen
from pilotage.assess.source import dotted

__all__ = ["conversation_logs", "output_handled"]

_CODE = frozenset(
    {"eval", "exec", "builtins.eval", "builtins.exec", "compile", "importlib.import_module", "__import__"}
)
_SHELL = re.compile(
    r"^(os\.(system|popen|exec\w+|spawn\w+)|subprocess\.(getoutput|getstatusoutput)|asyncio\.create_subprocess_shell"
    r"|asyncio\.subprocess\.create_subprocess_shell)$|(^|\.)(exec_command|exec_run|run_command)$"
)
_SQL = frozenset(
    {"execute", "executemany", "executescript", "exec_driver_sql", "read_sql", "read_sql_query", "run_query"}
)
_SQL_ROOTS = re.compile(r"(^|\.)(duckdb|spark|pandasql)\.(sql|query|execute)$|(^|\.)(db|database|sql_database)\.run$")
_HTML = frozenset({"Markup", "mark_safe", "HTMLResponse", "render_template_string", "from_string", "HTML"})
_HTML_ENDS = ("components.html", "components.v1.html", "st.html", "streamlit.html", "ui.html", "pane.HTML")
_TAG = re.compile(
    r"<(/?(div|p|html|body|span|h\d|pre|br|b|ul|li|table|section|article|main|img|a)\b|!doctype)", re.IGNORECASE
)
_LOGS = frozenset({"debug", "info", "warning", "error", "exception", "critical", "log"})
_LOG_ROOTS = re.compile(r"(?i)(^|\.|_)(log|logger|logging|loguru|log_\w+|audit)$")
_SOCKETS = frozenset({"websockets", "socketio", "flask_socketio", "grpc", "django", "quart", "channels"})
_KEPT = re.compile(
    r"(?i)^\s*insert\s+(or \w+ )?into\s+[\"`\w.]*(log|histor|chat|messages?|conversation|dialog|interaction|transcript)"
)
_LOG_FILE = re.compile(r"(?i)(log|memory|histor|chat|conversation|transcript|dialog|session|convers|interaction|audit)")


def output_handled(folder: Folder) -> Iterator[Seen]:
    """No answer runs as code, command or query, and none becomes markup of a page."""
    flows = folder.once(read).flows
    if not flows:
        return
    findings = [each for flow in flows for each in _trusted(flow)] + list(in_pages(folder))
    bad = f"{len(findings)} places trust what the model answers"
    yield Seen.of("infrastructure.output_handled", findings, bad, "no answer is run or rendered as markup")


def _trusted(flow: Flow) -> Iterator[Finding]:
    for call, name in flow.module.calls:
        why = _why(flow, call, name)
        if why:
            yield finding(flow.module, call, why)
    for node in flow.module.nodes:
        if (
            isinstance(node, ast.Subscript)
            and dotted(node.value) in ("globals", "locals")
            and {ANSWER, WILD} <= flow.labels(node.slice)
        ):
            yield finding(flow.module, node, "the answer chooses any function of the module")
    for call in _rendered(flow):
        yield finding(flow.module, call, "the answer becomes part of a page as HTML")
    for call in dispatches(flow):
        if WILD in flow.labels(call.args[1]):
            yield finding(flow.module, call, "the answer chooses any function of the module")
    for function in _page_makers(flow):
        for node in ast.walk(function):
            shown = node.value if isinstance(node, (ast.Return, ast.Yield)) else None
            if shown is not None and {ANSWER, WILD} <= flow.labels(shown) and _marked_up(flow, shown):
                yield finding(flow.module, node, "the answer becomes part of a page as HTML")


def _rendered(flow: Flow) -> Iterator[ast.Call]:
    """Templates of Jinja that are filled with an answer and escape nothing."""
    bare = {
        dotted(node.targets[0])
        for node in flow.module.nodes
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _escapes_nothing(flow, node.value)
    }
    for call, name in flow.module.calls:
        root, _, last = name.rpartition(".")
        given = [*call.args, *(word.value for word in call.keywords)]
        if last != "render" or not any({ANSWER, WILD} <= flow.labels(each) for each in given):
            continue
        got = call.func.value if isinstance(call.func, ast.Attribute) else None
        made = next((each for each in flow.assigned(root) if isinstance(each.value, ast.Call)), None)
        if made is not None and flow.module.name_of(made.value.func) == "jinja2.Template":  # type: ignore[union-attr]
            got, root = made.value, "jinja2.Template"
        template = flow.text(got.args[0]) if isinstance(got, ast.Call) and got.args else ""
        page = template.endswith((".html", ".htm", ".html.j2")) or _TAG.search(template)
        if page and (root.removesuffix(".get_template") in bare or root == "jinja2.Template"):
            yield call


def _escapes_nothing(flow: Flow, made: ast.Call) -> bool:
    """Whether a call makes an environment of Jinja that leaves markup as it is, as it does unless told otherwise."""
    escapes = argument(made, "autoescape")
    return flow.module.name_of(made.func) == "jinja2.Environment" and (escapes is None or literal(escapes) is False)


def _page_makers(flow: Flow) -> list[Function]:
    """Functions whose text becomes a page or a part of one: handlers of requests, and those that a page calls."""
    shown = ui_functions(flow.module) if any(name.endswith(".HTML") for _, name in flow.module.calls) else set()
    return [*handlers(flow.module), *(flow.functions[name] for name in shown if name in flow.functions)]


def _marked_up(flow: Flow, text: ast.expr | None) -> bool:
    """Whether a text is put together of tags and something else."""
    text = _assigned(flow, text)
    joined = isinstance(text, (ast.JoinedStr, ast.BinOp)) or (
        isinstance(text, ast.Call) and dotted(text.func).endswith((".format", ".replace", ".substitute"))
    )
    return joined and bool(_TAG.search(flow.text(text)))


def _assigned(flow: Flow, node: ast.expr | None) -> ast.expr | None:
    """What a name was given last, where it is a name."""
    given = flow.assigned(node.id) if isinstance(node, ast.Name) else []
    return given[-1].value if given else node


def _why(flow: Flow, call: ast.Call, name: str) -> str:
    last = name.rpartition(".")[2]
    first = call.args[0] if call.args else None
    if first is None and call.keywords:
        first = next(
            (
                w.value
                for w in call.keywords
                if w.arg in ("value", "content", "body", "text", "html", "sql", "query", "args", "command")
            ),
            None,
        )
    if first is None or not {ANSWER, WILD} <= flow.labels(first) or id(call) in flow.entered:
        return ""
    if name in _CODE or (last in ("run", "run_code", "execute_code") and "repl" in name.lower()):
        return "the answer runs as code"
    if _SHELL.search(name) or (name.startswith("subprocess.") and _commands(first)):
        return "the answer runs as a command"
    frames = last in ("query", "eval") and "pandas" in flow.module.roots and isinstance(call.func, ast.Attribute)
    if frames and not flow.labels(call.func.value) & PARTS:  # type: ignore[attr-defined]
        return "the answer runs as code"
    if last in _SQL or _SQL_ROOTS.search(name):
        return "the answer runs as a query"
    shown = literal(argument(call, "unsafe_allow_html")) is True
    kinds = [literal(argument(call, word)) for word in ("media_type", "mimetype", "content_type")]
    typed = any("html" in str(kind) for kind in kinds)
    if last in ("HttpResponse", "make_response", "Response", "write_html") and _marked_up(flow, first):
        return "the answer becomes part of a page as HTML"
    if (
        name in ("sanic.html", "sanic.response.html")
        or shown
        or last in _HTML
        or name.endswith(_HTML_ENDS)
        or (last == "Response" and typed)
    ):
        return "the answer becomes part of a page as HTML"
    return ""


def _commands(first: ast.expr) -> bool:
    """Whether the answer is the command, and not an argument of a fixed one."""
    if not isinstance(first, (ast.List, ast.Tuple)):
        return True
    fixed = [literal(each) for each in first.elts[:2]]
    return (
        not fixed
        or fixed[0] is None
        or fixed[0] in ("sh", "bash", "/bin/sh", "/bin/bash", "python", "python3", "powershell")
    )


def conversation_logs(folder: Folder) -> Iterator[Seen]:
    """What people say and are told is not written in clear to logs and files."""
    flows = folder.once(read).flows
    if not flows:
        return
    findings = [each for flow in flows for each in _logged(flow)]
    bad = f"{len(findings)} places write conversations in clear"
    yield Seen.of("governance.conversation_logs", findings, bad, "no conversation is written in clear")


def _logged(flow: Flow) -> Iterator[Finding]:
    served = is_server(flow.module) or bool(flow.module.roots & (libraries.UIS | _SOCKETS))
    opened = _opened(flow)
    for call, name in flow.module.calls:
        root, _, last = name.rpartition(".")
        given = [*call.args, *(word.value for word in call.keywords)]
        spoken = any(PLAIN in flow.labels(each) and flow.labels(each) & {USER, ANSWER} for each in _parts(given))
        if not spoken:
            continue
        if last in _LOGS and (_LOG_ROOTS.search(root) or dotted(call.func).startswith(("logging.", "logger.", "log."))):
            yield finding(flow.module, call, "a conversation goes into the log", "log its id, length and digest")
        elif name == "print" and served and not flow.module.notebook:
            yield finding(flow.module, call, "a conversation is printed into the log", "log its id, length and digest")
        elif last in _SQL and call.args and _KEPT.search(flow.text(call.args[0])):
            yield finding(
                flow.module, call, "a conversation is kept in clear in a table", "encrypt it, with an end date"
            )
        elif _to_log(flow, call, root, last, opened):
            why = "a conversation is kept in clear in a file"
            yield finding(flow.module, call, why, "encrypt it, with an end date")


def _parts(given: list[ast.expr]) -> Iterator[ast.expr]:
    """What is written, without the names of tools and the kinds of things, which nobody confided."""
    for each in given:
        if isinstance(each, ast.JoinedStr):
            yield from _parts([part.value for part in each.values if isinstance(part, ast.FormattedValue)])
        elif not (isinstance(each, ast.Attribute) and each.attr in ("name", "type", "kind")):
            yield each


def _opened(flow: Flow) -> set[str]:
    """Names of files that are opened to append, or that are called a log or a conversation; and of writers on them."""
    found: set[str] = set()
    for node in flow.module.nodes:
        pairs: list[tuple[ast.expr, ast.expr]] = []
        if isinstance(node, ast.withitem) and node.optional_vars is not None:
            pairs.append((node.context_expr, node.optional_vars))
        elif isinstance(node, ast.Assign):
            pairs.append((node.value, node.targets[0]))
        for value, target in pairs:
            if isinstance(value, ast.Call) and _keeps(flow, value, found):
                found.add(dotted(target))
    return found


def _keeps(flow: Flow, call: ast.Call, known: set[str]) -> bool:
    name = flow.module.name_of(call.func)
    if name.rpartition(".")[2] == "open":
        words = [flow.text(each) for each in [*call.args, *(w.value for w in call.keywords)]]
        writes = [word for word in words if word[:1] in ("a", "w", "x") and len(word) <= 3]
        path = " ".join([*words, dotted(call.func)])
        return any(word.startswith("a") for word in writes) or (bool(writes) and bool(_LOG_FILE.search(path)))
    return name.endswith(("csv.writer", "csv.DictWriter")) and any(dotted(each) in known for each in call.args)


def _to_log(flow: Flow, call: ast.Call, root: str, last: str, opened: set[str]) -> bool:
    if last == "dump":
        return len(call.args) > 1 and dotted(call.args[1]) in opened
    if last in ("write_text", "to_csv"):
        return bool(_LOG_FILE.search(f"{root} {flow.text(getattr(call.func, 'value', None))}"))
    return last in ("write", "writelines", "writerow") and root in opened
