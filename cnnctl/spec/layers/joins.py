"""Layers with several inputs."""

from typing import ClassVar

from cnnctl.spec.layers.fields import Layer
from cnnctl.spec.section import ExactlyTwoNames, TwoNames


class Join(Layer):
    """Fields of all layers with several inputs.

    Attributes:
        inputs: The names of the layers that are joined, `input` for the image.
    """

    inputs: TwoNames


class ValueJoin(Join):
    """A join that combines its inputs value by value; smaller inputs are broadcast."""


class Add(ValueJoin):
    kind: ClassVar[str] = "add"


class Multiply(ValueJoin):
    kind: ClassVar[str] = "multiply"


class Average(ValueJoin):
    kind: ClassVar[str] = "average"


class Maximum(ValueJoin):
    kind: ClassVar[str] = "maximum"


class Minimum(ValueJoin):
    kind: ClassVar[str] = "minimum"


class Subtract(ValueJoin):
    kind: ClassVar[str] = "subtract"
    inputs: ExactlyTwoNames


class Concatenate(Join):
    kind: ClassVar[str] = "concatenate"
    axis: int = -1
