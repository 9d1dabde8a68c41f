"""Python names for layers and their outputs."""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from cnnctl.spec import weights as W
from cnnctl.spec.stack import INPUT, Node

_TAKEN = {"x", "inputs", "outputs", "images", "training", "self", "layers", "keras", "tf", "CLASSES"}
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


def tensor_names(nodes: Sequence[Node], images: str, last: str) -> dict[str, str]:
    """Name the output of each layer: `x` if only the next layer takes it and the config sets no name."""
    tensors = {INPUT: images}
    taken = {*_TAKEN, *keyword.kwlist, *(part.__name__ for part in _PARTS)}
    takers = Counter(name for node in nodes for name in set(node.inputs))
    for node, following in pairwise(nodes):
        chained = node.layer.name is None and node.name in following.inputs and takers[node.name] == 1
        tensors[node.name] = "x" if chained else _free(node.name, taken)
    return {**tensors, nodes[-1].name: last}


def attribute_names(nodes: Sequence[Node]) -> dict[str, str]:
    """Name each layer as an attribute of a `keras.Model`."""
    taken = {*MODEL_ATTRIBUTES, *keyword.kwlist}
    return {node.name: _free(node.name, taken) for node in nodes}


def _free(name: str, taken: set[str]) -> str:
    """Return a Python name for a layer's name that is not taken, and takes it."""
    plain = re.sub(r"\W", "_", name)
    plain = f"layer{plain}" if plain.startswith("_") else plain  # what begins so is Keras's own
    while plain in taken:
        plain += "_layer" if plain in MODEL_ATTRIBUTES else "_"
    taken.add(plain)
    return plain
