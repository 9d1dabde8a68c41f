"""A stack as Keras code in three styles, as the network and as a block; one layer per line with its output shape."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from cnnctl.script.expressions import WIDTH, Call, hung, literal
from cnnctl.script.layer_names import Step, attribute_names, free_name, shared_names, tensor_names
from cnnctl.spec.groups import Group
from cnnctl.spec.head import output_kind
from cnnctl.spec.network import Network
from cnnctl.spec.shapes import Shape
from cnnctl.spec.stack import INPUT

Line = tuple[str, Call, str, Shape | None]
"""What precedes a call, the call, what follows it, and the shape of its output."""


class Style(ABC):
    """How a style writes the network and its blocks."""

    @abstractmethod
    def network(self, network: Network, steps: Sequence[Step]) -> str:
        """Return the code that makes `model`."""

    @abstractmethod
    def block(self, block: Group, name: str, steps: Sequence[Step], parameters: Sequence[str]) -> str:
        """Return the definition of a block."""

    def block_name(self, kind: str) -> str:
        """Return the name of the definition of a block: a function."""
        return free_name(kind)

    def names_like_keras(self, defined: str, kind: str) -> bool:
        """Return True if Keras itself names a block as cnnctl does; the names decide in which order gradients are summed."""
        return False

    def made_of(self, shapes: Sequence[Shape]) -> tuple[str, ...]:
        """Return the arguments that a block needs beside its parameters, of its inputs."""
        return ()


class _Sequential(Style):
    def network(self, network: Network, steps: Sequence[Step]) -> str:
        lines = with_shapes([("        ", step.call, ",", step.shape) for step in steps])
        image = literal(network.image)
        return "\n".join(["model = keras.Sequential(", "    [", f"        keras.Input({image}),", *lines, "    ]", ")"])

    def block(self, block: Group, name: str, steps: Sequence[Step], parameters: Sequence[str]) -> str:
        lines = [line for step in steps for line in hung("            ", step.call, ",", WIDTH)]
        return "\n".join(
            [
                f"def {name}({', '.join([*parameters, 'name'])}):",
                f'    """Return the block {block.kind}."""',
                "    return keras.Sequential(",
                "        [",
                *lines,
                "        ],",
                "        name=name,",
                "    )",
            ]
        )


class _Functional(Style):
    def network(self, network: Network, steps: Sequence[Step]) -> str:
        head = [
            "def build_model():",
            f'    """Return the network: images {show(network.image)} to {output_kind(network.nodes)} (B, CLASSES)."""',
            f"    inputs = keras.Input({literal(network.image)})",
        ]
        calls = _functional_calls(steps, {INPUT: "inputs"})
        return "\n".join(
            [*head, *with_shapes(calls), "    return keras.Model(inputs, outputs)", "", "", "model = build_model()"]
        )

    def block(self, block: Group, name: str, steps: Sequence[Step], parameters: Sequence[str]) -> str:
        several = len(block.inputs) > 1
        taken, made = ("shapes", "[keras.Input(shape) for shape in shapes]") if several else ("shape", "keras.Input(shape)")
        inputs = {outer: f"inputs[{index}]" if several else "inputs" for index, outer in enumerate(block.inputs)}
        calls = _functional_calls(steps, inputs)
        return "\n".join(
            [
                f"def {name}({', '.join([taken, *parameters, 'name'])}):",
                f'    """Return the block {block.kind} for inputs of a shape."""',
                f"    inputs = {made}",
                *(line for head, call, tail, _ in calls for line in hung(head, call, tail, WIDTH)),
                "    return keras.Model(inputs, outputs, name=name)",
            ]
        )

    def made_of(self, shapes: Sequence[Shape]) -> tuple[str, ...]:
        return (literal(shapes[0] if len(shapes) == 1 else list(shapes)),)


def _functional_calls(steps: Sequence[Step], inputs: Mapping[str, str]) -> list[Line]:
    """Return the lines that compute each output; a layer that is used again is made on a line of its own."""
    tensors = tensor_names(steps, inputs, last="outputs")
    variables = shared_names(steps, tensors)
    lines: list[Line] = []
    for step in steps:
        taken, call = taken_by(step, tensors), step.call
        if step.owner in variables and step.is_made:
            lines.append((f"    {variables[step.owner]} = ", call, "", None))
        if step.owner in variables:
            lines.append((f"    {tensors[step.name]} = ", Call(variables[step.owner], (taken,)), "", step.shape))
        else:
            lines.append((f"    {tensors[step.name]} = ", call, f"({taken})", step.shape))
    return lines


class _Subclass(Style):
    def network(self, network: Network, steps: Sequence[Step]) -> str:
        image = network.image
        names = attribute_names(steps)
        return "\n".join(
            [
                "class Network(keras.Model):",
                f'    """Images {show(image)} to {output_kind(network.nodes)} (B, CLASSES)."""',
                "",
                "    def __init__(self):",
                "        super().__init__()",
                *_attributes(steps, names),
                "",
                "    def call(self, images, training=False):",
                *with_shapes(_calls_of_attributes(steps, names, {INPUT: "images"})),
                "",
                "",
                "model = Network()",
                f"model(tf.zeros({literal((1, *image))}))  # creates the weights",
            ]
        )

    def block(self, block: Group, name: str, steps: Sequence[Step], parameters: Sequence[str]) -> str:
        several, names = len(block.inputs) > 1, attribute_names(steps)
        inputs = {outer: f"inputs[{index}]" if several else "inputs" for index, outer in enumerate(block.inputs)}
        calls = _calls_of_attributes(steps, names, inputs)
        return "\n".join(
            [
                f"class {name}(layers.Layer):",
                f'    """The block {block.kind}."""',
                "",
                f"    def __init__({', '.join(['self', *parameters, 'name=None'])}):",
                "        super().__init__(name=name)",
                *_attributes(steps, names),
                "",
                "    def call(self, inputs, training=False):",
                *(line for head, call, tail, _ in calls for line in hung(head, call, tail, WIDTH)),
            ]
        )

    def block_name(self, kind: str) -> str:
        return free_name(_class_name(kind))

    def names_like_keras(self, defined: str, kind: str) -> bool:
        return defined == _class_name(kind) and re.fullmatch("([a-z]+_)*[a-z]+", kind) is not None


def _class_name(kind: str) -> str:
    return "".join(word.capitalize() for word in kind.split("_"))


def _attributes(steps: Sequence[Step], names: Mapping[str, str]) -> list[str]:
    lines = []
    for step in steps:
        if step.is_made:
            lines += hung(f"        self.{names[step.label]} = ", step.call, "", WIDTH)
        if step.built:
            lines.append(f"        self.{names[step.label]}.build({step.built})")
    return lines


def _calls_of_attributes(steps: Sequence[Step], names: Mapping[str, str], inputs: Mapping[str, str]) -> list[Line]:
    """Return the lines of `call`: each layer takes the tensors of its inputs."""
    tensors = tensor_names(steps, inputs, last="")
    lines: list[Line] = []
    for step in steps:
        target = f"{tensors[step.name]} = " if tensors[step.name] else "return "
        training = ("training=training",) if step.trains else ()
        call = Call(f"self.{names[step.owner]}", (taken_by(step, tensors), *training))
        lines.append((f"        {target}", call, "", step.shape))
    return lines


STYLES: dict[str, Style] = {"sequential": _Sequential(), "functional": _Functional(), "subclass": _Subclass()}


def with_shapes(lines: Sequence[Line]) -> list[str]:
    """Format the lines of calls, with the output shape of each layer in a comment column."""
    shapes = ["" if shape is None else show(shape) for *_, shape in lines]
    most = WIDTH - max(map(len, shapes)) - 4
    written = [hung(head, call, tail, most) for head, call, tail, _ in lines]
    column = min(max(len(each[0]) for each in written), most)
    return [
        line
        for shape, (first, *others) in zip(shapes, written, strict=True)
        for line in (f"{first:<{column}}  # {shape}" if shape else first, *others)
    ]


def show(shape: Shape) -> str:
    """Format a shape with the batch axis, `(B, 28, 28, 1)`."""
    return f"(B, {', '.join(map(str, shape))})"


def taken_by(step: Step, tensors: Mapping[str, str]) -> str:
    """Return the expression of what a layer takes."""
    names = [tensors[name] for name in step.inputs]
    return names[0] if len(names) == 1 else f"[{', '.join(names)}]"
