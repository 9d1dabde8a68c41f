"""What replicas compute, compared with one device in a process that has several logical ones; run as a program.

    python -m tests.distributed.arithmetic FOLDER COUNT

Prints for each case: the totals after each step of one device and of so many replicas, and how far all variables lie
apart after the first step and in the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

STEPS = 12
STACK = """
data: {source: digits, validation: 0.2}
model:
  layers:
    - conv2d: {filters: 8, kernel_size: 3, use_bias: false}
    - activation: {activation: relu}
    - max_pooling2d
    - flatten
    - dense: {units: classes, kernel_regularizer: {l2: {l2: 0.01}}}
train: {batch_size: 98, optimizer: {sgd: {learning_rate: 0.01, momentum: 0.9}}}
"""
"""1,079 images are 11 batches and one of a single image: of two replicas one has none, of three two have none."""
NORMALIZED = STACK.replace(
    "- activation: {activation: relu}\n    - max_pooling2d", "- batch_normalization\n    - activation: {activation: tanh}"
)
"""Smooth: where two values are as large, rounding decides which of them max pooling takes."""
CASES: dict[str, tuple[str, list[str]]] = {
    "sgd": (STACK, []),
    "clipped by the norm of all": (STACK, ["train.optimizer={sgd: {learning_rate: 0.1, global_clipnorm: 0.1}}"]),
    "accumulated": (STACK, ["train.optimizer={sgd: {learning_rate: 0.05, gradient_accumulation_steps: 3}}"]),
    "averaged": (STACK, ["train.optimizer={sgd: {learning_rate: 0.05, use_ema: true, ema_overwrite_frequency: 4}}"]),
    "clipped by value, averaged in the end": (
        STACK,
        ["train.optimizer={sgd: {learning_rate: 0.1, clipvalue: 0.001, use_ema: true}}"],
    ),
    "schedule-free": (
        STACK,
        ["train.optimizer={schedule_free_adamw: {learning_rate: 0.001, epsilon: 0.001, warmup_steps: 3, weight_decay: 0.1}}"],
    ),
    "decayed": (STACK, ["train.optimizer={adamw: {learning_rate: 0.001, epsilon: 0.001, weight_decay: 0.1}}"]),
    "nadam, augmented, functional": (
        STACK,
        [
            "train.optimizer={nadam: {learning_rate: 0.001, epsilon: 0.001}}",
            "data.augment={rotation: 10, shift: 0.1}",
            "model.style=functional",
        ],
    ),
    "muon, one hot, erased and mixed, subclassed": (
        STACK,
        [
            "train.optimizer={muon: {learning_rate: 0.001, epsilon: 0.001}}",
            "data.labels=one_hot",
            "data.augment={erase: {probability: 0.5}, mixup: 0.4}",
            "model.style=subclass",
        ],
    ),
    "batch norm, a last batch of one image": (NORMALIZED, []),
    "batch norm, small parts": (NORMALIZED, ["train.batch_size=7"]),
    "batch norm, channels first": (
        NORMALIZED.replace("batch_normalization", "batch_normalization: {axis: 1}"),
        ["train.batch_size=25", "model.data_format=channels_first"],
    ),
    "batch norm, synchronized and renormalized": (
        NORMALIZED.replace(
            "batch_normalization",
            "batch_normalization: {synchronized: true, renorm: true, renorm_clipping: {rmax: 2, dmax: 0.5}, renorm_momentum: 0.8}",
        ),
        ["train.batch_size=25"],
    ),
    "normalized by the training images, subclassed": (
        STACK.replace("layers:\n", "layers:\n    - normalization: {axis: [1, 2]}\n"),
        ["model.style=subclass", "train.batch_size=25"],
    ),
    "half precision": (STACK, ["train.precision=mixed_float16"]),
}
WITH_THREE = (
    "clipped by the norm of all",
    "accumulated",
    "batch norm, a last batch of one image",
    "batch norm, small parts",
    "batch norm, channels first",
    "batch norm, synchronized and renormalized",
)
"""Cases in which a third replica shows what it does not show elsewhere."""


def cases_of(count: int) -> list[str]:
    """Returns the cases that are computed with so many replicas."""
    return list(CASES) if count == 2 else list(WITH_THREE)


def trained(name: str, count: int) -> tuple[list[tuple[float, ...]], list[Any], list[Any]]:
    """Returns the totals after each step, and all variables after the first step and in the end."""
    import tensorflow as tf

    from cnnctl.session.classification import Classification
    from cnnctl.spec.load import load
    from cnnctl.train.distributed.replicas import Replicas
    from cnnctl.train.distributed.strategy import mirrored
    from cnnctl.train.steps import build_once, compiled_steps

    config = Path(sys.argv[1]) / "config.yaml"
    config.write_text(CASES[name][0])
    experiment = load(config, CASES[name][1])
    strategy = mirrored("CPU", count) if count > 1 else None
    task = Classification(experiment, Replicas(strategy) if strategy else None)
    task.build()
    learner = task.learner
    build_once(learner.optimizer, learner.model)
    batches = task.training(0)
    run = compiled_steps(learner.step, learner.metrics)
    iterator = iter(learner.replicas.distribute(batches) if learner.replicas else batches)
    totals: list[tuple[float, ...]] = []
    after_one: list[Any] = []
    for step in range(STEPS):
        if step == STEPS // 2:  # as on a plateau
            learner.optimizer.learning_rate = float(learner.optimizer.learning_rate.numpy()) / 2
        run(iterator, tf.constant(1))
        totals.append(learner.metrics.totals())
        after_one = after_one or values(learner)
    with strategy.scope() if strategy else contextlib.nullcontext():
        learner.optimizer.finalize_variable_values(learner.model.trainable_variables)
    if strategy:
        _refuse_apart(strategy, learner)
    return totals, after_one, values(learner)


def values(learner: Any) -> list[Any]:
    return [variable.numpy() for variable in (*learner.model.variables, *learner.optimizer.variables)]


def farthest(first: list[Any], second: list[Any]) -> float:
    import numpy as np

    return max(float(np.abs(mine - its).max()) for mine, its in zip(first, second, strict=True))


def _refuse_apart(strategy: Any, learner: Any) -> None:
    """Ends the process where the replicas have come to different weights."""
    import numpy as np

    for variable in (*learner.model.variables, *learner.optimizer.variables):
        first, *others = (each.numpy() for each in strategy.experimental_local_results(variable.value))
        if any(not np.array_equal(first, other) for other in others):
            raise SystemExit(f"{variable.path} differs between replicas")


def normalized(count: int) -> float:
    """Returns how far batch norm over unequal parts of 7 images lies from that over all: outputs, gradient, moving averages."""
    import keras
    import numpy as np
    import tensorflow as tf

    from cnnctl.model import replicated
    from cnnctl.train.distributed.strategy import mirrored

    strategy, generator = mirrored("CPU", count), np.random.default_rng(0)
    images, upstream = (generator.normal(2, 1, (7, 4, 4, 3)).astype(np.float32) for _ in range(2))
    ends = [7 * replica // count for replica in range(count + 1)]

    def computed(layer: Any, images: Any, upstream: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = layer(images, training=True)
            weighted = tf.reduce_sum(outputs * upstream)
        return outputs, tape.gradient(weighted, images)

    alone = keras.layers.BatchNormalization()
    expected = computed(alone, tf.constant(images), upstream)
    with strategy.scope():
        layer = keras.layers.BatchNormalization()
        layer.build(images.shape)
    replicated._normalize_together(keras.Sequential([layer]))

    def part(images: Any, upstream: Any) -> tuple[Any, Any]:
        with replicated.training(tf.constant(1.0)):
            return computed(layer, images, upstream)

    def dealt(values: Any) -> Any:
        def own(context: Any) -> Any:
            replica = context.replica_id_in_sync_group
            return tf.constant(values[ends[replica] : ends[replica + 1]])

        return strategy.experimental_distribute_values_from_function(own)

    parts = tf.function(lambda *each: strategy.run(part, args=each), autograph=False)(dealt(images), dealt(upstream))
    joined = [np.concatenate([np.asarray(own) for own in strategy.experimental_local_results(each)]) for each in parts]
    moved = [[each.moving_mean.numpy(), each.moving_variance.numpy()] for each in (alone, layer)]
    return farthest([*(each.numpy() for each in expected), *moved[0]], [*joined, *moved[1]])


def main() -> None:
    count = int(sys.argv[2])
    os.environ["CNNCTL_CPU_REPLICAS"] = str(count)
    from cnnctl.train.quiet import import_tensorflow

    import_tensorflow()
    from cnnctl.train.device import choose_device

    choose_device("cpu")
    found: dict[str, Any] = {"normalized": normalized(count)}
    for name in cases_of(count):
        alone, *variables = trained(name, 1)
        together, *others = trained(name, count)
        apart = [farthest(mine, its) for mine, its in zip(variables, others, strict=True)]
        found[name] = {"alone": alone, "together": together, "apart": apart}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
