"""The pilot's own model, in its box: the build asks, the box answers, and nothing foreign runs in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.errors import InputError, Unavailable
from pilotage.evaluation.explainer import LinearForm
from pilotage.evaluation.trees import TreeForm, check_trees
from pilotage.kernel.rows import Value
from pilotage.releases.boxed import Ask
from pilotage.runtimes.environment import kernel_variables
from pilotage.runtimes.model import Kind
from pilotage.runtimes.native import Opening
from pilotage.sandbox.box import start_boxed

__all__ = ["PilotModel"]

PATIENCE_S = 120.0
CHUNK = 20_000


class PilotModel:
    """A model in a box, until it is closed. `facts` describe it: kind, steps and the features that it names."""

    def __init__(
        self, path: Path, *, names: Sequence[str], kinds: Sequence[Kind], positive: str, prohibited: Sequence[str] = ()
    ) -> None:
        """Start the box and open the artefact in it. Raises InputError for an artefact that cannot be used.

        `prohibited` are columns that a model may not take: one that names them is refused with that reason.
        """
        self._names = list(names)
        self._box = start_boxed("pilotage.releases.boxed", readable=[path], env=kernel_variables())
        self.isolation = self._box.isolation
        opening = Opening(model=str(path.resolve()), names=list(names), kinds=list(kinds), positive=positive)
        try:
            self.facts = self._ask(Ask(what="open", opening=opening))
            unknown = sorted(set(self.facts["features"]) - set(names))
            if taken := sorted({*unknown} & {*prohibited}):
                raise InputError(
                    "the model takes what decisions must not turn on",
                    got=", ".join(taken),
                    expected="none of `pilot.prohibited`",
                    mend="fit the model without these columns",
                    code="prohibited_input",
                )
            if unknown:
                raise InputError(
                    "the artefact needs columns that are no features of the data contract",
                    got=", ".join(unknown),
                    expected="features among: " + ", ".join(names),
                    mend="give data with these columns, or do not ignore them in pilotage.yaml",
                )
        except BaseException:
            self._box.close()
            raise

    def close(self) -> None:
        """End the box."""
        self._box.close()

    def _ask(self, ask: Ask, seconds: float = PATIENCE_S) -> dict[str, Any]:
        try:
            reply = self._box.ask(msgspec.msgpack.encode(ask), seconds)
        except Unavailable as error:
            raise InputError(
                "the artefact ended the process that opened it", got=error.what, mend="see if it opens in a notebook"
            ) from error
        answer: dict[str, Any] = msgspec.msgpack.decode(reply)
        if "error" in answer:
            fault = answer["error"]
            raise InputError(
                fault["message"],
                got=fault.get("got"),
                expected=fault.get("expected"),
                mend=fault.get("mend", "mend it"),
            )
        return answer

    def score(self, rows: Sequence[Sequence[Value]]) -> NDArray[np.float64]:
        """The model's own probabilities of the positive class, [n]."""
        scores: list[float] = []
        for start in range(0, len(rows), CHUNK):
            part = [list(row) for row in rows[start : start + CHUNK]]
            scores += self._ask(Ask(what="score", rows=part))["scores"]
        return np.array(scores, dtype=np.float64)

    def linear_form(self) -> tuple[LinearForm | None, str]:
        """The exact linear form of its log-odds, or None and why not. It is a claim: verify it."""
        answer = self._ask(Ask(what="linear"))
        if answer["form"] is None:
            return None, answer["reason"]
        return msgspec.convert(answer["form"], LinearForm), ""

    def tree_form(self) -> tuple[TreeForm | None, str]:
        """The sum of trees that it is, or None and why not. It is a claim: verify it."""
        answer = self._ask(Ask(what="trees"))
        if answer["form"] is None:
            return None, answer["reason"]
        try:
            form = msgspec.convert(answer["form"], TreeForm)
            check_trees(form, self._names)
        except (InputError, msgspec.ValidationError) as fault:
            return None, str(getattr(fault, "what", fault))
        return form, ""

    def convert(self, texts: dict[str, list[str]], integers: Literal["float", "int64"]) -> bytes:
        """The model as ONNX. Raises InputError when it cannot be converted."""
        content: bytes = self._ask(Ask(what="convert", texts=texts, integers=integers))["model"]
        return content

    def train(
        self, rows: Sequence[Sequence[Value]], labels: list[bool], held_out: Sequence[Sequence[Value]], seconds: float
    ) -> bool:
        """Give it rows to be fitted on and rows to be judged on; whether anything in it draws at random."""
        fitted, judged = ([list(row) for row in side] for side in (rows, held_out))
        return bool(self._ask(Ask(what="train", rows=fitted, labels=labels, held_out=judged), seconds)["draws"])

    def refit(self, seed: int, *, draw: bool, seconds: float) -> NDArray[np.float64]:
        """The scores of the rows to be judged by the model fitted anew; `draw`: on rows drawn with replacement.

        Raises InputError when it cannot be fitted again, or takes longer: then the box is gone.
        """
        return np.array(self._ask(Ask(what="refit", seed=seed, draw=draw), seconds)["scores"], dtype=np.float64)
