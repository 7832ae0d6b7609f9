"""A pilot that asks a language model, as it is read: its modules with their flows, and what it is made of."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pilotage.assess.folder import ARTEFACTS, Folder
from pilotage.assess.model import Makeup
from pilotage.assess.signals.llm import libraries
from pilotage.assess.signals.llm.asking import Ask
from pilotage.assess.signals.llm.flow import Flow
from pilotage.assess.signals.llm.origins import (
    ADDRESSES,
    AGENT,
    ANSWER,
    NONE,
    RETRIEVER,
    STORE,
    TOOL_MARKS,
    Labels,
    last_name,
)
from pilotage.assess.signals.llm.pilot import Pilot, Target, home, imported
from pilotage.assess.source import Module, dotted

__all__ = ["Reading", "asks_in_turn", "makes_model", "models", "nearest", "read"]

_MOST = 300
_ROUNDS = 4
_MENTIONS = (
    "openai", "anthropic", "langchain", "langgraph", "llama", "litellm", "cohere", "mistral", "groq", "together",
    "replicate", "ctransformers", "gpt4all", "vllm", "dspy", "guidance", "instructor", "autogen", "crewai",
    "pydantic_ai",
    "smolagents", "haystack", "semantic_kernel", "agents", "swarm", "chainlit", "genai", "generativ", "azure.ai",
    "bedrock", "converse", "invoke_model", "transformers", "/completions", "/v1/messages", "/api/", "init_chat_model",
    "huggingface", "phi.agent", "agno",
)  # fmt: skip
"""What stands in a module that asks a model, so that the others are not looked through."""

_DISTANCE = re.compile(r"<(=>|->|#>|\+>)|\bvec_distance_|\bMATCH\b.*\bk\s*=")
_EMBEDDERS = ("SentenceTransformer", "embed_query", "embed_documents", "embeddings.create", "aembedding")
_DISTANCES = ("cosine_distance", "l2_distance", "max_inner_product", "l1_distance")
_TRAINS = frozenset({"train_test_split", "GridSearchCV", "cross_val_score"})
_INDEX_FILES = frozenset({"index.pkl", "docstore.pkl"})


@dataclass(frozen=True)
class Reading:
    """What was read. `flows` is empty where the pilot asks no language model."""

    folder: Folder
    flows: list[Flow]

    @cached_property
    def asks(self) -> list[tuple[Flow, Ask]]:
        """Every call by which a model is asked."""
        return [(flow, ask) for flow in self.flows for ask in flow.asks.values()]

    @cached_property
    def facts(self) -> frozenset[str]:
        """`llm`, `rag`, `agent`, as far as they hold; `classic` where a model of its own is fitted or asked as well."""
        found = {"llm"} if self.flows else set()
        if any(
            _embeds(flow) or flow.finds or flow.parts & {STORE, RETRIEVER} or any(nearest(flow)) for flow in self.flows
        ):
            found.add("rag")
        if any(flow.parts & {AGENT} or _calls_tools(flow) for flow in self.flows):
            found.add("agent")
        return frozenset(found if self.flows and not _fitted(self.folder) else {*found, "classic"})

    @cached_property
    def asking(self) -> set[Target]:
        """Functions that ask a model, themselves or through others."""
        found: set[Target] = set()
        size = -1
        while size != len(found):
            size = len(found)
            for flow in self.flows:
                for call, _ in flow.module.calls:
                    around = flow.function_of(call)
                    if around is not None and asks_in_turn(flow, call, found):
                        found.add((flow.home, around.name))
        return found

    @cached_property
    def serves(self) -> bool:
        """Whether people or programs reach it: a web framework or a user interface."""
        roots = {root for module in self.folder.modules for root in module.roots}
        return bool(roots & (libraries.UIS | {"fastapi", "flask", "starlette", "sanic", "aiohttp", "django", "quart"}))

    @cached_property
    def makeup(self) -> Makeup:
        """What the pilot is, in words of its code."""
        imports = {root for flow in self.flows for root in _imports(flow.module)}
        names = [name for flow in self.flows for _, name in flow.module.calls]
        stores = {store for name in names if (store := libraries.store_of(name))}
        return Makeup(
            kinds=sorted(self.facts),
            libraries=sorted({library for each in imports if (library := libraries.library_of(each))}),
            models=sorted({text for flow in self.flows for _, text in models(flow)}),
            stores=sorted(stores),
            interfaces=sorted({each.split(".")[0] for each in imports} & libraries.UIS),
        )


def models(flow: Flow) -> Iterator[tuple[ast.AST, str]]:
    """The model's name at each call that names one, with the node that gives it."""
    for call, name in flow.module.calls:
        for word in call.keywords:
            known = word.arg in ("model", "model_name", "model_id", "modelId", "model_path", "llm")
            if known and (text := flow.text(word.value)) and (id(call) in flow.asks or makes_model(name, call)):
                yield word.value, text
        if id(call) in flow.asks:
            yield from _posted(flow, call)
        first = call.args[0] if call.args else None
        positional = makes_model(name, call) and not name.endswith("pipeline")
        if first is not None and positional and (text := flow.text(first)):
            yield first, text


