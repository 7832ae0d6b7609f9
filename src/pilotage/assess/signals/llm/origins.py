"""The labels that a flow gives to expressions, and the names by which it tells where a text comes from."""

from __future__ import annotations

import ast
import re

from pilotage.assess.signals.llm import libraries
from pilotage.assess.source import dotted

__all__ = [
    "ADDRESSES",
    "AGENT",
    "ALL",
    "ANSWER",
    "ANSWERED",
    "ASKED",
    "CLIENT",
    "ENDS",
    "ENGINE",
    "EVENTS",
    "EVENT_METHODS",
    "FOUND",
    "KEEPS",
    "MASKS",
    "MODEL",
    "NEUTRAL",
    "NONE",
    "PARTS",
    "PLAIN",
    "PUTS_IN",
    "REGISTERS",
    "REQUEST",
    "RETRIEVER",
    "ROUTES",
    "SAFE",
    "SAID",
    "SEARCHES",
    "SECRET",
    "SPEAKS",
    "SPOKEN",
    "STORE",
    "TEXTS",
    "TOOL_MARKS",
    "UI_FUNCTION",
    "USER",
    "WIDGETS",
    "WILD",
    "WRITTEN",
    "Function",
    "Labels",
    "Names",
    "last_name",
    "secret_environment",
    "secret_name",
    "secret_setting",
]

Labels = frozenset[str]
Names = dict[str, Labels]
Function = ast.FunctionDef | ast.AsyncFunctionDef

# Whose words a text holds. WILD: nobody checked it. PLAIN: nothing in it was masked.
USER, ANSWER, FOUND, SECRET = "user", "answer", "found", "secret"
WILD, PLAIN = "wild", "plain"
# What a name stands for. An engine is anything that asks a model in turn: a chain, a query engine.
CLIENT, MODEL, STORE, RETRIEVER, AGENT = "is:client", "is:model", "is:store", "is:retriever", "is:agent"
ENGINE = "is:engine"
NONE: Labels = frozenset()
TEXTS = frozenset({USER, ANSWER, FOUND, SECRET, WILD, PLAIN})
SAID, ANSWERED = frozenset({USER, WILD, PLAIN}), frozenset({ANSWER, WILD, PLAIN})
PARTS = frozenset({CLIENT, MODEL, STORE, RETRIEVER, AGENT, ENGINE})
ALL = TEXTS | PARTS
ASKED = frozenset({MODEL, AGENT, ENGINE})

