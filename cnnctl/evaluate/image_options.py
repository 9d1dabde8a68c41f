"""How `predict` and `evaluate` read new images other than the run reads its own."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cnnctl.errors import UsageError
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.section import field_error


@dataclass(frozen=True)
class ImageOptions:
    """Options of the command line; the run and its config stay as they are.

    Attributes:
        invert: flip `data.invert` of the run.
        transpose: flip `data.transpose` of the run.
        pixel_max: in place of `data.pixel_max` of the run; None for that.
    """

    invert: bool = False
    transpose: bool = False
    pixel_max: float | None = None

    def applied(self, data: DataSpec) -> DataSpec:
        """Return the data section of a run with these options."""
        flipped = {"invert": data.invert != self.invert, "transpose": data.transpose != self.transpose}
        return data.model_copy(update=flipped | ({} if self.pixel_max is None else {"pixel_max": self.pixel_max}))

    def refuse_unusable(self) -> None:
        """Raise UsageError if `pixel_max` is not a valid `data.pixel_max`."""
        if self.pixel_max is not None and (message := field_error(DataSpec, "pixel_max", self.pixel_max)):
            raise UsageError(f"--pixel-max: {message}")

    def refuse_for_own_data(self) -> None:
        """Raise UsageError where an option is given: the run reads its own images as its config says."""
        given = {"--invert": self.invert, "--transpose": self.transpose, "--pixel-max": self.pixel_max is not None}
        for option, is_given in given.items():
            if is_given:
                raise UsageError(f"{option} is for images that the config does not name; give --data FOLDER, or leave it out")

    def as_plain(self) -> dict[str, Any]:
        """Return them for JSON."""
        return asdict(self)


AS_TRAINED = ImageOptions()
