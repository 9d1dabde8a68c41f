"""Names from other tools, with the cnnctl field to write instead.

Users who know Keras or PyTorch write `lr`, `input_shape` or `- relu`. The tables below map such names to fields of cnnctl.
Fields in the wrong section are found through the models themselves. Tests apply the remedies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnnctl.errors import suggestion
from cnnctl.spec.dataset import Augment, DataSpec, Erase
from cnnctl.spec.document import Where, dotted
from cnnctl.spec.experiment import Experiment, FewShotSpec, LogSpec, ModelSpec
from cnnctl.spec.layers import STACK_ITEM, Activation
from cnnctl.spec.optimizers import OPTIMIZER, SCHEDULE
from cnnctl.spec.section import Section, show
from cnnctl.spec.training import CheckpointSpec, EarlyStopping, ReduceOnPlateau, TrainSpec


@dataclass(frozen=True)
class _Habit:
    """The remedy for a name of another tool.

    Attributes:
        target: the path of the field to write, with `train.optimizer.*` for the optimizer of the config; empty to remove it.
        value: the value to write; empty to keep the value of the name.
        reason: the explanation that follows `unknown field 'x', `.
    """

    target: str = ""
    value: str = ""
    reason: str = ""


_RATE = "train.optimizer.*.learning_rate"
_MEASURED = _Habit(reason="loss and accuracy are always measured")
_SHAPE = _Habit(reason="the shape of the input comes from data")
_SCALED = _Habit(reason="pixels are always divided by 255")
_FOLDER = _Habit(reason="option --run-dir sets the run folder")
_DEVICE = _Habit(reason="option --device selects the device")
_PREPARED = _Habit(reason="images are always prefetched and shuffled")

_SCHEDULE = _Habit(_RATE, "{cosine: {initial_learning_rate: 0.001}}", "a schedule is a value of learning_rate")
_NAMED = _Habit(reason="a run has the name of its folder, see option --run-dir")
_DROPOUT = _Habit(reason="dropout is a layer, - dropout: {rate: 0.5}")
_NORM = _Habit(reason="it is a layer, - batch_normalization")

_FIELDS: Mapping[str, _Habit] = {
    "lr": _Habit(_RATE), "learningrate": _Habit(_RATE), "initiallr": _Habit(_RATE), "baselr": _Habit(_RATE),
    "scheduler": _SCHEDULE, "lrscheduler": _SCHEDULE, "schedule": _SCHEDULE, "lrschedule": _SCHEDULE, "decay": _SCHEDULE,
    "optim": _Habit("train.optimizer"), "l2": _Habit("train.optimizer.*.weight_decay"),
    "wd": _Habit("train.optimizer.*.weight_decay"), "beta1": _Habit("train.optimizer.*.beta_1"),
    "beta2": _Habit("train.optimizer.*.beta_2"), "gradclip": _Habit("train.optimizer.*.clipnorm"),
    "numepochs": _Habit("train.epochs"), "nepochs": _Habit("train.epochs"), "maxepochs": _Habit("train.epochs"),
    "bs": _Habit("train.batch_size"), "batch": _Habit("train.batch_size"), "minibatchsize": _Habit("train.batch_size"),
    "lossfn": _Habit("train.loss"), "lossfunction": _Habit("train.loss"), "criterion": _Habit("train.loss"),
    "earlystop": _Habit("train.early_stopping"), "mixedprecision": _Habit("train.precision", "auto"),
    "amp": _Habit("train.precision", "auto"), "fp16": _Habit("train.precision", "mixed_float16"),
    "dtype": _Habit("train.precision"), "randomseed": _Habit("seed"), "randomstate": _Habit("seed"),
    "valsplit": _Habit("data.validation"), "validationsplit": _Habit("data.validation"), "val": _Habit("data.validation"),
    "validationdata": _Habit("data.validation"), "valid": _Habit("data.validation"), "testsplit": _Habit("data.test"),
    "trainsplit": _Habit(reason="all images outside of validation and test are for training"),
    "numclasses": _Habit("data.classes"), "nclasses": _Habit("data.classes"), "nclass": _Habit("data.classes"),
    "dataset": _Habit("data.name"), "root": _Habit("data.path"), "datadirectory": _Habit("data.path"),
    "directory": _Habit("data.path"), "datapath": _Habit("data.path"), "folder": _Habit("data.path"),
    "imgsize": _Habit("data.image_size"), "imagesize": _Habit("data.image_size"), "size": _Habit("data.image_size"),
    "resize": _Habit("data.image_size"), "targetsize": _Habit("data.image_size"), "inputsize": _Habit("data.image_size"),
    "grayscale": _Habit("data.channels", "1"), "greyscale": _Habit("data.channels", "1"),
    "colormode": _Habit("data.channels"), "onehot": _Habit("data.labels", "one_hot"), "labelmode": _Habit("data.labels"),
    "augmentation": _Habit("data.augment"), "augmentations": _Habit("data.augment"), "dataaugmentation": _Habit("data.augment"),
    "transform": _Habit("data.augment", "{rotation: 10, shift: 0.1}"),
    "transforms": _Habit("data.augment", "{rotation: 10, shift: 0.1}"),
    "horizontalflip": _Habit("data.augment.flip"), "rotationrange": _Habit("data.augment.rotation"),
    "zoomrange": _Habit("data.augment.zoom"), "shearrange": _Habit("data.augment.shear"),
    "randomerasing": _Habit("data.augment.erase"), "randomerase": _Habit("data.augment.erase"),
    "cutout": _Habit("data.augment.erase", "{probability: 0.5}"), "mixupalpha": _Habit("data.augment.mixup"),
    "closemosaic": _Habit("data.augment.plain_epochs"), "noaugepochs": _Habit("data.augment.plain_epochs"),
    "reducelronplateau": _Habit("train.reduce_on_plateau"), "reducelr": _Habit("train.reduce_on_plateau"),
    "plateau": _Habit("train.reduce_on_plateau"),
    "network": _Habit("model"), "architecture": _Habit("model"), "training": _Habit("train"),
    "metrics": _MEASURED, "metric": _MEASURED,
    "callbacks": _Habit(reason="train.early_stopping, train.reduce_on_plateau and train.checkpoint replace callbacks"),
    "verbose": _Habit(reason="option --quiet controls the output"),
    "shuffle": _PREPARED, "numworkers": _PREPARED, "workers": _PREPARED, "pinmemory": _PREPARED, "prefetch": _PREPARED,
    "download": _Habit(reason="TFDS datasets are downloaded when they are needed"),
    "stepsperepoch": _Habit(reason="an epoch is one pass over all training images"),
    "inputshape": _SHAPE, "imageshape": _SHAPE, "input": _SHAPE, "inputdim": _SHAPE,
    "normalize": _SCALED, "rescale": _SCALED, "mean": _SCALED, "std": _SCALED, "normalization": _SCALED,
    "device": _DEVICE, "gpu": _DEVICE, "gpus": _DEVICE, "cuda": _DEVICE, "usegpu": _DEVICE,
    "outputdir": _FOLDER, "savedir": _FOLDER, "logdir": _FOLDER, "rundir": _FOLDER, "experiment": _FOLDER, "version": _FOLDER,
    ".name": _NAMED, "model.name": _NAMED, "model.type": _Habit(reason="the layers define the network"),
    "model.activation": _Habit(reason="layers have an activation, such as dense: {units: 64, activation: relu}"),
    "model.output": _Habit(reason="the last layer is the output"), "data.type": _Habit("data.source"),
    "data.split": _Habit("data.train"), "data.inputshape": _Habit("data.image_size"), "data.imageshape": _Habit("data.image_size"),
    "data.shape": _Habit("data.image_size"), "logging": _Habit("log"), "logger": _Habit("log"),
    "dropout": _DROPOUT, "dropoutrate": _DROPOUT, "batchnorm": _NORM, "batchnormalization": _NORM,
}  # fmt: skip
"""Unknown fields, normalized by `_plain`, with their remedies."""

_IN_LAYERS: Mapping[str, _Habit] = {
    "inputshape": _SHAPE, "inputdim": _SHAPE, "inchannels": _SHAPE, "infeatures": _SHAPE, "batchinputshape": _SHAPE,
    "outchannels": _Habit("filters"), "channels": _Habit("filters"), "numfilters": _Habit("filters"),
    "outfeatures": _Habit("units"), "neurons": _Habit("units"), "numunits": _Habit("units"), "size": _Habit("kernel_size"),
    "kernel": _Habit("kernel_size"), "k": _Habit("kernel_size"), "pad": _Habit("padding"), "pool": _Habit("pool_size"),
    "p": _Habit("rate"), "prob": _Habit("rate"), "dilation": _Habit("dilation_rate"), "act": _Habit("activation"),
    "filters": _Habit("depth_multiplier", "1"),
    "initializer": _Habit("kernel_initializer"), "init": _Habit("kernel_initializer"),
    "regularizer": _Habit("kernel_regularizer"), "bias": _Habit("use_bias"),
    "l2": _Habit("kernel_regularizer", "{l2: {l2: VALUE}}"), "l1": _Habit("kernel_regularizer", "{l1: {l1: VALUE}}"),
    "weightdecay": _Habit("kernel_regularizer", "{l2: {l2: VALUE}}"), "eps": _Habit("epsilon"),
    "std": _Habit("stddev"), "sigma": _Habit("stddev"), "noisestddev": _Habit("stddev"), "sharedaxis": _Habit("shared_axes"),
    "inplace": _Habit(reason="layers never overwrite their input"), "maxval": _Habit("max_value"), "cap": _Habit("max_value"),
    "alpha": _Habit("negative_slope"), "slope": _Habit("negative_slope"), "dim": _Habit("axis"),
    "shape": _Habit("target_shape"), "newshape": _Habit("target_shape"), "perm": _Habit("dims"), "axes": _Habit("dims"), "order": _Habit("dims"),
    "scalefactor": _Habit("size"), "mode": _Habit("interpolation"),
    "batchnorm": _NORM, "batchnormalization": _NORM, "dropout": _DROPOUT, "dropoutrate": _DROPOUT,
    "numgroups": _Habit("groups"), "normalizedshape": _Habit("axis"), "elementwiseaffine": _Habit("scale"), "affine": _Habit("scale"),
    "training": _Habit(reason="layers switch between training and inference themselves"),
}  # fmt: skip
"""Unknown fields of layers; `VALUE` is replaced by the value of the field."""

_LAYERS: Mapping[str, str] = {
    "batchnorm": "batch_normalization", "batchnorm2d": "batch_normalization", "bn": "batch_normalization",
    "conv": "conv2d", "convolution": "conv2d", "convolution2d": "conv2d", "convolutional": "conv2d",
    "depthwise": "depthwise_conv2d", "depthwiseconv": "depthwise_conv2d", "dwconv": "depthwise_conv2d", "dwconv2d": "depthwise_conv2d",
    "separable": "separable_conv2d", "separableconv": "separable_conv2d", "sepconv": "separable_conv2d", "sepconv2d": "separable_conv2d",
    "deconv": "conv2d_transpose", "deconv2d": "conv2d_transpose", "deconvolution": "conv2d_transpose", "convtranspose": "conv2d_transpose",
    "convtranspose2d": "conv2d_transpose", "transposedconv": "conv2d_transpose", "transposedconv2d": "conv2d_transpose",
    "pool": "max_pooling2d", "pooling": "max_pooling2d", "maxpool": "max_pooling2d", "maxpool2d": "max_pooling2d",
    "avgpool": "average_pooling2d", "avgpool2d": "average_pooling2d", "averagepool": "average_pooling2d",
    "gap": "global_average_pooling2d", "globalavgpool": "global_average_pooling2d",
    "globalavgpool2d": "global_average_pooling2d", "adaptiveavgpool2d": "global_average_pooling2d",
    "globalmaxpool": "global_max_pooling2d", "globalmaxpool2d": "global_max_pooling2d",
    "fc": "dense", "linear": "dense", "fullyconnected": "dense", "output": "dense", "concat": "concatenate", "merge": "concatenate",
    "sum": "add", "addition": "add", "plus": "add", "mul": "multiply", "product": "multiply", "sub": "subtract", "difference": "subtract", "mean": "average", "max": "maximum", "min": "minimum",
    "zeropad": "zero_padding2d", "padding": "zero_padding2d", "pad": "zero_padding2d",
    "upsample": "up_sampling2d", "upsampling": "up_sampling2d", "upsample2d": "up_sampling2d", "upsamplingnearest2d": "up_sampling2d",
    "view": "reshape", "unflatten": "reshape", "transpose": "permute", "swapaxes": "permute",
    "rescale": "rescaling",
    "crop": "cropping2d", "cropping": "cropping2d", "centercrop": "cropping2d",
    "normalize": "normalization", "standardize": "normalization", "standardization": "normalization",
    "layernorm": "layer_normalization", "ln": "layer_normalization", "groupnorm": "group_normalization", "gn": "group_normalization",
    "instancenorm": "group_normalization", "instancenorm2d": "group_normalization", "instancenormalization": "group_normalization",
    "l2norm": "unit_normalization", "l2normalize": "unit_normalization", "l2normalization": "unit_normalization",
    "threshold": "relu", "thresholdedrelu": "relu", "sparsemax": "softmax", "softmax2d": "softmax", "glu": "multiply", "rrelu": "leaky_relu",
    "lrelu": "leaky_relu", "parametricrelu": "prelu", "cat": "concatenate", "stack": "concatenate", "eltwise": "add", "elementwise": "add",
    "shortcut": "add", "skip": "add", "residual": "add", "addnoise": "gaussian_noise", "featuredropout": "spatial_dropout2d",
    "featurealphadropout": "alpha_dropout", "channeldropout": "spatial_dropout2d",
    "dropout2d": "spatial_dropout2d", "spatialdropout": "spatial_dropout2d", "noise": "gaussian_noise", "alphadropout2d": "alpha_dropout",
}  # fmt: skip
_LAYERS_TO_REMOVE: Mapping[str, str] = {
    "identity": "it changes nothing", "noop": "it changes nothing",
    "input": "the shape of the input comes from data", "inputlayer": "the shape of the input comes from data",
    "resizing": "data.image_size sets the size of images", "resize": "data.image_size sets the size of images",
    "randomflip": "data.augment sets random transformations", "randomrotation": "data.augment sets random transformations",
}  # fmt: skip
_INITIALIZERS = {
    "xavier": "glorot_uniform", "glorot": "glorot_uniform", "xavieruniform": "glorot_uniform", "xaviernormal": "glorot_normal",
    "he": "he_normal", "kaiming": "he_normal", "kaimingnormal": "he_normal", "kaiminguniform": "he_uniform",
    "lecun": "lecun_normal", "normal": "random_normal", "uniform": "random_uniform", "zero": "zeros", "one": "ones",
    "eye": "identity", "identityinitializer": "identity", "stftinitializer": "stft",
}  # fmt: skip
_REGULARIZERS = {
    "orthogonal": "orthogonal_regularizer", "ortho": "orthogonal_regularizer", "ridge": "l2", "weightdecay": "l2", "lasso": "l1", "elasticnet": "l1_l2",
}  # fmt: skip
_ACTIVATIONS = {
    "hardswish": "hard_silu", "hswish": "hard_silu", "hsigmoid": "hard_sigmoid", "lrelu": "leaky_relu", "identity": "linear", "thresholdedrelu": "relu",
    "logit": "linear", "logits": "linear", "exp": "exponential", "softmax2d": "softmax",
}  # fmt: skip
_NOT_OFFERED: Mapping[str, tuple[str, str]] = {
    "glu": (
        "halves the last axis, which Keras 3.15's layers do not report to the layer after them",
        "multiply two layers, the second with activation: sigmoid",
    ),
    "sparsemax": ("is computed wrongly by Keras 3.15, whose outputs do not sum to 1", "write activation: softmax"),
    "threshold": (
        "needs its threshold, which only a layer can have, such as - relu: {threshold: 0.5}",
        "write activation: relu",
    ),
}
"""Activations of Keras that are not offered, normalized by `_plain`, with the reason and the remedy."""
_LOSSES = ("crossentropy", "crossentropyloss", "ce", "nll", "nllloss", "binarycrossentropy", "mse", "meansquarederror", "bce")

_SECTIONS: Mapping[str, type[Section]] = {
    "": Experiment, "train": TrainSpec, "data": DataSpec, "model": ModelSpec, "data.augment": Augment,
    "data.augment.erase": Erase, "train.early_stopping": EarlyStopping, "train.reduce_on_plateau": ReduceOnPlateau,
    "train.checkpoint": CheckpointSpec, "log": LogSpec, "few_shot": FewShotSpec,
}  # fmt: skip
"""Sections searched for a misplaced field, in this order."""
_TOO_COMMON = ("name", "path", "train", "test", "keys", "group", "loop", "method", "memory", "rate")
"""Fields whose names are too common to suggest another section."""


def _inner(word: object) -> str:
    """Normalize the name of a class without its module: `nn.Conv2d` is `conv2d`."""
    return _plain(str(word).rpartition(".")[2])


def _plain(word: object) -> str:
    """Normalize a name: lower case, without separators."""
    return re.sub(r"[-_ .]", "", str(word).lower())


def advice(content: Any, where: Where, message: str, unknown_field: bool) -> str | None:
    """Return the message for a name or value of another tool; None for any other mistake.

    Args:
        content: the config as plain data.
        where: the path of the error.
        message: the general message for it.
        unknown_field: True if the key is wrong, not the value.
    """
    if not where or not isinstance(where[-1], str | int):
        return None
    if unknown_field:
        return _about_field(content, where)
    if line := _line_for_value(content, where):
        return f"{message.partition('; did you mean')[0].partition('; known:')[0]}; write {line}"
    return next(filter(None, (about(content, where) for about in _VALUES)), None)


def _at(content: Any, where: Where) -> Any:
    """Return the part at a path; None if there is none."""
    for key in where:
        try:
            content = content[key]
        except (KeyError, IndexError, TypeError):
            return None
    return content


def _about_field(content: Any, where: Where) -> str | None:
    *above, key = where
    in_layer = where[:2] == ("model", "layers")
    if in_layer:
        return _about_field_of_layer(content, where)
    plain = _plain(key)
    habit = _FIELDS.get(f"{dotted(tuple(above))}.{plain}") or _FIELDS.get(plain) or _field_elsewhere(key, content, above)
    return _unknown(key, habit, content, where) if habit else None


def _field_elsewhere(key: Any, content: Any, above: Sequence[Any]) -> _Habit | None:
    """Find another section with this field, unless the current section has a similar one."""
    here = _section(above)
    if here and suggestion(key, here.model_fields) and not any(key in each.model_fields for each in _SECTIONS.values()):
        return None
    plain = _plain(key)
    optimizer = _resolved("train.optimizer.*", content)
    for path, section in {**_SECTIONS, dotted(tuple(optimizer)): OPTIMIZER.choices[optimizer[-1]]}.items():
        name = next((name for name in section.model_fields if _plain(name) == plain), None)
        if name and name not in _TOO_COMMON and path != dotted(tuple(above)):
            return _Habit(f"{path}.{name}".lstrip("."))
    return None


def _section(above: Sequence[Any]) -> type[Section] | None:
    if above[:2] == ["train", "optimizer"] and len(above) == 3:
        return OPTIMIZER.choices.get(above[2])
    return _SECTIONS.get(dotted(tuple(above)))


def _unknown(key: Any, habit: _Habit, content: Any, where: Where) -> str | None:
    reason = f", {habit.reason}" if habit.reason else ""
    if not habit.target:
        return f"unknown field '{key}'{reason}; remove it"
    *section, field = _resolved(habit.target, content)
    if field not in getattr(_section(section), "model_fields", [field]):
        return None  # no optimizer has all fields
    if section == list(where[:-1]) and not habit.value and field not in (_at(content, tuple(section)) or {}):
        return f"unknown field '{key}'{reason}; did you mean '{field}'?"
    already = _at(content, (*section, field))
    if isinstance(already, dict | list):
        return f"unknown field '{key}', {dotted((*section, field))} is already set; remove it"
    line = f"{field}: {habit.value.replace('VALUE', _text(_at(content, where))) or _text(_at(content, where))}"
    return f"unknown field '{key}'{reason}; write {line}{_under(section, where)}"


def _under(section: Sequence[Any], where: Where) -> str:
    if list(section) == list(where[:-1]):
        return " instead"
    return f" under {dotted(tuple(section))}" if section else " at the top"


def _text(value: Any) -> str:
    """Format a value as YAML on one line."""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w ./-]*", value):
        return value
    return show(value, limit=200)


def _resolved(target: str, content: Any) -> list[Any]:
    """Split a path into keys; `*` becomes the optimizer of the config."""
    optimizer = _at(content, ("train", "optimizer"))
    kind = next(iter(optimizer)) if isinstance(optimizer, dict) and optimizer else optimizer
    known = isinstance(kind, str) and kind in OPTIMIZER.choices
    return [(kind if known else "adam") if key == "*" else key for key in target.split(".")]


def _about_field_of_layer(content: Any, where: Where) -> str | None:
    *above, key = where
    layer = STACK_ITEM.choices.get(str(above[-1]))
    habit = _IN_LAYERS.get(_plain(key))
    if habit and layer and habit.target == "kernel_size" and "pool_size" in layer.model_fields:
        habit = _Habit("pool_size")
    if layer is None or habit is None or (habit.target and habit.target not in layer.model_fields):
        return None
    reason = f", {habit.reason}" if habit.reason else ""
    if not habit.target:
        return f"unknown field '{key}'{reason}; remove it"
    if habit.target in (_at(content, tuple(above)) or {}):
        return f"unknown field '{key}', {habit.target} is already set; remove it"
    if not habit.value:
        return f"unknown field '{key}'; did you mean '{habit.target}'?"
    return f"unknown field '{key}'; write {habit.target}: {habit.value.replace('VALUE', _text(_at(content, where)))} instead"


def _about_layer(content: Any, where: Where) -> str | None:
    """Return the message for a layer with another name in other tools, or for a name that is not a layer."""
    if not (isinstance(where[-1], int) and len(where) > 2 and where[-2] == "layers"):
        return None
    item = _at(content, where)
    name, fields = (next(iter(item.items()))) if isinstance(item, dict) and len(item) == 1 else (item, None)
    if not isinstance(name, str) or name in STACK_ITEM.choices:
        return None
    plain = _inner(name)
    if kind := next((kind for kind in STACK_ITEM.choices if _plain(kind) == plain), None):
        return f"unknown layer {show(name)}; did you mean '{kind}'?"
    activation = next((each for each in _activations() if _plain(each) == plain), None)
    activation = activation or (None if plain in _LAYERS else _ACTIVATIONS.get(plain))
    if activation and activation != "linear":
        return f"{show(name)} is an activation; write - activation: {{activation: {activation}}}"
    if plain in _LAYERS_TO_REMOVE:
        return f"unknown layer {show(name)}, {_LAYERS_TO_REMOVE[plain]}; remove it"
    if plain not in _LAYERS:
        return None
    meant = _LAYERS[plain]
    required = STACK_ITEM.choices[meant].required()
    if fields is None and required:  # a bare name: with the fields that it needs
        examples = {
            "units": "classes",
            "filters": "32",
            "kernel_size": "3",
            "rate": "0.5",
            "stddev": "0.1",
            "scale": "2.0",
            "target_shape": "[-1]",
            "dims": "[2, 1, 3]",
            "inputs": "[first, second]",
        }
        line = ", ".join(f"{field}: {examples[field]}" for field in required)
        return f"unknown layer {show(name)}; write - {meant}: {{{line}}}"
    return f"unknown layer {show(name)}; did you mean '{meant}'?"


def _activations() -> tuple[str, ...]:
    return tuple(Activation.__args__)  # type: ignore[attr-defined]  # a Literal has its words there


_LINES: Mapping[str, Mapping[str, str]] = {
    "train.early_stopping": {"True": "early_stopping: {patience: 5}", "False": "early_stopping: null"},
    "train.reduce_on_plateau": {"True": "reduce_on_plateau: {patience: 10}", "False": "reduce_on_plateau: null"},
    "data.augment.erase": {"True": "erase: {probability: 0.5}", "False": "erase: null"},
    "train.checkpoint": {"True": "checkpoint: null", "False": "checkpoint: null"},
    "data.augment": {"True": "augment: {rotation: 10, shift: 0.1}", "False": "augment: null"},
    "train.precision": {
        "fp16": "precision: mixed_float16", "half": "precision: mixed_float16", "float16": "precision: mixed_float16",
        "bf16": "precision: mixed_bfloat16", "bfloat16": "precision: mixed_bfloat16", "fp32": "precision: float32",
        "True": "precision: auto",
    },
    "data.labels": {"sparse": "labels: integer", "int": "labels: integer", "categorical": "labels: one_hot", "onehot": "labels: one_hot"},
    "data.channels": {"grayscale": "channels: 1", "gray": "channels: 1", "grey": "channels: 1", "l": "channels: 1", "rgb": "channels: 3", "color": "channels: 3"},
    "data.source": {
        "imagefolder": "source: folder", "directory": "source: folder", "images": "source: folder", "image": "source: folder",
        "tensorflowdatasets": "source: tfds", "huggingface": "source: parquet", "hf": "source: parquet", "emnistmat": "source: mat",
        "sklearn": "source: digits", "scikitlearn": "source: digits", "loaddigits": "source: digits", "numpy": "source: npz",
    },
}  # fmt: skip
"""Values of other tools, normalized by `_plain`, with the line to write."""


def _line_for_value(content: Any, where: Where) -> str | None:
    lines, value = _LINES.get(dotted(where), {}), _at(content, where)
    return lines.get(str(value)) or lines.get(_plain(value)) if isinstance(value, bool | str) else None


def _about_optimizer(content: Any, where: Where) -> str | None:
    """Return the message for an optimizer whose name is a field: `{type: adam, lr: 0.1}`."""
    value = _at(content, where)
    if where != ("train", "optimizer") or not isinstance(value, dict):
        return None
    key = next((key for key in value if _plain(key) in ("name", "type", "kind", "optimizer", "classname")), None)
    name = next((kind for kind in OPTIMIZER.choices if key and _plain(kind) == _plain(value[key])), None)
    if (
        not key
        and value
        and not set(value) & set(OPTIMIZER.choices)
        and set(value) <= set(OPTIMIZER.choices["adam"].model_fields)
    ):
        field = next(iter(value))
        inside = ", ".join(f"{field}: {_text(each)}" for field, each in value.items())
        return f"'{field}' is a field of an optimizer, such as train.optimizer.adam.{field}; write optimizer: {{adam: {{{inside}}}}}"
    if not name:
        return None
    renamed = {"lr": "learning_rate", "learningrate": "learning_rate"}
    fields = {renamed.get(_plain(field), field): each for field, each in value.items() if field != key}
    inside = ", ".join(f"{field}: {_text(each)}" for field, each in fields.items())
    line = f"optimizer: {{{name}: {{{inside}}}}}" if fields else f"optimizer: {name}"
    return f"the fields of an optimizer are nested under its name; write {line}"


def _about_schedule(content: Any, where: Where) -> str | None:
    """Return the message for a schedule without its fields: `learning_rate: cosine`."""
    rate = where[:-1] if where[-1] in SCHEDULE.choices else where
    if rate[-1] != "learning_rate" or not isinstance(value := _at(content, rate), str) or value not in SCHEDULE.choices:
        return None
    examples = {
        "initial_learning_rate": "0.001", "max_learning_rate": "0.01", "decay_rate": "0.9", "learning_rate": "0.001",
        "boundaries": "[2 epochs]", "values": "[0.001, 0.0001]",
    }  # fmt: skip
    line = ", ".join(f"{field}: {examples[field]}" for field in SCHEDULE.choices[value].required())
    return f"the schedule '{value}' requires its fields; write learning_rate: {{{value}: {{{line}}}}}"


def _about_weights(content: Any, where: Where) -> str | None:
    field, value = str(where[-1]), _at(content, where)
    if field.endswith("_regularizer") and type(value) in (int, float) and value > 0:
        return f"expected a regularizer with its strength, received {show(value)}; write {field}: {{l2: {{l2: {show(value)}}}}}"
    for what, names in (("initializer", _INITIALIZERS), ("regularizer", _REGULARIZERS)):
        if field.endswith(f"_{what}") and _inner(value) in names:
            return f"unknown {what} {show(value)}; did you mean '{names[_inner(value)]}'?"
    return None


def _about_activation(content: Any, where: Where) -> str | None:
    value = _at(content, where)
    if where[:2] != ("model", "layers") or where[-1] != "activation" or not isinstance(value, str):
        return None
    plain = _inner(value)
    if plain in _NOT_OFFERED:
        reason, remedy = _NOT_OFFERED[plain]
        return f"{value} {reason}; {remedy}"
    meant = _ACTIVATIONS.get(plain) or next((each for each in _activations() if _plain(each) == plain), None)
    return f"unknown activation {show(value)}; did you mean '{meant}'?" if meant else None


def _about_loss(content: Any, where: Where) -> str | None:
    if where != ("train", "loss") or _plain(_at(content, where)) not in _LOSSES:
        return None
    labels = _at(content, ("data", "labels"))
    fitting = "categorical_crossentropy" if labels == "one_hot" else "sparse_categorical_crossentropy"
    return f"unknown loss {show(_at(content, where))}; write loss: {fitting}"


def _about_sizes(content: Any, where: Where) -> str | None:
    """Return the message for `3x3`, `28 x 28`, and for an image size that includes the channels."""
    field, value = where[-1], _at(content, where)
    match = re.fullmatch(r"\(?(\d{1,6})\s*(?:[x×*,]\s*(\d{1,6}))?\s*\)?", value) if isinstance(value, str) else None
    if match and field in ("image_size", "kernel_size", "pool_size", "strides", "dilation_rate", "size"):
        size = f"[{match[1]}, {match[2]}]" if match[2] else match[1]
        return f"expected a positive integer or a pair of them, [height, width], received {show(value)}; write {field}: {size}"
    if where == ("data", "image_size") and isinstance(value, list) and len(value) == 3 and all(type(n) is int for n in value):
        return f"expected [height, width] without channels, received {show(value)}; write image_size: {value[:2]}"
    return None


NO_VALUE = ("none", "off", "no", "false", "nil")
"""Words that users write for null; YAML reads each as a text."""
_INTEGERS = (
    *(
        "epochs",
        "batch_size",
        "filters",
        "units",
        "kernel_size",
        "strides",
        "pool_size",
        "classes",
        "channels",
        "seed",
        "split_seed",
    ),
    *("patience", "trials", "way", "shot", "query", "episodes", "every_steps", "every_epochs", "snapshots"),
)
"""Fields that a number with decimals cannot fix."""
_MAY_BE_NULL = (
    *("validation", "test", "early_stopping", "reduce_on_plateau", "checkpoint", "loss", "augment", "erase"),
    *("activation", "pruning", "snapshots"),
)


def _about_numbers(content: Any, where: Where) -> str | None:
    """Return the message for `10%`, `0,1` and other texts in place of a number, and for words that mean null."""
    field, value = where[-1], _at(content, where)
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+(?:[.,]\d+)?)\s*%", value)):
        return f"expected a fraction, received {show(value)}; write {field}: {float(match[1].replace(',', '.')) / 100:g}"
    if isinstance(value, str) and re.fullmatch(r"\d+,\d+", value):
        as_decimal = f"; write {field}: {value.replace(',', '.')}" if field not in _INTEGERS else ""
        return f"{show(value)} has a decimal comma, which makes it a text{as_decimal}"
    if (
        where[-2:-1] == ("rescaling",)
        and isinstance(value, str)
        and (match := re.fullmatch(r"(\d+\.?\d*)\s*/\s*(\d+\.?\d*)\.?", value))
    ):
        quotient = float(match[1]) / float(match[2]) if float(match[2]) else 0
        return f"expected a number, received the text {show(value)}; write {field}: {quotient:.10g}"
    if field == "units" and isinstance(value, str) and value != "classes":
        return f"expected a positive integer or 'classes', received {show(value)}; write units: classes"
    if field == "padding" and type(value) is int and where[-2] != "zero_padding2d":
        padding = "same" if value else "valid"
        return (
            f"expected 'valid' or 'same', received {show(value)}; write padding: {padding}, or a layer above: - zero_padding2d"
        )
    if field in _MAY_BE_NULL and isinstance(value, str) and _plain(value) in NO_VALUE:
        return f"expected a value or null for none, received {show(value)}; write {field}: null"
    return None


_VALUES = (
    _about_layer, _about_optimizer, _about_schedule, _about_weights, _about_activation, _about_loss, _about_sizes, _about_numbers,
)  # fmt: skip


def field_of_option(word: str, content: Any) -> tuple[str, str]:
    """Return (path, reason) for a command-line option of another program: the path of its field, or why there is none.

    Args:
        word: the option, normalized, such as `batchsize`.
        content: the config as plain data; None if unknown.
    """
    habit = _FIELDS.get(word) or _field_elsewhere(word, content, ["?"])
    if habit is None or not habit.target:
        return "", habit.reason if habit else ""
    keys = _resolved(habit.target, content)
    return dotted(tuple(keys)), ""
