"""A user's Keras layer: its shapes, parameters and costs, and the checks that it keeps Keras's rules."""

from __future__ import annotations

import contextlib
import inspect
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Any

import keras

from cnnctl.errors import UsageError
from cnnctl.spec import layers as L
from cnnctl.spec.layers.custom import Measured
from cnnctl.spec.section import is_integer, show
from cnnctl.spec.shapes import DoesNotFit, LayerContext, Shape, Window, format_of, show_shape, spatial

MODULE = "cnnctl_custom_layers"
"""The name of the module that a user's file becomes."""
KEYS = ("size", "strides", "dilation", "padding")
WORDS = ("value", "position", "all")
OUTPUTS = ("logits", "probabilities")


@dataclass(frozen=True)
class KerasClass:
    """A class that the file of `--custom-layers` registers; attributes as in `spec.layers.custom.OwnClass`.

    Attributes:
        path: of the file.
    """

    name: str
    place: str
    keras_class: Any
    path: str
    _known: dict[Any, Measured | DoesNotFit] = field(default_factory=dict, compare=False, repr=False)

    @property
    def several_inputs(self) -> bool:
        """Whether `call` takes a list of tensors: the attribute `several_inputs` of the class."""
        return getattr(self.keras_class, "several_inputs", False) is True

    @property
    def outputs(self) -> str:
        """What the layer outputs at the end of a network: the attribute `output_kind` of the class, `logits` without it."""
        return str(getattr(self.keras_class, "output_kind", OUTPUTS[0]))

    @property
    def takes_training(self) -> bool:
        """Whether `call` takes `training`."""
        return takes_training(self.keras_class)

    def refuse_incomplete(self) -> None:
        """Raise UsageError if the class lacks a method, or one of our attributes has another value than the documented ones."""
        for method in ("call", "compute_output_shape"):
            if getattr(self.keras_class, method) is getattr(keras.Layer, method, None):
                what = "the shape of its output, batch first" if method != "call" else "its output"
                raise UsageError(f"{self.place}  class {self.name} has no method {method}; write one that returns {what}")
        if self.outputs not in OUTPUTS:
            raise UsageError(
                f"{self.place}  {self.name}.output_kind: expected {' or '.join(OUTPUTS)}, received {show(self.outputs)}"
            )

    def made(self, layer: L.Layer, context: LayerContext, precision: str = "float32") -> Any:
        """Make the Keras layer from the fields of a config."""
        fields = {name: getattr(layer, name) for name in type(layer).model_fields if name not in ("name", "inputs")}
        if "data_format" in fields:
            fields["data_format"] = format_of(layer, context)
        if fields.get("seed", 0) is None:
            fields["seed"] = 0
        return self.keras_class(**fields, name=type(layer).kind, dtype=precision)

    # shapes and costs

    def measured(self, layer: L.Layer, shapes: tuple[Shape, ...], context: LayerContext) -> Measured:
        """Compute shapes and costs without computing anything in TensorFlow, whose devices are not chosen yet.

        Raises:
            DoesNotFit: the class does not accept the fields or the shapes.
            UsageError: the class breaks one of Keras's rules.
        """
        key = (layer.model_dump_json(exclude={"name", "inputs"}), shapes, context)
        if key not in self._known:
            try:
                self._known[key] = self._measured(layer, shapes, context)
            except DoesNotFit as reason:
                self._known[key] = reason
        found = self._known[key]
        if isinstance(found, DoesNotFit):
            raise found
        return found

    def _measured(self, layer: L.Layer, shapes: tuple[Shape, ...], context: LayerContext) -> Measured:
        given = self.batches(shapes)
        with keras.StatelessScope(), quietly():
            made = self._try("__init__", lambda: self.made(layer, context))
            self._refuse_unserializable(layer, made)
            shape = self._output_shape(self._try("compute_output_shape", lambda: made.compute_output_shape(given)))
            self._try("build", lambda: made.build(given))
            trainable, parameters = _count(made.trainable_weights), made.count_params()
            macs = self._macs(made, given)
            window = self._field(made, given, format_of(layer, context), shapes, shape)
        return Measured(shape, trainable, parameters - trainable, macs, window)

    def batches(self, shapes: tuple[Shape, ...]) -> Any:
        """Return the shapes as Keras passes them: with the batch, and a list for several inputs."""
        batches = [(None, *shape) for shape in shapes]
        return batches if self.several_inputs else batches[0]

    def _try(self, method: str, call: Callable[[], Any]) -> Any:
        """Call a method of the user's, and raise DoesNotFit with the line of their file if it fails."""
        try:
            return call()
        except (Exception, SystemExit) as error:
            raise DoesNotFit(f"{self.name}.{method} failed: {self.reason(error)}") from error

    def reason(self, error: BaseException) -> str:
        """Describe an exception in one line, with the line of the user's file that raised it."""
        lines = [line for line in str(error).splitlines() if line.strip()]
        text = lines[0] if lines else type(error).__name__
        if text.startswith("Exception encountered when calling"):  # Keras's frame around the message
            text = lines[1] if len(lines) > 1 else text
        text = text.replace("\x1b[1m", "").replace("\x1b[0m", "")
        return f"{type(error).__name__}: {text} ({place_of(error, self.path) or self.place})"

    def _wrong(self, method: str, expected: str, received: Any) -> UsageError:
        place = place_of_method(self.keras_class, method, self.path) or self.place
        return UsageError(f"{place}  {self.name}.{method} returned {show(received)}; expected {expected}")

    def _output_shape(self, received: Any) -> Shape:
        shape = tuple(received) if isinstance(received, list | tuple) else None
        whole = shape is not None and len(shape) > 1 and all(is_integer(side, 1) for side in shape[1:])
        if not whole or shape is None or shape[0] is not None:
            raise self._wrong("compute_output_shape", "one shape, (None, height, width, channels) or (None, values)", received)
        return shape[1:]

    def _refuse_unserializable(self, layer: L.Layer, made: Any) -> None:
        """Raise UsageError if Keras could not save the layer and make an equal one from what it saved."""
        place = place_of_method(self.keras_class, "get_config", self.path) or self.place
        fields = [name for name in type(layer).model_fields if name not in ("name", "inputs")]
        try:
            saved = keras.layers.serialize(made)
            lacking = [name for name in fields if name not in saved["config"]]
            again = saved if lacking else keras.layers.serialize(keras.layers.deserialize(saved))
        except (Exception, SystemExit) as error:
            raise UsageError(f"{place}  class {self.name} cannot be saved: {self.reason(error)}") from error
        if lacking:
            names = " and ".join(f"'{name}'" for name in lacking)
            raise UsageError(
                f"{place}  {self.name}.get_config lacks {names}, so a saved network could not be opened; add what __init__ takes: "
                f"return {{**super().get_config(), '{lacking[0]}': self.{lacking[0]}}}"
            )
        if again["config"] != saved["config"]:
            raise UsageError(
                f"{place}  {self.name}.get_config does not return what __init__ took: made from it, it returns another"
            )

    def _macs(self, made: Any, given: Any) -> int | None:
        if not hasattr(made, "macs"):
            return None
        macs = self._try("macs", lambda: made.macs(given))
        if type(macs) is not int or macs < 0:
            raise self._wrong("macs", "the MACs per image, an integer of at least 0", macs)
        return macs

    def _field(self, made: Any, given: Any, data_format: L.DataFormat, shapes: tuple[Shape, ...], shape: Shape) -> Any:
        """Read what a value of the output depends on, from the method `window`."""
        if not hasattr(made, "window"):
            return None
        received = self._try("window", lambda: made.window(given))
        if received is None or (isinstance(received, str) and received in WORDS):
            self._refuse_other_places(received, shapes, shape)
            return received
        window = _window(received)
        if window is None:
            raise self._wrong(
                "window", "value, position, all, None or a mapping such as {'size': 3, 'padding': 'same'}", received
            )
        sides, _ = spatial(shapes[0], data_format, f"{self.name}.window")
        places, _ = spatial(shape, data_format, f"{self.name}.window")
        slid = tuple(window.output(pixels, axis) for axis, pixels in enumerate(sides))
        if slid != places:
            raise self._wrong(
                "window", f"a window with {places[0]}×{places[1]} positions, as compute_output_shape has", received
            )
        return window

    def _refuse_other_places(self, word: str | None, shapes: tuple[Shape, ...], shape: Shape) -> None:
        if word == "value" and any(len(each) > len(shape) for each in shapes):
            raise self._wrong("window", f"'all' or None, since the output {show_shape(shape)} has other positions", word)
        if word == "value" and len(shapes) == 1 and shapes[0] != shape:
            raise self._wrong("window", f"'all' or None, since {show_shape(shapes[0])} becomes {show_shape(shape)}", word)
        if word == "position" and (len(shape) != 3 or any(len(each) != 3 for each in shapes)):
            raise self._wrong("window", "'all' or None for inputs and outputs that are not images", word)


