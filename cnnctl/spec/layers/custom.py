"""Layers of one's own: the vocabulary that a file given by `--custom-layers` adds.

`model.custom_layers` reads the file, which needs Keras; here are the sections that it makes, and the one file of this process.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from cnnctl.spec.layers.fields import Layer
from cnnctl.spec.layers.joins import Join

if TYPE_CHECKING:
    from cnnctl.spec.shapes import LayerContext, Shape, Window

FLAG = "--custom-layers"
COPY = "custom_layers.py"
"""The name of the copy in a run folder."""

Field = Literal["value", "position", "all"]
"""What a value of the output depends on: the value or all channels at the same position, or everything."""


@dataclass(frozen=True)
class Measured:
    """A layer of one's own for inputs of certain shapes.

    Attributes:
        shape: of its output, without the batch axis.
        trainable, non_trainable: its parameters.
        macs: per image; None if its class has no method `macs`.
        field: what a value of its output depends on; None if its class has no method `window`.
    """

    shape: "Shape"
    trainable: int
    non_trainable: int
    macs: int | None
    field: "Field | Window | None"


class OwnClass(Protocol):
    """A Keras class of one's own, as the rest of cnnctl knows it.

    Attributes:
        name: of the class.
        place: `file:line` where it is defined.
        keras_class: the class itself.
        outputs: `logits` or `probabilities`.
    """

    name: str
    place: str
    keras_class: Any
    outputs: str

    def measured(self, layer: Layer, shapes: "tuple[Shape, ...]", context: "LayerContext") -> Measured:
        """Compute shapes and costs; raises DoesNotFit."""
        ...


class CustomLayer(Layer):
    """A layer of one's own; each class has a section of its own."""

    own: ClassVar[OwnClass]


class CustomJoin(CustomLayer, Join):
    """A layer of one's own that takes several inputs."""


@dataclass(frozen=True)
class CustomFile:
    """The file of this command line.

    Attributes:
        path: as given.
        source: its bytes: what was compiled, and what a run keeps a copy of.
        sha256: of these bytes.
        layers: its sections by layer name.
    """

    path: str
    source: bytes
    sha256: str
    layers: Mapping[str, type[CustomLayer]]


_loaded: list[CustomFile] = []


def loaded() -> CustomFile | None:
    """Return the file of this command line; None without the flag."""
    return _loaded[0] if _loaded else None


def use(file: CustomFile | None) -> None:
    """Add the layers of a file to the vocabulary, in place of those of any other; None for no layers of one's own."""
    from cnnctl.spec.layers import STACK_ITEM  # it imports this module

    for earlier in _loaded:
        for kind in earlier.layers:
            STACK_ITEM.choices.pop(kind, None)
    _loaded[:] = [file] if file else []
    STACK_ITEM.choices.update(file.layers if file else {})


def used(layers: Sequence[Layer]) -> list[CustomLayer]:
    """Return the layers of a network that are one's own."""
    return [layer for layer in layers if isinstance(layer, CustomLayer)]


def flag_words() -> list[str]:
    """Return the flag and the file of this command line, as words of a command; empty without them."""
    file = loaded()
    return [FLAG, file.path] if file else []
