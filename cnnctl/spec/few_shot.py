"""Few-shot tasks: what goes together in their configs, and the network that is built for a method."""

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
    """What an episode is made of, in classes and in images a class."""

    way: int
    shot: int
    query: int

    @property
    def images_per_class(self) -> int:
        """Returns the images that an episode takes of each of its classes."""
        return self.shot + self.query

    @property
    def images(self) -> int:
        """Returns the images of an episode."""
        return self.way * self.images_per_class


def size_of(few_shot: FewShotSpec) -> EpisodeSize:
    """Returns the size of the episodes of validation and test."""
    return EpisodeSize(few_shot.way, few_shot.shot, few_shot.query)


def training_size_of(few_shot: FewShotSpec) -> EpisodeSize:
    """Returns the size of the episodes of training."""
    return EpisodeSize(
        few_shot.train_way or few_shot.way, few_shot.train_shot or few_shot.shot, few_shot.train_query or few_shot.query
    )


def turns_of(rotations: bool, mirrors: bool) -> int:
    """Returns in how many turns an image is seen, the one as it is included."""
    return (4 if rotations else 1) * (2 if mirrors else 1)


def network_of(experiment: Experiment) -> Experiment:
    """Returns the experiment with the stack that is built: with `maml`, a dense layer follows the embedding."""
    few_shot = experiment.few_shot
    if few_shot is None or not isinstance(few_shot.method, Maml):
        return experiment
    head = L.Dense(units=few_shot.way, name=HEAD)
    model = experiment.model.model_copy(update={"layers": [*experiment.model.layers, head]})
    return experiment.model_copy(update={"model": model})


def images_at_once(experiment: Experiment) -> int:
    """Returns the images that the network takes at once in training: a batch, all of a step's episodes, or with maml
    the labelled ones of one episode.
    """
    few_shot = experiment.few_shot
    if few_shot is None or isinstance(few_shot.method, CosineClassifier):
        return experiment.train.batch_size
    size = training_size_of(few_shot)
    if isinstance(few_shot.method, Maml):
        return size.way * size.shot
    return (few_shot.episodes_per_step or 1) * size.images


def distance_of(method: Prototypical | CosineClassifier) -> str:
    """Returns what embeddings are compared by: `cosine` or `squared_euclid`."""
    return "cosine" if isinstance(method, CosineClassifier) else method.distance


def compared_by(method: Prototypical | Maml | CosineClassifier) -> str:
    """Returns how a method names the class of an image, in words."""
    if isinstance(method, Maml):
        steps = method.test_steps or method.inner_steps
        descent = f"{steps} step{'s' if steps > 1 else ''} of gradient descent"
        return f"by the outputs after {descent}, all images to be named in one batch"
    return f"by the nearest class mean ({distance_of(method).replace('_', ' ')})"


def refuse_few_shot(experiment: Experiment, verb: str, instead: str) -> None:
    """Raises UsageError where a verb is for classification alone.

    Args:
        experiment: what the verb was given.
        verb: such as `predict`.
        instead: what to do with a few-shot task.
    """
    if experiment.few_shot:
        raise UsageError(f"cnnctl {verb} is for classification, and this is a few-shot task; {instead}")


def embedding_complaints(few_shot: FewShotSpec, nodes: Sequence[Node], facts: Sequence[Facts]) -> list[Complaint]:
    """Returns what is wrong with a stack as an embedding."""
    return [*_end_complaints(nodes[-1], facts[-1]), *_layer_complaints(few_shot, nodes)]


def _end_complaints(last: Node, facts: Facts) -> Iterator[Complaint]:
    if len(facts.output_shape) != 1:
        shape = show_shape(facts.output_shape)
        yield last.where, f"an embedding is a vector, but the network gives {shape} for an image; flatten or pool globally"


def _layer_complaints(few_shot: FewShotSpec, nodes: Sequence[Node]) -> Iterator[Complaint]:
    maml = isinstance(few_shot.method, Maml)
    for node in nodes:
        if isinstance(node.layer, L.Dense) and node.layer.units == L.CLASSES:
            message = "the classes of a few-shot task change from episode to episode; write units: 64, or another number"
            yield (*node.where, "units"), message
        if maml and isinstance(node.layer, L.Dropout):
            yield (
                node.where,
                "maml adapts on a few images, always in training mode, so dropout would act in tests too; remove it",
            )
        if maml and (regularizers := [name for name, value in node.layer if name.endswith("_regularizer") and value]):
            yield (*node.where, regularizers[0]), "maml has no place for it in the loss of an episode; leave it out"
        if maml and node.name == HEAD:
            yield node.where, f"maml adds a layer '{HEAD}' of its own; write name: embedding, or another name"


