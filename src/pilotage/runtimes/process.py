"""Answers from the pilot's own model in a boxed process: for models that no conversion was proven equal for."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from pilotage.errors import Unavailable
from pilotage.runtimes.environment import kernel_variables
from pilotage.runtimes.model import ServingSpec, Value
from pilotage.runtimes.native import Opening
from pilotage.sandbox.box import Box, start_boxed

__all__ = ["ProcessRuntime"]

START_S = 60.0
ANSWER_S = 10.0
RESTART_S = 1.0
"""A model process that died is started again at most once in this time."""


class ProcessRuntime:
    """One boxed process that holds the model; rows are answered one after the other.

    A process that dies or is late is replaced at the next row; the row that met it raises Unavailable.
    """

    inline = False
    name = "process"

    def __init__(self, model: Path, spec: ServingSpec) -> None:
        self._model = model.resolve()
        self._spec = spec
        self._box: Box | None = None
        self._turn = asyncio.Lock()
        self._started = 0.0
        self._closed = False

    def _open(self) -> Box:
        """Start a box and wait until the model in it is loaded (seconds). Raises Unavailable."""
        box = start_boxed("pilotage.runtimes.native", readable=[self._model], env=kernel_variables())
        opening = Opening(
            model=str(self._model), names=self._spec.names, kinds=self._spec.kinds, positive=self._spec.positive
        )
        try:
            _checked(box.ask(msgspec.json.encode(opening), START_S))
        except BaseException:
            box.close()
            raise
        return box

    async def start(self) -> None:
        """Start the process and load the model. Raises Unavailable."""
        async with self._turn:
            await self._ready()

    async def _ready(self) -> Box:
        if self._closed:
            raise Unavailable("the runtime was closed", mend="open it again", code="runtime_closed")
        if self._box is not None and self._box.alive:
            return self._box
        await self._drop()
        if self._started and time.monotonic() - self._started < RESTART_S:
            raise Unavailable("the model process has just failed", mend="try again in a second", code="runtime_failed")
        try:
            self._box = await asyncio.to_thread(self._open)
        finally:
            self._started = time.monotonic()
        return self._box

    async def _drop(self) -> None:
        box, self._box = self._box, None
        if box is not None:
            await asyncio.to_thread(box.close)

    def score(self, values: Sequence[Value]) -> float:
        """Not possible: another process answers."""
        raise Unavailable("this runtime does not answer inline", mend="await score_async", code="not_inline")

    async def score_async(self, values: Sequence[Value]) -> float:
        """The score of one row. Raises Unavailable."""
        async with self._turn:
            box = await self._ready()
            try:
                answer = await asyncio.to_thread(box.ask, msgspec.json.encode([values]), ANSWER_S)
            except asyncio.CancelledError:
                self._abandon(box)
                raise
        return float(_checked(answer)["scores"][0])

    def _abandon(self, box: Box) -> None:
        """End a box whose answer nobody waits for any more: the next row must not read it as its own."""
        self._box, self._started = None, 0.0
        box.kill("cancelled")
        asyncio.get_running_loop().run_in_executor(None, box.close)

    async def close(self) -> None:
        """End the process; a row under way fails with Unavailable."""
        self._closed = True
        with contextlib.suppress(Unavailable):
            if self._box is not None:
                self._box.kill("closed")
        async with self._turn:
            await self._drop()


def _checked(reply: bytes) -> dict[str, Any]:
    """The reply, unless it is an error. Raises Unavailable."""
    answer: dict[str, Any] = msgspec.json.decode(reply)
    if "error" in answer:
        raise Unavailable(
            "the model process failed", got=answer["error"].get("message"), mend="see `got`", code="runtime_failed"
        )
    return answer
