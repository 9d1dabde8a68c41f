"""The JSON Schema of a config, generated from the models that the loader validates with."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from cnnctl.spec.dataset import FILE_SOURCES
from cnnctl.spec.experiment import CosineClassifier, Experiment, Maml
from cnnctl.spec.few_shot import BY_EPISODES, FAR_TURNED
from cnnctl.spec.layers import STACK_ITEM
from cnnctl.spec.leaves import NAMED
from cnnctl.spec.meanings import meaning_of, summary_of
from cnnctl.spec.optimizers import SCHEDULES, Constant, Span, plain_span
from cnnctl.spec.section import REFERS, Named, Section
from cnnctl.spec.training import CategoricalCrossentropy, SparseCategoricalCrossentropy

_NULL = {"type": "null"}
_NO_SPLIT = {"not": {"type": "string"}}
_OF_FOLDERS = {"labels_file": _NULL, "class_folders": {"const": "top"}, "follow_links": {"const": False}}
"""Defaults that all sources but `folder` must keep."""
_NO_GROUP = {"hold_out": {"not": {"const": "group"}}}


def _by_path(*keyed: str) -> dict[str, Any]:
    """Build the rule of each source of original files; `keyed` sources have `keys`."""
    absent = dict.fromkeys(("name", "data_dir", "group"), _NULL) | _OF_FOLDERS | _NO_GROUP
    return {
        source: {
            "required": ["path"],
            "properties": {"path": {"type": "string"}, **absent, **({} if source in keyed else {"keys": _NULL})},
        }
        for source in FILE_SOURCES
    }


_BY_SOURCE = {
    "tfds": {"required": ["name"], "properties": {"name": {"type": "string"}, "path": _NULL, "keys": _NULL, **_OF_FOLDERS}},
    "folder": {
        "required": ["path"],
        "properties": {"path": {"type": "string"}, **dict.fromkeys(("name", "data_dir", "group"), _NULL)},
        "allOf": [
            {
                "if": {"required": ["hold_out"], "properties": {"hold_out": {"const": "group"}}},
                "then": {"required": ["class_folders"], "properties": {"class_folders": {"const": "leaf"}}},
            },
            {
                "if": {"required": ["keys"], "properties": {"keys": {"not": _NULL}}},
                "then": {
                    "required": ["labels_file"],
                    "properties": {"labels_file": {"type": "string"}, "keys": {"not": {"type": "object"}}},
                },
            },
        ],
    },
    "digits": {
        "properties": dict.fromkeys(("name", "path", "data_dir", "group", "keys"), _NULL)
        | _OF_FOLDERS
        | _NO_GROUP
        | {"train": {"const": "train"}, "validation": _NO_SPLIT, "test": _NO_SPLIT}
    },
    **_by_path("npz", "mat", "parquet"),
}
"""The checks of `DataSpec` between fields, per source."""

_TFDS = {"required": ["source"], "properties": {"source": {"const": "tfds"}}}
_REMAP_LABELS = {
    "if": {"allOf": [_TFDS, {"required": ["remap_labels"], "properties": {"remap_labels": {"const": True}}}]},
    "then": {"required": ["classes"], "properties": {"classes": {"type": "integer"}}},
}
_GROUP = {
    "if": _TFDS,
    "then": {
        "if": {"required": ["hold_out"], "properties": {"hold_out": {"const": "group"}}},
        "then": {"required": ["group"], "properties": {"group": {"type": "string"}}},
        "else": {"properties": {"group": _NULL}},
    },
}
_LOG = {
    "if": {"required": ["tensorboard"], "properties": {"tensorboard": {"const": False}}},
    "then": {"properties": dict.fromkeys(("every_steps", "every_epochs", "profile"), _NULL)},
}
_LAYER_OR_BLOCK = {"$ref": "#/$defs/layer_or_block"}
_WITH_BLOCKS = {
    "if": {"required": ["blocks"], "properties": {"blocks": {"minProperties": 1}}},
    "else": {"properties": {"layers": {"items": {"$ref": "#/$defs/layer"}}}},
}


def _layer_or_block() -> dict[str, Any]:
    """Build the schema of an item of a stack where the config has blocks; their names are not those of layers."""
    layers = sorted(STACK_ITEM.choices)
    block = {"type": "object", "minProperties": 1, "maxProperties": 1, "propertyNames": {"not": {"enum": layers}}}
    repeat = STACK_ITEM.choices["repeat"].model_json_schema(schema_generator=_Generator)
    repeat["properties"]["layers"] |= {"items": _LAYER_OR_BLOCK}
    of_blocks = {"type": "object", "required": ["repeat"], "additionalProperties": False, "properties": {"repeat": repeat}}
    name = {"type": "string", "not": {"enum": layers}}
    return {"anyOf": [{"$ref": "#/$defs/layer"}, name, block, {"allOf": [of_blocks]}]}


_NUMBER_GIVEN = {"not": _NULL}
_SWEEP = {
    "anyOf": [
        {"required": ["method"], "properties": {"method": {"const": "grid"}}},
        {"required": ["trials"], "properties": {"trials": _NUMBER_GIVEN}},
        {"required": ["minutes"], "properties": {"minutes": _NUMBER_GIVEN}},
    ]
}
PARTS_OF_A_CONFIG = {
    "data": "Where images come from and how they are prepared.",
    "model": "The network.",
    "few_shot": "Learning from few examples; for task: few_shot.",
    "train": "How the network is trained.",
    "log": "Logs that a run writes besides its results.",
    "sweep": "A hyperparameter search; for `cnnctl sweep`.",
}


class _Generator(GenerateJsonSchema):
    """Adds a description to each field, and writes defaults as in a config."""

    def model_schema(self, schema: Any) -> dict[str, Any]:
        """Return the schema of a section with a description of each field."""
        section: type[Section] = schema["cls"]
        made = super().model_schema(schema)
        made["description"] = summary_of(section)
        for name, field in made.get("properties", {}).items():
            field["description"] = meaning_of(section, name) or PARTS_OF_A_CONFIG.get(name, "")
        return made

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, Section) and dft.kind:
            return dft.kind  # the bare name: the default of a named section has default fields
        if isinstance(dft, Section):
            dft.model_rebuild()  # pydantic before 2.14 serializes no section whose build was deferred
        return plain_span(dft) if isinstance(dft, Span) else super().encode_default(dft)


def _described(named: Named) -> dict[str, Any]:
    """Generate the schema of a vocabulary, with a description of each name."""
    schema = named.json_schema(_Generator)
    mapping = schema["anyOf"][1] if "anyOf" in schema else schema
    for kind, fields in mapping["properties"].items():
        fields["description"] = summary_of(named.choices[kind])
    return schema


def json_schema() -> dict[str, Any]:
    """Generate the schema (JSON Schema 2020-12) of a config.

    It covers fields, types, ranges and rules between fields. Only the loader checks whether a stack fits its images.
    """
    schema = Experiment.model_json_schema(schema_generator=_Generator)
    schema["$defs"].update({named.what: _described(named) for named in NAMED})
    schema["$defs"]["DataSpec"]["allOf"] = [
        {"if": {"required": ["source"], "properties": {"source": {"const": source}}}, "then": rule}
        for source, rule in _BY_SOURCE.items()
    ] + [_REMAP_LABELS, _GROUP]
    schema["$defs"]["LogSpec"].update(_LOG)
    schema["$defs"]["layer_or_block"] = _layer_or_block()
    schema["$defs"]["ModelSpec"].update(_WITH_BLOCKS)
    schema["$defs"]["ModelSpec"]["properties"]["layers"] |= {"items": _LAYER_OR_BLOCK}
    schema["$defs"]["SweepSpec"].update(_SWEEP)
    linked: dict[str, Any] = _linked(schema)
    version = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": version, **linked, "allOf": _between_sections(), "title": "cnnctl config"}


# Rules between sections, as checked by `spec.checks`, `spec.few_shot` and `spec.head`

_TRUE = {"const": True}
_NOT_TRUE = {"not": _TRUE}
_ONE_HOT = {"const": "one_hot"}


def _part(path: str, schema: Any) -> Any:
    """Build the rule that a part, if set, matches `schema`."""
    for key in reversed(path.split(".")):
        schema = {"properties": {key: schema}}
    return schema


def _is_set(path: str, schema: Any) -> Any:
    """Build the condition that a part is set and matches `schema`."""
    for key in reversed(path.split(".")):
        schema = {"required": [key], "properties": {key: schema}}
    return schema


def _where(condition: Any, *rules: Any) -> dict[str, Any]:
    return {"if": condition, "then": {"allOf": list(rules)}}


def _method(kind: str) -> Any:
    return _is_set("few_shot.method", {"anyOf": [{"const": kind}, {"not": {"type": "string"}, "required": [kind]}]})


def _null_or(field: str, *values: object) -> Any:
    return {"anyOf": [_NULL, {"required": [field], "properties": {field: {"enum": list(values)}}}]}


def _of_classification() -> list[Any]:
    return [
        _part("few_shot", _NULL),
        _part("data.hold_out", {"not": {"enum": ["class", "group"]}}),
        _part("data.validation", {"not": {"type": "array"}}),
        _part("data.test", {"not": {"type": "array"}}),
        _part("data.shared_classes", {"not": {"const": "drop"}}),
        _where(
            _is_set("data.augment", {"not": _NULL, **_is_set("mixup", {"exclusiveMinimum": 0})}),
            _is_set("data.labels", _ONE_HOT),
        ),
        *_losses_by_labels(),
    ]


def _losses_by_labels() -> list[Any]:
    """Build the rules that match losses with labels."""
    one_hot, sparse, dense = (
        _is_set("data.labels", _ONE_HOT),
        SparseCategoricalCrossentropy,
        CategoricalCrossentropy,
    )
    others = {"not": one_hot}
    return [
        _where(condition, _part("train.loss", _is_not(loss.kind))) for condition, loss in ((one_hot, sparse), (others, dense))
    ]


def _is_not(kind: str) -> Any:
    """Build the rule that a named section is not of a kind: neither its bare name nor its name with fields."""
    return {"not": {"const": kind}, "properties": {kind: False}}


def _of_few_shot() -> list[Any]:
    by_parts = {"type": ["number", "array"]}
    held_out = [_part("validation", by_parts), _is_set("test", by_parts)]
    named, may_be_named = {"type": "string"}, {"source": {"enum": ["tfds", "folder"]}, "test": _NULL}
    a_split = [_is_set("validation", named), _is_set("test", named), {"properties": may_be_named}]
    return [
        _part("data.hold_out", {"not": {"const": "image"}}),
        _part("data.labels", {"not": {"const": "one_hot"}}),
        _part("data.remap_labels", _NOT_TRUE),
        _part("data.augment.mixup", {"maximum": 0}),
        _part("train.loop", {"not": {"const": "fit"}}),
        _part("train.loss", _NULL),
        _part("train.batch_parts", {"enum": [1, "auto"]}),
        _part("train.strategy", {"enum": ["auto", "one_device"]}),
        _where(_is_set("data.hold_out", {"const": "group"}), _part("data", {"anyOf": held_out})),
        _where(_is_set("data.shared_classes", {"const": "drop"}), _part("data", {"anyOf": a_split})),
        _where(_is_set("few_shot.mirrors", _TRUE), _part("data.augment.flip", _NOT_TRUE)),
        _where(_is_set("few_shot.rotations", _TRUE), _part("data.augment.rotation", {"exclusiveMaximum": FAR_TURNED})),
        _where(_method(CosineClassifier.kind), *(_part(f"few_shot.{field}", _NULL) for field in BY_EPISODES)),
        _where(
            _method(Maml.kind),
            _part("train.precision", {"enum": ["float32", "auto"]}),
            _part("train.optimizer", {"additionalProperties": _part("loss_scale_factor", _NULL)}),
        ),
    ]


_CONSTANT_RATE = {"properties": {schedule.kind: False for schedule in SCHEDULES if schedule is not Constant}}


def _between_sections() -> list[Any]:
    shares = {"enum": ["mirrored", "multi_worker"]}
    return [
        _where(_is_set("train.strategy", shares), _part("train.batch_parts", {"enum": [1, "auto"]})),
        _where(_is_set("train.strategy", {"const": "multi_worker"}), _part("train.loop", {"not": {"const": "fit"}})),
        {
            "if": _is_set("task", {"const": "few_shot"}),
            "then": {"allOf": _of_few_shot()},
            "else": {"allOf": _of_classification()},
        },
        _where(
            _is_set("data.validation", _NULL),
            *(
                _part(f"train.{field}", _null_or("monitor", "train_loss", "train_accuracy"))
                for field in ("early_stopping", "reduce_on_plateau")
            ),
        ),
        _where(
            _is_set("train.reduce_on_plateau", {"not": _NULL}),
            _part("train.optimizer", {"additionalProperties": _part("learning_rate", _CONSTANT_RATE)}),
        ),
        _where(_is_set("data.validation", _NULL), _part("sweep", _NULL)),
    ]


def _linked(schema: Any) -> Any:
    """Replace every mark of `refers_to` by a `$ref`, and keep `$defs` only at the top."""
    if isinstance(schema, list):
        return [_linked(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if REFERS in schema:
        others = {key: _linked(value) for key, value in schema.items() if key != REFERS}
        return {"$ref": f"#/$defs/{schema[REFERS]}", **others}
    return {key: _linked(value) for key, value in schema.items()}
