"""The ONNX graph under construction: operators, constants, and the layer whose operators are added.

The operators are those of https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import onnx

from cnnctl.spec import layers as L
from cnnctl.spec.shapes import LayerContext, Shape, format_of
from cnnctl.spec.stack import INPUT

OUTPUT = "output"
OPSET = 20  # the first with Gelu, of 2023
IR_VERSION = 9  # the file version of that year; an older runtime refuses a newer one
TO_FIRST, TO_LAST = (0, 3, 1, 2), (0, 2, 3, 1)
"""Orders of axes: ONNX has convolutions and pooling for (B, C, H, W) only."""


class Graph:
    """The operators and constants of the graph.

    Attributes:
        layer: name of the current layer, the prefix of their names.
    """

    def __init__(self) -> None:
        self.layer = ""
        self._operators: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._counts: Counter[str] = Counter()
        self._transposed: dict[tuple[str, Sequence[int]], str] = {}

    def operator(self, kind: str, *inputs: str, result: str | None = None, **attributes: Any) -> str:
        """Add an operator and return the name of its result."""
        name = result or self._name(kind)
        self._operators.append(onnx.helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def constant(self, values: Any, name: str, dtype: type = np.float32) -> str:
        """Add a constant and return its name."""
        name = self._name(name)
        self._constants.append(onnx.numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def transposed(self, tensor: str, order: Sequence[int]) -> str:
        """Transpose a tensor; one that was just transposed is replaced by its original."""
        if (tensor, order) not in self._transposed:
            result = self.operator("Transpose", tensor, perm=order)
            self._transposed[tensor, order] = result
            self._transposed[result, tuple(order.index(axis) for axis in range(len(order)))] = tensor
        return self._transposed[tensor, order]

    def _name(self, what: str) -> str:
        name = f"{self.layer}/{what}"
        self._counts[name] += 1
        return name if self._counts[name] == 1 else f"{name}_{self._counts[name]}"

    def model(self, image: Shape, output: Shape) -> onnx.ModelProto:
        """Build the checked ONNX model, for images and outputs of these shapes."""
        graph = onnx.helper.make_graph(
            self._needed(), "cnnctl", [_tensor_info(INPUT, image)], [_tensor_info(OUTPUT, output)], self._constants
        )
        opset = onnx.helper.make_opsetid("", OPSET)
        model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="cnnctl")
        onnx.checker.check_model(model, full_check=True)
        return model

    def _needed(self) -> list[onnx.NodeProto]:
        """List the operators without those whose result is not used: transpositions that were undone."""
        needed = {OUTPUT}
        operators = []
        for operator in reversed(self._operators):
            if operator.output[0] in needed:
                needed.update(operator.input)
                operators.append(operator)
        return operators[::-1]


def _tensor_info(name: str, shape: Shape) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["B", *shape])


@dataclass(frozen=True)
class Place:
    """A layer and its inputs.

    Attributes:
        spec: its section of the config.
        built: the Keras layer, with the weights.
        inputs: names of its input tensors.
        shapes: of the inputs, without the batch axis.
        context: settings of the data and the model.
    """

    spec: L.Layer
    built: keras.Layer
    inputs: list[str]
    shapes: tuple[Shape, ...]
    context: LayerContext

    @property
    def channels_first(self) -> bool:
        """Whether the input is (B, C, H, W)."""
        return format_of(self.spec, self.context) == "channels_first"
