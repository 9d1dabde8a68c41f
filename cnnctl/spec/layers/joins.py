"""Layers with several inputs."""

from typing import ClassVar

from cnnctl.spec.layers.fields import Layer
from cnnctl.spec.section import TwoNames


class Join(Layer):
    """Fields of both layers with several inputs."""

    inputs: TwoNames


class Add(Join):
    kind: ClassVar[str] = "add"


class Concatenate(Join):
    kind: ClassVar[str] = "concatenate"
    axis: int = -1
