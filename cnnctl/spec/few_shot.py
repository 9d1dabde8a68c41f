"""Few-shot tasks: the checks of their configs, episode sizes, and the network that is built for a method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cnnctl.errors import UsageError
from cnnctl.spec import layers as L
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.experiment import CosineClassifier, Experiment, FewShotSpec, Maml, Prototypical
from cnnctl.spec.shapes import Facts, show_shape
from cnnctl.spec.stack import Complaint, Node
from cnnctl.spec.training import TrainSpec

HEAD = "maml_head"
"""The layer that is added to a stack for `maml`: dense, from the embedding to the classes of an episode."""
FAR_TURNED = 45.0
BY_EPISODES = ("train_way", "train_shot", "train_query", "episodes", "episodes_per_step")
"""Fields of training by episodes, which `cosine_classifier` has not."""


@dataclass(frozen=True)
class EpisodeSize:
    """The size of an episode: classes, and images per class."""

    way: int
    shot: int
    query: int

    @property
    def images_per_class(self) -> int:
        """Images of each class, labelled and to classify."""
        return self.shot + self.query

    @property
    def images(self) -> int:
        """Images of the whole episode."""
        return self.way * self.images_per_class


def size_of(few_shot: FewShotSpec) -> EpisodeSize:
    """Return the size of the episodes of validation and test."""
    return EpisodeSize(few_shot.way, few_shot.shot, few_shot.query)


def training_size_of(few_shot: FewShotSpec) -> EpisodeSize:
    """Return the size of the episodes of training."""
    return EpisodeSize(
        few_shot.train_way or few_shot.way, few_shot.train_shot or few_shot.shot, few_shot.train_query or few_shot.query
    )


def turns_of(rotations: bool, mirrors: bool) -> int:
    """Count the poses of an image, including the original."""
    return (4 if rotations else 1) * (2 if mirrors else 1)


def with_head(experiment: Experiment) -> Experiment:
    """Add the dense layer that follows the embedding with `maml`; other experiments stay as they are."""
    few_shot = experiment.few_shot
    if few_shot is None or not isinstance(few_shot.method, Maml):
        return experiment
    head = L.Dense(units=few_shot.way, name=HEAD)
    model = experiment.model.model_copy(update={"layers": [*experiment.model.layers, head]})
    return experiment.model_copy(update={"model": model})


def images_at_once(experiment: Experiment) -> int:
    """Count the images per forward pass in training: a batch, all episodes of a step, or with maml the labelled
    images of one episode.
    """
    few_shot = experiment.few_shot
    if few_shot is None or isinstance(few_shot.method, CosineClassifier):
        return experiment.train.batch_size
    size = training_size_of(few_shot)
    if isinstance(few_shot.method, Maml):
        return size.way * size.shot
    return (few_shot.episodes_per_step or 1) * size.images


def distance_of(method: Prototypical | CosineClassifier) -> str:
    """Return the distance between embeddings: `cosine` or `squared_euclid`."""
    return "cosine" if isinstance(method, CosineClassifier) else method.distance


def compared_by(method: Prototypical | Maml | CosineClassifier) -> str:
    """Describe in words how a method classifies an image."""
    if isinstance(method, Maml):
        steps = method.test_steps or method.inner_steps
        descent = f"{steps} step{'s' if steps > 1 else ''} of gradient descent"
        return f"by the outputs after {descent}, all query images in one batch"
    return f"by the nearest class mean ({distance_of(method).replace('_', ' ')})"


def refuse_few_shot(experiment: Experiment, verb: str, instead: str) -> None:
    """Raise UsageError if the run of a classification verb is a few-shot task.

    Args:
        experiment: the config of the run.
        verb: the command, such as `predict`.
        instead: what to run for a few-shot task.
    """
    if experiment.few_shot:
        raise UsageError(f"cnnctl {verb} is for classification, and this is a few-shot task; {instead}")


def embedding_complaints(few_shot: FewShotSpec, nodes: Sequence[Node], facts: Sequence[Facts]) -> list[Complaint]:
    """Check that a stack is an embedding."""
    return [*_end_complaints(nodes[-1], facts[-1]), *_layer_complaints(few_shot, nodes)]


def _end_complaints(last: Node, facts: Facts) -> Iterator[Complaint]:
    if len(facts.output_shape) != 1:
        shape = show_shape(facts.output_shape)
        yield last.where, f"an embedding is a vector, but the network outputs {shape} per image; flatten or pool globally"


def _layer_complaints(few_shot: FewShotSpec, nodes: Sequence[Node]) -> Iterator[Complaint]:
    maml = isinstance(few_shot.method, Maml)
    for node in nodes:
        if isinstance(node.layer, L.Dense) and node.layer.units == L.CLASSES:
            message = "the classes of a few-shot task differ between episodes; write units: 64, or another number"
            yield (*node.where, "units"), message
        if maml and isinstance(node.layer, L.RandomLayer):
            yield (
                node.where,
                f"maml adapts on a few images in training mode, so {node.layer.kind} would act in tests too; remove it",
            )
        if maml and isinstance(node.layer, L.CustomLayer):
            yield (
                node.where,
                "maml computes gradients through gradients, and in training mode in tests too, which cnnctl cannot check for a layer "
                "of one's own; remove it, or write method: prototypical",
            )
        if maml and (regularizers := [name for name, value in node.layer if name.endswith("_regularizer") and value]):
            yield (*node.where, regularizers[0]), "the loss of a maml episode has no penalties; remove it"
        if maml and node.name == HEAD:
            yield node.where, f"maml adds its own layer '{HEAD}'; write name: embedding, or another name"


def few_shot_complaints(experiment: Experiment) -> list[Complaint]:
    """Check the sections of a config against its task."""
    data = experiment.data
    data = experiment.data
    if experiment.few_shot is None:
        return list(_classification_complaints(data))
    return [
        *_data_complaints(data),
        *_method_complaints(experiment.few_shot),
        *_turn_complaints(experiment.few_shot, data),
        *_training_complaints(experiment.train, experiment.few_shot),
    ]


def _classification_complaints(data: DataSpec) -> Iterator[Complaint]:
    never = "so validation and test would have classes that a classifier never learns; write task: few_shot at the top, or"
    if data.holds_out_classes:
        yield ("data", "hold_out"), f"holds whole classes out of training, {never} remove hold_out"
    for role in ("validation", "test"):
        if isinstance(getattr(data, role), tuple):
            yield ("data", role), f"a list holds whole classes out of training, {never} write {role}: 0.1"
    if data.augment and data.augment.mixup and data.labels == "integer":
        yield (
            ("data", "augment", "mixup"),
            "mixes the labels of two images, which integer labels cannot express; write labels: one_hot, or remove it",
        )
    if data.shared_classes == "drop":
        yield (
            ("data", "shared_classes"),
            "a classifier is evaluated on the classes that it learns; write task: few_shot at the top, or remove it",
        )


def _data_complaints(data: DataSpec) -> Iterator[Complaint]:
    if data.hold_out == "image":
        message = "few-shot tasks are evaluated on classes not in training; write hold_out: class, or remove it"
        yield ("data", "hold_out"), message
    held_out = [part for part in (data.validation, data.test) if not isinstance(part, str | None)]
    if data.hold_out == "group" and not held_out:
        yield (
            ("data", "hold_out"),
            "validation and test are splits, so nothing is held out of train; remove hold_out",
        )
    if data.shared_classes == "drop" and not any(isinstance(part, str) for part in (data.validation, data.test)):
        yield ("data", "shared_classes"), "validation and test are held out of train and share no class with it; remove it"
    if data.labels != "integer":
        yield ("data", "labels"), "few-shot methods number the classes of each episode themselves; remove labels"
    if data.augment and data.augment.mixup:
        message = "mixes images of two classes, and few-shot methods compare images of one class with each other; remove it"
        yield ("data", "augment", "mixup"), message
    if data.remap_labels:
        yield (
            ("data", "remap_labels"),
            "few-shot tasks have no output per class, so there is nothing to remap; remove it",
        )


def _method_complaints(few_shot: FewShotSpec) -> Iterator[Complaint]:
    if isinstance(few_shot.method, CosineClassifier):
        for field in BY_EPISODES:
            if getattr(few_shot, field) is not None:
                message = "is for training by episodes, but cosine_classifier trains on batches of images (train.batch_size); remove it"
                yield ("few_shot", field), message
    if isinstance(few_shot.method, Maml) and few_shot.train_way not in (None, few_shot.way):
        message = f"maml has one output for each of the {few_shot.way} classes of an episode, in training too; remove train_way"
        yield ("few_shot", "train_way"), message


def _turn_complaints(few_shot: FewShotSpec, data: DataSpec) -> Iterator[Complaint]:
    assert data.image_size
    height, width = data.image_size
    if few_shot.rotations and height != width:
        message = (
            f"images of {height}×{width} cannot be rotated by 90 degrees; remove rotations, or set a square data.image_size"
        )
        yield ("few_shot", "rotations"), message
    augment = data.augment
    if few_shot.mirrors and augment and augment.flip:
        yield (
            ("data", "augment", "flip"),
            "few_shot.mirrors makes mirrored images additional classes; remove it, or remove few_shot.mirrors",
        )
    if few_shot.rotations and augment and augment.rotation >= FAR_TURNED:
        message = (
            f"images rotated by {FAR_TURNED:g} degrees look like those of the class rotated by 90 (few_shot.rotations); "
            f"write rotation: {FAR_TURNED - 1:g}, or less"
        )
        yield ("data", "augment", "rotation"), message


def _training_complaints(train: TrainSpec, few_shot: FewShotSpec) -> Iterator[Complaint]:
    if train.loop == "fit":
        yield ("train", "loop"), "few-shot methods train by the custom loop; write loop: custom, or remove loop"
    if train.loss is not None:
        yield (
            ("train", "loss"),
            "few-shot methods have their own loss, cross-entropy over the classes of an episode; remove it",
        )
    if isinstance(few_shot.method, Maml) and train.optimizer.loss_scale_factor is not None:
        yield ("train", "optimizer", train.optimizer.kind, "loss_scale_factor"), "maml does not scale its loss; remove it"
    if isinstance(few_shot.method, Maml) and train.precision not in ("float32", "auto"):
        yield (
            ("train", "precision"),
            "second derivatives lose too much precision in 16 bits, so maml trains in float32; remove precision",
        )
