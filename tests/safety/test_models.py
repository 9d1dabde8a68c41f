"""Model files that want to run code, fill the memory, or read and write elsewhere."""

from __future__ import annotations

import base64
import io
import json
import marshal
import os
import pickle
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import keras
import numpy as np
import pytest

import cnnctl.model  # noqa: F401  # Keras knows our own classes then, as in a command
from cnnctl.model.saved import CONFIG, MEMBERS, WEIGHTS
from tests.safety.conftest import Command

SENTINEL = "sentinel"
"""A file that code would make if it ran."""

Members = dict[str, bytes]
Change = Callable[[Members, Path], Members]


def layers_of(members: Members) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    config = json.loads(members[CONFIG])
    return config, config["config"]["layers"]


def with_layer(members: Members, layer: dict[str, Any], at: int = 2) -> Members:
    """Returns the members with another layer in the config."""
    config, layers = layers_of(members)
    layers[at] = layer
    return {**members, CONFIG: json.dumps(config).encode()}


def keras_object(module: str | None, name: str, config: object, registered: str | None = None) -> dict[str, Any]:
    return {"module": module, "class_name": name, "config": config, "registered_name": registered}


def lambda_of_code(members: Members, folder: Path) -> Members:
    code = compile(f"open({str(folder / SENTINEL)!r}, 'w')", "x", "eval")
    function = {
        "class_name": "__lambda__",
        "config": {"code": base64.b64encode(marshal.dumps(code)).decode(), "defaults": None, "closure": None},
    }
    return with_layer(members, keras_object("keras.layers", "Lambda", {"name": "flatten", "function": function}))


def lambda_of_a_function(members: Members, folder: Path) -> Members:
    function = keras_object("keras.config", "function", "enable_unsafe_deserialization", "function")
    return with_layer(members, keras_object("keras.layers", "Lambda", {"name": "flatten", "function": function}))


def os_system(members: Members, folder: Path) -> Members:
    return with_layer(members, keras_object("os", "system", f"touch {folder / SENTINEL}"))


def subprocess_run(members: Members, folder: Path) -> Members:
    return with_layer(members, keras_object("subprocess", "run", {"args": ["touch", str(folder / SENTINEL)]}))


def builtins_exec(members: Members, folder: Path) -> Members:
    return with_layer(members, keras_object("builtins", "exec", f"open({str(folder / SENTINEL)!r}, 'w')"))


def a_module_of_the_folder(members: Members, folder: Path) -> Members:
    """An import alone runs what a module says."""
    (folder / "hostile_module.py").write_text(f"open({str(folder / SENTINEL)!r}, 'w')\nclass Layer: pass\n")
    return with_layer(members, keras_object("hostile_module", "Layer", {}))


def an_activation_of_code(members: Members, folder: Path) -> Members:
    config, layers = layers_of(members)
    layers[1]["config"]["activation"] = keras_object("os", "function", "system", "system")
    return {**members, CONFIG: json.dumps(config).encode()}


def get_file(members: Members, folder: Path) -> Members:
    function = keras_object("keras.utils", "function", "get_file", "get_file")
    arguments = {"origin": "file:///etc/passwd", "cache_dir": str(folder), "fname": SENTINEL}
    return with_layer(
        members, keras_object("keras.layers", "Lambda", {"name": "flatten", "function": function, "arguments": arguments})
    )


def a_vocabulary_file(members: Members, folder: Path) -> Members:
    return with_layer(members, keras_object("keras.layers", "StringLookup", {"name": "flatten", "vocabulary": "/etc/passwd"}))


def a_text_vectorization(members: Members, folder: Path) -> Members:
    config = {"name": "flatten", "vocabulary": "/etc/passwd", "standardize": None}
    return with_layer(members, keras_object("keras.layers", "TextVectorization", config))


def a_saved_model(members: Members, folder: Path) -> Members:
    return with_layer(members, keras_object("keras.layers", "TFSMLayer", {"name": "flatten", "filepath": str(folder)}))


