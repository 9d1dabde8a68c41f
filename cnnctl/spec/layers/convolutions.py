"""Other kinds of convolution than `conv2d`: depthwise, separable and transposed."""

from typing import Any, ClassVar, Self

from pydantic import ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from cnnctl.spec.layers.fields import GLOROT_UNIFORM, ZEROS, Activation, DataFormat, Padding, Weighted
from cnnctl.spec.layers.windows import ONE, STRIDES_OR_DILATION
from cnnctl.spec.section import Count, Size, SizeOrZero, show, wrong
from cnnctl.spec.weights import Constraint, Initializer, Regularizer

_EQUAL = {"not": {"type": "array", "uniqueItems": True}}
_EQUAL_STRIDES_OR_DILATION: dict[str, Any] = {
    "anyOf": [
        {"properties": {"strides": _EQUAL}},
        {"properties": {"dilation_rate": {"not": ONE}}, "required": ["dilation_rate"]},
    ]
}
_NOT_SINGLE: list[Any] = [{"properties": {"strides": ONE}}, {"properties": {"kernel_size": {"not": ONE}}}]
"""Schemas of which one must hold: strides with a kernel of a single pixel are refused."""
_NO_PADDING: dict[str, Any] = {
    "properties": {"output_padding": {"anyOf": [{"const": 0}, {"const": [0, 0]}]}},
    "required": ["output_padding"],
}


class DepthwiseConv2D(Weighted):
    kind: ClassVar[str] = "depthwise_conv2d"
    weight_axes: ClassVar = {"depthwise": 4}
    model_config = ConfigDict(json_schema_extra={"allOf": [_EQUAL_STRIDES_OR_DILATION, {"anyOf": _NOT_SINGLE}]})
    kernel_size: Size
    strides: Size = (1, 1)
    padding: Padding = "valid"
    depth_multiplier: Count = 1
    data_format: DataFormat | None = None
    dilation_rate: Size = (1, 1)
    activation: Activation | None = None
    use_bias: bool = True
    depthwise_initializer: Initializer = GLOROT_UNIFORM
    bias_initializer: Initializer = ZEROS
    depthwise_regularizer: Regularizer | None = None
    bias_regularizer: Regularizer | None = None
    activity_regularizer: Regularizer | None = None
    depthwise_constraint: Constraint | None = None
    bias_constraint: Constraint | None = None

    @model_validator(mode="after")
    def _keras_can_build_it(self) -> Self:
        if max(self.dilation_rate) == 1 and self.strides[0] != self.strides[1]:
            raise _unequal(self.strides)
        _refuse_single_pixels(self.kernel_size, self.strides)
        return self


class SeparableConv2D(Weighted):
    kind: ClassVar[str] = "separable_conv2d"
    weight_axes: ClassVar = {"depthwise": 4, "pointwise": 4}
    model_config = ConfigDict(json_schema_extra={"allOf": [_EQUAL_STRIDES_OR_DILATION, {"anyOf": _NOT_SINGLE}]})
    filters: Count
    kernel_size: Size
    strides: Size = (1, 1)
    padding: Padding = "valid"
    data_format: DataFormat | None = None
    dilation_rate: Size = (1, 1)
    depth_multiplier: Count = 1
    activation: Activation | None = None
    use_bias: bool = True
    depthwise_initializer: Initializer = GLOROT_UNIFORM
    pointwise_initializer: Initializer = GLOROT_UNIFORM
    bias_initializer: Initializer = ZEROS
    depthwise_regularizer: Regularizer | None = None
    pointwise_regularizer: Regularizer | None = None
    bias_regularizer: Regularizer | None = None
    activity_regularizer: Regularizer | None = None
    depthwise_constraint: Constraint | None = None
    pointwise_constraint: Constraint | None = None
    bias_constraint: Constraint | None = None

    @model_validator(mode="after")
    def _keras_can_build_it(self) -> Self:
        if max(self.dilation_rate) == 1 and self.strides[0] != self.strides[1]:
            raise _unequal(self.strides)
        _refuse_single_pixels(self.kernel_size, self.strides)
        return self


class Conv2DTranspose(Weighted):
    kind: ClassVar[str] = "conv2d_transpose"
    weight_axes: ClassVar = {"kernel": 4}
    model_config = ConfigDict(json_schema_extra={"allOf": [STRIDES_OR_DILATION, {"anyOf": [*_NOT_SINGLE, _NO_PADDING]}]})
    filters: Count
    kernel_size: Size
    strides: Size = (1, 1)
    padding: Padding = "valid"
    output_padding: SizeOrZero | None = None
    data_format: DataFormat | None = None
    dilation_rate: Size = (1, 1)
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
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise wrong("strides and dilation_rate cannot both be above 1: Keras has no such convolution")
        if self.output_padding:
            self._check_output_padding(self.output_padding)
        if self.output_padding is None:
            _refuse_single_pixels(self.kernel_size, self.strides)
        elif max(self.output_padding) > 0:  # with 0 the last row and column are read, and the gradient is right
            _refuse_single_pixels(self.kernel_size, self.strides, "write output_padding: 0")
        return self

    def _check_output_padding(self, output_padding: tuple[int, int]) -> None:
        """Check that the output is one from which a convolution with these strides gives the input back."""
        for axis in (0, 1):
            added, stride = output_padding[axis], self.strides[axis]
            extent = self.dilation_rate[axis] * (self.kernel_size[axis] - 1) + 1
            if added >= stride:
                raise wrong(f"output_padding ({added}) must be less than strides ({stride}); write output_padding: null")
            if self.padding == "same" and added == 0 and extent % 2 == 0:
                raise wrong(
                    f"output_padding 0 with padding: same and a window of {extent} pixels is no size of which strides {stride} "
                    "give the input back; write output_padding: null"
                )


def _refuse_single_pixels(kernel_size: tuple[int, int], strides: tuple[int, int], remedy: str = "") -> None:
    """Raise an error for strides with a kernel of 1×1; `conv2d` has a way of its own (`model.strided_pixels`)."""
    if kernel_size == (1, 1) and max(strides) > 1:
        remedy = remedy or f"write kernel_size: {max(strides)}, or write strides: 1"
        raise wrong(
            f"TensorFlow's oneDNN computes a wrong gradient for a kernel_size of 1 with strides of {max(strides)}; {remedy}"
        )


def _unequal(strides: tuple[int, int]) -> PydanticCustomError:
    """Create the error for strides that differ; with a dilation Keras takes every stride-th output itself."""
    return wrong(
        f"strides must be equal in rows and columns, received {show(list(strides))}: TensorFlow has no other depthwise "
        f"convolution; write strides: {max(strides)}"
    )
