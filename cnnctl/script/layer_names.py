"""The layers of a stack as code, with Python names for them and their outputs."""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from cnnctl.script.expressions import Call
from cnnctl.spec import weights as W
from cnnctl.spec.shapes import Shape

_TAKEN = {"x", "inputs", "outputs", "images", "training", "self", "layers", "keras", "tf", "CLASSES"}
_SCRIPT = {
    "model", "main", "read_data", "build_model", "strided_conv2d", "Network", "Path", "np", "os", "math", "itertools", "csv", "gzip", "io"
}  # fmt: skip
"""Other names of a script."""
_ARGUMENTS = {"shape", "shapes", "seeds", "activity_regularizer", "autocast"}
"""Other arguments of the definition of a block, and those of `keras.layers.Layer`."""
_PARTS = (*W.INITIALIZERS, *W.REGULARIZERS, *W.CONSTRAINTS)
_ATTRIBUTES = """
activity_regularizer add_loss add_metric add_variable add_weight autocast build build_from_config built call
call_signature_parameters compile compile_from_config compiled compiled_loss compiled_metrics compute_dtype compute_loss
compute_mask compute_metrics compute_output_shape compute_output_spec count_params distribute_reduction_method
distribute_strategy dtype dtype_policy evaluate export fit from_config get_build_config get_compile_config get_config
get_layer get_metrics_result get_quantization_layer_structure get_state_tree get_weights input input_dtype input_spec
jit_compile layers load_own_variables load_weights loss losses make_predict_function make_test_function
make_train_function metrics metrics_names metrics_variables name non_trainable_variables non_trainable_weights optimizer
output path predict predict_function predict_on_batch predict_step quantization_mode quantize quantized_build
quantized_call rematerialized_call reset_metrics run_eagerly save save_own_variables save_weights set_state_tree
set_weights stateless_call stateless_compute_loss steps_per_execution stop_training summary supports_jit
supports_masking symbolic_call test_function test_on_batch test_step to_json train_function train_on_batch train_step
trainable trainable_variables trainable_weights unrolled_steps_per_execution variable_dtype variables weights
"""
MODEL_ATTRIBUTES = frozenset(_ATTRIBUTES.split())
"""Attributes of `keras.Model`, which cannot be names of layers; a test compares them with Keras."""


@dataclass(frozen=True)
class Step:
    """A layer or block as code.

    Attributes:
        name: the full name of the layer that makes its output.
        label: its own name inside its stack.
        inputs: the full names of the layers whose outputs it takes.
        call: the call that makes it; empty for a layer that was made before.
        owner: the label of the one whose weights it uses; its own label if it has them.
        is_named: whether the config names it.
        trains: whether it takes `training`.
        shape: of its output.
        built: the shape that it is built for at once, as an expression; empty for one that Keras builds when it is called.
    """

    name: str
    label: str
    inputs: tuple[str, ...]
    call: Call
    owner: str
    is_named: bool
    trains: bool
    shape: Shape
    built: str = ""

    @property
    def is_made(self) -> bool:
        """Whether it is made here, and not an earlier layer that is called again."""
        return self.owner == self.label


def tensor_names(steps: Sequence[Step], inputs: Mapping[str, str], last: str) -> dict[str, str]:
    """Name the output of each layer: `x` if only the next layer takes it and the config sets no name."""
    tensors = dict(inputs)
    taken = {*_TAKEN, *keyword.kwlist, *(part.__name__ for part in _PARTS), *(step.call.function for step in steps)}
    takers = Counter(name for step in steps for name in set(step.inputs))
    for step, following in pairwise(steps):
        chained = not step.is_named and step.name in following.inputs and takers[step.name] == 1
        tensors[step.name] = "x" if chained else _free(step.label, taken)
    return {**tensors, steps[-1].name: last}


def shared_names(steps: Sequence[Step], tensors: Mapping[str, str]) -> dict[str, str]:
    """Name each layer of a functional model that is called more than once, by its label."""
    taken = {*_TAKEN, *keyword.kwlist, *tensors.values(), *(step.call.function for step in steps)}
    return {
        owner: _free(f"{owner}_layer", taken) for owner, count in Counter(step.owner for step in steps).items() if count > 1
    }


def attribute_names(steps: Sequence[Step]) -> dict[str, str]:
    """Name each layer as an attribute of a `keras.Model`, by its label."""
    taken = {*MODEL_ATTRIBUTES, *keyword.kwlist}
    return {step.label: _free(step.label, taken) for step in steps if step.is_made}


def argument_name(name: str) -> str:
    """Return the name of a parameter as an argument of a block's definition."""
    return f"{name}_" if name in {*_TAKEN, *_ARGUMENTS, *keyword.kwlist} else name


def free_name(name: str) -> str:
    """Return a name for the definition of a block that a script has no other use for."""
    return _free(name, {*_TAKEN, *_SCRIPT, *keyword.kwlist, *(part.__name__ for part in _PARTS)})


def _free(name: str, taken: set[str]) -> str:
    """Return a Python name for a layer's name that is not taken, and takes it."""
    plain = re.sub(r"\W", "_", name)
    plain = f"layer{plain}" if plain.startswith("_") else plain  # what begins so is Keras's own
    while plain in taken:
        plain += "_layer" if plain in MODEL_ATTRIBUTES else "_"
    taken.add(plain)
    return plain