def _posted(flow: Flow, call: ast.Call) -> Iterator[tuple[ast.AST, str]]:
    """The model's name in what is posted to a provider by hand."""
    bodies = [word.value for word in call.keywords if word.arg in ("json", "data", "body", "content")]
    bodies += [node.value for each in bodies for node in flow.assigned(dotted(each)) if node.value is not None]
    for node in (each for body in bodies for each in ast.walk(body)):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value in ("model", "modelId") and (text := flow.text(value)):
                    yield value, text


def asks_in_turn(flow: Flow, node: ast.AST, asking: set[Target]) -> bool:
    """Whether a call asks a model, or a function that does."""
    return id(node) in flow.asks or any(each in asking for each in flow.entered.get(id(node), []))


def nearest(flow: Flow) -> Iterator[ast.Call]:
    """Searches for what is nearest to a vector: in SQL, put together by SQLAlchemy, or of a search engine."""
    for call, name in flow.module.calls:
        last = name.rpartition(".")[2]
        queried = last in ("execute", "fetch", "fetchall", "fetchrow", "fetch_all", "read_sql", "query", "text")
        written = queried and call.args and _DISTANCE.search(flow.text(call.args[0]))
        inside = [each for given in call.args for each in ast.walk(given)] if last == "order_by" else []
        ordered = any(isinstance(each, ast.Call) and dotted(each.func).endswith(_DISTANCES) for each in inside)
        if written or ordered or (last == "search" and any(word.arg == "knn" for word in call.keywords)):
            yield call


def makes_model(name: str, call: ast.Call) -> bool:
    """Whether a call makes a model, a client of one, or an agent."""
    given = tuple(e.value for e in [*call.args, *(w.value for w in call.keywords)] if isinstance(e, ast.Constant))
    return libraries.is_model(name, given) or libraries.is_agent(name)


def read(folder: Folder) -> Reading:
    """The pilot's flows: of modules that ask a model, and of those beside them; tests are left out."""
    modules = [module for module in folder.modules if not module.is_test]
    stems = {Path(module.path).stem for module in modules} | {
        part for module in modules for part in Path(module.path).parts[:-1]
    }
    about = [module for module in modules if _asks_a_model(module, stems)]
    if not about:
        return Reading(folder, [])
    wanted = _around(modules, about)
    if len(wanted) > _MOST:
        folder.skip(f"more than {_MOST} modules about language models: the texts of the rest were not followed")
    flows = _followed(folder, wanted[:_MOST])
    return Reading(folder, flows) if any(flow.asks or flow.parts for flow in flows) else Reading(folder, [])


def _around(modules: list[Module], about: list[Module]) -> list[Module]:
    """The modules that ask a model, those that import them or are imported by them in any number of steps."""
    names = {module.path: {part for _, target in imported(module) for part in target if part} for module in modules}
    homes_of = {module.path: home(module) for module in modules}
    first = {module.path for module in about}
    taken = {module.path for module in modules if module.path in first or module.roots & libraries.NEAR}
    size = 0
    while size != len(taken):
        size = len(taken)
        homes = {homes_of[path] for path in taken}
        used = {name for path in taken for name in names[path]}
        taken |= {module.path for module in modules if names[module.path] & homes or homes_of[module.path] in used}
    return [module for module in modules if module.path in taken]


