"""Which version of a model is asked: named so that it stays, or an alias that becomes another model."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from pilotage.assess.folder import Folder
from pilotage.assess.model import Finding
from pilotage.assess.signals.llm import libraries
from pilotage.assess.signals.llm.flow import Flow
from pilotage.assess.signals.llm.reading import models, read
from pilotage.assess.signals.python import argument, finding, literal
from pilotage.assess.signals.seen import Seen
from pilotage.assess.source import dotted

__all__ = ["moves", "pinned_model"]

_MOVING = re.compile(
    r"^(gpt-\d[\w.-]*|chatgpt-[\w.-]+|o\d(-[a-z]+)*|claude-[\w.-]+|gemini-[\w.-]+|(open-)?(mistral|ministral|codestral|"
    r"pixtral|magistral)-[\w-]+|command(-[a-z+]+)*|(llama|mistral|mixtral|phi|qwen|gemma|deepseek|vicuna)[\w.-]*(:latest)?"
    r"|[\w-]+-latest)$"
)
_FIXED = re.compile(
    r"-\d{4}-\d{2}-\d{2}$|-\d{8}$|^(gpt|chatgpt)-[\w.-]*-\d{4}(-preview)?$|-\d{4}$|-\d{3}$|-\d{2}-\d{4}$|@\d+|@sha256:"
    r"|:v?\d+(:\d+)?$|^claude-(2\.\d|instant-1\.\d)$|\.gguf$|-\d+x?\d*b(-\w+)*$|-v\d+:\d+$"
)
_HOST = re.compile(
    r"^((openai|anthropic|gemini|google|mistral|cohere|vertex_ai|azure_ai|ollama|groq)/"
    r"|(openai|anthropic|google-gla|google-vertex|groq|mistral):)"
)
_LOCAL_TAG = re.compile(r":(?!latest$)[\w.-]+$")
_SETTING = re.compile(
    r"""(?i)^\s*["']?[\w.-]*(model|deployment|llm)[\w.-]*["']?\s*[:=]\s*["']?((?:[a-z_]+/)?[a-z][\w.:-]+)["']?\s*,?\s*(#.*)?$"""
)
_INLINE = re.compile(r"""(["']?)\bmodel(?:_name|_id)?\1\s*:\s*["']((?:[a-z_]+/)?[a-z][\w.:-]+)["']""")
_SETTINGS_FILES = re.compile(r"(?i)(^|/)(\.env[^/]*|[^/]*\.(env|ya?ml|toml|ini|cfg|json))$")
_SPEAKING = re.compile(r"^(gpt-|chatgpt-|o[134](-|$)|claude-|gemini-|command-r|mistral-\w+-latest)")
_MODEL_NAME = re.compile(
    r"(?i)(^|_|\.)(model|llm|deployment|engine)(_?(name|id))?$|^(gpt|claude|gemini)_model$|_MODEL$"
)
_UNNAMED = frozenset({"ChatOpenAI", "ChatAnthropic", "ChatCohere", "ChatMistralAI", "ChatGroq", "ChatVertexAI"})


def pinned_model(folder: Folder) -> Iterator[Seen]:
    """Every model is named by a version that does not move."""
    reading = folder.once(read)
    findings: list[Finding] = []
    looked = 0
    for flow in reading.flows:
        own = any(name.endswith(("AzureOpenAI", "AzureChatOpenAI")) for _, name in flow.module.calls)
        for node, text in models(flow):
            looked += 1
            if not own and moves(text):
                at = _given(flow, node, text)
                findings.append(finding(flow.module, at, f"{text} is an alias that moves", "name the dated version"))
        for node, text in [] if own else _aliases(flow):
            findings.append(finding(flow.module, node, f"{text} is an alias that moves", "name the dated version"))
        for call, name in flow.module.calls:
            message = _unpinned(flow, call, name)
            looked += message is not None
            if message:
                findings.append(finding(flow.module, call, message))
    if reading.flows:
        findings += list(_in_settings(folder))
    if looked or findings:
        unique = {(each.file, each.line): each for each in findings}
        kept = [unique[place] for place in sorted(unique)]
        yield Seen.of("model.pinned_model", kept, f"{len(kept)} models may change unseen", "every model has a version")


