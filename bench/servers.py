"""The servers that are compared: `python bench/servers.py NAME HOME FD CORE`, each on an inherited listening socket.

governed         Pilotage's gateway worker as it ships
ungoverned       the same server, runtime and model, answering on the connection as it does; no key, contract or record
synced           ungoverned, and each body is group-synced by the journal's own thread before its answer: no encryption,
                 no chain, no record
journalled       the same through the journal as it ships: each body encrypted, chained, synced before its answer
fastapi          FastAPI and scikit-learn in a plain `def`, as tutorials have it
fastapi-onnx     FastAPI and the gateway's ONNX model in an `async def`, its fastest form
"""

# No `from __future__ import annotations` here: FastAPI reads the annotations of functions inside functions.

import json
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
import uvloop
from columns import FEATURES, PATH

from pilotage.gateway.protocol import BoundedHttp
from pilotage.gateway.worker import serve
from pilotage.ledger.frames import FrameKind
from pilotage.ledger.journal import JournalWriter
from pilotage.ledger.journal_segments import Segment
from pilotage.runtimes.model import ServingSpec
from pilotage.runtimes.open import open_runtime
from pilotage.runtimes.ports import Runtime
from pilotage.storage.home import Home

SERVERS = ("governed", "ungoverned", "synced", "journalled", "fastapi", "fastapi-onnx")

App = Callable[..., Awaitable[None]]
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"


class PlainSealer:
    """What stands in for the journal's frames: the bytes as they are."""

    def __init__(self, chain: bytes) -> None:
        self.chain, self.counter = chain, 0

    def group(self, _count: int, records: Iterable[bytes]) -> bytes:
        self.counter += 1
        return b"".join(records)


class SyncedLog(JournalWriter):
    """The journal's thread, files, groups and syncs, without its frames."""

    def _next_segment(self, n: int, previous: bytes, capacity: int) -> Segment:
        segment = super()._next_segment(n, previous, capacity)
        segment.sealer = PlainSealer(segment.sealer.chain)  # type: ignore[assignment]
        return segment


def _runtime(home: Path) -> tuple[Runtime, ServingSpec]:
    folder = Path(json.loads((home / "bench.json").read_text())["folder"])
    spec = msgspec.json.decode((folder / "serving.json").read_bytes(), type=ServingSpec)
    return open_runtime(folder, spec), spec


class Waiting:
    """An answer that leaves when its body is synced, on the connection itself, as the gateway's usual answers do."""

    body, more_body, response_started, disconnected, ready = b"", False, False, False, b""

    def __init__(self, connection: Any, content: bytes, keep_alive: bool) -> None:
        self.connection, self.content, self.keep_alive = connection, content, keep_alive
        self.response_complete = False

    @property
    def message_event(self) -> "Waiting":
        """What is told that the connection was lost."""
        return self

    def set(self) -> None:
        """The connection was lost."""

    def done(self) -> bool:
        """Whether it was answered."""
        return self.response_complete

    def set_result(self, _: None) -> None:
        """Answer."""
        self.response_complete = True
        self.connection.transport.write(_HEAD % (len(self.content), self.content))
        self.connection.on_response_complete()

    def set_exception(self, error: BaseException) -> None:
        """The disk failed: the benchmark is over."""
        raise error


