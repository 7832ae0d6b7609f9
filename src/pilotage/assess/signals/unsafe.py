"""Calls that run or trust what somebody else sends: code as text, a shell, a foreign pickle, TLS without a check."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from pilotage.assess.folder import Folder
from pilotage.assess.model import Finding
from pilotage.assess.signals.llm.checks import CONSOLE
from pilotage.assess.signals.python import argument, finding, folded, literal, scripts
from pilotage.assess.signals.seen import Seen
from pilotage.assess.source import Module, dotted

__all__ = ["unsafe_calls"]

_CODE = {"eval", "exec", "builtins.eval", "builtins.exec"}
_SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "commands.getoutput"}
_PICKLES = {
    "pickle.load", "pickle.loads", "pickle.Unpickler", "cPickle.load", "cPickle.loads", "_pickle.loads", "dill.load",
    "dill.loads", "cloudpickle.load", "cloudpickle.loads", "joblib.load", "torch.load", "pandas.read_pickle",
}  # fmt: skip
_FETCHES = (
    "urlopen", "urlretrieve", "requests.get", "requests.post", "httpx.get", "httpx.post", "recv", "request.data",
    "request.files", "request.get_data", "request.body", "hf_hub_download", "get_object", "UploadFile",
)  # fmt: skip
_CHECKS = ("hashlib.", "hmac.compare_digest")
_ESCAPES = re.compile(r"(?i)(^|\.|_)(escape|clean|sanitize\w*|len|int|float|round|strip_tags)$")
_SAFE_LOADERS = ("SafeLoader", "CSafeLoader", "BaseLoader")
_FLAGS = {
    "allow_dangerous_deserialization": "a pickle from an index is opened",
    "unsafe_allow_html": "text becomes part of the page as HTML",
    "trust_remote_code": "code from the model's host is run",
}


def unsafe_calls(folder: Folder) -> Iterator[Seen]:
    """Scripts hold no call that runs or trusts what a stranger sends."""
    modules = scripts(folder)
    findings = [each for module in modules for each in _in_module(module)]
    if modules:
        bad = f"{len(findings)} calls run or trust what somebody else sends"
        yield Seen.of("infrastructure.unsafe_calls", findings, bad, "no call runs or trusts foreign input")


def _in_module(module: Module) -> Iterator[Finding]:
    fixed = _fixed(module)
    confirmed = _confirmed(module)
    checked = any(name.startswith(_CHECKS) for _, name in module.calls)
    fetched = _fetched(module) if any(name in _PICKLES for _, name in module.calls) else set()
    for call, name in module.calls:
        why = _why(call, name, fixed)
        if not why and name in _PICKLES and not checked and _foreign(module, call, fetched):
            why = f"{name} opens what comes from the network, unchecked"
        if why and not (call.lineno in confirmed and "shell" in why):
            yield finding(module, call, why)


def _confirmed(module: Module) -> set[int]:
    """Lines of functions that ask the person at the console before they go on."""
    return {
        line
        for node in module.nodes
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and any(name in CONSOLE for _, name in module.calls_in(node))
        and any(isinstance(each, ast.If) for each in ast.walk(node))
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }


def _fixed(module: Module) -> set[str]:
    """Names that are only ever given texts that stand in the code."""
    given: dict[str, list[ast.expr]] = {}
    for node in module.nodes:
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                given.setdefault(dotted(target), []).append(node.value)
    return {name for name, values in given.items() if all(folded(each) is not None for each in values)}


def _own_markup(node: ast.expr, fixed: set[str]) -> bool:
    """Whether a text is written in the code, and all that is filled in is escaped."""
    match node:
        case ast.Constant():
            return True
        case ast.Name() | ast.Attribute():
            return dotted(node) in fixed
        case ast.JoinedStr():
            return all(_own_markup(each, fixed) for each in node.values)
        case ast.FormattedValue():
            return _own_markup(node.value, fixed)
        case ast.BinOp():
            return _own_markup(node.left, fixed) and _own_markup(node.right, fixed)
        case ast.Call():
            given = [*node.args, *(word.value for word in node.keywords)]
            if _ESCAPES.search(dotted(node.func)):
                return True
            puts = isinstance(node.func, ast.Attribute) and node.func.attr in ("format", "join", "replace", "strip")
            return puts and all(_own_markup(each, fixed) for each in [node.func.value, *given])  # type: ignore[attr-defined]
    return False


def _why(call: ast.Call, name: str, fixed: set[str]) -> str:
    first = call.args[0] if call.args else None
    if name in _CODE and folded(first or call) is None and not _closed(call):
        return f"{name.rpartition('.')[2]} runs text as code"
    shell = literal(argument(call, "shell")) is True and name.startswith("subprocess.")
    if (shell or name in _SHELLS) and (first is None or folded(first) is None):
        return f"{name} gives text to a shell"
    if literal(argument(call, "verify")) is False or name == "ssl._create_unverified_context":
        return f"{name} does not check who answers"
    loader = argument(call, "Loader") or (call.args[1] if len(call.args) > 1 else None)
    if name in ("yaml.load", "yaml.load_all") and (loader is None or not dotted(loader).endswith(_SAFE_LOADERS)):
        return "yaml.load makes any object that the text names"
    if name in ("yaml.unsafe_load", "yaml.full_load"):
        return f"{name} makes objects that the text names"
    flag = next((flag for flag in _FLAGS if literal(argument(call, flag)) is True), "")
    if flag == "unsafe_allow_html" and first is not None and _own_markup(first, fixed):
        return ""
    return _FLAGS.get(flag, "")


def _closed(call: ast.Call) -> bool:
    """Whether an eval is given no names at all and so is a reading of literals at most."""
    return isinstance(call.args[0], ast.Constant) if call.args else True


def _fetched(module: Module) -> set[str]:
    """Names that hold what was fetched, through assignments and `with`, in page order."""
    held: set[str] = set()
    for node in module.nodes:
        value, targets = None, []
        if isinstance(node, ast.Assign):
            value, targets = node.value, node.targets
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            value, targets = node.context_expr, [node.optional_vars]
        if value is not None and _from_network(module, value, held):
            held |= {each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)}
    return held


def _from_network(module: Module, node: ast.AST, held: set[str]) -> bool:
    for each in ast.walk(node):
        if isinstance(each, (ast.Name, ast.Attribute, ast.Call)):
            name = module.name_of(each)
            if (
                name in held
                or name.split(".")[0] in held
                or any(name.endswith(end) or f"{end}." in name for end in _FETCHES)
            ):
                return True
    return False


def _foreign(module: Module, call: ast.Call, fetched: set[str]) -> bool:
    if not call.args:
        return False
    text = folded(call.args[0])
    if text is not None:
        return "://" in text and not text.startswith("file:")
    return _from_network(module, call.args[0], fetched)
