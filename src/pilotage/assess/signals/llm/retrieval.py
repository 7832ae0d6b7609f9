"""Retrieval: an index that runs no code, known sources, results by the rights of who asks, answers with sources."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from pilotage.assess.folder import Folder
from pilotage.assess.model import Finding
from pilotage.assess.signals.llm import libraries
from pilotage.assess.signals.llm.flow import Flow
from pilotage.assess.signals.llm.origins import ANSWER, STORE, USER, WILD
from pilotage.assess.signals.llm.reading import nearest, read
from pilotage.assess.signals.python import argument, finding, literal
from pilotage.assess.signals.seen import Seen
from pilotage.assess.source import dotted

__all__ = ["grounded", "index_safe", "known_sources", "retrieval_rights"]

_PICKLES = re.compile(r"^(pickle|cPickle|dill|cloudpickle|joblib)\.loads?$|^torch\.load$|\.read_pickle$")
_INDEX = re.compile(
    r"(?i)(index|vector|store|embed|faiss|chunk|docs|documents|corpus|passages|retriev|knowledge|bm25|rag)"
)
_SIFTS = re.compile(
    r"(?i)^(filters?|where|where_document|query_filter|namespace|tenant|partition_names?|expr|metadata_filters?"
    r"|vector_store_kwargs|pre_filter|scroll_filter|routing|user_id|search_filter|kb_id)$"
)
_OWN = re.compile(r"(?i)(user|tenant|org|customer|account|client_id|session|team|company|workspace|owner)")
_SEARCH = re.compile(
    r"^(a?similarity_search\w*|a?max_marginal_relevance_search\w*|as_retriever|as_query_engine|as_chat_engine)$"
)
_RAW = frozenset({"query", "search", "query_points", "hybrid", "near_text", "near_vector", "bm25", "similarity_search"})
_CLIENTS = re.compile(
    r"(requests\.(Session|session)|httpx\.(Async)?Client|aiohttp\.ClientSession|webdriver\.\w+|cloudscraper\.create_scraper)$"
)
_USUAL = frozenset({"session", "http", "http_client", "sess", "client"})
_SOURCES = re.compile(
    r"(?i)^(return_source_documents|source_documents|source_nodes|citations?|sources?|references|get_formatted_sources"
    r"|with_sources|RetrievalQAWithSourcesChain|CitationQueryEngine|page_label|file_name|cite\w*|quotes?)$"
)


def index_safe(folder: Folder) -> Iterator[Seen]:
    """No index of texts is opened in a way that runs code."""
    reading = folder.once(read)
    if "rag" not in reading.facts:
        return
    findings: list[Finding] = []
    for flow in reading.flows:
        checked = any(name.startswith(("hashlib.", "hmac.compare_digest")) for _, name in flow.module.calls)
        for call, name in flow.module.calls:
            if literal(argument(call, "allow_dangerous_deserialization")) is True:
                findings.append(finding(flow.module, call, "the index is a pickle, and opening it runs what is in it"))
            elif _PICKLES.search(name) and not checked and _of_index(flow, call):
                findings.append(finding(flow.module, call, f"{name} opens an index, and runs what is in it"))
    yield Seen.of("data.index_safe", findings, f"{len(findings)} indexes run code when opened", "no index runs code")


def _of_index(flow: Flow, call: ast.Call) -> bool:
    words = [each for arg in call.args[:1] for each in ast.walk(arg)]
    texts = [flow.text(each) for each in words]
    names = [flow.module.name_of(each) for each in words if isinstance(each, (ast.Name, ast.Attribute))]
    opened = [text for name in names for text in _opens(flow, name)]
    names += [
        dotted(target)
        for node in flow.module.nodes
        if isinstance(node, ast.Assign) and node.value is call
        for top in node.targets
        for target in ast.walk(top)
    ]
    return any(_INDEX.search(each) for each in [*texts, *opened, *names])


def _opens(flow: Flow, name: str) -> Iterator[str]:
    """The texts in the expression that a file's name stands for: `with open("index.pkl") as f`."""
    for node in flow.module.nodes:
        named = isinstance(node, ast.withitem) and getattr(node.optional_vars, "id", "") == name
        if named:
            yield from (flow.text(each) for each in ast.walk(node.context_expr))  # type: ignore[attr-defined]


