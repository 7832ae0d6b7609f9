"""The near-ceiling server: bare RSGI on granian, typed decode, ONNX Runtime, each answer on the disk before it leaves.

One thread appends whatever waits and syncs it into a file of zeros (natural group commit); each record is chained. It
has no contract beyond types, no key, no encryption, no subject, no release.

    granian --interface rsgi ceiling:app        with BENCH_HOME and BENCH_LOG in the environment
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime

HOME, LOG = Path(os.environ["BENCH_HOME"]), Path(os.environ["BENCH_LOG"])
NAMES = json.loads((HOME / "columns.json").read_text())
SEGMENT = 128 << 20

Row = msgspec.defstruct("Row", [(name, float) for name in NAMES])
decode, encode, values = msgspec.json.Decoder(Row).decode, msgspec.json.Encoder().encode, msgspec.structs.astuple
HEADERS = [("content-type", "application/json")]

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(str(HOME / "model.onnx"), options, providers=["CPUExecutionProvider"])


class Record(msgspec.Struct):
    """What is kept of an answer."""

    id: str
    at: float
    release: str
    input: msgspec.Raw
    output: float


class Log:
    """Append-only, chained, synced in groups by a thread of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._waiting, self._there = loop, [], threading.Condition()
        self._chain = bytes(32)
        self._file = os.open(LOG, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        for _ in range(SEGMENT >> 20):
            os.write(self._file, bytes(1 << 20))
        os.fsync(self._file)
        os.lseek(self._file, 0, 0)
        threading.Thread(target=self._run, daemon=True).start()

    async def __call__(self, line: bytes) -> None:
        future = self._loop.create_future()
        with self._there:
            self._waiting.append((line, future))
            self._there.notify()
        await future

    def _run(self) -> None:
        while True:
            with self._there:
                while not self._waiting:
                    self._there.wait()
                group, self._waiting = self._waiting, []
            pieces = []
            for line, _ in group:
                self._chain = hashlib.sha256(self._chain + line).digest()
                pieces.append(line + b" " + self._chain.hex().encode() + b"\n")
            os.write(self._file, b"".join(pieces))
            os.fdatasync(self._file)
            self._loop.call_soon_threadsafe(_wake, [future for _, future in group])


def _wake(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


class App:
    """One address: a row in, a score out."""

    log: Log

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.log = Log(loop)

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        body = await protocol()
        try:
            row = decode(body)
        except msgspec.ValidationError as error:
            protocol.response_bytes(422, HEADERS, encode({"error": str(error)}))
            return
        score = float(session.run(["score"], {"features": np.array([values(row)], dtype=np.float64)})[0][0, 0])
        await self.log(encode(Record(uuid.uuid4().hex, time.time(), "bench@1", msgspec.Raw(body), score)))
        protocol.response_bytes(200, HEADERS, encode({"score": score}))


app = App()
