"""Load the network of an untrusted `.keras` file.

A `.keras` file names the classes that Keras builds, and files have made Keras run code in spite of its safe mode. Here the
config determines the network. Only arrays are read from the file, after the check that it holds exactly what Keras writes
for this network and no links.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import keras
import numpy as np

from cnnctl.errors import RunError
from cnnctl.model.styles import build_model
from cnnctl.reading import open_regular
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.layers import CustomLayer
from cnnctl.spec.network import Network
from cnnctl.spec.stack import Node

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
MEMBERS = ["metadata.json", CONFIG, WEIGHTS]
"""The members that Keras writes for layers without files of their own, in this order."""
MAX_CONFIG = 10_000_000
"""Most bytes of config.json; a layer has about a thousand."""
BYTES_PER_LAYER = 2**16
"""More bytes than HDF5 needs for the metadata of the arrays of a layer, of any size."""
OBJECTS_PER_LAYER = 32
"""More groups and arrays than Keras writes for a layer."""
LAYERS_INSIDE = 64
"""Most layers that are expected inside a layer of one's own."""
_IRRELEVANT = ("seed", "shared_object_id", "compile_config")
"""Keys of a saved network that its outputs do not depend on."""


class NotThisNetwork(Exception):
    """A file does not hold the network of the config; the message has the reason."""


def saved_network(experiment: Experiment, file: Path) -> keras.Model:
    """Build the network of a checked config and load the weights of a `.keras` file.

    Args:
        experiment: the config.
        file: a file, or a link inside its folder. It is opened once, so the checked content is what is loaded.

    Raises:
        NotThisNetwork: the file holds another network, or anything else.
        OSError: the file cannot be read, is a link out of its folder, or its HDF5 part is broken.
        RunError: a temporary file cannot be written.
        Exception: errors of zipfile, h5py and Keras for corrupt files.
    """
    with open_regular(file, file.parent) as opened, zipfile.ZipFile(opened) as archive:
        _refuse_other_members(experiment.network, archive)
        weights = archive.read(WEIGHTS)  # read whole, which checks its CRC
        _refuse_links(experiment.network, weights)
        network = build_model(experiment)
        _refuse_other_layers(network, json.loads(archive.read(CONFIG)))
    _load(network, weights)
    if not all(np.isfinite(weight).all() for weight in network.get_weights()):
        raise NotThisNetwork("it has NaN or infinite weights")
    return network


def _load(network: keras.Model, weights: bytes) -> None:
    """Load weights from a private copy of the checked bytes: Keras opens files by name, and these could be swapped."""
    with contextlib.ExitStack() as stack:
        try:
            copy = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cnnctl-"))) / WEIGHTS
            copy.write_bytes(weights)
        except OSError as error:
            raise RunError(
                f"a temporary file of {len(weights):,} bytes cannot be written: {error.strerror}; set TMPDIR"
            ) from error
        network.load_weights(copy)  # Keras reads only arrays here


def _refuse_other_members(network: Network, archive: zipfile.ZipFile) -> None:
    """Raise NotThisNetwork for an archive with other members, compressed members, or members of a wrong size."""
    members = archive.infolist()
    if [each.filename for each in members] != MEMBERS:
        raise NotThisNetwork(f"it holds other members than {', '.join(MEMBERS)}")
    if any(each.compress_type != zipfile.ZIP_STORED or each.file_size != each.compress_size for each in members):
        raise NotThisNetwork("it is compressed, which Keras never does")
    own = sum(facts.parameters for facts, node in zip(network.facts, network.nodes, strict=True) if _is_own(node))
    least = 4 * (network.parameters - own)  # weights are float32 in every precision; those of layers of one's own may be others
    most = least + 8 * own + BYTES_PER_LAYER * _layers(network)
    size = archive.getinfo(WEIGHTS).file_size
    if not least <= size <= most:
        raise NotThisNetwork(f"its weights have {size:,} bytes; those of config.yaml have {least:,} and some metadata")
    if archive.getinfo(CONFIG).file_size > MAX_CONFIG:
        raise NotThisNetwork(f"its {CONFIG} has more than {MAX_CONFIG:,} bytes")


def _refuse_links(network: Network, weights: bytes) -> None:
    """Raise NotThisNetwork if an HDF5 file has anything but groups and plain arrays, such as links or external data."""
    most = OBJECTS_PER_LAYER * _layers(network)
    with h5py.File(io.BytesIO(weights), "r") as file:
        waiting = [file]
        while waiting:
            group = waiting.pop()
            for name in group:
                most -= 1
                if most < 0 or not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise NotThisNetwork(f"its {WEIGHTS} has links, or more parts than this network")
                each = group[name]
                if isinstance(each, h5py.Group):
                    waiting.append(each)
                elif not _is_plain(each):
                    raise NotThisNetwork(f"its {WEIGHTS} has an object that is not a plain array of numbers")


def _is_own(node: Node) -> bool:
    return isinstance(node.layer, CustomLayer)


def _layers(network: Network) -> int:
    """Count the layers of a network generously: one of one's own may have others inside, and two are Keras's."""
    return sum(LAYERS_INSIDE if _is_own(node) else 1 for node in network.nodes) + 2


def _is_plain(each: Any) -> bool:
    """Return True if an HDF5 object is an array of numbers stored in the file itself, contiguous and uncompressed."""
    if not isinstance(each, h5py.Dataset) or each.dtype.kind not in "fiu" or each.shape is None:
        return False
    if each.external or each.is_virtual or each.chunks is not None:
        return False
    return bool(each.id.get_storage_size() == each.nbytes)


def _refuse_other_layers(network: keras.Model, saved: Any) -> None:
    """Raise NotThisNetwork if the file was saved for another network than that of the config; nothing is built from the file."""
    built = json.loads(json.dumps(keras.saving.serialize_keras_object(network)))
    for each in (built, saved):
        each["config"].pop("name", None)  # numbered per process
    difference = _difference(saved, built, "")
    if difference is not None:
        raise NotThisNetwork(f"it is of another network than that of config.yaml: {CONFIG} differs in {difference or 'all'}")


def _difference(saved: Any, built: Any, path: str) -> str | None:
    """Return the path of the first difference, or None; keys that only one mapping has are of another version of Keras."""
    if isinstance(saved, dict) and isinstance(built, dict):
        both = [key for key in built if key in saved and key not in _IRRELEVANT]
        pairs = [(f"{path}.{key}".removeprefix("."), saved[key], built[key]) for key in both]
    elif isinstance(saved, list) and isinstance(built, list) and len(saved) == len(built):
        pairs = [(f"{path}[{index}]", *each) for index, each in enumerate(zip(saved, built, strict=True))]
    else:
        return None if saved == built else path
    found = (_difference(one, other, where) for where, one, other in pairs)
    return next((each for each in found if each is not None), None)
