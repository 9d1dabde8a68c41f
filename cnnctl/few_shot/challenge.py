"""Run the one-shot test: match each test image with a training image. Imported after TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnctl.data.images import Pixels
from cnnctl.data.pipeline import preparation
from cnnctl.errors import UsageError
from cnnctl.few_shot.challenge_images import OneShotRun
from cnnctl.few_shot.challenge_tables import MAX_DRAWN, ChallengeResult, Mistake, RunRow, mistake_title
from cnnctl.few_shot.embedding import as_vectors, last_dense, layer_inputs, similarities
from cnnctl.few_shot.methods import maml_logits
from cnnctl.few_shot.views import Views, embed_views
from cnnctl.session.trained_run import Trained, Values
from cnnctl.spec.experiment import FewShotSpec, Maml
from cnnctl.spec.few_shot import compared_by, distance_of
from cnnctl.train.memory_check import FEWER_IMAGES, as_memory_error

Match = Callable[[Pixels, Pixels], NDArray[np.int64]]
"""Training images (M, H, W, C) and test images (N, H, W, C) → the position (N,) of the training image chosen for each."""
Embed = Callable[[Any], Values]
"""Prepared images, (B, H, W, C) or (B, C, H, W) → embeddings (B, D)."""


@dataclass(frozen=True)
class Matcher:
    """How a trained network matches images.

    Attributes:
        match: chooses a training image for each test image.
        compared: how two images are compared, in words.
        views: of each image.
    """

    match: Match
    compared: str
    views: Views


@dataclass(frozen=True)
class Outcome:
    """A result, and the images of the first mistakes.

    Attributes:
        result: of all runs.
        drawn: for each of the first mistakes the test image, the chosen and the right one, (3, H, W, C).
    """

    result: ChallengeResult
    drawn: list[Pixels]


def matcher_of(trained: Trained, views: Views) -> Matcher:
    """Create the matcher of a run: by embeddings, or by adaptation with `maml`.

    Of a classification network, the embedding is the input of the last dense layer.

    Raises:
        UsageError: the network has no dense layer.
    """
    few_shot = trained.experiment.few_shot
    if few_shot is None:
        return _matcher_of_classifier(trained, views)
    if isinstance(few_shot.method, Maml):
        return _matcher_by_adapting(trained, few_shot, views)
    distance = distance_of(few_shot.method)

    def embed(inputs: Any) -> Values:
        return as_vectors(trained.model(inputs, training=False))

    return Matcher(by_embedding(trained, embed, distance, views), compared_by(few_shot.method), views)


def _matcher_of_classifier(trained: Trained, views: Views) -> Matcher:
    nodes = trained.experiment.network.nodes
    last = last_dense(nodes)
    if last is None:
        raise UsageError(
            f"{trained.run.path}: images are compared by the input of the last dense layer, and this network has none; "
            "choose a run whose network ends with a dense layer"
        )

    def embed(inputs: Any) -> Values:
        return layer_inputs(trained.model, nodes, last, inputs)

    return Matcher(by_embedding(trained, embed, "cosine", views), f"by the cosine of the inputs of layer '{last.name}'", views)


def _matcher_by_adapting(trained: Trained, few_shot: FewShotSpec, views: Views) -> Matcher:
    """Create the matcher that adapts the network to the training images of a run, one per class."""
    method = few_shot.method

    def match(training: Pixels, tests: Pixels) -> NDArray[np.int64]:
        if len(training) != few_shot.way:
            raise UsageError(
                f"{trained.run.path}: this maml network classifies {few_shot.way}-way episodes only, and a run of the challenge has "
                f"{len(training)} classes; train with few_shot.way={len(training)}"
            )
        weights = [tf.convert_to_tensor(variable) for variable in trained.model.trainable_variables]
        support = tf.expand_dims(trained.inputs(training), 1)  # (M, 1, H, W, C)
        queries = tf.expand_dims(trained.inputs(tests), 0)  # (1, N, H, W, C): one group, as their classes are unknown
        steps = method.test_steps or method.inner_steps
        logits = maml_logits(
            trained.model, weights, support, queries, steps=steps, rate=method.inner_learning_rate, first_order=True
        )
        chosen: NDArray[np.int64] = np.argmax(logits, axis=1)
        return chosen

    return Matcher(match, compared_by(few_shot.method), views)


def by_embedding(trained: Trained, embed: Embed, distance: str, views: Views) -> Match:
    """Create the function that chooses the training image with the embedding most similar to that of the test image.

    Args:
        trained: its config sets how images are prepared and augmented.
        embed: computes embeddings.
        distance: `squared_euclid` or `cosine`.
        views: of each image.
    """

    def match(training: Pixels, tests: Pixels) -> NDArray[np.int64]:
        vectors = embed_views(
            embed,
            np.concatenate([training, tests]),
            preparation(trained.experiment.data, trained.experiment.model.data_format),
            views,
            seed=trained.experiment.seed,
            at_once=len(training) + len(tests),
        )
        similarity = similarities(vectors[len(training) :], vectors[: len(training)], distance)  # (N, M)
        chosen: NDArray[np.int64] = np.argmax(similarity, axis=1)
        return chosen

    return match


def run_challenge(matcher: Matcher, runs: Sequence[OneShotRun]) -> Outcome:
    """Match the images of all runs.

    Raises:
        RunError: there is not enough memory.
    """
    with as_memory_error(FEWER_IMAGES):
        chosen = [matcher.match(run.training, run.tests) for run in runs]
    rows = [_row(run, each) for run, each in zip(runs, chosen, strict=True)]
    drawn = [images for run, each in zip(runs, chosen, strict=True) for images in _wrong_images(run, each)]
    return Outcome(ChallengeResult(rows, matcher.compared, matcher.views.augmented, matcher.views.poses), drawn[:MAX_DRAWN])


def _row(run: OneShotRun, chosen: NDArray[np.int64]) -> RunRow:
    mistakes = [
        Mistake(run.test_files[index], run.training_files[chosen[index]], run.training_files[run.answers[index]])
        for index in _wrong(run, chosen)
    ]
    return RunRow(run.name, len(run.training), len(run.tests), mistakes)


def _wrong(run: OneShotRun, chosen: NDArray[np.int64]) -> list[int]:
    return [int(index) for index in np.flatnonzero(chosen != run.answers)]


def _wrong_images(run: OneShotRun, chosen: NDArray[np.int64]) -> list[Pixels]:
    return [
        np.stack([run.tests[index], run.training[chosen[index]], run.training[run.answers[index]]])
        for index in _wrong(run, chosen)
    ]


def mistakes_picture(outcome: Outcome) -> bytes:
    """Draw the first mistakes, one or more, as a PNG."""
    from cnnctl.report.figures import mistakes_png

    mistakes = outcome.result.mistakes
    of = f"{len(outcome.drawn)} of {len(mistakes):,}" if len(mistakes) > len(outcome.drawn) else f"{len(mistakes)}"
    title = f"mistakes: {of} in {outcome.result.images:,} images\neach: the test image, the one chosen, the right one"
    return mistakes_png(outcome.drawn, [mistake_title(each) for each in mistakes[: len(outcome.drawn)]], title)
