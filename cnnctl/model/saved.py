"""The network of a `.keras` file, taken from it without trust.

A `.keras` file says itself what Keras is to build, class by class, and Keras has been talked into running code that way
in spite of its safe mode. Here the config says what is built, and of the file only numbers are taken, once it was seen
that it holds what Keras writes for this network, and nothing that leads elsewhere.
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
from cnnctl.spec.network import Network

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
MEMBERS = ["metadata.json", CONFIG, WEIGHTS]
"""What Keras writes for layers that have no files of their own, in this order."""
MAX_CONFIG = 10_000_000
"""Bytes of config.json; a layer has about a thousand."""
BYTES_A_LAYER = 2**16
"""More than HDF5 needs to describe the arrays of a layer, whatever their size."""
OBJECTS_A_LAYER = 32
"""More groups and arrays than Keras writes for a layer."""
_OF_NO_ACCOUNT = ("seed", "shared_object_id", "compile_config")
"""What a saved network says that its outputs do not depend on."""


class NotThisNetwork(Exception):
    """A file that does not hold the network that its config says; the message says why."""


def saved_network(experiment: Experiment, file: Path) -> keras.Model:
    """Return the network of a checked config with the weights of a `.keras` file.

    Args:
        experiment: says the network.
        file: no link, or one that stays in its folder. It is opened once: what is checked is what is loaded.

    Raises:
        NotThisNetwork: it holds something else, or more than it should.
        OSError: the file cannot be read, leads away, or its HDF5 part is broken.
        RunError: there is no room for a temporary file.
        Exception: what zipfile, h5py and Keras raise for wrong bits.
    """
    with open_regular(file, file.parent) as opened, zipfile.ZipFile(opened) as archive:
        _refuse_other_members(experiment.network, archive)
        weights = archive.read(WEIGHTS)  # read whole, which checks its CRC
        _refuse_links(experiment.network, weights)
        network = build_model(experiment)
        _refuse_other_layers(network, json.loads(archive.read(CONFIG)))
    _load(network, weights)
    if not all(np.isfinite(weight).all() for weight in network.get_weights()):
        raise NotThisNetwork("it has weights that are no finite numbers")
    return network


def _load(network: keras.Model, weights: bytes) -> None:
    """Loads weights from a copy of what was checked: Keras opens files by their names, and who may write may swap them."""
    with contextlib.ExitStack() as stack:
        try:
            copy = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cnnctl-"))) / WEIGHTS
            copy.write_bytes(weights)
        except OSError as error:
            raise RunError(
                f"a temporary file of {len(weights):,} bytes cannot be written: {error.strerror}; set TMPDIR"
            ) from error
        network.load_weights(copy)  # Keras asks the file for nothing but arrays here


def _refuse_other_members(network: Network, archive: zipfile.ZipFile) -> None:
    """Raise what speaks against an archive by its list of contents alone: other things, or too much or too little."""
    members = archive.infolist()
    if [each.filename for each in members] != MEMBERS:
        raise NotThisNetwork(f"it holds other things than {', '.join(MEMBERS)}")
    if any(each.compress_type != zipfile.ZIP_STORED or each.file_size != each.compress_size for each in members):
        raise NotThisNetwork("it is compressed, which Keras never does")
    least = 4 * network.parameters  # weights are float32 in every precision
    most = least + BYTES_A_LAYER * (len(network.nodes) + 2)
    size = archive.getinfo(WEIGHTS).file_size
    if not least <= size <= most:
        raise NotThisNetwork(f"its weights take {size:,} bytes, and those of config.yaml {least:,} and a little more")
    if archive.getinfo(CONFIG).file_size > MAX_CONFIG:
        raise NotThisNetwork(f"its {CONFIG} has more than {MAX_CONFIG:,} bytes")


def _refuse_links(network: Network, weights: bytes) -> None:
    """Raise where an HDF5 file has anything but groups and plain arrays, as those of other files or of any size are."""
    most = OBJECTS_A_LAYER * (len(network.nodes) + 2)
    with h5py.File(io.BytesIO(weights), "r") as file:
        waiting = [file]
        while waiting:
            group = waiting.pop()
            for name in group:
                most -= 1
                if most < 0 or not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise NotThisNetwork(f"its {WEIGHTS} has links, or more parts than such a network")
                each = group[name]
                if isinstance(each, h5py.Group):
                    waiting.append(each)
                elif not _is_plain(each):
                    raise NotThisNetwork(f"its {WEIGHTS} has something that is no plain array of numbers")


def _is_plain(each: Any) -> bool:
    """Return True if an HDF5 object is an array of numbers that lies in the file itself, whole and as it is."""
    if not isinstance(each, h5py.Dataset) or each.dtype.kind not in "fiu" or each.shape is None:
        return False
    if each.external or each.is_virtual or each.chunks is not None:
        return False
    return bool(each.id.get_storage_size() == each.nbytes)


def _refuse_other_layers(network: keras.Model, saved: Any) -> None:
    """Raise where the file was saved for another network than the config says; nothing is built from what it says."""
    built = json.loads(json.dumps(keras.saving.serialize_keras_object(network)))
    for each in (built, saved):
        each["config"].pop("name", None)  # counted up in each process
    difference = _difference(saved, built, "")
    if difference is not None:
        raise NotThisNetwork(f"it is of another network than config.yaml says: {CONFIG} differs in {difference or 'all'}")


def _difference(saved: Any, built: Any, path: str) -> str | None:
    """Return where two plain values differ first, or None; what only one of two mappings says is of another Keras."""
    if isinstance(saved, dict) and isinstance(built, dict):
        both = [key for key in built if key in saved and key not in _OF_NO_ACCOUNT]
        pairs = [(f"{path}.{key}".removeprefix("."), saved[key], built[key]) for key in both]
    elif isinstance(saved, list) and isinstance(built, list) and len(saved) == len(built):
        pairs = [(f"{path}[{index}]", *each) for index, each in enumerate(zip(saved, built, strict=True))]
    else:
        return None if saved == built else path
    found = (_difference(one, other, where) for where, one, other in pairs)
    return next((each for each in found if each is not None), None)