def known_sources(folder: Folder) -> Iterator[Seen]:
    """What is fetched comes from addresses that somebody chose, not from any that a person or the model names."""
    reading = folder.once(read)
    if not reading.flows:
        return
    findings, looked = [], 0
    for flow in reading.flows:
        sessions = set(_sessions(flow))
        for call, name in flow.module.calls:
            given = [
                *call.args[:1],
                *(w.value for w in call.keywords if w.arg in ("url", "urls", "web_path", "web_paths", "base_url")),
            ]
            asked = name.endswith("load_data") and "WebPageReader" in ast.dump(call.func)
            root, _, verb = dotted(call.func).rpartition(".")
            kept = root in sessions or (root in _USUAL and flow.module.roots & {"requests", "httpx", "aiohttp"})
            asked |= bool(kept) and verb in ("get", "post", "head", "request", "stream")
            if not (libraries.FETCHERS.search(name) or asked) or not given:
                continue
            looked += 1
            origins = frozenset().union(*(flow.labels(each) for each in given))
            strangers = {USER, ANSWER} if reading.serves else {ANSWER}
            if origins & strangers and WILD in origins and not _fixed_host(flow, given[0]):
                who = "a person" if USER in origins else "the model"
                findings.append(finding(flow.module, call, f"fetches any address that {who} names"))
    bad = f"{len(findings)} of {looked} fetch any address"
    good = "what is fetched comes from known addresses" if looked else "it fetches nothing from an address"
    yield Seen.of("data.known_sources", findings, bad, good)


def _sessions(flow: Flow) -> Iterator[str]:
    """Names under which a client of HTTP, or a browser, is kept."""
    for node in flow.module.nodes:
        pairs: list[tuple[ast.expr | None, ast.expr | None]] = []
        if isinstance(node, ast.Assign):
            pairs = [(node.value, node.targets[0])]
        elif isinstance(node, ast.withitem):
            pairs = [(node.context_expr, node.optional_vars)]
        elif isinstance(node, ast.arg) and node.annotation is not None:
            pairs = [(node.annotation, ast.Name(id=node.arg))]
        for value, target in pairs:
            made = value.func if isinstance(value, ast.Call) else value if isinstance(node, ast.arg) else None
            if made is not None and target is not None and _CLIENTS.search(flow.module.name_of(made)):
                yield dotted(target)


def _fixed_host(flow: Flow, url: ast.expr) -> bool:
    """Whether the address begins with a host that the code or a setting names."""
    if isinstance(url, ast.Name) and (given := flow.assigned(url.id)) and given[-1].value is not None:
        url = given[-1].value
    if re.match(r"https?://[\w.-]+(:\d+)?/", flow.text(url)):
        return True
    first: ast.expr = url
    while isinstance(first, (ast.JoinedStr, ast.BinOp)):
        first = first.left if isinstance(first, ast.BinOp) else first.values[0]
    filled = first.value if isinstance(first, ast.FormattedValue) else first
    return first is not url and not isinstance(filled, ast.Constant) and not flow.labels(filled) & {USER, ANSWER}


def retrieval_rights(folder: Folder) -> Iterator[Seen]:
    """Where people reach it, what is found is limited to what they may read."""
    reading = folder.once(read)
    if "rag" not in reading.facts or not reading.serves:
        return
    findings, looked = [], 0
    for flow in reading.flows:
        if _own_index(flow):
            looked += 1
            continue
        for call, name in flow.module.calls:
            last = name.rpartition(".")[2]
            receiver = flow.labels(call.func.value) if isinstance(call.func, ast.Attribute) else frozenset()
            if not (_SEARCH.search(last) or (last in _RAW and STORE in receiver and id(call) in flow.finds)):
                continue
            looked += 1
            if not _sifts(flow, call):
                findings.append(finding(flow.module, call, f"{last} finds what any caller may not read"))
        for call in nearest(flow):
            looked += 1
            if not _narrowed(flow, call):
                findings.append(finding(flow.module, call, "the search finds what any caller may not read"))
    if looked:
        bad = f"{len(findings)} of {looked} searches look at everything"
        yield Seen.of("governance.retrieval_rights", findings, bad, "searches are limited by who asks")


