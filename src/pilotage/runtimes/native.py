"""Inside a box only: opens a pickled scikit-learn model and scores rows with it, as the pilot itself would.

Run as `python -m pilotage.runtimes.native`: the first message names the model and its features, each further one
holds rows; see `process.py` for the other side. Nothing here may run in a process that holds anything of value:
opening a pickle runs whatever its author, or whoever changed it, wrote into it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.errors import InputError, MissingExtra
from pilotage.kernel.rows import Value
from pilotage.runtimes.model import Kind
from pilotage.sandbox.messages import read_message, take_pipes, write_message

__all__ = ["Asking", "Opening", "frame_of", "main", "open_model", "positive_column", "score_frame"]


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """The first message: the model file, the features in contract order, and the class to give the probability of."""

    model: str
    names: list[str]
    kinds: list[Kind]
    positive: str


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """Each further message: rows to score, each alone or all `together`."""

    rows: list[Sequence[Value]]
    together: bool = False


def open_model(path: Path) -> Any:
    """The fitted model in a joblib or pickle file. Raises InputError with what is missing or wrong."""
    try:
        import joblib
    except ImportError:
        raise MissingExtra("joblib", "sklearn") from None
    try:
        model = joblib.load(path)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{path.name} needs the module {error.name!r}, which is not installed",
            mend="install it in this environment, or save the model without classes of its own",
        ) from error
    except Exception as error:
        raise InputError(
            f"{path.name} does not open", got=f"{type(error).__name__}: {error}", mend="save it anew with joblib"
        ) from error
    if not hasattr(model, "predict_proba"):
        raise InputError(
            f"{path.name} gives no probabilities",
            got=type(model).__name__,
            expected="a fitted scikit-learn classifier with predict_proba",
            mend="save the classifier, or the pipeline that ends in it",
        )
    return model


def positive_column(model: Any, positive: str) -> int:
    """Which column of `predict_proba` is the positive class, named as in `pilotage.yaml`. Raises InputError."""
    classes = [each.item() if hasattr(each, "item") else each for each in model.classes_]
    for index, each in enumerate(classes):
        if str(each) == positive or _same_number(each, positive):
            return index
    raise InputError(
        "the model does not know the positive class",
        got=positive,
        expected=f"one of {[str(each) for each in classes]}",
        mend="mend `pilot.positive` in pilotage.yaml",
    )


def _same_number(value: Any, text: str) -> bool:
    try:
        return float(value) == float(text)
    except (TypeError, ValueError):
        return False


def frame_of(names: Sequence[str], kinds: Sequence[Kind], rows: Sequence[Sequence[Value]]) -> Any:
    """Rows as the DataFrame that reading the pilot's file would give: int64 or float64 numbers, text, booleans."""
    import pandas

    columns = list(zip(*rows, strict=True)) if rows else [() for _ in names]
    series = {name: _series(pandas, kind, column) for name, kind, column in zip(names, kinds, columns, strict=True)}
    return pandas.DataFrame(series)


def _series(pandas: Any, kind: Kind, values: Sequence[Value]) -> Any:
    if kind == "string":
        return pandas.Series(values, dtype="str")
    nulls = any(value is None for value in values)
    if kind == "boolean":
        return pandas.Series(values, dtype=object if nulls else bool)
    numbers = np.array(values, dtype=np.float64)
    whole = kind == "integer" and not nulls and np.all(np.abs(numbers) < 2**53) and np.all(numbers % 1 == 0)
    return pandas.Series(numbers.astype(np.int64) if whole else numbers)


def score_frame(model: Any, frame: Any, column: int) -> NDArray[np.float64]:
    """The probability of the positive class, one per row, float64."""
    given = frame if hasattr(model, "feature_names_in_") else frame.to_numpy()
    if hasattr(model, "feature_names_in_"):
        given = frame[list(model.feature_names_in_)]
    return np.asarray(model.predict_proba(given)[:, column], dtype=np.float64)


def _answer(model: Any, opening: Opening, column: int, asked: Asking) -> list[float]:
    """Each row alone, since a batch moves the last bit of linear models, unless they are asked together."""
    parts = [asked.rows] if asked.together else [[row] for row in asked.rows]
    frames = [frame_of(opening.names, opening.kinds, part) for part in parts]
    scores = [float(score) for frame in frames for score in score_frame(model, frame, column)]
    wrong = next((score for score in scores if not math.isfinite(score)), None)
    if wrong is not None:
        raise InputError("the model answered no finite number", got=wrong, mend="look at the row's features")
    return scores


def main() -> None:
    """Answer messages until the other side closes: rows in (JSON), scores or an error out (JSON)."""
    reader, writer = take_pipes()
    first = read_message(reader)
    if first is None:
        return
    opening = msgspec.json.decode(first, type=Opening)
    try:
        model = open_model(Path(opening.model))
        column = positive_column(model, opening.positive)
    except (InputError, MissingExtra) as error:
        write_message(writer, msgspec.json.encode({"error": error.as_dict()}))
        return
    write_message(writer, msgspec.json.encode({"ready": True}))
    while (message := read_message(reader)) is not None:
        try:
            asked = msgspec.json.decode(message, type=Asking)
            reply: dict[str, Any] = {"scores": _answer(model, opening, column, asked)}
        except Exception as error:  # noqa: BLE001 - the row fails, the process answers the next one
            reply = {"error": {"message": f"{type(error).__name__}: {error}"[:500]}}
        write_message(writer, msgspec.json.encode(reply))


if __name__ == "__main__":
    main()
