"""`cnnctl export`: export a trained network for another runtime, and compare its outputs there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from cnnctl.errors import UsageError
from cnnctl.export.preparation import preparation_facts
from cnnctl.files import refuse_output
from cnnctl.report.console import Console
from cnnctl.report.tables import as_json, show_bytes
from cnnctl.report.text import printable
from cnnctl.run_folder import RunFolder, open_run_folder
from cnnctl.session.run_files import config_of_run
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.few_shot import refuse_few_shot
from cnnctl.spec.layers import CustomLayer
from cnnctl.train.quiet import import_tensorflow

if TYPE_CHECKING:
    from cnnctl.export.exporter import Exported
    from cnnctl.session.trained_run import Trained

SUFFIXES = {"keras": ".keras", "tflite": ".tflite", "onnx": ".onnx"}
"""File suffix per format; a SavedModel is a folder."""
USES = {
    "keras": "outputs = keras.models.load_model({path!r})(images)",
    "saved_model": "network = tf.saved_model.load({path!r}); outputs = network.serve(images)",
    "tflite": "outputs = tf.lite.Interpreter({path!r}).get_signature_runner()({input_name}=images)[{output_name!r}]",
    "onnx": "outputs = onnxruntime.InferenceSession({path!r}).run(None, {{{input_name!r}: images}})[0]",
}
"""Python code that runs the exported network."""
READS = {
    "keras": "zipfile.ZipFile({path!r}).read('preparation.json')",
    "saved_model": "pathlib.Path({path!r}, 'assets.extra/preparation.json').read_text()",
    "tflite": "zipfile.ZipFile({path!r}).read('preparation.json')",
    "onnx": "onnxruntime.InferenceSession({path!r}).get_modelmeta().custom_metadata_map['preparation']",
}
"""Python code that reads the image preparation and the class names from the export."""
EXTRA = ("onnx", "onnxruntime")
MAX_NAMES = 10
PAGE_WIDTH = 100


def export(
    folder: Path, to: str, output: Path | None, quantize: str | None, form: str, console: Console, verbose: bool
) -> None:
    """Export a trained network, compare its outputs with the original, and print both.

    Args:
        folder: the run folder.
        to: `keras`, `saved_model`, `tflite` or `onnx`.
        output: the file, or for saved_model the folder, to create; None for a default name in `RUN/export/`.
        quantize: `int8` with tflite, or None.
        form: `table` or `json`.
        console: prints results and messages.
        verbose: show TensorFlow's log.

    Raises:
        UsageError: the run does not exist, the output exists, options conflict, or a package is missing.
        DataError: the training images that int8 needs cannot be read.
        RunError: the run is incomplete, the network cannot be converted, or its outputs differ in the new runtime.
    """
    if quantize and to != "tflite":
        raise UsageError(f"--quantize {quantize} requires --to tflite, received --to {to}")
    path = output or _default(open_run_folder(folder), to, quantize)
    refuse_output(path, "--output", SUFFIXES.get(to, ""), is_folder=to not in SUFFIXES, makes_folders=True)
    if to == "onnx":
        _refuse_without_packages()
    run = RunFolder(folder)
    experiment = config_of_run(folder, console)
    refuse_few_shot(experiment, "export", f"open {run.model} with keras.models.load_model once the run is complete")
    if to == "onnx":
        _refuse_own_layers(experiment)
    with console.working("starting TensorFlow"):
        import_tensorflow(verbose)
        from cnnctl.export.exporter import export_network
        from cnnctl.session.trained_run import open_trained
        from cnnctl.train.device import choose_device
    choose_device("cpu")  # the runtimes it is compared with run on the CPU; a GPU rounds differently
    trained = open_trained(folder)
    with console.working(f"exporting to {to}"):
        exported = export_network(trained, to, quantize, path, verbose)
    for note in exported.notes:
        console.say(note)
    facts = _facts(trained, exported, to, quantize, path)
    console.result(as_json(facts) if form == "json" else "\n".join(_lines(trained, facts)))


def _refuse_own_layers(experiment: Experiment) -> None:
    """Refuse layers whose Python code has no counterpart among the operators of ONNX."""
    for node in experiment.network.nodes:
        if isinstance(node.layer, CustomLayer):
            raise UsageError(
                f"--to onnx: '{node.name}' is a layer of one's own, {node.layer.own.place}, and cnnctl writes ONNX layer by layer; "
                "export it with --to saved_model, or --to keras"
            )


def _default(run: RunFolder, to: str, quantize: str | None) -> Path:
    name = to if to == "saved_model" else f"model{f'-{quantize}' if quantize else ''}{SUFFIXES[to]}"
    return run.path / "export" / name


def _refuse_without_packages() -> None:
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise UsageError(f"--to onnx needs {' and '.join(missing)}; install with: pip install {' '.join(missing)}")


def _facts(trained: Trained, exported: Exported, to: str, quantize: str | None, path: Path) -> dict[str, Any]:
    """Collect the facts of an export as JSON types."""
    data, names = trained.experiment.data, {"input_name": exported.input_name, "output_name": exported.output_name}
    gives = "logits" if trained.from_logits else "probabilities"
    return {
        "path": str(path),
        "to": to,
        "quantize": quantize,
        "bytes": exported.bytes,
        "bytes_before": exported.bytes_before,
        "input": {
            "name": exported.input_name,
            "shape": [None, *exported.image],
            "dtype": "float32",
            "range": [0, 1],
            "data_format": trained.experiment.model.data_format,
            "inverted": data.invert,
        },
        "output": {
            "name": exported.output_name,
            "shape": [None, exported.outputs],
            "dtype": "float32",
            "values": gives,
        },
        "classes": trained.class_names,
        "preparation": preparation_facts(trained.experiment, trained.class_names, gives),
        "check": asdict(exported.check),
        "notes": exported.notes,
        "use": USES[to].format(path=str(path), **names),
        "read": READS[to].format(path=str(path)),
    }


def _lines(trained: Trained, facts: dict[str, Any]) -> list[str]:
    images, outputs = facts["input"], facts["output"]
    inside = "; int8 inside, float32 inputs and outputs" if facts["quantize"] else ""
    softmax = ", apply softmax for probabilities" if outputs["values"] == "logits" else ""
    names = facts["classes"]
    more = f" and {len(names) - MAX_NAMES:,} more" if len(names) > MAX_NAMES else ""
    return [
        f"export  {printable(facts['path'])}",
        f"size    {show_bytes(facts['bytes'])}, model.keras of the run {show_bytes(facts['bytes_before'])}{inside}",
        f"input   {_tensor(images)}: {_prepared(trained)}",
        f"output  {_tensor(outputs)}: {outputs['values']}{softmax}",
        f"classes {', '.join(map(printable, names[:MAX_NAMES]))}{more}",
        *_prepare_lines(facts["preparation"]["steps"]),
        *_check_lines(facts["check"]),
        f"use     {printable(facts['use'])}",
        f"inside  preparation and classes: json.loads({printable(facts['read'])})",
    ]


def _tensor(facts: dict[str, Any]) -> str:
    name = f"'{facts['name']}' " if facts["name"] else ""
    return f"{name}(B, {', '.join(map(str, facts['shape'][1:]))}) {facts['dtype']}"


def _prepared(trained: Trained) -> str:
    """Describe the network's input: colour, size, pixel scaling and order of axes."""
    data, first = trained.experiment.data, trained.experiment.model.data_format == "channels_first"
    assert data.image_size
    size = "×".join(map(str, data.image_size))
    pixels = "(255 - pixels) / 255" if data.invert else "pixels / 255"
    return f"{'grey' if data.channels == 1 else 'RGB'} images of {size}, {pixels}{', channels first' if first else ''}"


def _prepare_lines(steps: Sequence[str]) -> Iterator[str]:
    """Yield the preparation steps of an image, numbered and wrapped."""
    for number, step in enumerate(steps, start=1):
        first, *others = wrap(step, PAGE_WIDTH)
        yield f"{'prepare' if number == 1 else '':<7} {number}. {first}"
        yield from (f"           {line}" for line in others)


def _check_lines(check: dict[str, Any]) -> list[str]:
    difference = check["largest_difference"]
    some = f"{check['images']:,} of {check['available']:,}" if check["images"] < check["available"] else f"{check['images']:,}"
    lines = [
        f"check   {check['runtime']} on {some} {check['of']} {'image' if some == '1' else 'images'}: the same class for {check['same_class']:.2%}",
        f"        probabilities {f'differ by {difference:.1e} at most' if difference else 'are equal to the bit'}",
    ]
    if check["accuracy_before"] is not None:
        lines.append(
            f"        accuracy {check['accuracy_before']:.2%} by the run's network, {check['accuracy_after']:.2%} exported"
        )
    return lines
