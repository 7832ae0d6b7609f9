"""A contract from the signature in an MLflow model's `MLmodel` file. Nothing of MLflow runs, and no model is opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from pilotage.contracts.guessing import Guessed
from pilotage.contracts.model import Column, ColumnType, DataContract
from pilotage.contracts.personal import looks_personal, looks_protected
from pilotage.errors import InputError, NotFound

__all__ = ["from_mlflow"]

_MOST_BYTES = 4_194_304
_TYPES: dict[str, ColumnType] = {
    "boolean": "boolean",
    "integer": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "string": "string",
    "datetime": "string",
}
_BOUNDS = {"integer": (-(2.0**31), 2.0**31 - 1)}


def from_mlflow(path: Path, *, name: str, version: str = "1") -> Guessed:
    """The contract of an `MLmodel` file, or of a folder that holds one. Raises NotFound, InputError."""
    file = path / "MLmodel" if path.is_dir() else path
    if not file.is_file():
        raise NotFound("there is no MLmodel file", got=file, mend="name the folder that mlflow logged the model to")
    content = file.read_bytes()
    if len(content) > _MOST_BYTES:
        raise InputError("the MLmodel file is too long", got=len(content), expected=_MOST_BYTES, mend="shorten it")
    try:
        model = yaml.safe_load(content)
        signature = model.get("signature") if isinstance(model, dict) else None
        listed = signature.get("inputs") if isinstance(signature, dict) else None
        inputs = json.loads(listed) if isinstance(listed, str) else listed
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError("the MLmodel file cannot be read", got=str(error)[:120], mend="log the model anew") from error
    if not isinstance(inputs, list) or not inputs:
        raise InputError(
            "the MLmodel file has no signature of inputs",
            got="nothing" if inputs is None else type(inputs).__name__,
            expected="signature.inputs, a list of columns",
            mend="log the model with `signature=infer_signature(X, y)`, or infer the contract from its data",
        )
    notes: dict[str, list[str]] = {}
    faults: list[dict[str, object]] = []
    columns = [column for at, each in enumerate(inputs) if (column := _column(at, each, notes, faults)) is not None]
    if faults:
        raise InputError(
            "the signature has inputs that are no column",
            expected="named columns of " + ", ".join(_TYPES),
            mend="log the model on a table with named columns, or infer the contract from its data",
            faults=faults,
        )
    return Guessed(contract=DataContract(name=name, version=version, columns=tuple(columns)), notes=notes)


def _column(at: int, each: Any, notes: dict[str, list[str]], faults: list[dict[str, object]]) -> Column | None:
    told = each if isinstance(each, dict) else {}
    name, kind = told.get("name"), _TYPES.get(str(told.get("type")))
    if not isinstance(name, str) or kind is None:
        what = f"{told.get('type', type(each).__name__)} {'without a name' if name is None else name}"
        faults.append({"path": f"signature.inputs[{at}]", "message": f"is no column: {what}", "code": "invalid_input"})
        return None
    low, high = _BOUNDS.get(str(told["type"]), (None, None))
    optional = told.get("required") is False
    personal, protected = looks_personal(name, []), looks_protected(name)
    notes[name] = [
        *(["A signature says types only: add the range, the categories or the form."]),
        *(["CONFIRM null: it is optional there."] if optional else []),
        *([f"CONFIRM personal: {personal}."] if personal else []),
        *([f"CONFIRM protected: {protected}."] if protected else []),
    ]
    return Column(
        name=name,
        type=kind,
        nullable=optional,
        minimum=low,
        maximum=high,
        format="datetime" if told["type"] == "datetime" else "",
        personal=bool(personal),
        protected=bool(protected),
    )
