"""What asking a model may cost: length, time, a model that moves, usage that nobody counts, callers without limit."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from pilotage.assess.folder import Folder
from pilotage.assess.model import Finding
from pilotage.assess.signals.llm import libraries
from pilotage.assess.signals.llm.flow import Ask, Flow
from pilotage.assess.signals.llm.origins import AGENT, ENGINE, MODEL
from pilotage.assess.signals.llm.reading import models, read
from pilotage.assess.signals.python import argument, finding, literal
from pilotage.assess.signals.seen import Seen
from pilotage.assess.source import dotted

__all__ = ["answer_limit", "callers_limited", "model_timeout", "moves", "pinned_model", "spells", "usage_metered"]

_LENGTH = re.compile(
    r"^(max_?(new_|output_|completion_)?tokens(_to_sample)?|maxTokens|maxOutputTokens|num_predict|max_length"
    r"|max_gen_len|maxTokenCount|max_gen_toks|n_predict|max_response_output_tokens)$"
)
_SETTINGS = frozenset({
    "config", "client", "http_client", "async_client", "http_async_client", "http_options", "request_options",
    "client_kwargs", "generation_config", "model_settings", "settings", "options", "params", "sampling_params",
    "model_kwargs",
})  # fmt: skip
"""Arguments in which limits may lie: where what they are given cannot be seen, nothing is said."""

_TIME = re.compile(r"(?i)timeout|deadline|time_limit|max_time")
_LONG_BY_DEFAULT = frozenset({
    "ChatOpenAI", "AzureChatOpenAI", "ChatOllama", "OllamaLLM", "Ollama", "ChatGroq", "ChatMistralAI", "ChatCohere",
    "ChatGoogleGenerativeAI", "GoogleGenerativeAI", "ChatVertexAI", "ChatBedrock", "ChatBedrockConverse", "ChatLiteLLM",
    "init_chat_model", "ChatFireworks", "ChatTogether", "ChatDeepSeek",
})  # fmt: skip
"""Models of frameworks that answer without limit unless told."""

_REMOTE = _LONG_BY_DEFAULT | {"ChatAnthropic"}
_ANY_LENGTH_NAMES = re.compile(r"^llama_index\.(\w+\.)*(OpenAI|AzureOpenAI|Ollama|Groq|MistralAI)$")
_SHORT_BY_DEFAULT = ("replicate.run", "create_completion", "text_generation", "invoke_model_with_response_stream")
_MOVING = re.compile(
    r"^(gpt-\d[\w.-]*|chatgpt-[\w.-]+|o\d(-[a-z]+)*|claude-[\w.-]+|gemini-[\w.-]+|(open-)?(mistral|ministral|codestral|"
    r"pixtral|magistral)-[\w-]+|command(-[a-z+]+)*|(llama|mistral|mixtral|phi|qwen|gemma|deepseek|vicuna)[\w.-]*(:latest)?"
    r"|[\w-]+-latest)$"
)
_FIXED = re.compile(
    r"-\d{4}-\d{2}-\d{2}$|-\d{8}$|^(gpt|chatgpt)-[\w.-]*-\d{4}(-preview)?$|-\d{4}$|-\d{3}$|-\d{2}-\d{4}$|@\d+|@sha256:"
    r"|:v?\d+(:\d+)?$|^claude-(2\.\d|instant-1\.\d)$|\.gguf$|-v\d+:\d+$"
)
_HOST = re.compile(
    r"^((openai|anthropic|gemini|google|mistral|cohere|vertex_ai|azure_ai|ollama|groq)/"
    r"|(openai|anthropic|google-gla|google-vertex|groq|mistral):)"
)
_LOCAL_TAG = re.compile(r":(?!latest$)[\w.-]+$")
_SETTING = re.compile(
    r"""(?i)^\s*["']?[\w.-]*(model|deployment|llm)[\w.-]*["']?\s*[:=]\s*["']?((?:[a-z_]+/)?[a-z][\w.:-]+)["']?\s*,?\s*(#.*)?$"""
)
_SETTINGS_FILES = re.compile(r"(?i)(^|/)(\.env[^/]*|[^/]*\.(env|ya?ml|toml|ini|cfg|json))$")
_SPEAKING = re.compile(r"^(gpt-|chatgpt-|o[134](-|$)|claude-|gemini-|command-r|mistral-\w+-latest)")
_MODEL_NAME = re.compile(
    r"(?i)(^|_|\.)(model|llm|deployment|engine)(_?(name|id))?$|^(gpt|claude|gemini)_model$|_MODEL$"
)
_UNNAMED = frozenset({"ChatOpenAI", "ChatAnthropic", "ChatCohere", "ChatMistralAI", "ChatGroq", "ChatVertexAI"})
_METERS = re.compile(
    r"(?i)(^|\.)(usage|usage_metadata|token_usage|total_tokens|prompt_tokens|completion_tokens|get_openai_callback"
    r"|get_usage_metadata_callback|completion_cost|tiktoken|encoding_for_model|TokenCountingHandler|total_cost"
    r"|prompt_eval_count|eval_count|langfuse|langsmith|helicone|openllmetry|traceloop|autolog|count_tokens|token_counter"
    r"|UsageTracker|OpenAIInstrumentor|record_cost|track_cost)(\.|$)"
)
_LIMITERS = re.compile(
    r"(?i)(rate_?limit|limiter|throttl|quota|budget|token_?bucket|slowapi|max_requests|concurrency_limit)"
)


