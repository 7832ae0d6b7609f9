"""Inside a box only: opens the pilot's artefact and answers what a build asks of it. Messages are msgpack.

Run as `python -m pilotage.releases.boxed`; `pilot_model.py` is the other side.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pilotage.errors import InputError, PilotageError
from pilotage.kernel.rows import Value
from pilotage.releases.convert import convert
from pilotage.releases.follow import NotFollowed
from pilotage.releases.linear_form import find_linear_form
from pilotage.releases.tree_form import find_tree_form
from pilotage.runtimes.model import Kind
from pilotage.runtimes.native import Opening, frame_of, open_model, positive_column, score_frame
from pilotage.sandbox.messages import read_message, take_pipes, write_message

__all__ = ["Ask", "main"]

CHUNK = 20_000


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One question: `open` (first), `score`, `linear`, `trees`, `convert`, `train` or `refit`, with what it needs.

    `train` brings rows with their labels to fit on and rows to judge; each `refit` fits on them anew.
    """

    what: str
    opening: Opening | None = None
    rows: list[list[Value]] = []
    texts: dict[str, list[str]] = {}
    integers: str = "float"
    labels: list[bool] = []
    held_out: list[list[Value]] = []
    seed: int = 0
    draw: bool = False


class _Opened:
    """The model and how it is asked."""

    def __init__(self, opening: Opening) -> None:
        self.names, self.kinds, self.positive = opening.names, opening.kinds, opening.positive
        self.model = open_model(Path(opening.model))
        self.column = positive_column(self.model, opening.positive)

    def describe(self) -> dict[str, Any]:
        steps = [type(step).__name__ for _, step in self.model.steps] if hasattr(self.model, "steps") else []
        own = [str(name) for name in getattr(self.model, "feature_names_in_", self.names)]
        return {"kind": type(self.model).__name__, "steps": steps, "features": own}

    def score(self, rows: list[list[Value]]) -> list[float]:
        scores: list[float] = []
        for start in range(0, len(rows), CHUNK):
            frame = frame_of(self.names, self.kinds, rows[start : start + CHUNK])
            scores += score_frame(self.model, frame, self.column).tolist()
        return scores

    def train(self, ask: Ask) -> dict[str, Any]:
        """Take rows to fit on; whether anything in the model takes a random state."""
        classes = self.model.classes_
        if len(classes) != 2:
            raise InputError("it has more than two classes", got=len(classes), mend="judge each class against the rest")
        self.rows = frame_of(self.names, self.kinds, ask.rows)
        self.held_out = frame_of(self.names, self.kinds, ask.held_out)
        self.truth = np.where(np.array(ask.labels), classes[self.column], classes[1 - self.column])
        return {"draws": bool(_random_states(self.model))}

    def refit(self, ask: Ask) -> dict[str, Any]:
        """The scores of the model fitted anew, as it was never fitted before."""
        from sklearn.base import clone

        random.seed(ask.seed)
        np.random.seed(ask.seed % 2**32)
        model = clone(self.model)
        model.set_params(**dict.fromkeys(_random_states(model), ask.seed % 2**32))
        count = len(self.rows)
        places = np.random.default_rng(ask.seed).integers(0, count, count) if ask.draw else np.arange(count)
        named = getattr(self.model, "feature_names_in_", None)
        given = self.rows.iloc[places]
        model.fit(given.to_numpy() if named is None else given[list(named)], self.truth[places])
        scores = score_frame(model, self.held_out, positive_column(model, self.positive))
        return {"scores": scores.tolist()}

    def answer(self, ask: Ask) -> dict[str, Any]:
        if ask.what == "score":
            return {"scores": self.score(ask.rows)}
        if ask.what in ("train", "refit"):
            return self.train(ask) if ask.what == "train" else self.refit(ask)
        if ask.what in ("linear", "trees"):
            find = find_linear_form if ask.what == "linear" else find_tree_form
            own = [str(name) for name in getattr(self.model, "feature_names_in_", self.names)]
            try:
                return {"form": msgspec.to_builtins(find(self.model, own, self.column))}
            except NotFollowed as reason:
                return {"form": None, "reason": str(reason)}
        kinds: list[Kind] = self.kinds
        integers: Any = ask.integers
        model = convert(self.model, self.column, names=self.names, kinds=kinds, texts=ask.texts, integers=integers)
        return {"model": model}


def _random_states(model: Any) -> list[str]:
    """The names of the parameters that seed it, of every part of it."""
    return [name for name in model.get_params(deep=True) if name.rpartition("__")[2] == "random_state"]


def main() -> None:
    """Answer until the other side closes; whatever the model raises is an answer too."""
    reader, writer = take_pipes()
    opened: _Opened | None = None
    while (message := read_message(reader)) is not None:
        try:
            ask = msgspec.msgpack.decode(message, type=Ask)
            if opened is None and ask.opening is not None:
                opened = _Opened(ask.opening)
                reply = opened.describe()
            elif opened is not None:
                reply = opened.answer(ask)
        except PilotageError as error:
            reply = {"error": error.as_dict()}
        except Exception as error:  # noqa: BLE001 - foreign code may raise anything
            reply = {"error": {"message": f"{type(error).__name__}: {error}"[:500], "mend": "mend the artefact"}}
        write_message(writer, msgspec.msgpack.encode(reply))


if __name__ == "__main__":
    main()
