"""A model server of the Open Inference Protocol on a real socket that does what a broken one may do."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Callable
from typing import Any

SECRET = "what the other side says"
"""In every body of a failure, and in the words beside the status: nothing of it may come through."""
MISDEEDS = (
    "hang", "reset", "drip", "trickle", "slow_head", "500", "503", "404", "422", "redirect", "garbage",
    "nan", "infinity", "negative", "above_one", "text", "boolean", "shape", "two", "other_output",
    "other_model", "other_id", "huge", "endless", "long_head", "gzip", "cut", "half_head", "nested", "no_http",
)  # fmt: skip
KINDLY = ("well", "slow", "closing", "chunked")


class RemoteTwin:
    """`does` says what is done with the next row. `asked` counts, `seen` holds the last request: (head, body)."""

    def __init__(self, does: Callable[[], str], tls: ssl.SSLContext | None = None) -> None:
        self.does, self.score, self._tls = does, 0.25, tls
        self.asked = Counter[str]()
        self.readiness = 200
        self.metadata: dict[str, Any] | None = None
        self.scores: Callable[[dict[str, Any]], float] | None = None
        self.looked_at = 0
        self.seen: tuple[str, dict[str, Any]] = ("", {})
        self.tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> RemoteTwin:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._one(reader, writer):
                    pass
        finally:
            self.tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection stays open."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if head.startswith("GET") and "/ready " not in head.partition("\r\n")[0]:
            self.looked_at += 1
            if self.metadata is None:
                _reply(writer, b"{}", 404)
            else:
                _reply(writer, json.dumps(self.metadata).encode())
            return True
        if head.startswith("GET"):
            writer.write(f"HTTP/1.1 {self.readiness} x\r\nContent-Length: 0\r\n\r\n".encode())
            return True
        length = next(int(line[16:]) for line in head.lower().split("\r\n") if line.startswith("content-length: "))
        body = json.loads(await reader.readexactly(length))
        self.seen = head, body
        if self.scores is not None:
            self.score = self.scores({each["name"]: each["data"][0] for each in body["inputs"]})
        does = self.does()
        self.asked[does] += 1
        if does == "hang":
            await reader.read()
            return False
        return await self._do(does, self._asked_for(body), writer)

    def _asked_for(self, body: dict[str, Any]) -> Any:
        """What of a request its answer is made from."""
        return body["id"]

    async def _do(self, does: str, asked: Any, writer: asyncio.StreamWriter) -> bool:
        match does:
            case "reset":
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
                return False
            case "drip":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n")
                await _drip(writer, self._body(asked))
            case "trickle":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n")
                await _drip(writer, self._body(asked), 0.05)
            case "slow_head":
                await _drip(writer, b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n")
            case "long_head":
                writer.write(b"HTTP/1.1 200 OK\r\n" + b"X-Padding: " + b"p" * 300_000 + b"\r\n\r\n")
            case "endless":
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                while True:
                    writer.write(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
                    await writer.drain()
            case "cut":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n" + self._body(asked)[:40])
                return False
            case "half_head":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
                return False
            case "no_http":
                writer.write(SECRET.encode() + b"\r\n\r\n")
                return False
            case "chunked":
                content = self._body(asked)
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                writer.write(b"%x\r\n" % len(content) + content + b"\r\n0\r\n\r\n")
            case "slow":
                await asyncio.sleep(0.03)
                _reply(writer, self._body(asked))
            case "closing":
                # It says nothing of closing: the client learns of it with the next row.
                _reply(writer, self._body(asked))
                return False
            case _:
                self._whole(does, asked, writer)
        await writer.drain()
        return True

    def _whole(self, does: str, asked: Any, writer: asyncio.StreamWriter) -> None:
        """A reply that is whole, and mostly wrong."""
        if does.isdigit():
            return _reply(writer, json.dumps({"error": SECRET}).encode(), int(does))
        if does == "redirect":
            return _reply(writer, b"", 307, f"Location: {self.url}/elsewhere\r\n")
        if does == "gzip":
            return _reply(writer, gzip.compress(b" " * 50_000_000, 1)[:60_000], 200, "Content-Encoding: gzip\r\n")
        return _reply(writer, self._wrong(does, asked))

    def _wrong(self, does: str, asked: Any) -> bytes:
        data = {"nan": "[NaN]", "infinity": "[1e400]", "negative": "[-0.1]", "above_one": "[1e300]"}
        data |= {"text": f'["{SECRET}"]', "boolean": "[true]", "two": "[0.25, 0.5]"}
        match does:
            case "garbage":
                return SECRET.encode()
            case "nested":
                return b"[" * 60_000
            case "huge":
                return self._body(asked) + b" " * 1_000_000
            case "shape":
                return self._body(asked, shape="[2]")
            case "other_output":
                return self._body(asked, output="label")
            case "other_model":
                return self._body(asked, model="another")
            case "other_id":
                return self._body("not-asked")
        return self._body(asked, data=data.get(does, ""))

    def _body(
        self, asked: str, *, data: str = "", shape: str = "[1]", output: str = "score", model: str = "late"
    ) -> bytes:
        tensor = f'{{"name": "{output}", "shape": {shape}, "datatype": "FP64", "data": {data or [self.score]}}}'
        return f'{{"model_name": "{model}", "id": "{asked}", "outputs": [{tensor}]}}'.encode()


async def _drip(writer: asyncio.StreamWriter, content: bytes, pause_s: float = 1.0) -> None:
    for place in range(len(content)):
        writer.write(content[place : place + 1])
        await writer.drain()
        await asyncio.sleep(pause_s)


def _reply(writer: asyncio.StreamWriter, content: bytes, status: int = 200, headers: str = "") -> None:
    writer.write(f"HTTP/1.1 {status} {SECRET}\r\nContent-Length: {len(content)}\r\n{headers}\r\n".encode() + content)