def answer_limit(folder: Folder) -> Iterator[Seen]:
    """The length of every answer is limited."""
    findings: list[Finding] = []
    looked = 0
    for flow in folder.once(read).flows:
        bound = any(name.endswith(".bind") and spells(flow, call, _LENGTH) for call, name in flow.module.calls)
        for call, what in _limitable(flow):
            spelt = spells(flow, call, _LENGTH)
            looked += spelt is not None
            if spelt is False and not bound:
                findings.append(finding(flow.module, call, f"{what} without a limit on the answer's length"))
    if looked:
        yield Seen.of(
            "infrastructure.answer_limit",
            findings,
            f"{len(findings)} of {looked} answers may be of any length",
            "every answer has a limit",
        )


def _limitable(flow: Flow) -> Iterator[tuple[ast.Call, str]]:
    """Calls that take a limit on length: of an SDK, and of a framework's model."""
    for ask in flow.asks.values():
        google = ask.name.endswith(("generate_content", "generate_content_async", "send_message"))
        if google and _made_with(flow, "GenerativeModel", _LENGTH):
            continue
        if _of_sdk(flow, ask) and not ask.name.endswith(_SHORT_BY_DEFAULT):
            yield ask.call, ask.name.rpartition(".")[2] if not google else "generate_content"
    for call, name in flow.module.calls:
        last = name.rpartition(".")[2]
        if last in _LONG_BY_DEFAULT or _ANY_LENGTH_NAMES.search(name):
            yield call, last


def _of_sdk(flow: Flow, ask: Ask) -> bool:
    """Whether the call speaks to a provider itself: no chain, agent or framework's model; their limit is elsewhere."""
    google = ask.name.endswith(("generate_content", "generate_content_async", "send_message"))
    if google:
        return not ask.kinds & {AGENT, ENGINE} or ask.name.endswith("send_message")
    ready = ask.kinds & {MODEL, AGENT, ENGINE} and not ask.name.endswith("create_chat_completion")
    return not ready and not ask.name.startswith("Runner") and ".Runner." not in ask.name


def _made_with(flow: Flow, maker: str, pattern: re.Pattern[str]) -> bool:
    return any(name.endswith(maker) and spells(flow, call, pattern) for call, name in flow.module.calls)


def spells(flow: Flow, call: ast.Call, pattern: re.Pattern[str]) -> bool | None:
    """Whether an argument, or a key of a dictionary that is given or that a name stands for, is so called; None:
    it cannot be seen."""
    unseen = False
    todo: list[ast.AST] = [*call.args, *(word.value for word in call.keywords)]
    if any(word.arg and pattern.search(word.arg) for word in call.keywords):
        return True
    spread = {id(word.value) for word in call.keywords if word.arg is None or word.arg in _SETTINGS}
    looked: set[str] = set()
    while todo:
        part = todo.pop()
        for each in ast.walk(part):
            if isinstance(each, ast.keyword) and each.arg and pattern.search(each.arg):
                return True
            keys = each.keys if isinstance(each, ast.Dict) else []
            if any(pattern.search(str(literal(key) or "")) for key in keys):
                return True
        name = dotted(part) if isinstance(part, (ast.Name, ast.Attribute)) else ""
        if name and name not in looked:
            looked.add(name)
            values = _values(flow, name)
            todo += values
            unseen |= id(part) in spread and not values
        elif id(part) in spread and not isinstance(part, (ast.Dict, ast.Constant)):
            unseen = not isinstance(part, ast.Call) or not part.keywords or unseen
    return None if unseen else False