def our_own_class(members: Members, folder: Path) -> Members:
    layer = keras_object("keras.layers", "Lambda", {"function": {"class_name": "__lambda__"}})
    config = {"name": "x", "layer_configs": [layer], "wiring": {}}
    return {
        **members,
        CONFIG: json.dumps(keras_object("cnnctl.model.styles", "StackModel", config, "cnnctl>StackModel")).encode(),
    }


def another_activation(members: Members, folder: Path) -> Members:
    return {**members, CONFIG: members[CONFIG].replace(b'"activation": "relu"', b'"activation": "tanh"')}


def another_order(members: Members, folder: Path) -> Members:
    config, layers = layers_of(members)
    layers[1], layers[2] = layers[2], layers[1]
    return {**members, CONFIG: json.dumps(config).encode()}


def no_json(members: Members, folder: Path) -> Members:
    return {**members, CONFIG: b"{"}


def deep_json(members: Members, folder: Path) -> Members:
    return {**members, CONFIG: b"[" * 200_000 + b"]" * 200_000}


def json_of_a_list(members: Members, folder: Path) -> Members:
    return {**members, CONFIG: b"[]"}


def large_config(members: Members, folder: Path) -> Members:
    return {**members, CONFIG: members[CONFIG] + bytes(20_000_000)}


def another_member(members: Members, folder: Path) -> Members:
    return {**members, "assets/x.txt": b"x"}


def a_member_above(members: Members, folder: Path) -> Members:
    return {**members, f"../../{SENTINEL}": b"x"}


def an_absolute_member(members: Members, folder: Path) -> Members:
    return {**members, str(folder / SENTINEL): b"x"}


def pickled_weights(members: Members, folder: Path) -> Members:
    """An `.npz` in place of the HDF5 file, which Keras also takes."""

    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return open, (str(folder / SENTINEL), "w")

    array = np.empty(1, object)
    array[0] = Hostile()
    content = io.BytesIO()
    np.savez(content, layers=array)
    return {"metadata.json": b"{}", CONFIG: members[CONFIG], "model.weights.npz": content.getvalue()}


def a_pickle_for_weights(members: Members, folder: Path) -> Members:
    return {**members, WEIGHTS: pickle.dumps([1, 2, 3]).ljust(len(members[WEIGHTS]), b"\0")}


def no_weights(members: Members, folder: Path) -> Members:
    return {name: content for name, content in members.items() if name != WEIGHTS}


# HDF5


def changed(members: Members, change: Callable[[h5py.File], None]) -> Members:
    content = io.BytesIO(members[WEIGHTS])
    with h5py.File(content, "r+") as file:
        change(file)
    return {**members, WEIGHTS: content.getvalue()}


def secret(folder: Path) -> Path:
    """Returns an HDF5 file that no run names, with weights that would fit."""
    with h5py.File(folder / "secret.h5", "w") as file:
        file["vars/0"] = np.full((3, 3, 1, 2), 7, np.float32)
        file["vars/1"] = np.full(2, 7, np.float32)
    return folder / "secret.h5"


KERNEL = "layers/conv2d/vars/0"


def an_external_link(members: Members, folder: Path) -> Members:
    def change(file: h5py.File) -> None:
        del file[KERNEL]
        file[KERNEL] = h5py.ExternalLink(str(secret(folder)), "vars/0")

    return changed(members, change)


def a_group_by_an_external_link(members: Members, folder: Path) -> Members:
    def change(file: h5py.File) -> None:
        del file["layers/conv2d"]
        file["layers/conv2d"] = h5py.ExternalLink(str(secret(folder)), "/")

    return changed(members, change)


def all_layers_by_an_external_link(members: Members, folder: Path) -> Members:
    def change(file: h5py.File) -> None:
        del file["layers"]
        file["layers"] = h5py.ExternalLink("/proc/self/mem", "/")

    return changed(members, change)


