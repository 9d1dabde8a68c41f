"""Learners of few-shot tasks, each against arithmetic that is written out here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from cnnctl.data.image_set import ImageSet
from cnnctl.data.pipeline import Preparation
from cnnctl.few_shot.cosine_head import CosineHead
from cnnctl.few_shot.episodes import Episodes
from cnnctl.few_shot.learners import MamlLearner, PrototypicalLearner, labels_of
from cnnctl.few_shot.scoring import EpisodeScores, EpisodeSeries, MethodSpec, episode_evaluator
from cnnctl.few_shot.views import NO_VIEWS, Views
from cnnctl.model import build_model
from cnnctl.spec.dataset import Augment
from cnnctl.spec.experiment import CosineClassifier, Experiment, Maml, Prototypical
from cnnctl.spec.few_shot import EpisodeSize
from cnnctl.train.steps import Metrics

Array = NDArray[Any]
WAY, SHOT, QUERY, EPISODES = 3, 2, 4, 7
SIZE = EpisodeSize(WAY, SHOT, QUERY)
PLAIN = Preparation(classes=0, channels_first=False, augment=None)
RATE = 0.3


def network(method: dict[str, Any], twice_differentiable: bool = False, regularizer: str | None = None) -> keras.Model:
    """A small network with batch norm, which has no kinks, so that rounding decides no maximum."""
    content = {
        "task": "few_shot",
        "seed": 3,
        "data": {"source": "digits", "image_size": [6, 6], "channels": 1, "classes": 10, "test": 0.2},
        "few_shot": {"method": method, "way": WAY},
        "model": {
            "style": "functional",
            "layers": [
                {"conv2d": {"filters": 4, "kernel_size": 3, "activation": "tanh", "kernel_regularizer": regularizer}},
                "batch_normalization",
                "flatten",
            ],
        },
    }
    return build_model(Experiment.model_validate(content), twice_differentiable=twice_differentiable)


def some_images(classes: int = 5, each: int = 8) -> ImageSet:
    """Noisy versions of one random image a class."""
    generator = np.random.default_rng(11)
    centres = generator.integers(0, 60, (classes, 1, 6, 6, 1))
    images = (centres + generator.integers(0, 196, (classes, each, 6, 6, 1))).reshape(-1, 6, 6, 1)
    return ImageSet(images.astype(np.uint8), np.repeat(np.arange(classes), each).astype(np.int64))


def series(prepare: Preparation = PLAIN, views: Views = NO_VIEWS, at_once: int = 64) -> EpisodeSeries:
    return EpisodeSeries(Episodes(some_images(), SIZE, "test"), prepare, seed=4, count=EPISODES, at_once=at_once, views=views)


def drawn(of: EpisodeSeries) -> list[Array]:
    return [of.episodes.indices(of.seed, number).numpy() for number in range(of.count)]


def floats(images: ImageSet) -> Array:
    return images.images[:].astype(np.float32) / 255


def softmax_loss(logits: Array, labels: Array) -> float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-log_probabilities[np.arange(len(labels)), labels].mean())


LABELS = np.repeat(np.arange(WAY), QUERY)


def expected_scores(vectors: Array, of: EpisodeSeries, distance: str, scale: float = 10.0) -> EpisodeScores:
    """Compute losses and accuracies, episode by episode and image by image."""
    losses, accuracies = [], []
    for indices in drawn(of):
        means = vectors[indices[:, :SHOT]].mean(axis=1)
        logits = np.empty((WAY * QUERY, WAY))
        for row, query in enumerate(vectors[indices[:, SHOT:]].reshape(WAY * QUERY, -1)):
            for column, mean in enumerate(means):
                cosine = query @ mean / np.linalg.norm(query) / np.linalg.norm(mean)
                logits[row, column] = scale * cosine if distance == "cosine" else -((query - mean) ** 2).sum()
        losses.append(softmax_loss(logits, LABELS))
        accuracies.append(float((logits.argmax(axis=1) == LABELS).mean()))
    return EpisodeScores(np.array(losses), np.array(accuracies))


def comparisons_averaged(poses: list[Array], scale: float) -> EpisodeScores:
    """Compute the scores by the mean over the poses of the cosines with the class means, in float64."""
    losses, accuracies = [], []
    for indices in drawn(series()):
        logits = np.mean([scale * cosines(turn.astype(np.float64)[indices]) for turn in poses], axis=0)
        losses.append(softmax_loss(logits, LABELS))
        accuracies.append(float((logits.argmax(axis=1) == LABELS).mean()))
    return EpisodeScores(np.array(losses), np.array(accuracies))


def cosines(episode: Array) -> Array:
    """Compute the cosine of each query (way · query) with each class mean (way), of vectors (way, shot + query, D)."""
    means, queries = episode[:, :SHOT].mean(axis=1), episode[:, SHOT:].reshape(WAY * QUERY, -1)
    lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(means, axis=1)
    found: Array = queries @ means.T / lengths
    return found


def assert_same(found: EpisodeScores, expected: EpisodeScores) -> None:
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-4)
    np.testing.assert_allclose(found.accuracies, expected.accuracies)
    assert 1 / WAY < found.accuracies.mean() < 1


# evaluation


def test_the_interval_is_twice_the_standard_error_of_the_episodes() -> None:
    accuracies = np.array([0.5, 0.75, 1.0, 0.75])
    loss, accuracy, interval, _ = EpisodeScores(np.array([1.0, 2.0, 3.0, 4.0]), accuracies).score
    assert (loss, accuracy) == (2.5, 0.75)
    assert interval == pytest.approx(1.96 * np.sqrt((0.0625 + 0.0625) / 3) / 2, rel=1e-4)


@pytest.mark.parametrize(
    ("spec", "distance", "scale"),
    [
        (Prototypical(distance="squared_euclid"), "squared_euclid", 0.0),
        (Prototypical(distance="cosine"), "cosine", 10.0),
        (CosineClassifier(scale=7.0), "cosine", 7.0),
    ],
)
def test_the_nearest_class_mean_is_found_as_by_hand(spec: MethodSpec, distance: str, scale: float) -> None:
    model = network({"prototypical": {}})
    vectors = model.predict(floats(some_images()), verbose=0)
    assert_same(episode_evaluator(model, spec)(series()), expected_scores(vectors, series(), distance, scale))


def test_it_does_not_matter_how_many_images_the_network_takes_at_once() -> None:
    model = network({"prototypical": {}})
    evaluate = episode_evaluator(model, Prototypical())
    np.testing.assert_allclose(evaluate(series(at_once=7)).losses, evaluate(series(at_once=64)).losses, rtol=1e-5)


def test_copies_are_averaged_with_the_image_itself() -> None:
    prepare = replace(PLAIN, augment=Augment(rotation=30.0, shift=0.2))
    model, images = network({"prototypical": {}}), some_images()
    total = model.predict(floats(images), verbose=0)
    seen = []
    for copy in (1, 2):
        draws = prepare.draws(len(images), series().seed ^ 0xC0B1E5, copy)
        changed, _ = prepare.network_inputs(images.images, images.labels, draws)
        seen.append(np.asarray(changed))
        total = total + model.predict(changed, verbose=0)
    assert np.abs(seen[0] - seen[1]).max() > 0.1
    evaluate = episode_evaluator(model, Prototypical())
    assert_same(evaluate(series(prepare, Views(augmented=2))), expected_scores(total / 3, series(), "squared_euclid"))
    assert not np.allclose(evaluate(series(prepare)).losses, evaluate(series(prepare, Views(augmented=2))).losses)


@pytest.mark.parametrize(("rotations", "mirrors", "poses"), [(True, True, 8), (True, False, 4), (False, True, 2)])
def test_turns_average_the_comparisons_by_cosine_also_with_several_shots(rotations: bool, mirrors: bool, poses: int) -> None:
    model, images = network({"prototypical": {}}), some_images()
    parts = []
    for side in [floats(images), floats(images)[:, :, ::-1]][: 1 + mirrors]:
        for quarter in range(4 if rotations else 1):
            parts.append(model.predict(np.rot90(side, quarter, axes=(1, 2)), verbose=0))
    assert SHOT > 1
    assert len(parts) == poses
    evaluate = episode_evaluator(model, CosineClassifier(scale=10.0))
    views = Views(rotations=rotations, mirrors=mirrors)
    assert views.poses == poses
    assert_same(evaluate(series(views=views)), comparisons_averaged(parts, 10.0))


def test_turns_average_the_squared_distances_of_the_images_turned_alike() -> None:
    model, images = network({"prototypical": {}}), some_images()
    parts = [model.predict(np.rot90(floats(images), quarter, axes=(1, 2)), verbose=0) for quarter in range(4)]
    found = episode_evaluator(model, Prototypical())(series(views=Views(rotations=True)))
    assert_same(found, expected_scores(np.concatenate(parts, axis=1) / 2, series(), "squared_euclid"))


@pytest.mark.parametrize(("steps", "test_steps"), [(1, None), (1, 3)])
def test_maml_is_judged_after_its_own_steps_of_gradient_descent(steps: int, test_steps: int | None) -> None:
    spec = Maml(inner_steps=steps, inner_learning_rate=RATE, test_steps=test_steps)
    model, pixels = network({"maml": {}}), floats(some_images())
    found = episode_evaluator(model, spec)(series())
    losses, accuracies = [], []
    for indices in drawn(series()):
        copy = network({"maml": {}})
        copy.set_weights(model.get_weights())
        for _ in range(test_steps or steps):
            descend(copy, pixels[indices[:, :SHOT]].reshape(-1, 6, 6, 1))
        logits = np.asarray(copy(pixels[indices[:, SHOT:]].reshape(-1, 6, 6, 1), training=True))
        losses.append(softmax_loss(logits, LABELS))
        accuracies.append(float((logits.argmax(axis=1) == LABELS).mean()))
    assert_same(found, EpisodeScores(np.array(losses), np.array(accuracies)))


def descend(model: keras.Model, images: Array) -> None:
    """One step on the labelled images of an episode; the batch is what batch norm takes its statistics from."""
    with tf.GradientTape() as tape:
        logits = model(images, training=True)
        labels = np.repeat(np.arange(WAY), SHOT)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    for variable, gradient in zip(model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True):
        variable.assign(variable - RATE * gradient)


def test_judging_changes_nothing_of_the_network() -> None:
    for learner, spec in (({"maml": {}}, Maml()), ({"prototypical": {}}, Prototypical())):
        model = network(learner)
        before = model.get_weights()
        episode_evaluator(model, spec)(series())
        for weight, value in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(weight, value)


# trained


def episodes(count: int) -> tuple[Array, Array]:
    """Create labelled images (E, way, shot, H, W, C) and query images (E, way, query, H, W, C)."""
    pixels = floats(some_images())
    chosen = np.stack([pixels[indices] for indices in drawn(series())[:count]])
    return chosen[:, :, :SHOT], chosen[:, :, SHOT:]


def metrics() -> Metrics:
    return Metrics(keras.metrics.Mean(), keras.metrics.SparseCategoricalAccuracy())


def sgd(model: keras.Model) -> keras.Optimizer:
    optimizer = keras.optimizers.SGD(0.5)
    optimizer.build(model.trainable_variables)
    return optimizer


def arrays(variables: Any) -> list[Array]:
    return [np.asarray(variable) for variable in variables]


def test_a_prototypical_step_descends_the_loss_of_all_its_episodes_with_the_statistics_of_all_their_images() -> None:
    model, reference = network({"prototypical": {}}), network({"prototypical": {}})
    support, queries = episodes(2)
    flat = np.concatenate([support.reshape(-1, 6, 6, 1), queries.reshape(-1, 6, 6, 1)])
    with tf.GradientTape() as tape:
        vectors = reference(flat, training=True)
        of_support = tf.reshape(vectors[: 2 * WAY * SHOT], (2, WAY, SHOT, -1))
        of_queries = tf.reshape(vectors[2 * WAY * SHOT :], (2, WAY * QUERY, -1))
        losses = []
        for episode in range(2):
            means = tf.reduce_mean(of_support[episode], axis=1)
            distances = tf.reduce_sum((of_queries[episode][:, None] - means[None]) ** 2, axis=-1)
            losses.append(tf.nn.sparse_softmax_cross_entropy_with_logits(LABELS, -distances))
        loss = tf.reduce_mean(losses)
    gradients = tape.gradient(loss, reference.trainable_variables)
    expected = [
        weight - 0.5 * gradient for weight, gradient in zip(arrays(reference.trainable_variables), gradients, strict=True)
    ]
    learner = PrototypicalLearner(model, sgd(model), metrics(), Prototypical(), model)
    learner.step(tf.constant(support), tf.constant(queries))
    for found, wanted in zip(arrays(model.trainable_variables), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert learner.metrics.values()[0] == pytest.approx(float(loss), rel=1e-5)


@pytest.mark.parametrize("first_order", [False, True])
def test_a_maml_step_descends_the_mean_gradient_of_its_episodes(first_order: bool) -> None:
    spec = Maml(inner_steps=2, inner_learning_rate=RATE, first_order=first_order)
    model = network({"maml": {}}, twice_differentiable=True)
    before = arrays(model.trainable_variables)
    alone = [stepped(spec, [number]) for number in range(3)]
    mean_change = [np.mean(changes, axis=0) for changes in zip(*alone, strict=True)]
    together = stepped(spec, [0, 1, 2])
    assert max(np.abs(change).max() for change in together) > 1e-3
    for found, wanted in zip(together, mean_change, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-6)
    assert len(before) == len(together)


def stepped(spec: Maml, which: list[int]) -> list[Array]:
    """Compute how one step on some episodes changes the weights of a new network."""
    model = network({"maml": {}}, twice_differentiable=True)
    before = arrays(model.trainable_variables)
    support, queries = episodes(3)
    MamlLearner(model, sgd(model), metrics(), spec).step(tf.constant(support[which]), tf.constant(queries[which]))
    return [after - old for after, old in zip(arrays(model.trainable_variables), before, strict=True)]


def test_maml_of_first_order_goes_another_way() -> None:
    second, first = (stepped(Maml(inner_steps=2, inner_learning_rate=RATE, first_order=order), [0]) for order in (False, True))
    assert max(np.abs(one - other).max() for one, other in zip(second, first, strict=True)) > 1e-4


def test_a_maml_step_follows_the_difference_quotient_of_the_loss_after_adaptation() -> None:
    spec = Maml(inner_steps=1, inner_learning_rate=RATE)
    model = network({"maml": {}}, twice_differentiable=True)
    support, queries = (tf.constant(part) for part in episodes(2))
    learner = MamlLearner(model, sgd(model), metrics(), spec)
    weights = arrays(model.trainable_variables)
    direction = [
        np.random.default_rng(index).normal(size=weight.shape).astype(np.float32) for index, weight in enumerate(weights)
    ]

    def loss_at(far: float) -> float:
        moved = [tf.constant(weight + np.float32(far) * step) for weight, step in zip(weights, direction, strict=True)]
        return float(learner.loss_with(moved, support, queries))

    quotient = (loss_at(1e-2) - loss_at(-1e-2)) / 2e-2
    learner.step(support, queries)
    gradients = [(old - new) / 0.5 for old, new in zip(weights, arrays(model.trainable_variables), strict=True)]
    slope = sum(float((gradient * step).sum()) for gradient, step in zip(gradients, direction, strict=True))
    assert slope == pytest.approx(quotient, rel=0.02)


@pytest.mark.parametrize("kind", ["prototypical", "maml"])
def test_the_loss_with_other_weights_is_that_of_the_step_and_changes_nothing(kind: str) -> None:
    regularizer = None if kind == "maml" else "l2"
    model = network({kind: {}}, twice_differentiable=kind == "maml", regularizer=regularizer)
    assert bool(model.losses) == (kind == "prototypical")
    learner: PrototypicalLearner | MamlLearner
    if kind == "maml":
        learner = MamlLearner(model, sgd(model), metrics(), Maml())
    else:
        learner = PrototypicalLearner(model, sgd(model), metrics(), Prototypical(), model)
    support, queries = (tf.constant(part) for part in episodes(2))
    before = model.get_weights()
    loss = float(learner.loss_with([tf.convert_to_tensor(each) for each in model.trainable_variables], support, queries))
    for weight, value in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, value)
    learner.step(support, queries)
    assert learner.metrics.values()[0] == pytest.approx(loss, rel=1e-5)


def test_labels_go_class_by_class_in_every_episode() -> None:
    assert labels_of(episodes(2)[1]).numpy().tolist() == [LABELS.tolist()] * 2


# the head


def test_the_cosine_head_gives_scaled_cosines() -> None:
    head = CosineHead(classes=4, scale=12.0, seed=1)
    vectors = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    logits = np.asarray(head(vectors))
    kernel = np.asarray(head.kernel)
    for row in range(5):
        for column in range(4):
            cosine = vectors[row] @ kernel[:, column] / np.linalg.norm(vectors[row]) / np.linalg.norm(kernel[:, column])
            assert logits[row, column] == pytest.approx(12 * cosine, rel=1e-4)


def test_the_cosine_head_is_drawn_from_its_seed_and_comes_back_from_its_config() -> None:
    first = CosineHead(classes=4, scale=12.0, seed=1)
    again = CosineHead.from_config(first.get_config())
    other = CosineHead(classes=4, scale=12.0, seed=2)
    for head in (first, again, other):
        head(np.ones((1, 3), np.float32))
    np.testing.assert_array_equal(first.kernel, again.kernel)
    assert np.abs(np.asarray(first.kernel) - np.asarray(other.kernel)).max() > 0.01
