"""The layer vocabulary: one frozen model per layer.

A layer's name in a config is Keras's class name in snake case, its fields are Keras's arguments
with Keras's defaults (`average_pooling2d` has `pool_size: 2`, which has no default in Keras).
`data_format: null` means `model.data_format`. `fields` has the base classes, the other modules a family each.
"""

from typing import Annotated, ClassVar

from pydantic import Field

from cnnctl.spec.layers.activations import ELU, LeakyReLU, PReLU, ReLU, Softmax
from cnnctl.spec.layers.custom import FLAG, CustomJoin, CustomLayer
from cnnctl.spec.layers.fields import CLASSES, Activation, DataFormat, Layer, Padding, Weighted
from cnnctl.spec.layers.images import Flatten, ZeroPadding2D
from cnnctl.spec.layers.joins import Add, Average, Concatenate, Join, Maximum, Minimum, Multiply, Subtract, ValueJoin
from cnnctl.spec.layers.noise import AlphaDropout, Dropout, GaussianDropout, GaussianNoise, RandomLayer, SpatialDropout2D
from cnnctl.spec.layers.normalizations import BatchNormalization
from cnnctl.spec.layers.values import ActivationLayer, Dense
from cnnctl.spec.layers.windows import (
    AveragePooling2D,
    Conv2D,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    GlobalPooling,
    MaxPooling2D,
    Pooling,
)
from cnnctl.spec.section import Named, Section

__all__ = [
    "CLASSES", "ELU", "LAYERS", "STACK_ITEM", "Activation", "ActivationLayer", "Add", "AlphaDropout", "Average", "AveragePooling2D", "BatchNormalization",
    "Concatenate", "Conv2D", "CustomJoin", "CustomLayer", "DataFormat", "Dense", "Dropout", "Flatten", "GaussianDropout", "GaussianNoise", "GlobalAveragePooling2D", "GlobalMaxPooling2D",
    "GlobalPooling", "Join", "Layer", "LeakyReLU", "MaxPooling2D", "Maximum", "Minimum", "Multiply", "PReLU", "Padding", "Pooling", "RandomLayer", "ReLU", "Repeat", "Softmax", "SpatialDropout2D", "Stack", "Subtract", "ValueJoin", "Weighted", "ZeroPadding2D",
]  # fmt: skip

LAYERS: tuple[type[Layer], ...] = (
    Conv2D, ZeroPadding2D, MaxPooling2D, AveragePooling2D, GlobalAveragePooling2D, GlobalMaxPooling2D,
    Flatten, Dense, BatchNormalization, Dropout, SpatialDropout2D, GaussianNoise, GaussianDropout, AlphaDropout, ActivationLayer, ReLU, LeakyReLU, PReLU, ELU, Softmax, Add, Subtract, Multiply, Average, Maximum, Minimum, Concatenate,
)  # fmt: skip


class Repeat(Section):
    """A block of layers, built `times` times in sequence."""

    kind: ClassVar[str] = "repeat"
    times: Annotated[int, Field(gt=0, le=1000)]
    layers: "Stack"


STACK_ITEM = Named("layer", (*LAYERS, Repeat), f"{FLAG} FILE.py adds one's own")
Stack = Annotated[list[Annotated[Section, STACK_ITEM]], Field(min_length=1)]
