"""The layer vocabulary: one frozen model per layer.

A layer's name in a config is Keras's class name in snake case, its fields are Keras's arguments
with Keras's defaults (`average_pooling2d` has `pool_size: 2`, which has no default in Keras).
`data_format: null` means `model.data_format`. `fields` has the base classes, the other modules a family each.
"""

from typing import Annotated, ClassVar

from pydantic import Field

from cnnctl.spec.layers.activations import ELU, LeakyReLU, PReLU, ReLU, Softmax
from cnnctl.spec.layers.blocks import IN_BLOCK, BlockSpec, BlockUse, StackItem, Use
from cnnctl.spec.layers.convolutions import Conv2DTranspose, DepthwiseConv2D, SeparableConv2D
from cnnctl.spec.layers.custom import FLAG, CustomJoin, CustomLayer
from cnnctl.spec.layers.fields import CLASSES, OF_ROWS, Activation, DataFormat, Layer, Padding, Weighted
from cnnctl.spec.layers.images import Cropping2D, Flatten, UpSampling2D, ZeroPadding2D
from cnnctl.spec.layers.joins import Add, Average, Concatenate, Join, Maximum, Minimum, Multiply, Subtract, ValueJoin
from cnnctl.spec.layers.noise import AlphaDropout, Dropout, GaussianDropout, GaussianNoise, RandomLayer, SpatialDropout2D
from cnnctl.spec.layers.normalizations import (
    BatchNormalization,
    GroupNormalization,
    LayerNormalization,
    Normalization,
    RenormClipping,
    UnitNormalization,
)
from cnnctl.spec.layers.values import ActivationLayer, Dense, Permute, Rescaling, Reshape
from cnnctl.spec.layers.windows import (
    AveragePooling2D,
    Conv2D,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    GlobalPooling,
    MaxPooling2D,
    Pooling,
)
from cnnctl.spec.section import Section

__all__ = [
    "CLASSES", "ELU", "IN_BLOCK", "LAYERS", "OF_ROWS", "STACK_ITEM", "Activation", "ActivationLayer", "Add", "AlphaDropout", "Average",
    "AveragePooling2D", "BatchNormalization", "BlockSpec", "BlockUse", "Concatenate", "Conv2D", "Conv2DTranspose", "Convolution", "Cropping2D",
    "CustomJoin", "CustomLayer", "DataFormat", "Dense", "DepthwiseConv2D", "Dropout", "Flatten", "GaussianDropout", "GaussianNoise",
    "GlobalAveragePooling2D", "GlobalMaxPooling2D", "GlobalPooling", "GroupNormalization", "Join", "Layer", "LayerNormalization", "LeakyReLU",
    "MaxPooling2D", "Maximum", "Minimum", "Multiply", "Normalization", "PReLU", "Padding", "Permute", "Pooling", "RandomLayer", "ReLU",
    "RenormClipping", "Repeat", "Rescaling", "Reshape", "SeparableConv2D", "Softmax", "SpatialDropout2D", "Stack", "Subtract", "UnitNormalization",
    "UpSampling2D", "Use", "ValueJoin", "Weighted", "ZeroPadding2D",
]  # fmt: skip

LAYERS: tuple[type[Layer], ...] = (
    Conv2D, DepthwiseConv2D, SeparableConv2D, Conv2DTranspose, ZeroPadding2D, MaxPooling2D, AveragePooling2D,
    GlobalAveragePooling2D, GlobalMaxPooling2D, Cropping2D, UpSampling2D, Rescaling, Reshape, Permute, Flatten, Dense,
    BatchNormalization, Dropout, SpatialDropout2D, GaussianNoise, GaussianDropout, AlphaDropout, ActivationLayer, ReLU, LeakyReLU,
    PReLU, ELU, Softmax, Add, Subtract, Multiply, Average, Maximum, Minimum, Concatenate, LayerNormalization, GroupNormalization,
    UnitNormalization, Normalization,
)  # fmt: skip

Convolution = Conv2D | DepthwiseConv2D | SeparableConv2D
"""Layers with filters that slide over their input; those of a transposed convolution slide over its output."""


class Repeat(Section):
    """Layers that are built `times` times in sequence."""

    kind: ClassVar[str] = "repeat"
    times: Annotated[int, Field(gt=0, le=1000)]
    layers: "Stack"


STACK_ITEM = StackItem("layer", (*LAYERS, Use, Repeat), f"{FLAG} FILE.py adds one's own")
Stack = Annotated[list[Annotated[Section, STACK_ITEM]], Field(min_length=1)]
