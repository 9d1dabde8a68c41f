"""Layers that change the shape of their input, without arithmetic on its values."""

from typing import ClassVar

from cnnctl.spec.layers.fields import Cropping, DataFormat, Interpolation, Layer, ZeroPadding
from cnnctl.spec.section import Size


class ZeroPadding2D(Layer):
    kind: ClassVar[str] = "zero_padding2d"
    padding: ZeroPadding = ((1, 1), (1, 1))
    data_format: DataFormat | None = None


class Cropping2D(Layer):
    kind: ClassVar[str] = "cropping2d"
    cropping: Cropping = ((0, 0), (0, 0))
    data_format: DataFormat | None = None


class UpSampling2D(Layer):
    kind: ClassVar[str] = "up_sampling2d"
    size: Size = (2, 2)
    data_format: DataFormat | None = None
    interpolation: Interpolation = "nearest"

    @property
    def only_in_float32(self) -> bool:
        """Whether TensorFlow has no gradient of the interpolation in 16 bits."""
        return self.interpolation not in ("nearest", "bilinear")


class Flatten(Layer):
    kind: ClassVar[str] = "flatten"
    data_format: DataFormat | None = None
