"""Layers that act at random in training only: dropout and noise."""

from typing import Annotated, ClassVar

from pydantic import Field

from cnnctl.spec.layers.fields import DataFormat, Layer, NoiseShape
from cnnctl.spec.section import Seed

Rate = Annotated[float, Field(ge=0, lt=1)]


class RandomLayer(Layer):
    """A layer that draws random numbers in training and passes its input on in inference; each kind has a `seed`."""

    @property
    def acts(self) -> bool:
        """Whether training differs from inference."""
        return bool(getattr(self, "rate", 0) or getattr(self, "stddev", 0))


class Dropout(RandomLayer):
    kind: ClassVar[str] = "dropout"
    rate: Rate
    noise_shape: NoiseShape | None = None
    seed: Seed | None = None


class SpatialDropout2D(RandomLayer):
    kind: ClassVar[str] = "spatial_dropout2d"
    rate: Rate
    data_format: DataFormat | None = None
    seed: Seed | None = None


class GaussianNoise(RandomLayer):
    kind: ClassVar[str] = "gaussian_noise"
    stddev: Annotated[float, Field(ge=0, le=1)]
    seed: Seed | None = None


class GaussianDropout(RandomLayer):
    kind: ClassVar[str] = "gaussian_dropout"
    rate: Rate
    seed: Seed | None = None


class AlphaDropout(RandomLayer):
    kind: ClassVar[str] = "alpha_dropout"
    rate: Rate
    noise_shape: NoiseShape | None = None
    seed: Seed | None = None