def a_soft_link(members: Members, folder: Path) -> Members:
    def change(file: h5py.File) -> None:
        file["layers/conv2d/more"] = h5py.SoftLink("/layers")

    return changed(members, change)


def a_circle_of_groups(members: Members, folder: Path) -> Members:
    def change(file: h5py.File) -> None:
        file["layers/conv2d/circle"] = file["/"]

    return changed(members, change)


def external_storage(members: Members, folder: Path) -> Members:
    (folder / "secret.bin").write_bytes(np.full(18, 7, np.float32).tobytes())

    def change(file: h5py.File) -> None:
        del file[KERNEL]
        file.create_dataset(KERNEL, (3, 3, 1, 2), "f4", external=[(str(folder / "secret.bin"), 0, h5py.h5f.UNLIMITED)])

    return changed(members, change)


def a_virtual_dataset(members: Members, folder: Path) -> Members:
    source = h5py.VirtualSource(str(secret(folder)), "vars/0", (3, 3, 1, 2), "f4")
    layout = h5py.VirtualLayout((3, 3, 1, 2), "f4")
    layout[...] = source

    def change(file: h5py.File) -> None:
        del file[KERNEL]
        file.create_virtual_dataset(KERNEL, layout)

    return changed(members, change)


def replaced(**options: Any) -> Change:
    """Returns what has another array in place of the kernel."""

    def change(members: Members, folder: Path) -> Members:
        def inside(file: h5py.File) -> None:
            del file[KERNEL]
            file.create_dataset(KERNEL, **options)

        return changed(members, inside)

    return change


def a_type(members: Members, folder: Path) -> Members:
    def change(file: h5py.File) -> None:
        file["layers/conv2d/type"] = np.dtype("f4")

    return changed(members, change)


def many_groups(members: Members, folder: Path) -> Members:
    def change(file: h5py.File) -> None:
        for index in range(300):
            file.create_group(f"layers/group{index}")

    return changed(members, change)


def a_layer_less(members: Members, folder: Path) -> Members:
    def change(file: h5py.File) -> None:
        del file["layers/dense"]

    return changed(members, change)


def wrong_bits(members: Members, folder: Path) -> Members:
    content = bytearray(members[WEIGHTS])
    content[100:2000] = bytes(index % 251 for index in range(1900))
    return {**members, WEIGHTS: bytes(content)}


def huge_weights(members: Members, folder: Path) -> Members:
    return {**members, WEIGHTS: members[WEIGHTS] + bytes(2_000_000)}


def few_weights(members: Members, folder: Path) -> Members:
    return {**members, WEIGHTS: members[WEIGHTS][:1000]}


