"""`plain_epochs` in few-shot tasks: whole epochs of batches or of episodes, as they would be without augmentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import yaml

from cnnctl.few_shot.task import FewShot
from cnnctl.spec.load import load
from tests.few_shot.test_few_shot import EPOCHS, config


def task(folder: Path, method: str, augment: dict[str, Any] | None) -> FewShot:
    content = config(method, **({} if method == "cosine_classifier" else {"episodes": 10}))
    content["data"]["augment"] = augment or {}
    file = folder / f"{'augmented' if augment else 'plain'}.yaml"
    file.write_text(yaml.safe_dump(content))
    return FewShot(load(file))


@pytest.mark.parametrize("method", ["prototypical", "maml", "cosine_classifier"])
def test_the_last_epochs_of_every_method_are_plain(method: str, tmp_path: Path) -> None:
    augmented, plain = task(tmp_path, method, {"rotation": 20, "plain_epochs": 2}), task(tmp_path, method, None)
    found, expected = ([tf.nest.flatten(step) for step in each.training(0)] for each in (augmented, plain))
    assert len(found) == EPOCHS * augmented.steps_per_epoch
    alike = [all(map(np.array_equal, *steps)) for steps in zip(found, expected, strict=True)]
    turn = (EPOCHS - 2) * augmented.steps_per_epoch
    assert alike == [False] * turn + [True] * (EPOCHS * augmented.steps_per_epoch - turn)