def _narrowed(flow: Flow, call: ast.Call) -> bool:
    """Whether a search in SQL, or of a search engine, has a condition beside the nearness."""
    text = flow.text(call.args[0]) if call.args else ""
    if re.search(r"(?i)\bwhere\b", text) or "where" in dotted(call.func) or "filter" in dotted(call.func):
        return True
    statement = next((each for each in flow.module.nodes if isinstance(each, ast.stmt) and _holds(each, call)), call)
    words = {w.arg for each in ast.walk(call) if isinstance(each, ast.Call) for w in each.keywords}
    keys = {literal(key) for each in ast.walk(call) if isinstance(each, ast.Dict) for key in each.keys}
    chained = {e.attr for e in ast.walk(statement) if isinstance(e, ast.Attribute)}
    return bool(({"filter", "query"} & (words | keys)) or ({"where", "filter", "filter_by"} & chained))


def _holds(statement: ast.stmt, call: ast.Call) -> bool:
    simple = isinstance(statement, (ast.Assign, ast.AnnAssign, ast.Return, ast.Expr, ast.AugAssign))
    return simple and any(each is call for each in ast.walk(statement))


def _sifts(flow: Flow, call: ast.Call) -> bool:
    for each in ast.walk(call):
        word = each.arg if isinstance(each, ast.keyword) else None
        fixed = literal(each.value) if isinstance(each, ast.keyword) else None
        if fixed is not None and word in ("namespace", "tenant") and "public" not in str(fixed):
            continue
        keys = [k.value for k in each.keys if isinstance(k, ast.Constant)] if isinstance(each, ast.Dict) else []
        if any(isinstance(name, str) and _SIFTS.search(name) for name in [word, *keys]):
            return True
    return any(
        given.arg in (None, "search_kwargs", "kwargs") and isinstance(given.value, ast.Name) for given in call.keywords
    )


def _own_index(flow: Flow) -> bool:
    """Whether the index is one's own: of what the caller sent, or named after them."""
    for call, name in flow.module.calls:
        if not libraries.is_store(name):
            continue
        given = [*call.args, *(word.value for word in call.keywords)]
        if any(USER in flow.labels(each) for each in given):
            return True
        for word in call.keywords:
            place = word.arg in ("collection_name", "namespace", "persist_directory", "index_name", "name", "tenant")
            if place and not isinstance(word.value, ast.Constant) and _names_somebody(word.value):
                return True
        if any(not isinstance(each, ast.Constant) and _names_somebody(each) for each in call.args[:1]):
            return True
    return False


def _names_somebody(node: ast.expr) -> bool:
    return any(
        _OWN.search(each.id if isinstance(each, ast.Name) else each.attr)
        for each in ast.walk(node)
        if isinstance(each, (ast.Name, ast.Attribute))
    )


def grounded(folder: Folder) -> Iterator[Seen]:
    """Answers come with the sources that they rest on."""
    reading = folder.once(read)
    if "rag" not in reading.facts:
        return
    for flow in reading.flows:
        for node in flow.module.nodes:
            words = [
                getattr(node, "arg", None),
                node.attr if isinstance(node, ast.Attribute) else None,
                node.id if isinstance(node, ast.Name) else None,
                node.value if isinstance(node, ast.Constant) else None,
            ]
            if any(isinstance(word, str) and _SOURCES.search(word) for word in words):
                said = f"{flow.module.path}:{flow.module.place(node)} gives the sources of an answer"
                yield Seen(criterion="model.sources_shown", level=1, summary=said)
                return
    yield Seen(criterion="model.sources_shown", level=0, summary="answers come without their sources")
