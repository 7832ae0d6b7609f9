"""A twin of a provider of language models, on the box's own loopback: it keeps what it was asked, and answers as told.

It obeys: a scenario says what the model answers, so that what is measured is what the application does with it. Nothing
of it is random. Standard library only: it runs in the box.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pilotage.assess.probing.llm import boxed_tokens
from pilotage.assess.probing.llm.boxed_wire import Asked, Reply, answer, pieces

__all__ = ["PLAIN", "USUAL", "Upstream"]

PLAIN = "pilotagetwin"
"""A word of every usual answer."""

USUAL = (
    f"This is the plain answer of {PLAIN}.",
    f'"{PLAIN}"',
    f'{{"answer": "{PLAIN}"}}',
    f"SELECT '{PLAIN}'",
    f"echo {PLAIN}",
)
"""What is answered where nothing else is told: the first that the pilot can do something with."""

_MAX_BODY, _MAX_KEPT, _MOST, _MAX_TEXT = 8 << 20, 256 << 20, 3000, 1 << 20
_OLLAMA = 11434
_TEXTS = (".py", ".env", ".yaml", ".yml", ".toml", ".json", ".ini", ".cfg")
_PROVIDERS = re.compile(
    r"https?://(?:api\.openai\.com|[\w-]+\.openai\.azure\.com|api\.anthropic\.com|api\.groq\.com|api\.mistral\.ai"
    r"|api\.together\.(?:xyz|ai)|api\.deepseek\.com|openrouter\.ai|api\.perplexity\.ai|api\.fireworks\.ai|api\.x\.ai"
    r"|(?:localhost|127\.0\.0\.1|host\.docker\.internal|ollama):11434|(?:localhost|127\.0\.0\.1)(?::\d+)?(?=/v1\b))"
)
_BASES = (
    *("OPENAI_BASE_URL", "OPENAI_API_BASE", "AZURE_OPENAI_ENDPOINT", "GROQ_BASE_URL", "MISTRAL_BASE_URL"),
    *(
        "OLLAMA_HOST",
        "OLLAMA_BASE_URL",
        "OLLAMA_API_BASE",
        "ANTHROPIC_BASE_URL",
        "ANTHROPIC_API_BASE",
        "LITELLM_API_BASE",
    ),
)
_WITH_VERSION = re.compile(r"OPENAI_(BASE_URL|API_BASE)$")


class Upstream:
    """`reply` says what it answers, `usual` is what it answers of itself.

    `asked` is what it was asked, the oldest first, 3,000 at most; `fetched` are addresses that were fetched of it."""

    def __init__(self) -> None:
        self.usual = USUAL[0]
        self.reply: Callable[[Asked], Reply] = self.as_usual
        self.asked: list[Asked] = []
        self._room = _MAX_KEPT
        self.fetched: list[str] = []
        self.released = threading.Event()
        self._servers = [_Server(("127.0.0.1", 0), self)]
        try:
            self._servers.append(_Server(("127.0.0.1", _OLLAMA), self))
        except OSError:
            pass
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def as_usual(self, _asked: Asked) -> Reply:
        """The usual answer."""
        return Reply(self.usual)

    @property
    def ports(self) -> set[int]:
        return {int(server.server_address[1]) for server in self._servers}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._servers[0].server_address[1]}"

    def keep(self, asked: Asked, size: int) -> None:
        """Remember a request of so many bytes, as long as there is room for it."""
        self._room -= size
        if self._room > 0 and len(self.asked) < _MOST:
            self.asked.append(asked)

    def settings(self, given: Mapping[str, str]) -> dict[str, str]:
        """The environment that leads here: the providers' own names, and `given`, where `{twin}` is this address."""
        own = {name: f"{self.address}/v1" if _WITH_VERSION.search(name) else self.address for name in _BASES}
        return own | {name: value.replace("{twin}", self.address) for name, value in given.items()}

    def lead_here(self, copy: Path) -> int:
        """Let addresses of providers that stand in the copy's code lead here, and put a tokenizer that needs no tables
        in the place of one that fetches them. Returns how many files were changed."""
        beside = copy.parent / "beside"
        beside.mkdir(exist_ok=True)
        (beside / "tiktoken.py").write_bytes(Path(boxed_tokens.__file__).read_bytes())
        os.environ["PYTHONPATH"] = os.pathsep.join([str(beside), os.environ.get("PYTHONPATH", "")])
        changed = 0
        for path in copy.rglob("*"):
            if path.suffix not in _TEXTS and path.name != ".env":
                continue
            if not path.is_file() or path.stat().st_size > _MAX_TEXT:
                continue
            try:
                text = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
            led = _PROVIDERS.sub(self.address, text)
            if led != text:
                path.write_text(led, encoding="utf-8")
                changed += 1
        return changed


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], upstream: Upstream) -> None:
        self.upstream = upstream
        super().__init__(address, _Answers)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that went away is no news."""


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = 60

    def log_message(self, *_: Any) -> None:
        """Silent."""

    def do_GET(self) -> None:
        self.server.upstream.fetched.append(self.path[:500])
        model = {"id": "gpt-4o-2024-08-06", "object": "model", "created": 1, "owned_by": "twin"}
        self._send(200, json.dumps({"object": "list", "data": [model], "models": []}).encode())

    def do_POST(self) -> None:
        upstream = self.server.upstream
        content = self.rfile.read(min(_MAX_BODY, int(self.headers.get("Content-Length") or 0)))
        try:
            body = json.loads(content)
        except ValueError:
            body = {}
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.path, body if isinstance(body, dict) else {}, headers)
        upstream.keep(asked, len(content))
        if "moderations" in self.path:
            result = {"flagged": False, "categories": {}, "category_scores": {}}
            self._send(200, json.dumps({"id": "modr-1", "model": "twin", "results": [result]}).encode())
            return
        reply = upstream.reply(asked) if asked.speaks else Reply()
        if reply.hangs:
            upstream.released.wait(timeout=self.timeout)
            self.close_connection = True
        elif reply.raw is not None or reply.status != 200:
            self._send(reply.status, reply.raw or b'{"error": {"message": "twin", "type": "twin", "code": "twin"}}')
        elif not asked.kind:
            self._send(404, b'{"error": {"message": "no such address", "type": "twin"}}')
        elif asked.streams and asked.speaks:
            self._stream(asked, reply)
        else:
            self._send(200, json.dumps(answer(asked, reply)).encode())

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, asked: Asked, reply: Reply) -> None:
        lines = asked.kind in ("ollama", "generate")
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson" if lines else "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in pieces(asked, reply):
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")
