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
from pilotage.kernel.rows import Value
from pilotage.runtimes.environment import kernel_variables
from pilotage.runtimes.model import ServingSpec
from pilotage.runtimes.native import Asking, Opening
from pilotage.runtimes.ports import CannotAnswer
from pilotage.sandbox.box import Box, start_boxed

__all__ = ["ProcessRuntime"]

START_S = 60.0
ANSWER_S = 10.0
RESTART_S = 1.0
"""A model process that died is started again at most once in this time; twice as long with each failure in a row."""
LONGEST_RESTART_S = 30.0
GRACE_S = 1.0


class ProcessRuntime:
    """One boxed process that holds the model; rows are answered one after the other.

    A process that dies, answers garbage, or gives no answer in `patience_s` is killed and replaced at the next row;
    the row that met it raises Unavailable. A caller who gives up sooner ends nothing: the process finishes its row,
    and what it says then is dropped.
    """

    inline = False
    name = "process"

    def __init__(self, model: Path, spec: ServingSpec, *, patience_s: float = 0.0) -> None:
        self._model = model.resolve()
        self._spec = spec
        self._patience_s = patience_s
        self._box: Box | None = None
        self._turn = asyncio.Lock()
        self._started = 0.0
        self._failures = 0
        self._closed = False

    def _open(self) -> Box:
        """Start a box and wait until the model in it is loaded (seconds). Raises Unavailable."""
        box = start_boxed("pilotage.runtimes.native", readable=[self._model], env=kernel_variables())
        opening = Opening(
            model=str(self._model), names=self._spec.names, kinds=self._spec.kinds, positive=self._spec.positive
        )
        try:
            reply = _decoded(box.ask(msgspec.json.encode(opening), START_S))
            if "error" in reply:
                raise _failed(reply)
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
        wait = min(LONGEST_RESTART_S, RESTART_S * 2.0 ** max(0, min(self._failures, 10) - 1))
        if self._started and time.monotonic() - self._started < wait:
            raise Unavailable(
                "the model process has just failed", mend=f"try again in {wait:.0f} s", code="runtime_failed"
            )
        try:
            self._failures += 1
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

    def score_together(self, rows: Sequence[Sequence[Value]]) -> list[float]:
        """Not possible: another process answers."""
        raise Unavailable("this runtime does not answer inline", mend="await score_together_async", code="not_inline")

    async def score_async(self, values: Sequence[Value]) -> float:
        """The score of one row. Raises Unavailable."""
        return (await self._asking(Asking(rows=[values])))[0]

    async def score_together_async(self, rows: Sequence[Sequence[Value]]) -> list[float]:
        """The scores of rows in one round trip. Raises Unavailable."""
        return await self._asking(Asking(rows=list(rows), together=True))

    async def _asking(self, asked: Asking) -> list[float]:
        await self._turn.acquire()
        # From here on the rows are the process's: a caller that gives up must not leave their answer to the next.
        asking = asyncio.ensure_future(self._ask(asked))
        asking.add_done_callback(self._asked)
        return await asyncio.shield(asking)

    def _asked(self, asking: asyncio.Future[list[float]]) -> None:
        self._turn.release()
        if not asking.cancelled():
            asking.exception()

    async def _ask(self, asked: Asking) -> list[float]:
        box = await self._ready()
        message = msgspec.json.encode(asked)
        try:
            answer = _decoded(await self._asked_of(box, message))
            if "error" in answer:
                raise CannotAnswer(
                    "the model process failed on this row", got=_told(answer), mend="look at the row's features"
                )
            scores = _scores(answer, len(asked.rows))
        except CannotAnswer:
            self._failures = 0
            raise
        except BaseException:
            # What it says from here on cannot be trusted, and its next message may still be this row's.
            box.kill("failed")
            await self._drop()
            raise
        self._failures = 0
        return scores

    async def _asked_of(self, box: Box, message: bytes) -> bytes:
        """The box's reply in time. A box that does not even end when told to is closed by force."""
        patience = self._patience_s or ANSWER_S
        replying = asyncio.ensure_future(asyncio.to_thread(box.ask, message, patience))
        done, _ = await asyncio.wait({replying}, timeout=patience + GRACE_S)
        if not done:
            await self._drop()
        return await replying

    async def close(self) -> None:
        """End the process; a row under way fails with Unavailable."""
        self._closed = True
        with contextlib.suppress(Unavailable):
            if self._box is not None:
                self._box.kill("closed")
        async with self._turn:
            await self._drop()


def _decoded(reply: bytes) -> dict[str, Any]:
    """The reply's object. Raises Unavailable for anything else."""
    try:
        return msgspec.json.decode(reply, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise _garbage() from error


def _scores(answer: dict[str, Any], count: int) -> list[float]:
    match answer:
        case {"scores": [*scores]} if len(scores) == count and all(type(score) in (float, int) for score in scores):
            return [float(score) for score in scores]
    raise _garbage()


def _garbage() -> Unavailable:
    return Unavailable("the model process answered nonsense", mend="it is started again", code="runtime_failed")


def _failed(reply: dict[str, Any]) -> Unavailable:
    return Unavailable("the model process failed", got=_told(reply), mend="see `got`", code="runtime_failed")


def _told(reply: dict[str, Any]) -> object:
    error = reply["error"]
    return error.get("message") if isinstance(error, dict) else error