def _values(flow: Flow, name: str) -> list[ast.AST]:
    """What a name is given in this module, and what is put into it by key."""
    found: list[ast.AST] = []
    for node in flow.module.nodes:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if dotted(target) == name:
                    found.append(node.value)
                elif isinstance(target, ast.Subscript) and dotted(target.value) == name:
                    found.append(ast.Dict(keys=[target.slice], values=[node.value]))
    return found


def model_timeout(folder: Folder) -> Iterator[Seen]:
    """Asking a model has a time limit."""
    findings: list[Finding] = []
    looked = 0
    for flow in folder.once(read).flows:
        calls = flow.module.calls
        if any(
            name.endswith(("asyncio.wait_for", "asyncio.timeout", "anyio.fail_after", "move_on_after"))
            for _, name in calls
        ):
            looked += 1
            continue
        options = any(name.endswith("with_options") and spells(flow, call, _TIME) for call, name in calls)
        for call, what in _waiting(flow):
            spelt = spells(flow, call, _TIME)
            looked += spelt is not None
            if spelt is False and not options:
                findings.append(finding(flow.module, call, f"{what} without a time limit", "pass timeout="))
    if looked:
        yield Seen.of("infrastructure.model_timeout", findings, f"{len(findings)} may hang", "all have a time limit")


def _waiting(flow: Flow) -> Iterator[tuple[ast.Call, str]]:
    """Clients, or their calls where those pass a limit; models of frameworks; calls without a client."""
    asks = [ask for ask in flow.asks.values() if _of_sdk(flow, ask)]
    timed = [ask for ask in asks if spells(flow, ask.call, _TIME)]
    clients = False
    for call, name in flow.module.calls:
        last = name.rpartition(".")[2]
        first = flow.text(call.args[0]) if call.args else ""
        bedrock = name.endswith(".client") and first.startswith("bedrock")
        if libraries.SDK_CLIENTS.search(name) or bedrock:
            clients = True
            if not timed or spells(flow, call, _TIME):
                yield call, last
            else:
                yield from ((ask.call, ask.name.rpartition(".")[2]) for ask in asks)
        elif last in _REMOTE or _ANY_LENGTH_NAMES.search(name):
            yield call, last
    if not clients:
        for ask in asks:
            root = ask.name.split(".")[0]
            if root in ("openai", "litellm", "ollama") or ask.name.endswith("generate_content"):
                yield ask.call, ask.name


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
            found = _SETTING.search(line)
            if found and _SPEAKING.search(found[2].rpartition("/")[2]) and moves(found[2]):
                yield Finding(
                    file=path,
                    line=number,
                    message=f"{found[2]} is an alias that moves",
                    mend="name the dated version",
                    digest=text.line_digest(number),
                )


def usage_metered(folder: Folder) -> Iterator[Seen]:
    """What an answer costs is taken down: tokens or money."""
    if not folder.once(read).flows:
        return
    if place := _first_named(folder, _METERS):
        yield Seen(criterion="business.usage_metered", level=1, summary=f"{place} reads what was used")
        return
    yield Seen(criterion="business.usage_metered", level=0, summary="nothing takes down what an answer costs")


def callers_limited(folder: Folder) -> Iterator[Seen]:
    """One caller cannot use up everything: a rate, a quota or a budget."""
    reading = folder.once(read)
    if not reading.flows or not reading.serves:
        return
    if place := _first_named(folder, _LIMITERS):
        yield Seen(criterion="infrastructure.callers_limited", level=1, summary=f"{place} limits callers")
        return
    yield Seen(criterion="infrastructure.callers_limited", level=0, summary="any caller may ask as often as they like")


def _first_named(folder: Folder, names: re.Pattern[str]) -> str:
    """The first place outside tests that uses such a name; empty where none does."""
    for module in folder.modules:
        for node in () if module.is_test else module.nodes:
            if isinstance(node, (ast.Attribute, ast.Name)) and names.search(module.name_of(node)):
                return f"{module.path}:{module.place(node)}"
    return ""
