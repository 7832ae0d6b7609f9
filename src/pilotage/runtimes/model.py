"""What a runtime needs to know of a release: its artefact, its features, and how its score becomes an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.kernel.rows import Rows, Value, filled, looked_up

__all__ = ["Kind", "Remote", "ServingSpec", "encoded", "row_encoder"]

Kind = Literal["number", "integer", "string", "boolean"]
"""A feature value as the contract hands it on: float64, text, a boolean, or None."""


class Remote(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model that answers at another address, by the Open Inference Protocol v2 over HTTP.

    `url` is the server's address up to `/v2`; `output` the tensor that holds the probability of the positive class.
    `version` may pin the model's. `token` names a bearer token that each node has, and never is one. `metadata` is the
    digest of what the server said of the model when the release was built; empty when it said nothing.
    """

    url: str
    model: str
    output: str
    version: str = ""
    token: str = ""
    metadata: str = ""


class ServingSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`serving.json` of a release.

    `artefact` is the file in the release folder that `runtime` answers from. `names` and `kinds` are the features in
    contract order. `texts` gives the known values of each string feature: a tensor carries a value's position in it.
    `numbers` is the precision that the artefact computes in; the tensor is float64 either way. `positive` is the
    class that the score is the probability of. At or above `threshold` the label is `adverse`, below it `favourable`.
    `tolerance` is the largest difference of scores that replay calls `within_tolerance`. `remote` says who answers
    where `runtime` is `remote`, which has no artefact.
    """

    runtime: Literal["onnx", "process", "remote"]
    artefact: str
    names: list[str]
    kinds: list[Kind]
    texts: dict[str, list[str]] = {}
    numbers: Literal["float32", "float64"] = "float32"
    positive: str
    threshold: float
    adverse: str
    favourable: str
    tolerance: float
    # Left out where there is none, so that the digests of all other releases stay what they are.
    remote: Remote | msgspec.UnsetType = msgspec.UNSET

    def label(self, score: float) -> str:
        """The answer's label for a score."""
        return self.adverse if score >= self.threshold else self.favourable


def encoded(spec: ServingSpec, rows: Rows) -> NDArray[np.float64]:
    """All rows as `row_encoder` would have them, [n, features], null as NaN."""
    matrix = np.empty((len(rows), len(spec.names)), dtype=np.float64)
    for at, (name, kind, column) in enumerate(zip(spec.names, spec.kinds, rows.columns, strict=True)):
        if kind == "string":
            places: dict[Value, float] = {text: float(place) for place, text in enumerate(spec.texts[name])}
            matrix[:, at] = looked_up(column, partial(_place, places))
        else:
            matrix[:, at] = filled(column, None)
    return matrix


def _place(places: Mapping[Value, float], value: Value) -> float | None:
    return None if value is None else places.get(value, float(len(places)))


def row_encoder(spec: ServingSpec) -> Callable[[Sequence[Value]], Sequence[float | None]]:
    """A function from contract values to numbers in the same order: text becomes its position in `texts`.

    Text that is not listed becomes the position after the last one, which no category has. None stays None (a tensor
    makes it NaN); booleans count as 0 and 1.
    """
    tables = [
        (at, {text: float(position) for position, text in enumerate(spec.texts[name])}, float(len(spec.texts[name])))
        for at, name in enumerate(spec.names)
        if spec.kinds[at] == "string"
    ]
    if not tables:
        return lambda values: values  # type: ignore[return-value]  # no text among them: all are numbers already

    def encode(values: Sequence[Value]) -> Sequence[float | None]:
        row: list[Value] = list(values)
        for at, table, other in tables:
            value = row[at]
            row[at] = None if value is None else table.get(value, other)  # type: ignore[arg-type]  # not text: not listed
        return row  # type: ignore[return-value]  # all text was replaced

    return encode
