"""Inside a box only: a scikit-learn model as ONNX by skl2onnx, its inputs merged into one tensor by graph surgery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from pilotage.errors import MissingExtra
from pilotage.releases.linear_graph import OPSET
from pilotage.runtimes.model import Kind
from pilotage.runtimes.onnx import INPUT, OUTPUT

__all__ = ["convert"]

NULL_TEXT, UNSEEN_TEXT = "", "\x00unseen"


def convert(
    model: Any,
    column: int,
    *,
    names: Sequence[str],
    kinds: Sequence[Kind],
    texts: Mapping[str, Sequence[str]],
    integers: Literal["float", "int64"],
) -> bytes:
    """The model as ONNX: `features` float64 [N, F] in the order of `names` to `score` float64 [N, 1].

    Inside it computes in float32. `integers` is the type that whole-number columns enter the model's own graph with.
    Raises MissingExtra, and whatever skl2onnx raises for a model that it cannot convert.
    """
    try:
        import onnx
        import skl2onnx
        from skl2onnx.common import data_types as types
    except ImportError:
        raise MissingExtra("skl2onnx", "sklearn") from None
    kind_of = dict(zip(names, kinds, strict=True))
    used = [str(name) for name in getattr(model, "feature_names_in_", names)]
    if _picks_columns(model):
        whole = types.Int64TensorType if integers == "int64" else types.FloatTensorType
        made = {"string": types.StringTensorType, "integer": whole}
        initial = [(name, made.get(kind_of[name], types.FloatTensorType)([None, 1])) for name in used]
    else:
        initial = [("matrix", types.FloatTensorType([None, len(used)]))]
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    converted = skl2onnx.convert_sklearn(
        model, name="pilot", initial_types=initial, options={id(last): {"zipmap": False}}, target_opset=OPSET
    )
    place = [list(names).index(name) for name in used]
    columns = [[each] for each in place] if _picks_columns(model) else [place]
    _merge_inputs(onnx, converted.graph, names, columns, texts)
    _keep_score(onnx, converted.graph, column)
    converted.doc_string = ""
    onnx.checker.check_model(converted)
    content: bytes = converted.SerializeToString(deterministic=True)
    return content


def _picks_columns(model: Any) -> bool:
    """Whether the model takes its columns apart by name; any other takes one matrix."""
    first = model.steps[0][1] if hasattr(model, "steps") else model
    return type(first).__name__ == "ColumnTransformer" and hasattr(model, "feature_names_in_")


def _merge_inputs(
    onnx: Any, graph: Any, names: Sequence[str], columns: Sequence[list[int]], texts: Mapping[str, Sequence[str]]
) -> None:
    """Replace the inputs by columns of one tensor: the first by the first of `columns`, and so on.

    By position, since the converter rewrites names. Raises ValueError when it did not keep every input.
    """
    if len(graph.input) != len(columns):
        raise ValueError(f"the converter kept {len(graph.input)} of {len(columns)} inputs")
    helper, types = onnx.helper, onnx.TensorProto
    before: list[Any] = []

    def constant(values: Any, name: str) -> str:
        graph.initializer.append(onnx.numpy_helper.from_array(values, name))
        return name

    for at, (each, chosen) in enumerate(zip(graph.input, columns, strict=True)):
        kind = each.type.tensor_type.elem_type
        mark = f"pilotage_{at}"
        index = constant(np.array(chosen, dtype=np.int64), f"{mark}_index")
        before.append(helper.make_node("Gather", [INPUT, index], [f"{mark}_column"], axis=1))
        if kind != types.STRING:
            before.append(helper.make_node("Cast", [f"{mark}_column"], [each.name], to=kind))
            continue
        known = list(texts.get(names[chosen[0]], ()))
        words = constant(np.array([*known, UNSEEN_TEXT, NULL_TEXT], dtype=object), f"{mark}_words")
        null = constant(np.array(float(len(known) + 1)), f"{mark}_null")
        before += [
            helper.make_node("IsNaN", [f"{mark}_column"], [f"{mark}_isnull"]),
            helper.make_node("Where", [f"{mark}_isnull", null, f"{mark}_column"], [f"{mark}_filled"]),
            helper.make_node("Cast", [f"{mark}_filled"], [f"{mark}_position"], to=types.INT64),
            helper.make_node("Gather", [words, f"{mark}_position"], [each.name], axis=0),
        ]
    nodes = [*before, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(INPUT, types.DOUBLE, [None, len(names)]))


def _keep_score(onnx: Any, graph: Any, column: int) -> None:
    """Make the probability of one class the only output, and drop what only the others needed."""
    helper, types = onnx.helper, onnx.TensorProto
    floats = (types.FLOAT, types.DOUBLE)
    probabilities = next(each.name for each in graph.output if each.type.tensor_type.elem_type in floats)
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([column], dtype=np.int64), "pilotage_class"))
    graph.node.append(helper.make_node("Gather", [probabilities, "pilotage_class"], ["pilotage_score"], axis=1))
    graph.node.append(helper.make_node("Cast", ["pilotage_score"], [OUTPUT], to=types.DOUBLE))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(OUTPUT, types.DOUBLE, [None, 1]))
    needed, kept = {OUTPUT}, []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