def takes_training(layer: Any) -> bool:
    """Return True if the `call` of a layer has the argument `training`."""
    return "training" in inspect.signature(layer.call).parameters


def place_of(error: BaseException, path: str) -> str:
    """Return the last `file:line` of a traceback that is in a file; empty if none is."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return f"{path}:{lines[-1]}" if lines else ""


def place_of_method(keras_class: Any, method: str, path: str) -> str:
    """Return `file:line` of a method of a class; empty if it is not from the file."""
    code = getattr(getattr(keras_class, method, None), "__code__", None)
    return f"{path}:{code.co_firstlineno}" if code is not None and code.co_filename == path else ""


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep what a layer prints out of the results, and hide Keras's warning of what is checked here."""
    with without_prints(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`build\(\)` was called on layer")
        yield


def without_prints() -> contextlib.redirect_stdout[Any]:
    """Send what a user's file prints to stderr, since stdout is for results."""
    return contextlib.redirect_stdout(sys.stderr)


def print_to_stderr(*values: Any, **options: Any) -> None:
    """Print as `print` does, but to stderr where no file is given."""
    print(*values, **{"file": sys.stderr, **options})


def _count(weights: Any) -> int:
    return sum(prod(weight.shape) for weight in weights)


def _window(received: Any) -> Window | None:
    """Read a window: `size`, and `strides`, `dilation` and `padding` as in conv2d."""
    if not isinstance(received, dict) or "size" not in received or not set(received) <= set(KEYS):
        return None
    pairs = [_pair(received.get(key, 1)) for key in KEYS[:3]]
    padding = received.get("padding", "valid")
    if None in pairs or padding not in ("valid", "same"):
        return None
    size, strides, dilation = pairs
    assert size and strides and dilation
    return Window(size, strides, dilation, padding == "same")


def _pair(value: Any) -> tuple[int, int] | None:
    pair = tuple(value) if isinstance(value, list | tuple) else (value, value)
    return pair if len(pair) == 2 and all(is_integer(side, 1) for side in pair) else None