def _followed(folder: Folder, modules: list[Module]) -> list[Flow]:
    """The flows of modules that hand texts to each other: each again while what it is given or imports still grows."""
    pilot = Pilot.of(modules)
    near = {module.path: {name for _, target in imported(module) for name in target} for module in modules}
    found: dict[str, Flow] = {}
    seen: dict[str, int] = {}
    for _ in range(_ROUNDS):
        before = pilot.size()
        for module in modules:
            around = near[module.path] | {home(module)}
            size = sum(len(labels) + 1 for (stem, _), labels in pilot.known.items() if stem in around)
            size += sum(
                len(labels)
                for (stem, _), names in pilot.given.items()
                if stem == home(module)
                for labels in names.values()
            )
            if seen.get(module.path) == size or (module.path in seen and module.path not in found):
                continue
            seen[module.path] = size
            if flow := _flow(folder, module, pilot):
                found[module.path] = flow
                for key, labels in _exports(flow):
                    pilot.known[key] = pilot.known.get(key, NONE) | labels
        if pilot.size() == before:
            break
    return [found[module.path] for module in modules if module.path in found]


def _flow(folder: Folder, module: Module, pilot: Pilot) -> Flow | None:
    """The flow of a module; None, and listed as skipped, for one that is nested too deep."""
    try:
        return Flow(module=module, pilot=pilot)
    except RecursionError:
        folder.skip(f"{module.path}: nested too deep, its texts were not followed")
        return None


def _exports(flow: Flow) -> Iterator[tuple[Target, Labels]]:
    stem = home(flow.module)
    for name, labels in flow.names.items():
        if labels and ("." not in name or name.startswith("self.") or "session_state." in name):
            yield (stem, name), labels
    for name, labels in flow.returned.items():
        if labels:
            yield (stem, name), labels


def _asks_a_model(module: Module, stems: set[str]) -> bool:
    text = "\n".join(module.lines).lower()
    if not any(word in text for word in _MENTIONS):
        return False
    for each in _imports(module):
        library = libraries.library_of(each)
        if library and library.split(".")[0] not in stems:
            return True
    for node in module.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and ADDRESSES.search(node.value):
            return True
    for call, name in module.calls:
        asked = name.endswith((".invoke_model", ".converse", ".converse_stream"))
        if asked or makes_model(name, call) or libraries.SDK_CLIENTS.search(name):
            return True
    return False


def _imports(module: Module) -> Iterator[str]:
    """Dotted names of what is imported."""
    for node in module.nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _embeds(flow: Flow) -> bool:
    """Whether texts are turned into vectors, to find some of them again."""
    return any(name.endswith(_EMBEDDERS) for _, name in flow.module.calls)


def _calls_tools(flow: Flow) -> bool:
    """Whether a model is given tools by hand, functions are marked as tools, or its answer chooses what is called."""
    if any(
        name == "getattr" and ANSWER in flow.labels(call.args[1]) for call, name in flow.module.calls if call.args[1:]
    ):
        return True
    for function in flow.functions.values():
        if any(last_name(each) in TOOL_MARKS for each in function.decorator_list):
            return True
    for call, _ in flow.module.calls:
        if isinstance(call.func, ast.Subscript) and ANSWER in flow.labels(call.func.slice):
            return True
    given = any(
        word.arg in ("tools", "functions") and not _empty(word.value)
        for ask in flow.asks.values()
        for word in ask.call.keywords
    )
    bound = any(name.endswith(".bind_tools") for _, name in flow.module.calls)
    return given or bound


def _empty(node: ast.expr) -> bool:
    return (isinstance(node, ast.List) and not node.elts) or (isinstance(node, ast.Constant) and node.value is None)


def _fitted(folder: Folder) -> bool:
    """Whether it has a model of its own: an artefact that is no index of texts, or code that fits one."""
    artefacts = [
        path
        for path in folder.ending(ARTEFACTS)
        if Path(path).name not in _INDEX_FILES and not _of_an_index(Path(path).stem.lower())
    ]
    fits = any(
        name.rpartition(".")[2] in _TRAINS
        or (name.endswith(".fit") and any(root.startswith(("sklearn", "xgboost", "lightgbm")) for root in _imports(m)))
        for m in folder.modules
        if not m.is_test
        for _, name in m.calls
    )
    return bool(artefacts) or fits


def _of_an_index(stem: str) -> bool:
    return any(word in stem for word in ("index", "faiss", "vector", "embed", "chunk", "docs", "store", "corpus"))
