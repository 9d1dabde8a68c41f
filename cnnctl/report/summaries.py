"""Values → TensorBoard's summaries, as it reads them; nothing is written here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram import metadata as histogram_metadata
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.summary import session_end_pb
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.util.tensor_util import make_tensor_proto

from cnnctl.report.rows import Row, summarize
from cnnctl.report.tables import summary_markdown
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.document import dump
from cnnctl.spec.experiment import Experiment, LogSpec
from cnnctl.spec.section import Section, plain
from cnnctl.spec.stack import INPUT, Node

BUCKETS = 30
ALWAYS_COMPARED = ("seed", "style", "loop", "epochs", "batch_size", "learning_rate", "precision")
"""Fields that the HParams tab shows even where they are at their defaults."""


def scalars(values: Mapping[str, float | None]) -> Summary:
    """Returns numbers by their tags; None is no number and is left out."""
    return joined([scalar_pb(tag, value) for tag, value in values.items() if value is not None])


def histograms(group: str, arrays: Mapping[str, NDArray[Any]]) -> Summary:
    """Returns a histogram of each array, of any shape, under `group/name`."""
    return joined([_histogram(f"{group}/{name}", array) for name, array in arrays.items()])


def _histogram(tag: str, array: NDArray[Any]) -> Summary:
    """Returns `BUCKETS` rows [left edge, right edge, count]; values that are no numbers are left out."""
    values = array[np.isfinite(array)].astype(np.float64)
    counts, edges = np.histogram(values, BUCKETS, _range(values)) if len(values) else (np.zeros(BUCKETS), np.zeros(BUCKETS + 1))
    tensor = make_tensor_proto(np.stack([edges[:-1], edges[1:], counts], axis=1), dtype=np.float64)
    summary = Summary()
    summary.value.add(tag=tag, tensor=tensor, metadata=histogram_metadata.create_summary_metadata(None, ""))
    return summary


def _range(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """Returns where the buckets begin and end: None for NumPy's choice, which fails for large values close together."""
    low, high = float(values.min()), float(values.max())
    apart = 2 * BUCKETS * float(np.spacing(max(abs(low), abs(high))))
    too_close = high - low < apart and (high > low or apart > 1)  # NumPy puts 1 around values that are all the same
    return (low - apart, high + apart) if too_close else None


def picture(tag: str, png: bytes, about: str = "") -> Summary:
    """Returns a PNG file as a picture."""
    width, height = (int.from_bytes(png[start : start + 4]) for start in (16, 20))  # PNG, section 11.2.1
    content = np.array([str(width).encode(), str(height).encode(), png], dtype=np.object_)
    summary = Summary()
    metadata = image_metadata.create_summary_metadata(None, about)
    summary.value.add(tag=tag, tensor=make_tensor_proto(content, dtype=np.object_), metadata=metadata)
    return summary


def texts(experiment: Experiment) -> Summary:
    """Returns the config as YAML and the summary of the network as a table."""
    config = f"```yaml\n{dump(plain(experiment))}```"
    return joined([text_pb("config", config), text_pb("summary", summary_markdown(summarize(experiment)))])


def text(tag: str, content: str) -> Summary:
    """Returns a text, in Markdown."""
    summary: Summary = text_pb(tag, content)
    return summary


def joined(summaries: Sequence[Summary]) -> Summary:
    """Returns several summaries as one."""
    whole = Summary()
    for summary in summaries:
        whole.value.extend(summary.value)
    return whole


# The network as a graph


def network_graph(experiment: Experiment, nodes: Sequence[Node]) -> GraphDef:
    """Returns the stack as TensorBoard's graph: a node a layer, whatever style builds it."""
    summary = summarize(experiment)
    graph = GraphDef()
    graph.node.add(name=INPUT, op="Input")
    _set_shape(graph.node[0], summary.image)
    for node, row in zip(nodes, summary.rows, strict=True):
        _add_layer(graph, node, row)
    return graph


def _add_layer(graph: GraphDef, node: Node, row: Row) -> None:
    drawn = graph.node.add(name=node.name, op=node.layer.kind, input=list(node.inputs))
    _set_shape(drawn, row.facts.output_shape)
    drawn.attr["parameters"].i = row.facts.parameters
    for field in node.layer.model_fields_set - {"name", "inputs"}:
        drawn.attr[field].s = _short(getattr(node.layer, field)).encode()


def _set_shape(drawn: Any, shape: tuple[int, ...]) -> None:
    dims = drawn.attr["_output_shapes"].list.shape.add().dim
    for size in (-1, *shape):
        dims.add(size=size)


# Hyperparameters


def hyperparameters(
    experiment: Experiment, nodes: Sequence[Node], name: str, compared_by: Mapping[str, Any] | None = None
) -> Summary:
    """Returns what the HParams tab compares runs by: what the config says, a few fields that it always shows, and `compared_by`."""
    values = dict(_fields(experiment))
    summary = summarize(experiment)
    values["model.layers"] = ", ".join(node.layer.kind for node in nodes)
    values["parameters"] = summary.trainable + summary.non_trainable
    for path, value in (compared_by or {}).items():
        values[path] = value if isinstance(value, bool | int | float | str) else _short(value)
    return hparams_pb(values, trial_id=name)


def hyperparameters_end() -> Summary:
    """Returns that the run has finished."""
    of_tensorflow = session_end_pb(api_pb2.STATUS_SUCCESS)  # the same message, of TensorFlow's own class
    return Summary.FromString(of_tensorflow.SerializeToString())


def _fields(section: Section, path: str = "") -> Iterator[tuple[str, bool | int | float | str]]:
    """Yields the values of a section by their paths; what is absent has no value."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        key = f"{path}{name}"
        if isinstance(value, LogSpec) or key == "model.layers" or value is None:
            continue
        if isinstance(value, Section):
            if getattr(value, "kind", ""):
                yield key, str(getattr(value, "kind", ""))
            yield from _fields(value, f"{key}.")
        elif name in ALWAYS_COMPARED or _said(section, name):
            yield key, value if isinstance(value, bool | int | float | str) else _short(value)


def _said(section: Section, name: str) -> bool:
    """Returns whether a field is not at its default; what is found out about the images is no choice."""
    return not _found_out(section, name) and bool(getattr(section, name) != type(section).model_fields[name].default)


def _found_out(section: Section, name: str) -> bool:
    if not isinstance(section, DataSpec):
        return False
    return name in ("classes", "path", "hold_out") or (name == "test" and not isinstance(section.test, tuple))


def _short(value: Any) -> str:
    if isinstance(value, Section):
        return str(getattr(value, "kind", type(value).__name__))
    separator = ", " if isinstance(value, tuple) and isinstance(value[0], str) else "x"
    return separator.join(map(str, value)) if isinstance(value, tuple) else str(value)
