"""What a call makes: a client, a model, an index, a retriever, an agent, or something that asks a model in turn."""

from __future__ import annotations

from pilotage.assess.signals.llm import libraries
from pilotage.assess.signals.llm.origins import (
    AGENT,
    CLIENT,
    ENGINE,
    KEEPS,
    MODEL,
    NONE,
    PARTS,
    RETRIEVER,
    STORE,
    Labels,
)

__all__ = ["made_by"]


def made_by(name: str, last: str, receiver: Labels, given: Labels, literals: tuple[object, ...]) -> Labels:
    """The labels of a part that this call makes; nothing for a call that makes none."""
    if libraries.SDK_CLIENTS.search(name):
        return frozenset({CLIENT})
    if libraries.is_engine(name):
        return frozenset({ENGINE})
    if libraries.is_agent(name):
        return frozenset({AGENT})
    if libraries.is_model(name, literals):
        return frozenset({MODEL})
    if libraries.is_retriever(name):
        return frozenset({RETRIEVER})
    if libraries.is_store(name) and last not in libraries.ASKS:
        return frozenset({STORE}) | (receiver & {STORE})
    if last in KEEPS and receiver & PARTS:
        keeps = {"as_query_engine": ENGINE, "as_chat_engine": ENGINE, "start_chat": ENGINE}
        return frozenset({keeps[last]}) if last in keeps else receiver
    if last == "Index" and ("pinecone" in name.lower() or receiver & {CLIENT, STORE}):
        return frozenset({STORE})
    if receiver & {STORE} and last in (
        "get",
        "use",
        "open_table",
        "collection",
        "get_index",
        "table",
        "with_limit",
    ):
        return frozenset({STORE})
    if given & {CLIENT} and last in ("from_openai", "patch", "wrap_openai", "from_anthropic", "from_litellm"):
        return frozenset({CLIENT})
    if given & {MODEL, ENGINE, AGENT} and (last[:1].isupper() or last.startswith(("from_", "create_", "load_"))):
        return frozenset({ENGINE}) | (given & {AGENT})
    return NONE
