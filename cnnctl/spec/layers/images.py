"""Layers that change the shape of their input, without arithmetic on its values."""

from typing import ClassVar

from cnnctl.spec.layers.fields import Cropping, DataFormat, Layer, ZeroPadding


class ZeroPadding2D(Layer):
    kind: ClassVar[str] = "zero_padding2d"
    padding: ZeroPadding = ((1, 1), (1, 1))
    data_format: DataFormat | None = None


class Cropping2D(Layer):
    kind: ClassVar[str] = "cropping2d"
    cropping: Cropping = ((0, 0), (0, 0))
    data_format: DataFormat | None = None


class Flatten(Layer):
    kind: ClassVar[str] = "flatten"
    data_format: DataFormat | None = None
