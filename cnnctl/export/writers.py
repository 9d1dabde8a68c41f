"""Write a network for another runtime, and open it there."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnctl.model.adapted import use_stored_moments
from cnnctl.model.styles import build_model, layers_by_name
from cnnctl.model.up_sampling import with_products
from cnnctl.spec.experiment import Experiment

Values = NDArray[np.float32]
PREPARATION = "preparation.json"
"""Name of the preparation of images within every exported file."""
EXTRA_ASSETS = "assets.extra"
"""Folder of a SavedModel for files that TensorFlow itself does not read."""


@dataclass(frozen=True)
class Opened:
    """An exported network in its own runtime.

    Attributes:
        runtime: name and version.
        outputs: computes the outputs (B, classes) of prepared images, float32.
        input_name: name of the input in the file; None where it has no name.
        output_name: name of the output in the file; None where it has no name.
    """

    runtime: str
    outputs: Callable[[Values], Values]
    input_name: str | None = None
    output_name: str | None = None


def add_preparation(to: str, path: Path, text: str, classes: Sequence[str]) -> None:
    """Add the preparation of images to an exported file, at the usual place for its kind.

    Args:
        to: kind of file.
        path: file or folder.
        text: the preparation, as JSON.
        classes: names, in the order of the outputs.
    """
    match to:
        case "saved_model":
            (path / EXTRA_ASSETS).mkdir()
            (path / EXTRA_ASSETS / PREPARATION).write_text(text, encoding="utf-8")
        case "onnx":
            _add_properties(path, {"preparation": text, "classes": json.dumps(list(classes))})
        case "keras":
            _add_members(path, {PREPARATION: text})
        case "tflite":  # a zip archive behind the network, as TensorFlow Lite's metadata
            _add_members(
                path, {PREPARATION: text, "labels.txt": "".join(f"{' '.join(name.splitlines())}\n" for name in classes)}
            )


def _add_members(path: Path, texts: dict[str, str]) -> None:
    """Add files to a zip archive; one is appended to a file that has none."""
    with zipfile.ZipFile(path, "a") as archive:
        for name, text in texts.items():
            archive.writestr(
                zipfile.ZipInfo(name), text.encode("utf-8", "backslashreplace")
            )  # without a date, so that the same export has the same bytes


def _add_properties(path: Path, texts: dict[str, str]) -> None:
    """Add texts to the metadata of an ONNX file."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, texts)
    path.write_bytes(model.SerializeToString())


def plain_network(experiment: Experiment, trained: keras.Model) -> keras.Model:
    """Build the trained network from Keras's own classes alone, computing in float32."""
    style = "functional" if experiment.model.style == "subclass" else experiment.model.style
    model = experiment.model.model_copy(update={"style": style})
    train = experiment.train.model_copy(update={"precision": "float32"})
    network = build_model(experiment.model_copy(update={"model": model, "train": train}))
    learned = layers_by_name(trained)
    for name, layer in layers_by_name(network).items():  # by name: styles keep branches in different orders
        layer.set_weights(learned[name].get_weights())
    use_stored_moments(network)
    return network


def write_keras(network: keras.Model, path: Path) -> None:
    """Write a .keras file."""
    network.save(path)


def open_keras(path: Path) -> Opened:
    """Open a .keras file."""
    network = keras.models.load_model(path, compile=False, safe_mode=True)
    return Opened(f"Keras {keras.__version__}", lambda images: np.asarray(network(images, training=False)))


def write_saved_model(network: keras.Model, path: Path) -> None:
    """Write a SavedModel folder with the endpoint `serve`."""
    network.export(path, format="tf_saved_model", verbose=False)


def open_saved_model(path: Path) -> Opened:
    """Open a SavedModel."""
    loaded = tf.saved_model.load(str(path))
    signature = loaded.signatures["serving_default"]
    _, inputs = signature.structured_input_signature

    def outputs(images: Values) -> Values:
        return np.asarray(loaded.serve(images))

    return Opened(f"TensorFlow {tf.__version__}", outputs, next(iter(inputs)), next(iter(signature.structured_outputs)))


def write_tflite(network: keras.Model, path: Path, typical: Values | None = None) -> None:
    """Write a TensorFlow Lite file.

    Args:
        network: the network.
        path: ends with .tflite.
        typical: prepared training images, for a network that computes in int8: their activations set the range that the
            256 values of each layer cover. Input and output stay float32. None for float32 throughout.
    """
    operators = tf.lite.OpsSet.TFLITE_BUILTINS  # not TensorFlow's own, which a small runtime does not have
    options: dict[str, Any] = {}
    if typical is not None:

        def one_by_one() -> Iterator[list[Values]]:
            yield from ([typical[index : index + 1]] for index in range(len(typical)))

        operators = tf.lite.OpsSet.TFLITE_BUILTINS_INT8
        options = {"optimizations": [tf.lite.Optimize.DEFAULT], "representative_dataset": one_by_one}
    network = with_products(network)
    network.export(path, format="litert", verbose=False, target_spec={"supported_ops": [operators]}, **options)


def open_tflite(path: Path) -> Opened:
    """Open a TensorFlow Lite file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # its successor is a package of its own; TensorFlow 2.21 has this one
        interpreter = tf.lite.Interpreter(model_content=path.read_bytes())
    signature = interpreter.get_signature_runner()
    image, output = next(iter(signature.get_input_details())), next(iter(signature.get_output_details()))

    def outputs(images: Values) -> Values:
        return np.asarray(signature(**{image: images})[output])

    return Opened(f"TensorFlow Lite {tf.__version__}", outputs, image, output)


def write_onnx(experiment: Experiment, network: keras.Model, path: Path) -> None:
    """Write an ONNX file; `experiment` has the layers of `network`."""
    from cnnctl.export.onnx_network import onnx_graph  # its packages are an extra

    path.write_bytes(onnx_graph(experiment.network, network).SerializeToString())


def open_onnx(path: Path) -> Opened:
    """Open an ONNX file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    image, output = session.get_inputs()[0].name, session.get_outputs()[0].name

    def outputs(images: Values) -> Values:
        return np.asarray(session.run([output], {image: images})[0])

    return Opened(f"ONNX Runtime {onnxruntime.__version__}", outputs, image, output)


OPEN: dict[str, Callable[[Path], Opened]] = {
    "keras": open_keras,
    "saved_model": open_saved_model,
    "tflite": open_tflite,
    "onnx": open_onnx,
}
"""The function that opens each target in its runtime."""
