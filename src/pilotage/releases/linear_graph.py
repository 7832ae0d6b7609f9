"""An ONNX graph of a linear form in float64: as close to the pilot's own arithmetic as a graph can be.

Converters compute in float32, which moves decisions of rows that lie within rounding of the threshold; a model with
an exact linear form does not need one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pilotage.errors import MissingExtra
from pilotage.evaluation.explainer import CategoryTerm, LinearForm, NumberTerm
from pilotage.runtimes.onnx import INPUT, OUTPUT

__all__ = ["OPSET", "linear_graph"]

OPSET = 17


class _Graph:
    """Nodes and constants as they are added; every name is made here."""

    def __init__(self, onnx: Any) -> None:
        self._onnx = onnx
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, values: Any) -> str:
        """A constant tensor; its name."""
        name = f"c{len(self.constants)}"
        self.constants.append(self._onnx.numpy_helper.from_array(np.asarray(values), name))
        return name

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """A node with one output; the output's name."""
        name = output or f"n{len(self.nodes)}"
        self.nodes.append(self._onnx.helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def filled(self, columns: list[int], fills: Sequence[float | None]) -> str:
        """Columns of the input, [N, len(columns)], with null replaced by its fill where there is one."""
        taken = self.add("Gather", INPUT, self.constant(np.array(columns, dtype=np.int64)), axis=1)
        if all(fill is None for fill in fills):
            return taken
        values = self.constant(np.array([np.nan if fill is None else fill for fill in fills], dtype=np.float64))
        return self.add("Where", self.add("IsNaN", taken), values, taken)


def _numbers(graph: _Graph, terms: list[NumberTerm], place: Mapping[str, int]) -> str:
    """The sum of number terms, [N, 1]."""
    taken = graph.filled([place[term.feature] for term in terms], [term.fill for term in terms])
    centered = graph.add("Sub", taken, graph.constant(np.array([term.center for term in terms])))
    scaled = graph.add("Div", centered, graph.constant(np.array([term.scale for term in terms])))
    return graph.add("MatMul", scaled, graph.constant(np.array([[term.weight] for term in terms])))


def _categories(
    graph: _Graph, terms: list[CategoryTerm], place: Mapping[str, int], texts: Mapping[str, Sequence[str]]
) -> str:
    """The sum of category terms, [N, 1]: `other` of each, plus what the category that is met has beyond it."""

    def number(term: CategoryTerm, value: float | str | None) -> float | None:
        if not isinstance(value, str):
            return value
        known = texts.get(term.feature, ())
        return float(known.index(value)) if value in known else float(len(known) + 1)

    cells = [(term, each, weight) for term in terms for each, weight in zip(term.categories, term.weights, strict=True)]
    taken = graph.filled(
        [place[term.feature] for term, _, _ in cells], [number(term, term.fill) for term, _, _ in cells]
    )
    met = graph.add(
        "Equal", taken, graph.constant(np.array([number(term, each) for term, each, _ in cells], np.float64))
    )
    beyond = graph.constant(np.array([[weight - term.other] for term, _, weight in cells]))
    total = graph.add("MatMul", graph.add("Cast", met, to=graph._onnx.TensorProto.DOUBLE), beyond)
    other = sum(term.other for term in terms)
    return graph.add("Add", total, graph.constant(np.array(other))) if other else total


def linear_graph(form: LinearForm, names: Sequence[str], texts: Mapping[str, Sequence[str]]) -> bytes:
    """The form as an ONNX model: `features` float64 [N, F] in the order of `names` to `score` float64 [N, 1].

    `texts` are a serving spec's. Raises MissingExtra.
    """
    try:
        import onnx
        import onnx.numpy_helper
    except ImportError:
        raise MissingExtra("onnx", "sklearn") from None
    graph = _Graph(onnx)
    place = {name: index for index, name in enumerate(names)}
    numbers = [term for term in form.terms if isinstance(term, NumberTerm)]
    categories = [term for term in form.terms if isinstance(term, CategoryTerm)]
    sums = [_numbers(graph, numbers, place)] if numbers else []
    sums += [_categories(graph, categories, place, texts)] if categories else []
    odds = graph.constant(np.array([[form.intercept]], dtype=np.float64))
    for part in sums:
        odds = graph.add("Add", part, odds)
    graph.add("Sigmoid", odds, output=OUTPUT)
    double = onnx.TensorProto.DOUBLE
    made = onnx.helper.make_graph(
        graph.nodes,
        "linear",
        [onnx.helper.make_tensor_value_info(INPUT, double, [None, len(names)])],
        [onnx.helper.make_tensor_value_info(OUTPUT, double, [None, 1])],
        graph.constants,
    )
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", OPSET)], producer_name="pilotage")
    model.ir_version = 9
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content
