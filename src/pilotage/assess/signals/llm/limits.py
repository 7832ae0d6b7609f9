"""What asking a model may cost: length, time, a model that moves, usage that nobody counts, callers without limit."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from pilotage.assess.folder import Folder
from pilotage.assess.model import Finding
from pilotage.assess.signals.llm import libraries
from pilotage.assess.signals.llm.asking import Ask
from pilotage.assess.signals.llm.flow import Flow
from pilotage.assess.signals.llm.origins import AGENT, ENGINE, MODEL
from pilotage.assess.signals.llm.reading import read
from pilotage.assess.signals.llm.spelt import spells, unspelt
from pilotage.assess.signals.python import finding
from pilotage.assess.signals.seen import Seen

__all__ = ["answer_limit", "callers_limited", "model_timeout", "usage_metered"]

_LENGTH = re.compile(
    r"^(max_?(new_|output_|completion_)?tokens(_to_sample)?|maxTokens|maxOutputTokens|num_predict|max_length"
    r"|max_gen_len|maxTokenCount|max_gen_toks|n_predict|max_response_output_tokens)$"
)
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
    findings: dict[tuple[str, int], Finding] = {}
    looked = 0
    flows = folder.once(read).flows
    for flow in flows:
        bound = any(name.endswith(".bind") and spells(flow, call, _LENGTH) for call, name in flow.module.calls)
        for call, what in _limitable(flow):
            places = unspelt(flows, flow, call, _LENGTH)
            looked += places is not None
            for where, at in places if places and not bound else []:
                told = finding(where.module, at, f"{what} without a limit on the answer's length")
                findings[told.file, told.line] = told
    if looked:
        yield Seen.of(
            "infrastructure.answer_limit",
            list(findings.values()),
            f"{len(findings)} of {looked} answers may be of any length",
            "every answer has a limit",
        )


def _limitable(flow: Flow) -> Iterator[tuple[ast.Call, str]]:
    """Calls that take a limit on length: of an SDK, and of a framework's model."""
    for ask in flow.asks.values():
        google = ask.name.endswith(("generate_content", "generate_content_async", "send_message", "send_message_async"))
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
    google = ask.name.endswith(("generate_content", "generate_content_async", "send_message", "send_message_async"))
    if google:
        return not ask.kinds & {AGENT, ENGINE} or ask.name.endswith(("send_message", "send_message_async"))
    ready = ask.kinds & {MODEL, AGENT, ENGINE} and not ask.name.endswith("create_chat_completion")
    return not ready and not ask.name.startswith("Runner") and ".Runner." not in ask.name


def _made_with(flow: Flow, maker: str, pattern: re.Pattern[str]) -> bool:
    return any(name.endswith(maker) and spells(flow, call, pattern) for call, name in flow.module.calls)


def model_timeout(folder: Folder) -> Iterator[Seen]:
    """Asking a model has a time limit."""
    findings: list[Finding] = []
    looked = 0
    flows = folder.once(read).flows
    for flow in flows:
        calls = flow.module.calls
        if any(
            name.endswith(("asyncio.wait_for", "asyncio.timeout", "anyio.fail_after", "move_on_after"))
            for _, name in calls
        ):
            looked += 1
            continue
        options = any(name.endswith("with_options") and spells(flow, call, _TIME) for call, name in calls)
        for call, what in _waiting(flow):
            places = unspelt(flows, flow, call, _TIME)
            looked += places is not None
            for where, at in places if places and not options else []:
                findings.append(finding(where.module, at, f"{what} without a time limit", "pass timeout="))
    if looked:
        yield Seen.of("infrastructure.model_timeout", findings, f"{len(findings)} may hang", "all have a time limit")


def _waiting(flow: Flow) -> Iterator[tuple[ast.Call, str]]:
    """Clients, or their calls where those pass a limit; models of frameworks; calls without a client."""
    asks = [ask for ask in flow.asks.values() if _of_sdk(flow, ask)]
    timed = [ask for ask in asks if spells(flow, ask.call, _TIME) is not False]
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
            waits = ("generate_content", "generate_content_async", "send_message", "send_message_async")
            if root in ("openai", "litellm", "ollama", "requests") or ask.name.endswith(waits):
                yield ask.call, ask.name


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
