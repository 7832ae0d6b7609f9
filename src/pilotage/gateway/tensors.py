"""Tensors of the Open Inference Protocol as rows of a data contract: one tensor a column, or one for all features.

Numbers are taken as written and never rounded to the width of their datatype: what a model gets is float64, and a
float32 on the way would move its answer. What a row may hold is the contract's to say; here only tensors are checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from pilotage.contracts.faults import TooManyRows, shown, shown_name
from pilotage.contracts.model import Column, DataContract
from pilotage.errors import InputError

__all__ = ["DATATYPES", "Tensor", "TensorsInvalid", "datatype_of", "read_rows"]

_INTEGERS = {
    f"{kind}{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if kind == "INT" else (0, 2**bits - 1)
    for kind in ("INT", "UINT")
    for bits in (8, 16, 32, 64)
}
_NUMBERS = ("FP16", "FP32", "FP64", "BF16")
DATATYPES = ("BOOL", *_INTEGERS, *_NUMBERS, "BYTES")
"""The protocol's datatypes that a tensor may have."""

_TYPES: dict[str, set[type]] = {
    "BOOL": {bool},
    "BYTES": {str},
    **{name: {int, float} for name in (*_INTEGERS, *_NUMBERS)},
}
_EXPECTED = {"BOOL": "true or false", "BYTES": "text", **dict.fromkeys(_NUMBERS, "numbers")}


class TensorsInvalid(InputError):
    """The tensors are no rows; `faults` has every fault of them."""

    code, status = "tensor_invalid", 400


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """One input of an inference request; `data` is flat in row-major order, or nested as `shape` says."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any]
    parameters: dict[str, Any] = {}


def datatype_of(column: Column) -> str:
    """The datatype that a column's values are best sent as."""
    if column.role == "subject":
        return "BYTES"
    return {"number": "FP64", "integer": "INT64", "boolean": "BOOL", "string": "BYTES"}[column.type]


def read_rows(tensors: Sequence[Tensor], contract: DataContract, max_rows: int) -> list[dict[str, Any]]:
    """The rows of the tensors, each {column: value}; a name that is no column's stays, for the contract to fault.

    Raises InputError `tensor_invalid` (400) with every fault of the tensors, TooManyRows before any row is made.
    """
    faults = [fault for place, tensor in enumerate(tensors) for fault in _faults(tensor, f"inputs[{place}]", contract)]
    faults += _faults_together(tensors, contract)
    if faults:
        raise _invalid(faults)
    count = tensors[0].shape[0]
    if count > max_rows:
        raise TooManyRows("too many rows in one request", got=count, expected=f"at most {max_rows}", mend="send fewer")
    columns: dict[str, Sequence[Any]] = {}
    for tensor in tensors:
        values, width = _flat(tensor), _width(tensor)
        if _is_matrix(tensor, contract):
            columns |= {column.name: values[place::width] for place, column in enumerate(contract.asked)}
        else:
            columns[tensor.name] = values
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _width(tensor: Tensor) -> int:
    return tensor.shape[1] if len(tensor.shape) == 2 else 1


def _flat(tensor: Tensor) -> list[Any]:
    if tensor.data and isinstance(tensor.data[0], list):
        return [value for row in tensor.data for value in row]
    return tensor.data


def _is_matrix(tensor: Tensor, contract: DataContract) -> bool:
    """Whether a tensor holds all features beside each other: two dimensions, and not the name of a column."""
    return len(tensor.shape) == 2 and contract.column(tensor.name) is None


def _faults_together(tensors: Sequence[Tensor], contract: DataContract) -> list[dict[str, object]]:
    if not tensors:
        return [_fault("inputs", "there is no tensor", "[]", "one or more", "send the tensors")]
    found = []
    names = [tensor.name for tensor in tensors]
    for name in sorted({name for name in names if names.count(name) > 1}):
        mend = "send each once"
        found.append(_fault("inputs", "two tensors share a name", shown_name(name), "distinct names", mend))
    counts = {tensor.shape[0] for tensor in tensors if tensor.shape}
    if len(counts) > 1:
        got = ", ".join(str(count) for count in sorted(counts)[:5])
        found.append(_fault("inputs", "the tensors differ in rows", got, "one first dimension", "send as many of each"))
    features = {column.name for column in contract.asked}
    if any(_is_matrix(tensor, contract) for tensor in tensors) and (beside := sorted(features & set(names))):
        mend = "send one tensor with all features, or one for each column"
        got = ", ".join(beside[:5])
        found.append(_fault("inputs", "features are in a tensor of their own and in one of all", got, "either", mend))
    return found