def _aliases(flow: Flow) -> Iterator[tuple[ast.AST, str]]:
    """Moving names of a provider's models where the code calls something a model: values, defaults, keys."""
    for node in flow.module.nodes:
        pairs: list[tuple[str, ast.AST | None]] = []
        match node:
            case ast.Assign():
                pairs = [(dotted(node.targets[0]), node.value)]
            case ast.AnnAssign():
                pairs = [(dotted(node.target), node.value)]
            case ast.keyword():
                pairs = [(node.arg or "", node.value)]
            case ast.Dict():
                pairs = [(str(literal(key) or ""), value) for key, value in zip(node.keys, node.values, strict=True)]
            case ast.arguments():
                named = [*node.posonlyargs, *node.args]
                late = named[len(named) - len(node.defaults) :]
                pairs = [(arg.arg, value) for arg, value in zip(late, node.defaults, strict=True)]
                pairs += [(arg.arg, value) for arg, value in zip(node.kwonlyargs, node.kw_defaults, strict=True)]
        for name, value in pairs:
            text = value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""
            if text and _MODEL_NAME.search(name) and _SPEAKING.search(_HOST.sub("", text)) and moves(text):
                yield (node if isinstance(node, (ast.Assign, ast.AnnAssign)) else value or node), text


def moves(text: str) -> bool:
    """Whether a model's name stands for another model tomorrow."""
    bare = _HOST.sub("", text)
    if "/" in bare or "{" in bare:
        return False
    if _LOCAL_TAG.search(bare) and not bare.startswith(("gpt-", "claude-")):
        return False
    return bool(_MOVING.search(bare)) and not _FIXED.search(bare)


def _given(flow: Flow, node: ast.AST, text: str) -> ast.AST:
    """Where the name of the model stands: where it is used, or where the constant is written."""
    if isinstance(node, (ast.Name, ast.Attribute)):
        for each in flow.module.nodes:
            named = isinstance(each, ast.Assign) and dotted(each.targets[0]).removeprefix("self.") == dotted(
                node
            ).removeprefix("self.")
            if named and flow.text(each.value) == text:  # type: ignore[attr-defined]
                return each
    return node


def _unpinned(flow: Flow, call: ast.Call, name: str) -> str | None:
    last = name.rpartition(".")[2]
    if last in _UNNAMED and not call.args and not any(w.arg in ("model", "model_name", None) for w in call.keywords):
        return f"{last} without a model: the library chooses"
    weights = re.search(r"(AutoModelFor(CausalLM|Seq2SeqLM)|AutoModel)\.from_pretrained$", name)
    piped = name.endswith("transformers.pipeline") and libraries.is_model(
        name, tuple(getattr(a, "value", None) for a in call.args)
    )
    if weights or piped:
        given = (
            call.args[0]
            if weights and call.args
            else argument(call, "model") or argument(call, "pretrained_model_name_or_path")
        )
        text = flow.text(given)
        hosted = re.fullmatch(r"[\w.-]+/[\w.-]+", text)
        if hosted and argument(call, "revision") is None and not text.startswith(("./", "models/")):
            return f"the newest weights of {text} are fetched"
        return "" if text else None
    return None


def _in_settings(folder: Folder) -> Iterator[Finding]:
    """Models that settings files name."""
    for path, size in folder.files.items():
        if size > 1 << 16 or not _SETTINGS_FILES.search(path) or not (text := folder.text(path)):
            continue
        for number, line in enumerate(text.lines, 1):
            found = _SETTING.search(line) or _INLINE.search(line)
            if found and _SPEAKING.search(found[2].rpartition("/")[2]) and moves(found[2]):
                yield Finding(
                    file=path,
                    line=number,
                    message=f"{found[2]} is an alias that moves",
                    mend="name the dated version",
                    digest=text.line_digest(number),
                )
