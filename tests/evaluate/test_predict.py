"""`cnnctl predict` on small networks that are trained here."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from cnnctl.commands.predict import predict
from cnnctl.commands.train import train
from cnnctl.data.image_set import ImageSet
from cnnctl.data.inputs import Inputs
from cnnctl.data.pipeline import ordered_batches, preparation
from cnnctl.data.splits import read_splits
from cnnctl.errors import DataError, RunError, UsageError
from cnnctl.evaluate import prediction as prediction_module
from cnnctl.evaluate.prediction_tables import MAX_DRAWN
from cnnctl.evaluate.saliency_methods import last_convolution
from cnnctl.model.styles import layers_of, wiring_of
from cnnctl.report.console import Console
from cnnctl.session.trained_run import open_trained
from cnnctl.spec.experiment import Experiment
from cnnctl.train.inference import grad_cam

SHAPE = {"image_size": [8, 8], "channels": 1, "classes": 10}
CONV: dict[str, Any] = {"filters": 4, "kernel_size": 3, "activation": "relu"}
ENDS = ("flatten", {"dense": {"units": "classes"}})
CONFIGS: dict[str, dict[str, Any]] = {
    "logits": {"model": {"layers": [{"conv2d": CONV}, *ENDS]}},
    "probabilities": {
        "data": {"labels": "one_hot", "channels": 3, "invert": True},
        "model": {
            "style": "subclass",
            "data_format": "channels_first",
            "layers": [{"conv2d": CONV}, *ENDS, {"activation": {"activation": "softmax"}}],
        },
    },
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: train_digits(tmp_path_factory.mktemp(name), **config) for name, config in CONFIGS.items()}


def train_digits(folder: Path, **changes: Any) -> Path:
    config = {
        "data": {"source": "digits", **changes.get("data", {})},
        "model": changes["model"],
        "train": {"epochs": 3, "batch_size": 16},
        "log": {"tensorboard": False},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    train(folder / "config.yaml", [], folder / "run", None, "cpu", Console(quiet=True), verbose=True)
    return folder / "run"


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A folder of 20 digits as the bundled set has them."""
    from sklearn.datasets import load_digits

    folder = tmp_path / "digits"
    folder.mkdir()
    for index, pixels in enumerate(load_digits().images[:20]):
        Image.fromarray(np.round(pixels * (255 / 16)).astype(np.uint8)).save(folder / f"{index:02}.png")
    return folder


