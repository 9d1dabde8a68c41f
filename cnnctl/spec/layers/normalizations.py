"""Layers that normalize their input."""

from typing import Annotated, ClassVar

from pydantic import Field

from cnnctl.spec.layers.fields import ONES, ZEROS, Weighted
from cnnctl.spec.weights import Constraint, Initializer, Regularizer


class BatchNormalization(Weighted):
    kind: ClassVar[str] = "batch_normalization"
    axis: int = -1
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.99
    epsilon: Annotated[float, Field(gt=0)] = 0.001
    center: bool = True
    scale: bool = True
    beta_initializer: Initializer = ZEROS
    gamma_initializer: Initializer = ONES
    moving_mean_initializer: Initializer = ZEROS
    moving_variance_initializer: Initializer = ONES
    beta_regularizer: Regularizer | None = None
    gamma_regularizer: Regularizer | None = None
    beta_constraint: Constraint | None = None
    gamma_constraint: Constraint | None = None
