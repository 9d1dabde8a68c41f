"""Layers that slide a window over an image: convolutions and pooling."""

from typing import Any, ClassVar, Self

from pydantic import ConfigDict, model_validator

from cnnctl.spec.layers.fields import GLOROT_UNIFORM, ZEROS, Activation, DataFormat, Layer, Padding, Weighted
from cnnctl.spec.section import Count, Size, wrong
from cnnctl.spec.weights import Constraint, Initializer, Regularizer

ONE: dict[str, Any] = {"anyOf": [{"const": 1}, {"const": [1, 1]}]}
"""The schema of strides or dilations of 1."""
STRIDES_OR_DILATION: dict[str, Any] = {"anyOf": [{"properties": {"strides": ONE}}, {"properties": {"dilation_rate": ONE}}]}


class Conv2D(Weighted):
    kind: ClassVar[str] = "conv2d"
    weight_axes: ClassVar = {"kernel": 4}
    model_config = ConfigDict(json_schema_extra=STRIDES_OR_DILATION)
    filters: Count
    kernel_size: Size
    strides: Size = (1, 1)
    padding: Padding = "valid"
    data_format: DataFormat | None = None
    dilation_rate: Size = (1, 1)
    groups: Count = 1
    activation: Activation | None = None
    use_bias: bool = True
    kernel_initializer: Initializer = GLOROT_UNIFORM
    bias_initializer: Initializer = ZEROS
    kernel_regularizer: Regularizer | None = None
    bias_regularizer: Regularizer | None = None
    activity_regularizer: Regularizer | None = None
    kernel_constraint: Constraint | None = None
    bias_constraint: Constraint | None = None

    @model_validator(mode="after")
    def _keras_can_build_it(self) -> Self:
        if self.filters % self.groups:
            raise wrong(f"filters ({self.filters}) must be a multiple of groups ({self.groups})")
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise wrong("strides and dilation_rate cannot both be above 1: Keras has no such convolution")
        return self


class Pooling(Layer):
    """Fields of both pooling layers; `strides: null` means the pool size."""

    pool_size: Size = (2, 2)
    strides: Size | None = None
    padding: Padding = "valid"
    data_format: DataFormat | None = None


class MaxPooling2D(Pooling):
    kind: ClassVar[str] = "max_pooling2d"


class AveragePooling2D(Pooling):
    kind: ClassVar[str] = "average_pooling2d"


class GlobalPooling(Layer):
    """Fields of both global pooling layers."""

    data_format: DataFormat | None = None
    keepdims: bool = False


class GlobalAveragePooling2D(GlobalPooling):
    kind: ClassVar[str] = "global_average_pooling2d"


class GlobalMaxPooling2D(GlobalPooling):
    kind: ClassVar[str] = "global_max_pooling2d"