def _faults(tensor: Tensor, path: str, contract: DataContract) -> list[dict[str, object]]:
    shape = tensor.shape
    if tensor.datatype not in DATATYPES:
        got = shown(tensor.datatype)
        return [_fault(f"{path}.datatype", "not a datatype", got, ", ".join(DATATYPES), "name one of them")]
    if not 1 <= len(shape) <= 2 or min(shape) < 1:
        mend = "send one value a row, or one tensor with all features"
        return [_fault(f"{path}.shape", "not a shape of rows", shape, "[rows], [rows, 1] or [rows, features]", mend)]
    if len(shape) == 2 and (wrong := _matrix_fault(tensor, path, contract)):
        return [wrong]
    if not _has_shape(tensor):
        expected = f"{shape[0] * _width(tensor)} values, flat or nested as {shape}"
        return [_fault(f"{path}.data", "the data does not have the shape", "another count", expected, "mend either")]
    return _value_faults(tensor, path)


def _matrix_fault(tensor: Tensor, path: str, contract: DataContract) -> dict[str, object] | None:
    rows, width = tensor.shape
    if contract.column(tensor.name) is not None:
        if width == 1:
            return None
        mend = "send one value a row"
        return _fault(f"{path}.shape", "a column has one value a row", tensor.shape, f"[{rows}] or [{rows}, 1]", mend)
    texts = [column.name for column in contract.asked if not column.numeric]
    if texts:
        got, mend = f"features that are no numbers: {', '.join(texts[:5])}", "send one tensor for each column"
        return _fault(f"{path}.shape", "one tensor cannot hold all features", got, "one tensor a column", mend)
    if tensor.datatype in ("BOOL", "BYTES"):
        return _fault(f"{path}.datatype", "the features are numbers", tensor.datatype, "FP64", "send numbers")
    if width != len(contract.asked):
        expected = f"[{rows}, {len(contract.asked)}], in the order of the contract"
        return _fault(f"{path}.shape", "not as many values as features", tensor.shape, expected, "send all features")
    return None


def _has_shape(tensor: Tensor) -> bool:
    rows, width, data = tensor.shape[0], _width(tensor), tensor.data
    if not any(isinstance(value, list) for value in data):
        return len(data) == rows * width
    nested = len(tensor.shape) == 2 and all(isinstance(row, list) and len(row) == width for row in data)
    return nested and len(data) == rows and not any(isinstance(value, list) for row in data for value in row)


def _value_faults(tensor: Tensor, path: str) -> list[dict[str, object]]:
    """The first value that is not of the datatype; null stands for one that is not there."""
    values, types, bounds = _flat(tensor), _TYPES[tensor.datatype], _INTEGERS.get(tensor.datatype)
    if bounds is None and set(map(type, values)) <= types | {type(None)}:
        return []
    for place, value in enumerate(values):
        if value is None or (type(value) in types and (bounds is None or _is_integer(value, *bounds))):
            continue
        expected = _EXPECTED[tensor.datatype] if bounds is None else f"integers from {bounds[0]} to {bounds[1]}"
        mend = "send values of the datatype, or name the right one"
        return [_fault(f"{path}.data[{place}]", f"not a value of {tensor.datatype}", shown(value), expected, mend)]
    return []


def _is_integer(value: int | float, low: int, high: int) -> bool:
    """JSON has one kind of number: clients write the integer 2 as 2.0 too."""
    return low <= value <= high and (isinstance(value, int) or value.is_integer())


def _fault(path: str, message: str, got: object, expected: str, mend: str) -> dict[str, object]:
    return {
        "path": path,
        "code": "tensor_invalid",
        "message": message,
        "got": str(got),
        "expected": expected,
        "mend": mend,
    }


def _invalid(faults: list[dict[str, object]]) -> TensorsInvalid:
    return TensorsInvalid(
        "the tensors cannot be read as rows", mend="mend every fault listed, then send them again", faults=faults[:100]
    )
