"""What is said of the preparation of images: followed by others with Pillow and NumPy, it gives what the network is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from cnnctl.data.sources.folder_source import fit_opened, open_image
from cnnctl.export.preparation import preparation_facts
from cnnctl.spec.experiment import Experiment
from tests.independent_preparation import difficult_files, prepared


def experiment(data_format: str = "channels_last", **data: Any) -> Experiment:
    content = {
        "data": {"source": "digits", "image_size": [10, 14], "channels": 1, "classes": 10, **data},
        "model": {"data_format": data_format, "layers": ["flatten", {"dense": {"units": "classes"}}]},
        "train": {"epochs": 1},
    }
    return Experiment.model_validate(content)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    digits = np.round(load_digits().images[:16] * (255 / 16)).astype(np.uint8)
    return difficult_files(digits, tmp_path_factory.mktemp("preparation") / "images")


@pytest.mark.parametrize(
    "data",
    [{}, {"invert": True}, {"channels": 3}, {"fit": "crop"}, {"fit": "pad"}, {"fit": "pad", "channels": 3, "transpose": True},
     {"pixel_max": 200}, {"pixel_max": 4095}, {"pixel_max": 300, "channels": 3, "fit": "crop"}],
    ids=str,
)  # fmt: skip
def test_following_the_facts_gives_every_pixel(data: dict[str, Any], files: list[Path]) -> None:
    spec = experiment(**data)
    facts = preparation_facts(spec, ["a"], "logits")
    for file in files:
        expected = fit_opened(open_image(file), file, spec.data)
        np.testing.assert_array_equal(np.rint(prepared(file, facts)[0] * 255), expected, err_msg=str(file))


def test_every_option_that_changes_pixels_is_said() -> None:
    plain = " ".join(preparation_facts(experiment(), ["a"], "logits")["steps"])
    for word in (
        "EXIF orientation",
        "floor(value / 257)",
        "transparent parts on white",
        "299·R",
        "10×14",
        "antialiasing",
        "255",
    ):
        assert word in plain
    options: dict[str, Any] = {
        "invert": True,
        "transpose": True,
        "pixel_max": 4095,
        "channels": 3,
        "fit": "pad",
        "data_format": "channels_first",
    }
    for name, value in options.items():
        assert " ".join(preparation_facts(experiment(**{name: value}), ["a"], "logits")["steps"]) != plain, name
