"""The heavy half of `one-shot`: which training image a network takes each test image for; imported after TensorFlow is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnctl.data.images import Pixels
from cnnctl.data.pipeline import preparation
from cnnctl.errors import RunError, UsageError
from cnnctl.few_shot.challenge_images import OneShotRun
from cnnctl.few_shot.challenge_tables import MAX_DRAWN, ChallengeResult, Mistake, RunRow, mistake_title
from cnnctl.few_shot.embedding import as_vectors, last_dense, layer_inputs, similarities
from cnnctl.few_shot.methods import maml_logits
from cnnctl.few_shot.views import Views, vectors_of
from cnnctl.session.trained_run import Trained, Values
from cnnctl.spec.experiment import FewShotSpec, Maml
from cnnctl.spec.few_shot import compared_by, distance_of

NOT_ENOUGH_MEMORY = "there is not enough memory for this network and the images of a run; try --device cpu"

Match = Callable[[Pixels, Pixels], NDArray[np.int64]]
"""Training images (M, H, W, C) and test images (N, H, W, C) → the position (N,) of the training image chosen for each."""
Embed = Callable[[Any], Values]
"""What the network takes, (B, H, W, C) or (B, C, H, W) → vectors (B, D)."""


@dataclass(frozen=True)
class Matcher:
    """How a trained network does a one-shot task.

    Attributes:
        match: does it.
        compared: how two images are compared, in words.
        views: of each image.
    """

    match: Match
    compared: str
    views: Views


@dataclass(frozen=True)
class Outcome:
    """A result, and the first mistakes to look at.

    Attributes:
        result: of all runs.
        drawn: for each of the first mistakes the test image, the chosen and the right one, (3, H, W, C).
    """

    result: ChallengeResult
    drawn: list[Pixels]


def matcher_of(trained: Trained, views: Views) -> Matcher:
    """Returns how a run's network matches images; each kind of run has its case here.

    A network that was trained to tell classes apart gives vectors by what its last dense layer takes.

    Raises:
        UsageError: the network has no dense layer.
    """
    few_shot = trained.experiment.few_shot
    if few_shot is None:
        return _matcher_of_classifier(trained, views)
    if isinstance(few_shot.learner, Maml):
        return _matcher_by_adapting(trained, few_shot, views)
    distance = distance_of(few_shot.learner)

    def embed(inputs: Any) -> Values:
        return as_vectors(trained.model(inputs, training=False))

    return Matcher(by_embedding(trained, embed, distance, views), compared_by(few_shot.learner), views)


def _matcher_of_classifier(trained: Trained, views: Views) -> Matcher:
    nodes = trained.experiment.network.nodes
    last = last_dense(nodes)
    if last is None:
        raise UsageError(
            f"{trained.run.path}: images are compared by what the last dense layer takes, and this network has none; "
            "give a run whose stack ends with a dense layer"
        )

    def embed(inputs: Any) -> Values:
        return layer_inputs(trained.model, nodes, last, inputs)

    return Matcher(by_embedding(trained, embed, "cosine", views), f"by the cosine of what layer '{last.name}' takes", views)


def _matcher_by_adapting(trained: Trained, few_shot: FewShotSpec, views: Views) -> Matcher:
    """Returns what adapts the network to the training images of a run, one of each class."""
    learner = few_shot.learner

    def match(training: Pixels, tests: Pixels) -> NDArray[np.int64]:
        if len(training) != few_shot.way:
            raise UsageError(
                f"{trained.run.path}: this network of maml does {few_shot.way}-way tasks only, and a run of the challenge has "
                f"{len(training)} classes; train with few_shot.way={len(training)}"
            )
        weights = [tf.convert_to_tensor(variable) for variable in trained.model.trainable_variables]
        support = tf.expand_dims(trained.inputs(training), 1)  # (M, 1, H, W, C)
        queries = tf.expand_dims(trained.inputs(tests), 0)  # (1, N, H, W, C): of classes unknown
        steps = learner.test_steps or learner.inner_steps
        logits = maml_logits(
            trained.model, weights, support, queries, steps=steps, rate=learner.inner_learning_rate, first_order=True
        )
        chosen: NDArray[np.int64] = np.argmax(logits, axis=1)
        return chosen

    return Matcher(match, compared_by(few_shot.learner), views)


def by_embedding(trained: Trained, embed: Embed, how: str, views: Views) -> Match:
    """Returns what chooses the training image whose vector is most like that of the test image.

    Args:
        trained: whose config says how images are made ready and augmented.
        embed: gives vectors.
        how: `squared_euclid` or `cosine`.
        views: of each image.
    """

    def match(training: Pixels, tests: Pixels) -> NDArray[np.int64]:
        vectors = vectors_of(
            embed,
            np.concatenate([training, tests]),
            preparation(trained.experiment),
            views,
            seed=trained.experiment.seed,
            at_once=len(training) + len(tests),
        )
        alike = similarities(vectors[len(training) :], vectors[: len(training)], how)  # (N, M)
        chosen: NDArray[np.int64] = np.argmax(alike, axis=1)
        return chosen

    return match


def challenged(matcher: Matcher, runs: Sequence[OneShotRun]) -> Outcome:
    """Returns how a network did in all runs.

    Raises:
        RunError: there is not enough memory.
    """
    try:
        chosen = [matcher.match(run.training, run.tests) for run in runs]
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise RunError(NOT_ENOUGH_MEMORY) from error
    rows = [_row(run, each) for run, each in zip(runs, chosen, strict=True)]
    drawn = [images for run, each in zip(runs, chosen, strict=True) for images in _wrong_images(run, each)]
    return Outcome(ChallengeResult(rows, matcher.compared, matcher.views.copies, matcher.views.turns), drawn[:MAX_DRAWN])


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
    """Returns a PNG of the first mistakes, one or more."""
    from cnnctl.report.figures import mistakes_png

    mistakes = outcome.result.mistakes
    of = f"{len(outcome.drawn)} of {len(mistakes):,}" if len(mistakes) > len(outcome.drawn) else f"{len(mistakes)}"
    title = f"mistakes: {of} in {outcome.result.images:,} images\neach: the test image, the one chosen, the right one"
    return mistakes_png(outcome.drawn, [mistake_title(each) for each in mistakes[: len(outcome.drawn)]], title)