CHANGES: dict[str, tuple[Change, str]] = {
    "Lambda with marshalled code": (lambda_of_code, "another network"),
    "Lambda that switches safe mode off": (lambda_of_a_function, "another network"),
    "os.system": (os_system, "another network"),
    "subprocess.run": (subprocess_run, "another network"),
    "builtins.exec": (builtins_exec, "another network"),
    "a module to import": (a_module_of_the_folder, "another network"),
    "os.system as activation": (an_activation_of_code, "another network"),
    "keras.utils.get_file": (get_file, "another network"),
    "StringLookup with a path": (a_vocabulary_file, "another network"),
    "TextVectorization with a path": (a_text_vectorization, "another network"),
    "TFSMLayer": (a_saved_model, "another network"),
    "cnnctl's own class": (our_own_class, "another network"),
    "another activation": (
        another_activation,
        r"another network than that of config\.yaml: config\.json differs in .*activation",
    ),
    "another order of layers": (another_order, "another network"),
    "config that is no JSON": (no_json, "is damaged and cannot be opened"),
    "config nested deeply": (deep_json, "is damaged and cannot be opened"),
    "config that is a list": (json_of_a_list, "is damaged and cannot be opened"),
    "config of 20 MB": (large_config, "its config.json has more than"),
    "another member": (another_member, "it holds other members"),
    "a member above": (a_member_above, "it holds other members"),
    "an absolute member": (an_absolute_member, "it holds other members"),
    "pickled weights": (pickled_weights, "it holds other members"),
    "a pickle for weights": (a_pickle_for_weights, "is damaged and cannot be opened"),
    "no weights": (no_weights, "it holds other members"),
    "external link": (an_external_link, "has links"),
    "external link to a group": (a_group_by_an_external_link, "has links"),
    "external link to memory": (all_layers_by_an_external_link, "has links"),
    "soft link": (a_soft_link, "has links"),
    "circle of groups": (a_circle_of_groups, "has links, or more parts"),
    "many groups": (many_groups, "more parts"),
    "external storage": (external_storage, "not a plain array"),
    "virtual dataset": (a_virtual_dataset, "not a plain array"),
    "shape without content": (replaced(shape=(10**6, 10**6), dtype="f4"), "not a plain array"),
    "chunks of nothing": (replaced(shape=(10**6, 10**6), dtype="f4", chunks=(1000, 1000)), "not a plain array"),
    "compressed": (replaced(data=np.zeros((3, 3, 1, 2), np.float32), compression="gzip"), "not a plain array"),
    "texts": (replaced(data=["a", "b"]), "not a plain array"),
    "references": (replaced(shape=(2,), dtype=h5py.ref_dtype), "not a plain array"),
    "no shape": (replaced(data=h5py.Empty("f4")), "not a plain array"),
    "another shape": (replaced(data=np.zeros((3, 3, 2, 2), np.float32)), "is damaged and cannot be opened"),
    "a named type": (a_type, "not a plain array"),
    "weights of nan": (replaced(data=np.full((3, 3, 1, 2), np.nan, np.float32)), "NaN or infinite weights"),
    "infinite weights": (replaced(data=np.full((3, 3, 1, 2), np.inf, np.float32)), "NaN or infinite weights"),
    "a layer less": (a_layer_less, "is damaged and cannot be opened"),
    "wrong bits": (wrong_bits, "model.keras is"),
    "huge weights": (huge_weights, "its weights have"),
    "few weights": (few_weights, "its weights have"),
}


