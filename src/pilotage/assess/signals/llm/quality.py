"""Whether answers are evaluated, guarded, and free of what a provider should not see."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator

from pilotage.assess.folder import Folder
from pilotage.assess.model import Finding
from pilotage.assess.signals.llm import libraries
from pilotage.assess.signals.llm.flow import Flow
from pilotage.assess.signals.llm.origins import ANSWER, FOUND, MODEL, USER
from pilotage.assess.signals.llm.reading import makes_model, models, read
from pilotage.assess.signals.llm.spelt import spells
from pilotage.assess.signals.python import argument, finding, literal
from pilotage.assess.signals.seen import Seen
from pilotage.assess.source import Module, dotted

__all__ = ["data_masked", "evaluation_set", "guards", "repeatable_evaluation"]

_SETS = re.compile(
    r"(?i)(^|/)(evals?|evaluations?|goldens?|golden_set|test_?sets?|benchmarks?)/.+\.(jsonl?|csv|ya?ml|tsv|parquet)$"
    r"|(^|/)[^/]*(eval|golden|test_?set|qa_?pairs|ground_?truth|benchmark|test_?cases|questions)[^/]*\.(jsonl?|csv|tsv|ya?ml"
    r"|parquet)$|(^|/)promptfoo[^/]*\.ya?ml$"
)
_CODE = re.compile(r"(?i)(^|/)(evals?|evaluations?)/|(^|/)[^/]*(eval|benchmark)[^/]*\.(py|ipynb)$")
_ENOUGH = 10
_GUARDS = re.compile(
    r"(?i)(moderation|moderate|guard|rail|injection|jailbreak|toxic|profan|is_safe|safety|blocklist|banned|detect_prompt"
    r"|llama_?guard|rebuff|lakera|prompt_shield|content_filter|contentsafety|screen|check_(input|question|prompt|query"
    r"|message|output|answer|response|scope)|validate_(input|question|prompt|query|message|output|answer|response)|vet_"
    r"|filter_(input|output|prompt|answer|response)|sanitize_(input|prompt|output|answer)|is_allowed|policy_check)"
)
_NO_GUARD = re.compile(r"(?i)(safeguarding|guardian|trailing|safety_settings$)")
_GUARD_LIBRARIES = frozenset(
    {"guardrails", "llm_guard", "nemoguardrails", "rebuff", "lakera", "lakera_chainguard", "detoxify"}
)
_WHOLE = frozenset({"LLMRails", "RunnableRails", "Guard", "GuardrailAgent", "OpenAIModerationChain", "AsyncGuard"})
_PARSES = re.compile(
    r"(^|\.)(with_structured_output|PydanticOutputParser|JsonOutputParser|StructuredOutputParser|model_validate_json"
    r"|parse_raw|TypeAdapter|validate_json|jsonschema\.validate|from_openai|from_anthropic|OutputFixingParser|parse)$"
)
_SHAPES = frozenset(
    {"response_format", "response_model", "response_schema", "output_type", "text_format", "output_pydantic"}
)
_MASKS = re.compile(
    r"(?i)(presidio|scrubadub|anonymi[sz]|pseudonymi[sz]|redact|mask_pii|pii_mask|deidentif|remove_pii|strip_pii|mask_(personal|text|email)"
    r"|scrub)"
)
_STILL = re.compile(r"^(o[134](-|$)|gpt-5)")


def evaluation_set(folder: Folder) -> Iterator[Seen]:
    """Questions with known answers are kept, and code asks them."""
    flows = folder.once(read).flows
    if not flows:
        return
    sets = {path: rows for path in folder.files if _SETS.search(path) and (rows := _rows(folder, path))}
    code = [module.path for module in folder.modules if _evaluates(module)]
    best = max(sets, key=lambda path: sets[path], default="")
    cases = _parametrised(folder)
    if best and code and sets[best] >= _ENOUGH:
        level, said = 1.0, f"{best} holds {sets[best]} cases, {code[0]} asks them"
    elif best:
        asked = f"; {code[0]} asks them" if code else "; no code asks them"
        level, said = 0.5, f"{best} holds {sets[best]} cases{asked}"
    elif code or cases:
        level, said = 0.5, f"{(code or cases)[0]} evaluates answers; no set of {_ENOUGH} or more cases lies beside it"
    else:
        level, said = 0.0, "no questions with known answers, and nothing that evaluates answers"
    yield Seen(criterion="model.evaluation_set", level=level, summary=said)


def _rows(folder: Folder, path: str) -> int:
    """How many cases a file holds; 0 for one that is empty or cannot be read."""
    if path.endswith(".parquet"):
        return _ENOUGH if folder.files[path] > 1000 else 0
    text = folder.text(path)
    if text is None:
        return 0
    filled = [line for line in text.lines if line.strip()]
    if path.endswith(".json"):
        try:
            document = json.loads("\n".join(text.lines))
        except ValueError:
            return 0
        lists = [each for each in document.values() if isinstance(each, list)] if isinstance(document, dict) else []
        return len(document) if isinstance(document, list) else max(map(len, lists), default=0)
    if path.endswith((".yaml", ".yml")):
        return sum(1 for line in filled if re.match(r"\s*-\s", line))
    return len(filled) - (path.endswith((".csv", ".tsv")))


def _evaluates(module: Module) -> bool:
    if _CODE.search(module.path) and module.calls:
        return True
    for node in module.nodes:
        roots = []
        if isinstance(node, ast.Import):
            roots = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            roots = [node.module]
        if any(each == known or each.startswith(f"{known}.") for each in roots for known in libraries.EVALUATORS):
            return True
    return False


def _parametrised(folder: Folder) -> list[str]:
    """Tests that ask a list of questions."""
    asks = ("answer", "ask", "chain", "query", "chat", "respond", "invoke")
    return [
        module.path
        for module in folder.modules
        if module.is_test
        and any(name.endswith("parametrize") for _, name in module.calls)
        and any(name.rpartition(".")[2] in asks for _, name in module.calls)
    ]


def repeatable_evaluation(folder: Folder) -> Iterator[Seen]:
    """Where answers are evaluated, the model is asked at temperature 0 or with a seed."""
    findings: list[Finding] = []
    looked = 0
    for flow in folder.once(read).flows:
        if not _evaluates(flow.module):
            continue
        still = {id(node): text for node, text in models(flow) if _STILL.search(text)}
        for call, name in flow.module.calls:
            asked = flow.asks.get(id(call))
            sdk = asked is not None and not asked.kinds & {MODEL, "is:engine", "is:agent"}
            if not (sdk or (makes_model(name, call) and not libraries.is_agent(name))):
                continue
            if any(id(word.value) in still for word in call.keywords):
                continue
            looked += 1
            given = argument(call, "temperature")
            held = spells(flow, call, re.compile(r"^(temperature|seed|random_seed)$"))
            loose = (
                isinstance(literal(given), (int, float))
                and float(str(literal(given))) > 0
                and argument(call, "seed") is None
            )
            if held is False or loose:
                findings.append(finding(flow.module, call, "the evaluation asks at a temperature that varies"))
    if looked:
        bad = "two runs of the evaluation give two results"
        yield Seen.of(
            "model.repeatable_evaluation", findings, bad, "the evaluation asks at a fixed temperature or seed"
        )


def guards(folder: Folder) -> Iterator[Seen]:
    """What comes in and what goes out is checked."""
    flows = folder.once(read).flows
    if not flows:
        return
    entry, leave = "", ""
    for flow in flows:
        for call, name in flow.module.calls:
            place = f"{flow.module.path}:{flow.module.place(call)}"
            origins = frozenset().union(*(flow.labels(e) for e in [*call.args, *(w.value for w in call.keywords)]))
            last = name.rpartition(".")[2]
            if last in _WHOLE:
                entry, leave = entry or place, leave or place
            elif _is_guard(call, name) and id(call) not in flow.asks:
                entry = entry or (place if origins & {USER, FOUND} or not origins else "")
                leave = leave or (place if ANSWER in origins or re.search("(?i)output|answer|response", name) else "")
            elif _PARSES.search(name) and (ANSWER in origins or flow.labels(call) or last[:1].isupper()):
                leave = leave or place
            if any(word.arg in _SHAPES for word in call.keywords) and (
                id(call) in flow.asks or makes_model(name, call)
            ):
                leave = leave or place
    for criterion, place, what in (
        ("governance.input_guard", entry, "what comes in"),
        ("governance.output_guard", leave, "what goes out"),
    ):
        said = f"{place} checks {what}" if place else f"nothing checks {what}"
        yield Seen(criterion=criterion, level=1 if place else 0, summary=said)


def _is_guard(call: ast.Call, name: str) -> bool:
    """Whether a call checks what is said: by the name it is called, or by the library it comes from."""
    written = dotted(call.func)
    if name.startswith("subprocess."):
        return False
    return name.split(".")[0] in _GUARD_LIBRARIES or bool(_GUARDS.search(written) and not _NO_GUARD.search(written))


def data_masked(folder: Folder) -> Iterator[Seen]:
    """Personal data is masked before it leaves for a provider."""
    reading = folder.once(read)
    if not reading.flows:
        return
    for module in folder.modules:
        for call, name in module.calls:
            if not module.is_test and _MASKS.search(name):
                said = f"{module.path}:{module.place(call)} masks personal data"
                yield Seen(criterion="data.masked", level=1, summary=said)
                return
    if _stays(reading.flows):
        yield Seen(criterion="data.masked", level=1, summary="the model runs on the own machine: nothing leaves it")
        return
    yield Seen(criterion="data.masked", level=0, summary="what people say goes to a provider as it is")


def _stays(flows: list[Flow]) -> bool:
    roots = {root for flow in flows for root in flow.module.roots}
    remote = roots & {
        "openai",
        "anthropic",
        "cohere",
        "mistralai",
        "groq",
        "together",
        "google",
        "boto3",
        "replicate",
        "litellm",
    }
    named = any(
        last.startswith("Chat")
        and last not in ("ChatOllama", "ChatPromptTemplate", "ChatHuggingFace", "ChatInterface", "ChatMessage")
        for flow in flows
        for _, name in flow.module.calls
        for last in [name.rpartition(".")[2]]
        if libraries.is_model(name)
    )
    local = bool(roots & libraries.LOCAL) or any(
        name.rpartition(".")[2]
        in ("ChatOllama", "Ollama", "OllamaLLM", "LlamaCpp", "CTransformers", "GPT4All", "HuggingFacePipeline")
        for flow in flows
        for _, name in flow.module.calls
    )
    return local and not remote and not named
