"""Which calls ask a model."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from pilotage.assess.signals.llm import libraries
from pilotage.assess.signals.llm.origins import ADDRESSES, ASKED, CLIENT, ENDS, RETRIEVER, STORE, Labels

__all__ = ["Ask", "asks"]

_OF_CLIENTS = ("chat", "generate", "chat_stream", "text_generation", "complete")


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A call by which a model is asked: whole name, and what the receiver is."""

    call: ast.Call
    name: str
    kinds: Labels


def asks(node: ast.Call, name: str, receiver: Labels, own: Labels, address: str) -> bool:
    """Whether a call asks a model. `own` is what the callee itself is; `address` the text of what is posted to."""
    last = name.rpartition(".")[2]
    if f".{name}".endswith(ENDS) and not receiver & {STORE, RETRIEVER}:
        return bool(receiver & {CLIENT}) or "messages." not in name or any(w.arg == "model" for w in node.keywords)
    if own & ASKED or (receiver & ASKED and last in libraries.ASKS):
        return True
    if last in ("post", "request", "stream", "urlopen", "Request"):
        return bool(ADDRESSES.search(address))
    return bool(receiver & {CLIENT}) and last in _OF_CLIENTS