def members_of(file: Path) -> Members:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(file: Path, members: Members, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def refused(command: Command, run: Path) -> str:
    """Returns how `evaluate` refuses a run, having seen that nothing was run, written or read elsewhere."""
    others = [file for file in run.parent.iterdir() if file != run]
    before = {file: os.stat(file).st_atime_ns for file in others}
    reported = command("evaluate", run)
    assert reported.code == 1
    assert reported.refusal().count("\n") == 1
    assert not list(run.parent.rglob(SENTINEL))
    assert not Path(SENTINEL).exists()
    assert "hostile_module" not in sys.modules
    assert {file: os.stat(file).st_atime_ns for file in others} == before
    assert not (run / "evaluation").exists()
    return reported.err


@pytest.mark.parametrize("name", CHANGES)
def test_a_hostile_model_is_refused(
    name: str, run: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    change, reason = CHANGES[name]
    write(run / "model.keras", change(members_of(run / "model.keras"), tmp_path))
    assert re.search(reason, refused(command, run))


def test_what_the_changes_are_made_from_is_in_order(run: Path, command: Command) -> None:
    write(run / "model.keras", members_of(run / "model.keras"))
    assert list(members_of(run / "model.keras")) == MEMBERS
    assert command("evaluate", run).code == 0


def test_the_model_itself_opens_in_keras(run: Path) -> None:
    """What cnnctl does not trust is for others to open all the same."""
    network = keras.models.load_model(run / "model.keras", safe_mode=True)
    assert [tuple(weight.shape) for weight in network.weights] == [(3, 3, 1, 2), (2,), (72, 10), (10,)]


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compressed_model_is_refused(compression: int, run: Path, command: Command) -> None:
    write(run / "model.keras", members_of(run / "model.keras"), compression)
    assert "it is compressed, which Keras never does" in refused(command, run)


def test_a_zip_bomb_is_not_opened(run: Path, command: Command) -> None:
    members = members_of(run / "model.keras")
    with zipfile.ZipFile(run / "model.keras", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in MEMBERS[:2]:
            archive.writestr(name, members[name], zipfile.ZIP_STORED)
        with archive.open(WEIGHTS, "w", force_zip64=True) as out:
            for _ in range(300):
                out.write(bytes(1_000_000))
    assert (run / "model.keras").stat().st_size < 1_000_000
    assert "it is compressed" in refused(command, run)


def test_a_size_that_is_only_claimed_is_refused(run: Path, command: Command) -> None:
    file = run / "model.keras"
    content = file.read_bytes()
    size = len(members_of(file)[WEIGHTS]).to_bytes(4, "little")
    assert content.count(size) >= 2
    file.write_bytes(content.replace(size, (2**31).to_bytes(4, "little")))
    assert "model.keras is" in refused(command, run)


def test_a_member_that_is_there_twice_is_refused(run: Path, command: Command) -> None:
    members = members_of(run / "model.keras")
    with zipfile.ZipFile(run / "model.keras", "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(WEIGHTS, members[WEIGHTS])
    assert "it holds other members" in refused(command, run)


def test_a_wrong_bit_in_the_weights_is_noticed(run: Path, command: Command) -> None:
    file = run / "model.keras"
    content = bytearray(file.read_bytes())
    content[len(content) - 1200] ^= 1
    file.write_bytes(bytes(content))
    assert f"{file} is damaged" in refused(command, run)


def test_what_is_advised_for_a_damaged_network_brings_it_back(run: Path, command: Command) -> None:
    before = (run / "model.keras").read_bytes()
    (run / "model.keras").write_bytes(before[:-500])
    removal, resume = refused(command, run).strip().partition("checkpoint: ")[2].split(" && cnnctl ")
    subprocess.run(["bash", "-c", removal], check=True)
    assert command(*resume.split()).code == 0
    assert command("evaluate", run).code == 0


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06" + bytes(18), b"PK\x03\x04" + bytes(100), bytes(100_000)])
def test_what_is_no_archive_is_refused(content: bytes, run: Path, command: Command) -> None:
    (run / "model.keras").write_bytes(content)
    assert "model.keras is" in refused(command, run)


def test_a_legacy_model_is_refused(run: Path, command: Command) -> None:
    """Keras itself does without its safe mode for HDF5 files."""
    with h5py.File(run / "model.keras", "w") as file:
        file.attrs["model_config"] = "{}"
    assert "it is not a complete .keras file" in refused(command, run)


def test_a_folder_is_no_model(run: Path, command: Command) -> None:
    (run / "model.keras").unlink()
    (run / "model.keras").mkdir()
    (run / "model.keras" / CONFIG).write_text("{}")
    assert "it is not a regular file" in refused(command, run)


@pytest.mark.parametrize("verb", [("predict", "{digit}"), ("export", "--to", "onnx"), ("export", "--to", "keras")])
def test_every_verb_refuses_it(verb: tuple[str, ...], run: Path, tmp_path: Path, digit: Path, command: Command) -> None:
    write(run / "model.keras", lambda_of_code(members_of(run / "model.keras"), tmp_path))
    reported = command(verb[0], run, *(each.format(digit=digit) for each in verb[1:]))
    assert "another network than that of config.yaml" in reported.refusal()
    assert not (tmp_path / SENTINEL).exists()
    assert not (run / "export").exists() or not any((run / "export").iterdir())


def test_several_runs_together_refuse_it(run: Path, tmp_path: Path, command: Command) -> None:
    other = shutil.copytree(run, tmp_path / "other")
    write(other / "model.keras", os_system(members_of(run / "model.keras"), tmp_path))
    assert f"{other}/model.keras is not the network" in command("evaluate", run, other).refusal()
    assert not (tmp_path / SENTINEL).exists()
