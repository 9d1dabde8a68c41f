"""Layers of one's own: the vocabulary that a file given by `--custom-layers` adds.

`model.custom_layers` reads the file, which needs Keras; here are the sections that it makes, and the one file of this process.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from cnnctl.errors import UsageError
from cnnctl.spec.layers.fields import Layer
from cnnctl.spec.layers.joins import Join

if TYPE_CHECKING:
    from cnnctl.spec.shapes import LayerContext, Shape, Window

FLAG = "--custom-layers"
COPY = "custom_layers.py"
"""The name of the copy in a run folder."""
ENTRY = "custom_layers"
"""The entry of environment.json, and of a study, with the file and its hash."""

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
        takes_training: whether its `call` takes `training`.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def place(self) -> str: ...  # noqa: D102
    @property
    def keras_class(self) -> Any: ...  # noqa: D102
    @property
    def outputs(self) -> str: ...  # noqa: D102
    @property
    def takes_training(self) -> bool: ...  # noqa: D102

    def measured(self, layer: Layer, shapes: "tuple[Shape, ...]", context: "LayerContext") -> Measured:
        """Compute shapes and costs; raises DoesNotFit."""
        ...


class CustomLayer(Layer):
    """A layer of one's own; each class has a section of its own."""

    own: ClassVar[OwnClass]


class CustomJoin(Join, CustomLayer):
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


def note_of(layers: Sequence[Layer]) -> dict[str, str] | None:
    """Return what a run notes about the file in environment.json; None if its network has no layer of one's own."""
    file = loaded()
    if file is None or not any(isinstance(layer, CustomLayer) for layer in layers):
        return None
    return {"file": file.path, "sha256": file.sha256}


def unused_note(layers: Sequence[Layer]) -> list[str]:
    """Return a warning if the command line has a file of layers and the network has none of them."""
    file = loaded()
    if file is None or any(isinstance(layer, CustomLayer) for layer in layers):
        return []
    return [f"warning: the config has no layer of {file.path} ({', '.join(file.layers)}); remove {FLAG}, or use one"]


class OtherCustomLayers(UsageError):
    """The command line has not the file of layers that a run, or a sweep, was started with."""


def refuse_other_file(noted: Any, of: str, copy: str) -> None:
    """Refuse a command line without the file of layers that a run was started with, or with another.

    Args:
        noted: what `note_of` returned at its start.
        of: the folder, for the message.
        copy: the path of a copy of the file, as a word of a command.

    Raises:
        OtherCustomLayers: the flag is missing, or the file has another hash.
    """
    if not isinstance(noted, dict) or "sha256" not in noted:
        return
    file, name, hash_of_run = loaded(), noted.get("file"), str(noted["sha256"])
    if file is None:
        raise OtherCustomLayers(
            f"{of} was started with the layers of {name}, SHA-256 {hash_of_run}, and code runs only if the command line names it; "
            f"add {FLAG} {name}, or its copy once you have read it: {FLAG} {copy}"
        )
    if file.sha256 != hash_of_run:
        raise OtherCustomLayers(
            f"{of} was started with another file of layers than {file.path}; use its copy: {FLAG} {copy}, or start again in "
            f"another folder\n  {hash_of_run} is the SHA-256 of {name} at the start\n  {file.sha256} is that of {file.path} now"
        )


def flag_words() -> list[str]:
    """Return the flag and the file of this command line, as words of a command; empty without them."""
    file = loaded()
    return [FLAG, file.path] if file else []