def predictions(capsys: pytest.CaptureFixture[str], run: Path, *images: Path, top: int = 3) -> Any:
    capsys.readouterr()
    predict(run, images, top, None, "json", "cpu", Console(), verbose=True)
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_test_image_from_a_file_has_the_outputs_that_evaluation_sees(
    name: str, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An image that is as training saw it gives, through a file, the same probabilities; so the path is the same."""
    trained = open_trained(runs[name])
    images = read_splits(trained.experiment.data).read_test()
    some = ImageSet(images.images[:40], images.labels[:40])
    files = []
    for index, pixels in enumerate(some.images[:]):
        as_it_was = 255 - pixels if trained.experiment.data.invert else pixels
        files.append(tmp_path / f"{index}.png")
        Image.fromarray(as_it_was.squeeze()).save(files[-1])
    ((inputs, _),) = ordered_batches(some, preparation(trained.experiment.data, trained.experiment.model.data_format), 40)
    expected = trained.probabilities(np.asarray(trained.model(inputs)))
    found = predictions(capsys, runs[name], *files, top=10)
    assert [each["image"] for each in found] == [str(file) for file in files]
    for row, each in zip(expected, found, strict=True):
        by_label = [guess["probability"] for guess in sorted(each["predictions"], key=lambda guess: guess["label"])]
        np.testing.assert_allclose(by_label, row, rtol=1e-4, atol=1e-6)


def test_the_most_probable_classes_come_first(runs: dict[str, Path], digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for each in predictions(capsys, runs["logits"], digits, top=4):
        guesses = each["predictions"]
        assert len(guesses) == 4
        assert guesses == sorted(guesses, key=lambda guess: -guess["probability"])
        assert all(guess["class"] == str(guess["label"]) for guess in guesses)
    whole = predictions(capsys, runs["logits"], digits / "00.png", top=99)[0]["predictions"]
    assert sum(guess["probability"] for guess in whole) == pytest.approx(1, abs=1e-5)


def test_a_digit_is_named(runs: dict[str, Path], digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = predictions(capsys, runs["logits"], digits)
    named = [each["predictions"][0]["label"] for each in found]
    assert sum(label == index % 10 for index, label in enumerate(named)) >= 15  # the set begins with 0 1 2 ... 9 0 1 2 ...


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("L", "png"), ("RGB", "bmp"), ("RGBA", "png"), ("P", "png"), ("LA", "png"), ("I;16", "png"), ("CMYK", "jpg")],
)
def test_images_of_any_size_and_mode_are_taken(
    mode: str, suffix: str, runs: dict[str, Path], digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Image.open(digits / "03.png") as image:
        large = image.resize((8 * 7, 8 * 7), Image.Resampling.NEAREST)
    pixels = np.asarray(large)
    changed = Image.fromarray(pixels.astype(np.uint16) * 257) if mode == "I;16" else large.convert(mode)
    changed.save(tmp_path / "changed.picture", {"jpg": "JPEG"}.get(suffix, suffix), quality=100)  # whatever it is called
    (same,) = predictions(capsys, runs["logits"], tmp_path / "changed.picture")
    large.save(tmp_path / "large.png")
    (expected,) = predictions(capsys, runs["logits"], tmp_path / "large.png")
    for one, other in zip(same["predictions"], expected["predictions"], strict=True):
        assert one["class"] == other["class"]
        assert one["probability"] == pytest.approx(other["probability"], abs=0.02)  # grey of colour may round


def test_an_image_that_lies_on_its_side_is_turned(
    runs: dict[str, Path], digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    with Image.open(digits / "04.png") as image:
        image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    turned, upright = predictions(capsys, runs["logits"], tmp_path / "turned.png", digits / "04.png")
    assert turned["predictions"] == upright["predictions"]


def test_folders_are_searched_for_what_is_seen_and_sorted(
    runs: dict[str, Path], digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("b/deep/2.png", "b/1.PNG", "a.jpg", "b/._1.png", ".cache/3.png", "c.txt", "d"):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(digits / "00.png", tmp_path / "tree" / name)
    found = predictions(capsys, runs["logits"], digits / "01.png", tmp_path / "tree")
    names = [str(Path(each["image"]).relative_to(tmp_path)) for each in found]
    assert names == ["digits/01.png", *(f"tree/{name}" for name in ("a.jpg", "b/1.PNG", "b/deep/2.png", "c.txt", "d"))]


def test_a_folder_is_accounted_for(
    runs: dict[str, Path], digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tree" / "b").mkdir(parents=True)
    shutil.copy(digits / "00.png", tmp_path / "tree" / "b" / "0.png")
    for name in ("notes.txt", "film.mp4", "b/more.txt"):
        (tmp_path / "tree" / name).write_text("no picture")
    (tmp_path / "tree" / "nothing").touch()
    predict(runs["logits"], [tmp_path / "tree"], 3, None, "table", "cpu", Console(), verbose=True)
    printed = capsys.readouterr().err
    assert re.search(
        rf"note    read 1 image in {tmp_path}/tree; not read: 4 files \(2 \.txt, (1 \.mp4, 1 empty|1 empty, 1 \.mp4)\)", printed
    )


def test_a_file_that_is_named_need_not_be_called_an_image(
    runs: dict[str, Path], digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(digits / "00.png", tmp_path / "scan")
    assert len(predictions(capsys, runs["logits"], tmp_path / "scan")) == 1


def test_batches_do_not_change_what_is_predicted(
    runs: dict[str, Path], digits: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = predictions(capsys, runs["logits"], digits, top=10)
    sizes: list[int] = []
    read = Inputs.batches

    def printed(inputs: Inputs, size: int) -> Any:
        for batch in read(inputs, size):
            sizes.append(len(batch))
            yield batch

    monkeypatch.setattr(prediction_module, "MAX_AT_ONCE", 3)
    monkeypatch.setattr(Inputs, "batches", printed)
    parts = predictions(capsys, runs["logits"], digits, top=10)
    assert sizes == [3, 3, 3, 3, 3, 3, 2]
    for one, other in zip(whole, parts, strict=True):
        assert one["image"] == other["image"]
        before, after = ([guess["probability"] for guess in each["predictions"]] for each in (one, other))
        np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-6)


# what cannot be read


def header_of_a_bomb() -> bytes:
    """Create a PNG whose header says that it has 60,000×60,000 pixels, and no more."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunks = [struct.pack(">I", len(each) - 4) + each + struct.pack(">I", zlib.crc32(each)) for each in (header, b"IDAT")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def cut_off() -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)).save(content, "PNG")
    return content.getvalue()[:800]


def test_broken_files_are_named_and_the_others_predicted(
    runs: dict[str, Path], digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (digits / "00.png").write_bytes(b"no picture")
    (digits / "07.png").write_bytes(header_of_a_bomb())
    (digits / "19.png").write_bytes(cut_off())
    with pytest.raises(DataError) as raised:
        predict(runs["logits"], [digits], 1, None, "json", "cpu", Console(), verbose=True)
    named, bomb, cut = str(raised.value).splitlines()
    assert (
        named
        == f"{digits}/00.png: cannot be read as an image (not a PNG, JPEG, BMP, GIF, WebP, TIFF, PGM or PPM); replace or remove it"
    )
    assert f"{digits}/07.png: cannot be read as an image (it has more than 100,000,000 pixels)" in bomb
    assert f"{digits}/19.png: cannot be read as an image (" in cut
    found = [Path(each["image"]).stem for each in json.loads(capsys.readouterr().out)]
    assert found == [f"{index:02}" for index in range(20) if index not in (0, 7, 19)]


def test_an_image_that_is_merely_large_is_taken_without_a_word(
    runs: dict[str, Path], digits: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)  # Pillow warns from here on, and refuses twice as many
    assert len(predictions(capsys, runs["logits"], digits / "00.png")) == 1


def test_where_no_file_is_an_image_programs_get_an_empty_list(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    for form, printed in (("json", "[]\n"), ("table", "")):
        with pytest.raises(DataError, match=r"a\.png: cannot be read as an image"):
            predict(runs["logits"], [tmp_path / "a.png"], 3, tmp_path / "out.png", form, "cpu", Console(), verbose=True)
        assert capsys.readouterr().out == printed
    assert not (tmp_path / "out.png").exists()


def test_what_is_not_there_is_named_before_anything_slow(
    runs: dict[str, Path], digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnnctl.commands.predict.import_tensorflow", lambda _: pytest.fail("TensorFlow was started"))
    with pytest.raises(UsageError, match=r"x\.png: no such file or folder.*\n.*y\.png: no such file"):
        predict(runs["logits"], [tmp_path / "x.png", digits, tmp_path / "y.png"], 3, None, "table", "cpu", Console(), True)
    (tmp_path / "none/below").mkdir(parents=True)
    with pytest.raises(
        DataError, match=r"none: no image \(PNG, JPEG, BMP, GIF, WebP, TIFF, PGM or PPM\) in this folder or its subfolders"
    ):
        predict(runs["logits"], [digits, tmp_path / "none"], 3, None, "table", "cpu", Console(), True)
    with pytest.raises(UsageError, match=r"there is no folder .*nowhere"):
        predict(tmp_path / "nowhere", [digits], 3, None, "table", "cpu", Console(), True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out.jpg", "expected a name ending with .png, such as"),
        ("gone/out.png", "there is no folder .*gone"),
        ("digits/05.png", "already exists; not overwriting"),
    ],
)
def test_a_picture_that_cannot_be_there_is_refused(
    name: str, message: str, runs: dict[str, Path], digits: Path, tmp_path: Path
) -> None:
    before = (digits / "05.png").read_bytes()
    with pytest.raises(UsageError, match=f"{name}:? {message}"):
        predict(runs["logits"], [digits], 3, tmp_path / name, "table", "cpu", Console(), verbose=True)
    assert (digits / "05.png").read_bytes() == before


def test_a_run_cut_short_is_one_message(runs: dict[str, Path], digits: Path, tmp_path: Path) -> None:
    shutil.copytree(runs["logits"], tmp_path / "run")
    (tmp_path / "run/model.keras").unlink()
    with pytest.raises(RunError, match=r"its training was interrupted\. Resume with: cnnctl train --resume"):
        predict(tmp_path / "run", [digits], 3, None, "table", "cpu", Console(), verbose=True)


def test_too_little_memory_is_one_message(runs: dict[str, Path], digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Inputs, "batches", run_out)
    with pytest.raises(RunError, match="not enough memory for this network"):
        predict(runs["logits"], [digits], 3, None, "table", "cpu", Console(), verbose=True)


# what is printed


def test_the_table_has_a_row_an_image(runs: dict[str, Path], digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = predictions(capsys, runs["logits"], digits / "00.png")[0]["predictions"][0]
    predict(runs["logits"], [digits / "00.png", digits / "01.png"], 3, None, "table", "cpu", Console(), verbose=True)
    header, _, row, _ = capsys.readouterr().out.splitlines()
    assert header.split() == ["image", "class", "probability", "next"]
    assert row.split()[:3] == [f"{digits}/00.png", first["class"], f"{first['probability']:.2%}"]
    predict(runs["logits"], [digits / "00.png"], 1, None, "markdown", "cpu", Console(), verbose=True)
    assert capsys.readouterr().out.splitlines()[0] == "| image | class | probability |"


def test_names_cannot_move_the_cursor(
    runs: dict[str, Path], digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strange = tmp_path / "\x1b[2J\nred$x^{$.png"
    shutil.copy(digits / "00.png", strange)
    lone_byte = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")
    shutil.copy(digits / "00.png", lone_byte)
    broken = tmp_path / "\x1b[31m.png"
    broken.write_bytes(b"no picture")
    files = [strange, Path(lone_byte), broken]
    with pytest.raises(DataError) as raised:
        predict(runs["logits"], files, 1, tmp_path / "out.png", "table", "cpu", Console(), verbose=True)
    printed = capsys.readouterr()
    for text in (printed.out, printed.err, str(raised.value)):
        assert "\x1b" not in text
    assert f"{tmp_path}/\\x1b[2J\\nred$x^{{$.png" in printed.out
    assert f"{tmp_path}/\\udcff.png" in printed.out
    assert predictions(capsys, runs["logits"], strange)[0]["image"] == str(strange)


# saliency


@pytest.mark.parametrize("name", CONFIGS)
def test_the_picture_shows_each_image_and_is_said(
    name: str, runs: dict[str, Path], digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.png"
    predict(runs[name], [digits / "00.png"], 3, out, "json", "cpu", Console(), verbose=True)
    assert capsys.readouterr().err.splitlines()[-1] == f"saliency  {out}"
    one = out.read_bytes()
    out.unlink()
    predict(runs[name], [digits], 3, out, "json", "cpu", Console(), verbose=True)
    assert capsys.readouterr().err.splitlines()[-1] == f"saliency  {out}, of the first {MAX_DRAWN} of 20 images"
    with Image.open(io.BytesIO(one)) as few, Image.open(out) as many:
        assert many.height == pytest.approx(few.height * MAX_DRAWN / 2, abs=8)
        assert len(np.unique(np.asarray(many.convert("RGB")).reshape(-1, 3), axis=0)) > 100  # maps have colours


@pytest.mark.parametrize("name", CONFIGS)
def test_the_picture_has_the_pixels_that_the_network_saw_and_a_value_for_each(
    name: str, runs: dict[str, Path], digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []

    def keep(*arguments: Any) -> bytes:
        drawn.extend(arguments)
        return b""

    monkeypatch.setattr("cnnctl.report.figures.saliency_png", keep)
    predict(runs[name], [digits / "00.png"], 3, tmp_path / "out.png", "json", "cpu", Console(), verbose=True)
    images, maps, titles = drawn
    with Image.open(digits / "00.png") as image:
        pixels = np.asarray(image)
    seen = pixels[..., np.newaxis] if name == "logits" else np.stack([255 - pixels] * 3, axis=-1)
    np.testing.assert_array_equal(images, seen[np.newaxis])
    assert maps.shape == (1, 8, 8)
    assert titles[0].endswith("%")


@pytest.mark.parametrize("name", CONFIGS)
def test_grad_cam_is_drawn_at_the_size_of_the_images(
    name: str, runs: dict[str, Path], digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, Any] = {}
    for method in ("gradient", "grad_cam"):
        monkeypatch.setattr("cnnctl.report.figures.saliency_png", lambda *drawing: drawn.update({method: drawing}) or b"")  # noqa: B023
        out = tmp_path / f"{method}.png"
        predict(runs[name], [digits], 3, out, "json", "cpu", Console(), verbose=True, method=method)
    images, found, titles = drawn["grad_cam"]
    assert found.shape == drawn["gradient"][1].shape == (MAX_DRAWN, 8, 8)
    assert not np.allclose(found, drawn["gradient"][1])
    trained = open_trained(runs[name])
    nodes, pixels = trained.experiment.network.nodes, trained.inputs(images)
    layers, wiring = layers_of(trained.model, nodes), wiring_of(nodes)
    labels = np.asarray(trained.model(pixels, training=False)).argmax(axis=1)
    small = grad_cam(layers, wiring, "conv2d", pixels, labels, trained.from_logits)
    assert small.shape == (MAX_DRAWN, 6, 6)
    assert small.max() > 0
    corners = (slice(None), [0, 0, -1, -1], [0, -1, 0, -1])
    np.testing.assert_allclose(found[corners], small[corners], rtol=1e-5)  # bilinear: there the nearest value alone counts
    assert (found.max(axis=(1, 2)) <= small.max(axis=(1, 2)) * (1 + 1e-5)).all()
    assert [title.endswith("; the map is all 0") for title in titles] == [not each.any() for each in small]


def test_grad_cam_needs_a_convolution_and_a_picture(runs: dict[str, Path], digits: Path, tmp_path: Path) -> None:
    flat = train_digits(tmp_path, model={"layers": list(ENDS)})
    with pytest.raises(UsageError, match=r"the maps of the last convolution, and .*run has none; write --saliency-method gr"):
        predict(flat, [digits], 3, tmp_path / "out.png", "json", "cpu", Console(), verbose=True, method="grad_cam")
    with pytest.raises(UsageError, match=r"--saliency-method grad_cam is how --saliency draws; add --saliency OUT\.png"):
        predict(runs["logits"], [digits], 3, None, "json", "cpu", Console(), verbose=True, method="grad_cam")
    assert not (tmp_path / "out.png").exists()


def test_the_last_convolution_is_taken() -> None:
    layers = [{"conv2d": CONV}, {"conv2d": {**CONV, "name": "late"}}, "max_pooling2d", *ENDS]
    experiment = Experiment.model_validate({"data": {"source": "digits", **SHAPE}, "model": {"layers": layers}})
    assert last_convolution(experiment.network.nodes) == "late"
    assert last_convolution(experiment.network.nodes[2:]) is None
