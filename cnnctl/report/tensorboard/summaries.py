"""Encode values as TensorBoard summaries; `events` writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.config_pb2 import RunMetadata
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as custom_scalar_metadata
from tensorboard.plugins.graph import metadata as graph_metadata
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
from cnnctl.spec.document import dump
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.leaves import leaves, text_of
from cnnctl.spec.section import Section, plain
from cnnctl.spec.stack import INPUT, Node

BUCKETS = 30


def scalars(values: Mapping[str, float | None]) -> Summary:
    """Encode scalars by tag; None is left out."""
    return joined([scalar_pb(tag, value) for tag, value in values.items() if value is not None])


def histograms(group: str, arrays: Mapping[str, NDArray[Any]]) -> Summary:
    """Encode a histogram of each array, of any shape, under `group/name`."""
    return joined([_histogram(f"{group}/{name}", array) for name, array in arrays.items()])


def _histogram(tag: str, array: NDArray[Any]) -> Summary:
    """Encode `BUCKETS` rows [left edge, right edge, count]; NaN and infinite values are left out."""
    values = array[np.isfinite(array)].astype(np.float64)
    counts, edges = np.histogram(values, BUCKETS, _range(values)) if len(values) else (np.zeros(BUCKETS), np.zeros(BUCKETS + 1))
    tensor = make_tensor_proto(np.stack([edges[:-1], edges[1:], counts], axis=1), dtype=np.float64)
    summary = Summary()
    summary.value.add(tag=tag, tensor=tensor, metadata=histogram_metadata.create_summary_metadata(None, ""))
    return summary


def _range(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return the range of the buckets; None for NumPy's default, which fails for large values close together."""
    low, high = float(values.min()), float(values.max())
    apart = 2 * BUCKETS * float(np.spacing(max(abs(low), abs(high))))
    too_close = high - low < apart and (high > low or apart > 1)  # NumPy uses a range of 1 around equal values
    return (low - apart, high + apart) if too_close else None


def picture(tag: str, png: bytes, about: str = "") -> Summary:
    """Encode a PNG file as an image."""
    width, height = (int.from_bytes(png[start : start + 4]) for start in (16, 20))  # PNG, section 11.2.1
    content = np.array([str(width).encode(), str(height).encode(), png], dtype=np.object_)
    summary = Summary()
    metadata = image_metadata.create_summary_metadata(None, about)
    summary.value.add(tag=tag, tensor=make_tensor_proto(content, dtype=np.object_), metadata=metadata)
    return summary


def texts(experiment: Experiment, written: str) -> Summary:
    """Encode the config, as the user wrote it if known, and the summary of the network as a table."""
    config = f"~~~~yaml\n{written or dump(_set_fields(experiment))}\n~~~~"
    return joined([text_pb("config", config), text_pb("summary", summary_markdown(summarize(experiment)))])


def _set_fields(experiment: Experiment) -> Mapping[str, Any]:
    """Dump the fields that a config sets, without defaults."""
    return experiment.model_dump(mode="json", exclude_unset=True, exclude_none=True)


def charts() -> Summary:
    """Encode the charts of the Custom Scalars tab, which draw the splits together."""
    tags = {name: [f"^({name}/(train|validation)|test/{name})$"] for name in ("loss", "accuracy")}
    tags |= {f"{name} within epochs": [f"^steps/{name}$"] for name in ("loss", "accuracy")}
    drawn = [layout_pb2.Chart(title=title, multiline={"tag": each}) for title, each in tags.items()]
    layout = layout_pb2.Layout(category=[layout_pb2.Category(title="train, validation and test", chart=drawn)])
    summary = Summary()
    summary.value.add(
        tag=custom_scalar_metadata.CONFIG_SUMMARY_TAG,
        tensor=make_tensor_proto(layout.SerializeToString(), dtype=np.object_),
        metadata=custom_scalar_metadata.create_summary_metadata(),
    )
    return summary


def second_graph(tag: str, graph: bytes) -> Summary:
    """Encode a serialized `GraphDef` as a further graph in the Graphs tab, under its tag."""
    found = RunMetadata()
    found.function_graphs.add().pre_optimization_graph.ParseFromString(graph)
    summary = Summary()
    plugin = SummaryMetadata.PluginData(plugin_name=graph_metadata.PLUGIN_NAME_RUN_METADATA_WITH_GRAPH, content=b"1")
    tensor = make_tensor_proto(found.SerializeToString(), dtype=np.object_)
    summary.value.add(tag=tag, tensor=tensor, metadata=SummaryMetadata(plugin_data=plugin))
    return summary


def text(tag: str, content: str) -> Summary:
    """Encode a Markdown text."""
    summary: Summary = text_pb(tag, content)
    return summary


def joined(summaries: Sequence[Summary]) -> Summary:
    """Join summaries into one."""
    whole = Summary()
    for summary in summaries:
        whole.value.extend(summary.value)
    return whole


# The network as a graph


def network_graph(experiment: Experiment, nodes: Sequence[Node]) -> GraphDef:
    """Encode the stack as a graph with one node per layer, in every style; the layers of a block are in its scope."""
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
    if node.shares:
        drawn.attr["shares_weights_of"].s = node.shares.encode()
    for field in node.layer.model_fields_set - {"name", "inputs"}:
        drawn.attr[field].s = _short(getattr(node.layer, field)).encode()


def _set_shape(drawn: Any, shape: tuple[int, ...]) -> None:
    dims = drawn.attr["_output_shapes"].list.shape.add().dim
    for size in (-1, *shape):
        dims.add(size=size)


# Hyperparameters


def hyperparameters(experiment: Experiment, name: str, compared_by: Mapping[str, Any] | None = None) -> Summary:
    """Encode the values of the HParams tab: every config value by path, the number of parameters, and `compared_by`.

    Defaults are included: the tab shows differing values first and does not count a missing value as different.
    """
    values = {path: leaf.value for path, leaf in leaves(plain(experiment)).items()}
    summary = summarize(experiment)
    values["parameters"] = summary.trainable + summary.non_trainable
    shown = {**(compared_by or {}), **values}
    return hparams_pb({path: _hyperparameter(value) for path, value in shown.items()}, trial_id=name)


def hyperparameters_end() -> Summary:
    """Encode that the run has finished."""
    of_tensorflow = session_end_pb(api_pb2.STATUS_SUCCESS)  # the same message in TensorFlow's class
    return Summary.FromString(of_tensorflow.SerializeToString())


def _hyperparameter(value: Any) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float) else text_of(value)


def _short(value: Any) -> str:
    if isinstance(value, Section):
        return str(getattr(value, "kind", type(value).__name__))
    separator = ", " if isinstance(value, tuple) and isinstance(value[0], str) else "x"
    return separator.join(map(str, value)) if isinstance(value, tuple) else str(value)