SPOKEN = re.compile(
    r"(?i)^(user_?)?(question|query|utterance)$|^user_(input|message|msg|text|prompt|request|content)$"
    r"|^(customer|client|visitor|caller|patient|applicant)_(message|input|text|question|request)$"
    r"|^(ticket|complaint|email|mail|review|comment|feedback|transcript|resume|cv)_?(text|body|content)?$"
)
WRITTEN = re.compile(
    r"(?i)(^|[._])(ticket|complaint|e?mail|message|msg|review|comment|feedback|inquiry|enquiry|claim|case|issue|post|tweet|lead"
    r"|application|candidate|row)\.(body|text|content|description|subject|message|comment|notes|transcript)$"
)
"""Attributes under which lies what somebody outside wrote."""
_SECRET_NAME = re.compile(r"(?i)(api_?key|secret(_?key)?|passw(or)?d|access_?token|auth_?token|bearer)$")
_SECRET_SETTING = re.compile(r"(?i)(key|token|secret|passw(or)?d|credential|dsn)")
SAFE = re.compile(
    r"(?i)(^|\.|_)(escape|quote|clean|sanitize\w*|bleach|nh3|sha\d+|md5|blake2\w*|hexdigest|digest|hash|fingerprint|len|int|float|bool|isinstance|count|literal_eval"
    r"|secure_filename|encrypt|type|id|hash_\w+|perf_counter|strip_tags)$"
)
MASKS = re.compile(r"(?i)(^|\.|_)(redact\w*|mask\w*|anonymi[sz]e\w*|pseudonymi[sz]e\w*|scrub\w*|deidentify\w*)$")
SPEAKS = re.compile(
    r"(^|\.)(format|format_map|join|str|strip|replace|dumps|dedent|substitute|render|\w*Message|encode|print)$"
)
REQUEST = frozenset(
    {
        "json",
        "form",
        "args",
        "values",
        "data",
        "files",
        "query_params",
        "POST",
        "GET",
        "body",
        "forms",
        "params",
        "query",
        "match_info",
    }
)
NEUTRAL = frozenset({
    "usage", "id", "model", "finish_reason", "status_code", "usage_metadata", "token_usage", "total_tokens", "headers",
    "prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "created", "stop_reason", "latency",
    "response_metadata", "total_cost", "model_name", "request_id", "__class__", "__name__", "length", "created_at",
    "channel", "channel_id", "user_id", "session_id", "thread_id", "conversation_id", "message_id", "timestamp", "ts",
    "chat_id", "trace_id", "tenant", "tenant_id", "tokens", "count", "duration", "latency_ms",
})  # fmt: skip
PUTS_IN = frozenset({
    "append", "extend", "insert", "add", "update", "setdefault", "write", "writelines", "put", "appendleft", "push",
    "write_text", "write_bytes",
})  # fmt: skip
KEEPS = frozenset({
    "bind", "bind_tools", "with_structured_output", "with_config", "with_retry", "with_fallbacks", "with_options",
    "pipe",
    "compile", "as_query_engine", "as_chat_engine", "from_llm", "from_defaults", "assign", "eval", "to", "start_chat",
    "as_runnable", "configurable_fields", "with_types", "pick", "half", "cuda",
})  # fmt: skip
ROUTES = frozenset({"route", "get", "post", "put", "api_route", "websocket", "patch", "event", "message", "command"})
TOOL_MARKS = frozenset({"tool", "tool_plain", "function_tool", "ai_function", "kernel_function", "register_for_llm"})
EVENTS = frozenset({"on_message", "message_handler", "on_chat_message", "on_text"})
WIDGETS = re.compile(
    r"(^|\.)(input|text_input|text_area|chat_input|file_uploader|receive_text|receive_json|getpass|AskUserMessage"
    r"|Prompt\.ask|get_json|parse_args|get_argument|get_body_argument|TextInput|speech_to_text|recognize_google)$"
)
UI_FUNCTION = frozenset({"click", "submit", "Interface", "ChatInterface", "change", "then", "upload"})
EVENT_METHODS = re.compile(r"on_(message|text|turn|mention|chat|user_message|question)\w*$")
REGISTERS = frozenset({
    "serve", "MessageHandler", "CommandHandler", "add_post", "add_get", "add_route", "add_url_rule", "add_api_route",
    "add_event_handler", "register_message_handler", "register_next_step_handler", "on_submit", "on_event",
    "WebSocketRoute", "Route",
})  # fmt: skip
"""Calls that name the function which answers what comes in."""
SEARCHES = re.compile(
    r"^(a?similarity_search\w*|a?max_marginal_relevance_search\w*|query|query_points|search|a?get_relevant_documents"
    r"|retrieve|aretrieve|invoke|ainvoke|hybrid|near_text|near_vector|bm25|knn_search|similarity_search_by_vector|__call__)$"
)
ENDS = tuple(f".{end}" for end in libraries.ASK_ENDS)
ADDRESSES = re.compile(r"/chat/completions|/v1/completions|/api/generate|/api/chat|/v1/messages|:generateContent")


def last_name(node: ast.AST) -> str:
    """The last word of a dotted name."""
    return dotted(node).rpartition(".")[2]


def secret_name(name: str) -> Labels:
    """A secret, by the name it has."""
    return frozenset({SECRET}) if _SECRET_NAME.search(name) else NONE


def secret_setting(name: str, key: ast.expr) -> Labels:
    """A secret, by the key under which it is read."""
    if not name.endswith(("environ", "st.secrets", "streamlit.secrets", "secrets", "config")):
        return NONE
    named = isinstance(key, ast.Constant) and isinstance(key.value, str) and _SECRET_SETTING.search(key.value)
    return frozenset({SECRET}) if named else NONE


def secret_environment(name: str, node: ast.Call) -> Labels:
    """A secret, by the setting that a call reads."""
    if not name.endswith(("getenv", "environ.get", "secrets.get", "dotenv.get_key", "config")):
        return NONE
    key = node.args[0] if node.args else None
    named = isinstance(key, ast.Constant) and isinstance(key.value, str) and _SECRET_SETTING.search(key.value)
    return frozenset({SECRET}) if named else NONE
