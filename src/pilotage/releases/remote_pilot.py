"""A pilot whose model answers at another address: a build asks it as a gateway would, and no more often than declared.

What can be known of such a model is what it says of itself and what it answered. Its weights may change tomorrow: the
release pins the digest of its metadata, and everything else about it is a measurement of one day.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.errors import InputError, Unavailable
from pilotage.kernel.rows import Value
from pilotage.releases.conversion import Conversion, ProofRows
from pilotage.runtimes.model import Remote, ServingSpec
from pilotage.runtimes.ports import CannotAnswer
from pilotage.runtimes.remote import RemoteRuntime
from pilotage.systems.model import RemoteModel

__all__ = ["BACKGROUND", "LOOKED_AT", "RemotePilot", "declared_remote", "not_converted"]

Floats = NDArray[np.float64]

AT_ONCE = 8
TRIES = 3
BACKGROUND = 20
"""Rows to explain against unless more are declared: each is two walks, of a call for each feature and one more."""
LOOKED_AT = 20
"""Rows from which it is measured what scores depend on."""
_REPEATED = 10


class RemotePilot:
    """The model, until it is closed; never asked more than `calls` times. `serving` names it, with what it says it is.

    `facts` describe it. Raises InputError when it may not be asked, cannot be reached, or so many calls cannot suffice.
    """

    def __init__(self, serving: ServingSpec, calls: int) -> None:
        self._runner = asyncio.Runner()
        self._calls, self.left = calls, calls
        try:
            self._runtime = RemoteRuntime(serving)
            self._runner.run(self._runtime.start())
            try:
                self.metadata = self._runner.run(self._runtime.metadata())
            except Unavailable as error:
                raise _silent(error) from error
        except BaseException:
            self._runner.close()
            raise
        remote = self._runtime.remote
        self.serving = msgspec.structs.replace(serving, remote=msgspec.structs.replace(remote, metadata=self.metadata))
        self.facts: dict[str, Any] = {"kind": "remote model", "steps": []}

    def must_suffice(self, held_out: int, features: int, background: int) -> None:
        """Raise InputError, before any row is sent, when the calls cannot pay for the evaluation.

        `background` rows are asked for too."""
        needed = held_out + _REPEATED + LOOKED_AT * (features + 1) + background
        if needed > self.left:
            raise InputError(
                "the build would ask the remote model more often than is declared",
                got=f"{needed} calls: {held_out} held-out rows, the rest to see what scores depend on",
                expected=f"at most {self._calls}",
                mend="raise `pilot.remote.calls`, or hold out fewer rows: `pilot.holdout`",
                code="remote_calls",
            )

    def score(self, rows: Sequence[Sequence[Value]]) -> Floats:
        """Its probabilities of the positive class, [n], a call for each. Raises InputError."""
        if len(rows) > self.left:
            raise InputError(
                "the remote model would be asked more often than is declared",
                got=f"{len(rows)} calls more",
                expected=f"at most {self._calls} in all, of which {self.left} are left",
                mend="raise `pilot.remote.calls`",
                code="remote_calls",
            )
        try:
            return np.array(self._runner.run(self._all(rows)), dtype=np.float64)
        except CannotAnswer as error:
            raise InputError(error.what, got=error.got, mend="write a stricter contract, or mend the model") from error
        except Unavailable as error:
            raise _silent(error) from error

    async def _all(self, rows: Sequence[Sequence[Value]]) -> list[float]:
        places = asyncio.Semaphore(AT_ONCE)

        async def one(row: Sequence[Value]) -> float:
            async with places:
                return await self._one(row)

        asked = [asyncio.ensure_future(one(row)) for row in rows]
        try:
            return await asyncio.gather(*asked)
        finally:
            for each in asked:
                each.cancel()

    async def _one(self, row: Sequence[Value]) -> float:
        for tried in range(1, TRIES + 1):
            self.left -= 1
            try:
                return await self._runtime.score_async(row)
            except CannotAnswer:
                raise
            except Unavailable:
                if tried == TRIES or self.left <= 0:
                    raise
                await asyncio.sleep(0.05 * 2**tried)
        raise AssertionError("a try ends in an answer or an error")

    def repeated(self, rows: Sequence[Sequence[Value]], scores: Floats) -> dict[str, int]:
        """How many of the first rows get the same score to the last bit when they are asked again."""
        few = rows[:_REPEATED]
        again = self.score(few)
        return {"rows": len(few), "same": int((again == scores[: len(few)]).sum())}

    def close(self) -> None:
        """End every connection."""
        try:
            self._runner.run(self._runtime.close())
        finally:
            self._runner.close()


def _silent(error: Unavailable) -> InputError:
    return InputError(
        "the remote model gave no answer that may be used",
        got=error.what if error.got is None else f"{error.what}: {error.got}",
        mend="see that it runs, and that this machine may ask it; then build again",
        code="remote_silent",
    )


def not_converted(proof: ProofRows, tolerance: float) -> Conversion:
    """What a release says of the conversion of a model that stays where it is."""
    rows = {kind: len(each) for kind, each in proof.kinds.items()}
    chosen = "the remote model: nothing was converted"
    return Conversion(chosen=chosen, numbers="float64", model=None, rows=rows, tolerance=tolerance, attempts=[])


def declared_remote(serving: ServingSpec, declared: RemoteModel) -> ServingSpec:
    """How a release answers whose model is at that address."""
    names = ("url", "model", "output", "version", "token")
    remote = Remote(**{name: getattr(declared, name) for name in names})
    return msgspec.structs.replace(serving, runtime="remote", artefact="", numbers="float64", remote=remote)
