"""Files → predictions and their picture; imported after TensorFlow is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from cnnctl.commands.trained import Trained, Values
from cnnctl.data.elsewhere import fitted_batches
from cnnctl.data.images import Pixels
from cnnctl.errors import RunError
from cnnctl.report.predictions import MOST_DRAWN, Guess, Prediction, saliency_title
from cnnctl.train.inference import saliency
from cnnctl.train.memory import refuse_too_large

MOST_AT_ONCE = 256
NOT_ENOUGH_MEMORY = "there is not enough memory for this network; predict with --device cpu"


@dataclass(frozen=True)
class Predicted:
    """What a network says of files.

    Attributes:
        predictions: of those that are images, in the order of the files.
        drawn: the first images (B, H, W, C), as the network saw them.
        broken: a message for each file that is no image.
    """

    predictions: list[Prediction]
    drawn: Pixels
    broken: list[str]


def predicted(trained: Trained, files: Sequence[Path], top: int) -> Predicted:
    """Returns the `top` most probable classes of each file.

    Raises:
        RunError: there is not enough memory.
    """
    broken: list[str] = []
    predictions: list[Prediction] = []
    drawn: list[Pixels] = []
    batch_size = min(trained.experiment.train.batch_size, MOST_AT_ONCE)
    refuse_too_large(trained.experiment, min(batch_size, len(files)), training=False)
    try:
        for batch, images in fitted_batches(files, trained.experiment.data, batch_size, broken):
            drawn.extend(images[: max(MOST_DRAWN - len(predictions), 0)])
            probabilities = trained.probabilities(np.asarray(trained.model(trained.inputs(images), training=False)))
            predictions += [
                Prediction(str(file), _guesses(each, trained.class_names, top))
                for file, each in zip(batch, probabilities, strict=True)
            ]
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise RunError(NOT_ENOUGH_MEMORY) from error
    return Predicted(predictions, np.array(drawn), broken)


def _guesses(probabilities: Values, class_names: Sequence[str], top: int) -> list[Guess]:
    most_probable = np.argsort(-probabilities, kind="stable")[:top]
    return [Guess(class_names[label], int(label), float(probabilities[label])) for label in most_probable]


def saliency_picture(trained: Trained, named: Predicted) -> bytes:
    """Returns a PNG of the first images and of the pixels that the score of their most probable class depends on."""
    from cnnctl.report.figures import saliency_png

    shown = named.predictions[:MOST_DRAWN]
    labels = np.array([each.guesses[0].label for each in shown])
    maps = saliency(trained.model, trained.inputs(named.drawn), labels, trained.from_logits, trained.channel_axis)
    return saliency_png(named.drawn, maps, [saliency_title(each) for each in shown])