def few_shot_complaints(experiment: Experiment, data: DataSpec) -> list[Complaint]:
    """Returns what does not go together with the config's task, whichever it is."""
    if experiment.few_shot is None:
        return list(_classification_complaints(data))
    return [
        *_data_complaints(data),
        *_method_complaints(experiment.few_shot),
        *_turn_complaints(experiment.few_shot, data),
        *_training_complaints(experiment.train, experiment.few_shot),
    ]


def _classification_complaints(data: DataSpec) -> Iterator[Complaint]:
    never = "so a classifier would be asked for classes that it never learns; write task: few_shot at the top, or"
    if data.holds_out_classes:
        yield ("data", "hold_out"), f"takes whole classes away from training, {never} leave hold_out out"
    for role in ("validation", "test"):
        if isinstance(getattr(data, role), tuple):
            yield ("data", role), f"a list takes whole classes away from training, {never} write {role}: 0.1"
    if data.shared_classes == "drop":
        yield (
            ("data", "shared_classes"),
            "a classifier is judged on the classes that it learns; write task: few_shot at the top, or leave it out",
        )


def _data_complaints(data: DataSpec) -> Iterator[Complaint]:
    if data.hold_out == "image":
        message = "few-shot tasks are judged on classes never trained on; write hold_out: class, or leave hold_out out"
        yield ("data", "hold_out"), message
    held_out = [part for part in (data.validation, data.test) if not isinstance(part, str | None)]
    if data.hold_out == "group" and not held_out:
        yield (
            ("data", "hold_out"),
            "validation and test are splits, so nothing is held out of train; leave hold_out out",
        )
    if data.shared_classes == "drop" and not any(isinstance(part, str) for part in (data.validation, data.test)):
        yield ("data", "shared_classes"), "what is held out of train shares no class with it; leave it out"
    if data.labels != "integer":
        yield ("data", "labels"), "few-shot methods number the classes of each episode themselves; leave labels out"
    if data.remap_labels:
        yield (
            ("data", "remap_labels"),
            "few-shot tasks have no output for each class, so there is nothing to remap; leave it out",
        )


def _method_complaints(few_shot: FewShotSpec) -> Iterator[Complaint]:
    if isinstance(few_shot.method, CosineClassifier):
        for field in BY_EPISODES:
            if getattr(few_shot, field) is not None:
                message = "is for training by episodes, and cosine_classifier trains on batches of images (train.batch_size); remove it"
                yield ("few_shot", field), message
    if isinstance(few_shot.method, Maml) and few_shot.train_way not in (None, few_shot.way):
        message = (
            f"maml has an output for each of the {few_shot.way} classes of an episode, in training too; leave train_way out"
        )
        yield ("few_shot", "train_way"), message


def _turn_complaints(few_shot: FewShotSpec, data: DataSpec) -> Iterator[Complaint]:
    assert data.image_size
    height, width = data.image_size
    if few_shot.rotations and height != width:
        message = (
            f"images of {height}×{width} cannot be turned by 90 degrees; leave rotations out, or give a square data.image_size"
        )
        yield ("few_shot", "rotations"), message
    augment = data.augment
    if few_shot.mirrors and augment and augment.flip:
        yield (
            ("data", "augment", "flip"),
            "few_shot.mirrors makes mirrored images classes of their own; leave it out, or leave few_shot.mirrors out",
        )
    if few_shot.rotations and augment and augment.rotation >= FAR_TURNED:
        message = f"images turned by {FAR_TURNED:g} degrees look like those of the class turned by 90 (few_shot.rotations); write rotation: {FAR_TURNED - 1:g}, or less"
        yield ("data", "augment", "rotation"), message


def _training_complaints(train: TrainSpec, few_shot: FewShotSpec) -> Iterator[Complaint]:
    if train.loop == "fit":
        yield ("train", "loop"), "few-shot methods are trained by the custom loop; write loop: custom, or leave loop out"
    if train.loss is not None:
        yield (
            ("train", "loss"),
            "few-shot methods have a loss of their own, cross-entropy over an episode's classes; leave it out",
        )
    if isinstance(few_shot.method, Maml) and train.optimizer.loss_scale_factor is not None:
        yield ("train", "optimizer", train.optimizer.kind, "loss_scale_factor"), "maml does not scale its loss; leave it out"
    if isinstance(few_shot.method, Maml) and train.precision not in ("float32", "auto"):
        yield ("train", "precision"), "second derivatives lose too much in 16 bits: maml takes float32; leave precision out"
