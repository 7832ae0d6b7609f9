"""Inside the box, as the pilot's own process: functions that ask the model, served where the pilot has no service.

`python -m pilotage.assess.probing.llm.boxed_entry FILE NAME...` imports the file and serves `POST /NAME` with
`{"text": ...}`. Standard library only.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

__all__ = ["main"]

_MAX_BODY = 8 << 20


def _imported(file: str) -> Any:
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{file} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[Path(file).stem] = module
    spec.loader.exec_module(module)
    return module


def _called(function: Callable[[str], Any], text: str) -> str:
    """What a function answers, as text; coroutines are awaited and generators drained."""
    given = function(text)
    if inspect.isawaitable(given):
        given = asyncio.run(_awaited(given))
    elif isinstance(given, AsyncIterator):
        given = asyncio.run(_drained(given))
    elif isinstance(given, Iterator):
        given = "".join(map(str, given))
    return given if isinstance(given, str) else json.dumps(given, default=str)


async def _awaited(given: Any) -> Any:
    return await given


async def _drained(given: AsyncIterator[Any]) -> str:
    return "".join([str(each) async for each in given])


class _Entry(BaseHTTPRequestHandler):
    functions: ClassVar[dict[str, Callable[[str], Any]]] = {}

    def log_message(self, *_: Any) -> None:
        """Silent: only what the pilot prints is of interest."""

    def do_POST(self) -> None:
        content = self.rfile.read(min(_MAX_BODY, int(self.headers.get("Content-Length") or 0)))
        try:
            said = _called(self.functions[self.path.strip("/")], json.loads(content)["text"])
            status, answer = 200, {"answer": said}
        except BaseException:  # noqa: BLE001 - also an exit is only the end of this call
            traceback.print_exc()
            status, answer = 500, {"error": "it raised"}
        sent = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)


def main() -> None:
    """Import the file, serve its functions on a port that is free."""
    file, *names = sys.argv[1:]
    module = _imported(file)
    _Entry.functions = {name: getattr(module, name) for name in names}
    ThreadingHTTPServer(("127.0.0.1", 0), _Entry).serve_forever()


if __name__ == "__main__":
    main()
