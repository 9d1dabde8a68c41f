"""Options of `predict` and `evaluate` for reading new images in another way than the run's own."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cnnctl.errors import UsageError
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.section import field_error


@dataclass(frozen=True)
class ImageOptions:
    """Options for new images. The run and its config do not change.

    Attributes:
        invert: toggle the run's `data.invert`.
        transpose: toggle the run's `data.transpose`.
        pixel_max: replaces the run's `data.pixel_max`; None leaves it.
    """

    invert: bool = False
    transpose: bool = False
    pixel_max: float | None = None

    def applied(self, data: DataSpec) -> DataSpec:
        """Return the data section of a run with these options."""
        toggled = {"invert": data.invert != self.invert, "transpose": data.transpose != self.transpose}
        return data.model_copy(update=toggled | ({} if self.pixel_max is None else {"pixel_max": self.pixel_max}))

    def refuse_unusable(self) -> None:
        """Raise UsageError if `pixel_max` is not a valid `data.pixel_max`."""
        if self.pixel_max is not None and (message := field_error(DataSpec, "pixel_max", self.pixel_max)):
            raise UsageError(f"--pixel-max: {message}")

    def refuse_for_own_data(self) -> None:
        """Raise UsageError if an option is given: a run's own images are read as its config says."""
        given = {"--invert": self.invert, "--transpose": self.transpose, "--pixel-max": self.pixel_max is not None}
        for option, is_given in given.items():
            if is_given:
                raise UsageError(f"{option} is for other images than the run's own; add --data FOLDER, or remove the option")

    def as_plain(self) -> dict[str, Any]:
        """Return the options as plain data for JSON."""
        return asdict(self)


AS_TRAINED = ImageOptions()