class Bare:
    """The gateway's own server without what governs: decode, score, sync where there is a log, answer."""

    def __init__(self, answer: Callable[[bytes], bytes], log: JournalWriter | None) -> None:
        self._answer, self._log, self._path = answer, log, PATH.encode()

    def answer_directly(self, connection: Any, url: bytes, _headers: Any, body: bytes, stays: bool) -> Any:
        """Every request of the benchmark goes this way."""
        if url != self._path:
            return None
        waiting = Waiting(connection, self._answer(body), stays)
        if self._log is None:
            connection.loop.call_soon(waiting.set_result, None)
        else:
            self._log.put(FrameKind.decision, b"", body, waiting)
        return waiting

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Nothing else is here."""
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def bare(home: Path, log: JournalWriter | None) -> App:
    """Typed decode, score, answer; with a log, the body is synced before the answer leaves."""
    runtime, spec = _runtime(home)
    row = msgspec.defstruct("Row", [(column.name, float) for column in FEATURES])
    body_type = msgspec.defstruct("Body", [("inputs", row)])
    decode, encode = msgspec.json.Decoder(body_type).decode, msgspec.json.Encoder().encode
    values, score_row = msgspec.structs.astuple, runtime.score

    def answer(body: bytes) -> bytes:
        score = score_row(values(decode(body).inputs))
        return encode({"score": score, "label": spec.label(score)})

    return Bare(answer, log)


def fastapi_sklearn(home: Path) -> App:
    """As a tutorial has it."""
    import joblib
    import numpy as np
    from fastapi import FastAPI

    body_type, answer_type = _models()
    model, app = joblib.load(home / "model.joblib"), FastAPI()

    @app.post(PATH, response_model=answer_type)
    def decide(body: body_type) -> Any:  # type: ignore[valid-type]
        row = [[getattr(body.inputs, column.name) for column in FEATURES]]  # type: ignore[attr-defined]
        score = float(model.predict_proba(np.array(row))[0, 1])
        return {"score": score, "label": "refer" if score >= 0.5 else "approve"}

    return app


def fastapi_onnx(home: Path) -> App:
    """The same with the gateway's model and runtime, on the event loop."""
    from fastapi import FastAPI

    body_type, answer_type = _models()
    runtime, spec = _runtime(home)
    app = FastAPI()

    @app.post(PATH, response_model=answer_type)
    async def decide(body: body_type) -> Any:  # type: ignore[valid-type]
        score = runtime.score([getattr(body.inputs, column.name) for column in FEATURES])  # type: ignore[attr-defined]
        return {"score": score, "label": spec.label(score)}

    return app


def _models() -> tuple[Any, Any]:
    from pydantic import create_model

    fields: dict[str, Any] = {column.name: (float, ...) for column in FEATURES}
    row = create_model("Row", **fields)
    return create_model("Body", inputs=(row, ...)), create_model("Answer", score=(float, ...), label=(str, ...))


async def run_logged(home: Path, listener: socket.socket, kind: type[JournalWriter]) -> None:
    """The bare server with a log open around it."""
    log = kind(home / kind.__name__, worker=0, steward_key=bytes.fromhex("09" + "00" * 31))
    await log.open()
    await uvicorn.Server(_bare_config(bare(home, log))).serve([listener])
    await log.close()


def _bare_config(app: App) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=BoundedHttp,
        loop="none",
        lifespan="off",
        ws="none",
        interface="asgi3",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
    )


async def _serve(config: uvicorn.Config, listener: socket.socket) -> None:
    await uvicorn.Server(config).serve([listener])


def main() -> int:
    """Run one server."""
    name, home, descriptor, core = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    if core >= 0:
        os.sched_setaffinity(0, {core})
    listener = socket.socket(fileno=descriptor)
    # uvicorn raises the signal again after it has drained; that must not end us by it.
    signal.signal(signal.SIGTERM, lambda *_: None)
    if name == "governed":
        return serve(home=Home(root=home), node="bench", worker=0, sockets=[listener])
    if name in ("synced", "journalled"):
        uvloop.run(run_logged(home, listener, SyncedLog if name == "synced" else JournalWriter))
    elif name == "ungoverned":
        uvloop.run(_serve(_bare_config(bare(home, None)), listener))
    else:
        app = fastapi_sklearn(home) if name == "fastapi" else fastapi_onnx(home)
        config = uvicorn.Config(
            app, loop="none", lifespan="off", access_log=False, log_level="warning", timeout_keep_alive=75
        )
        uvloop.run(_serve(config, listener))
    return 0


if __name__ == "__main__":
    sys.exit(main())
