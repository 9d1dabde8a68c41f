"""The three sources: the pixels and labels they give, and what they say when they cannot."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from cnnctl.data.images import fit_array, fit_image
from cnnctl.data.sources import tfds_builders
from cnnctl.data.sources.opening import open_source
from cnnctl.errors import DataError
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.found import known_images
from cnnctl.spec.tfds_images import TFDS_IMAGES, Images, prepared_dir


def spec(source: str, **fields: Any) -> DataSpec:
    return DataSpec.model_validate({"source": source, "image_size": [4, 4], "channels": 1, "classes": 3, **fields})


def beyond_the_account(notes: list[str]) -> list[str]:
    """Returns the notes without those that every folder has."""
    return [note for note in notes if not note.startswith(("read ", "splits by folder: "))]


# digits


def test_digits_are_all_of_scikit_learns() -> None:
    source = open_source(spec("digits", image_size=[8, 8], classes=10))
    images = source.read("train")
    digits = load_digits()
    assert images.images.shape == (1797, 8, 8, 1)
    assert images.images[:].dtype == np.uint8
    assert images.images[:].min() == 0 and images.images[:].max() == 255
    np.testing.assert_allclose(images.images[..., 0] / 255, digits.images / 16, atol=0.5 / 255)
    np.testing.assert_array_equal(images.labels, digits.target)
    np.testing.assert_array_equal(source.labels("train"), digits.target)
    assert source.class_names == list("0123456789")


def test_digits_are_fitted_to_the_config() -> None:
    plain = open_source(spec("digits", image_size=[8, 8])).read("train")
    inverted = open_source(spec("digits", image_size=[8, 8], invert=True)).read("train")
    large = open_source(spec("digits", image_size=[16, 12], channels=3)).read("train")
    np.testing.assert_array_equal(inverted.images[:], 255 - plain.images[:])
    assert large.images.shape == (1797, 16, 12, 3)
    np.testing.assert_array_equal(large.images[..., 0], large.images[..., 2])


# One image


def test_an_image_that_fits_keeps_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    np.testing.assert_array_equal(fit_image(Image.fromarray(pixels), spec("digits", channels=3)), pixels)


def test_colour_becomes_grey_by_its_luminance() -> None:
    red = Image.new("RGB", (4, 4), (200, 0, 0))
    assert np.unique(fit_image(red, spec("digits"))).tolist() == [round(200 * 0.299)]


def test_grey_becomes_colour_with_three_equal_channels() -> None:
    colour = fit_image(Image.new("L", (4, 4), 90), spec("digits", channels=3))
    assert colour.shape == (4, 4, 3)
    assert np.unique(colour).tolist() == [90]


def test_transparent_parts_become_white() -> None:
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    image.putpixel((1, 2), (10, 20, 30, 255))
    image.putpixel((3, 3), (0, 0, 0, 51))
    pixels = fit_image(image, spec("digits", channels=3))
    assert pixels[2, 1].tolist() == [10, 20, 30]
    assert pixels[3, 3].tolist() == [204, 204, 204]  # a fifth of black on white
    assert pixels[0, 0].tolist() == [255, 255, 255]


def test_grey_with_transparency_is_put_on_white() -> None:
    pixels = fit_image(Image.new("LA", (4, 4), (0, 0)), spec("digits"))
    assert np.unique(pixels).tolist() == [255]


def test_a_palette_is_looked_up() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    assert fit_image(image, spec("digits", channels=3))[0, 0].tolist() == [10, 200, 30]


@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_16_bits_become_8_by_their_share_of_white(mode: str) -> None:
    deep = np.array([[0, 257], [32896, 65535]], np.uint16)
    image = Image.fromarray(deep) if mode == "I;16" else Image.fromarray(deep.astype(np.int32))
    assert image.mode == mode
    pixels = fit_image(image, spec("digits", image_size=[2, 2]))
    assert pixels[..., 0].tolist() == [[0, 1], [128, 255]]


def test_black_and_white_images_have_0_and_255() -> None:
    image = Image.new("1", (2, 2))
    image.putpixel((1, 0), 1)
    assert fit_image(image, spec("digits", image_size=[2, 2]))[..., 0].tolist() == [[0, 255], [0, 0]]


def test_an_image_is_turned_as_its_camera_says() -> None:
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = 3  # upside down
    assert fit_image(image, spec("digits", image_size=[2, 3]))[..., 0].tolist() == pixels[::-1, ::-1].tolist()


def test_resizing_down_averages_the_pixels_that_a_pixel_covers() -> None:
    stripes = np.zeros((8, 8), np.uint8)
    stripes[:, ::2] = 200
    assert np.abs(fit_image(Image.fromarray(stripes), spec("digits", image_size=[2, 2])).astype(int) - 100).max() <= 15


def test_invert_turns_white_into_black() -> None:
    assert np.unique(fit_image(Image.new("L", (9, 9), 255), spec("digits", invert=True))).tolist() == [0]


def test_a_batch_is_fitted_as_its_images_are() -> None:
    batch = np.random.default_rng(0).integers(0, 256, (3, 6, 5, 3), np.uint8)
    wanted = spec("digits", invert=True)
    np.testing.assert_array_equal(fit_array(batch, wanted), [fit_image(Image.fromarray(image), wanted) for image in batch])


# folder


def write_images(root: Path, classes: dict[str, list[str]]) -> Path:
    """Writes a folder a class; the grey of an image tells its class and its number."""
    for number, (name, files) in enumerate(classes.items()):
        (root / name).mkdir(parents=True)
        for index, file in enumerate(files):
            Image.new("L", (4, 4), 50 * number + 10 * index).save(root / name / file)
    return root


CLASSES = {"ant": ["1.png", "2.jpeg"], "bee": ["x.bmp"], "cat": ["c.PNG", "d.jpg"]}


@pytest.mark.parametrize("below", ["", "train"], ids=["flat", "split"])
def test_a_folder_gives_its_images_by_class_and_name(tmp_path: Path, below: str) -> None:
    root = write_images(tmp_path / below, CLASSES)
    (root / "ant" / "notes.txt").write_text("no image")
    (root / ".cache").mkdir()
    (root / "ant" / "._1.png").write_bytes(b"what macOS knows of 1.png")
    source = open_source(spec("folder", path=str(tmp_path)))
    images = source.read("train")
    assert source.class_names == ["ant", "bee", "cat"]
    assert images.labels.tolist() == [0, 0, 1, 2, 2]
    np.testing.assert_allclose(images.images[:, 0, 0, 0], [0, 10, 50, 100, 110], atol=1)  # jpeg may lose a little
    assert source.labels("train").tolist() == [0, 0, 1, 2, 2]
    assert beyond_the_account(source.notes) == []


def test_a_named_split_has_the_labels_of_train(tmp_path: Path) -> None:
    write_images(tmp_path / "train", CLASSES)
    write_images(tmp_path / "extra", {"cat": ["1.png"], "bee": ["1.png", "2.png"]})
    images = open_source(spec("folder", path=str(tmp_path))).read("extra")
    assert images.labels.tolist() == [1, 1, 2]
    assert images.images[:, 0, 0, 0].tolist() == [50, 60, 0]


def test_images_of_another_size_are_resized_and_counted(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": ["1.png", "2.png"]})
    Image.new("L", (9, 7), 200).save(tmp_path / "a" / "3.png")
    source = open_source(spec("folder", path=str(tmp_path)))
    images = source.read("train")
    assert images.images.shape == (3, 4, 4, 1)
    assert images.images[2].ravel().tolist() == [200] * 16
    assert beyond_the_account(source.notes) == [
        "1 of 3 images of 'train' was resized to 4×4, 1 of them stretched from other proportions; "
        "data.fit: crop or data.fit: pad keeps their proportions"
    ]


def test_an_image_that_lies_on_its_side_is_turned_and_not_counted_as_resized(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.arange(15, dtype=np.uint8).reshape(5, 3)
    Image.fromarray(pixels).save(tmp_path / "a" / "1.png", exif=exif)
    source = open_source(spec("folder", path=str(tmp_path), image_size=[3, 5]))
    np.testing.assert_array_equal(source.read("train").images[0, ..., 0], np.rot90(pixels, -1))
    assert beyond_the_account(source.notes) == []


def test_colour_that_is_lost_to_a_first_image_of_grey_is_noted(tmp_path: Path) -> None:
    root = write_images(tmp_path / "train", {"a": ["1.png"]}).parent
    Image.new("RGB", (4, 4)).save(root / "train" / "a" / "2.png")
    write_images(root / "test", {"a": []})
    Image.new("RGB", (4, 4)).save(root / "test" / "a" / "1.png")
    source = open_source(spec("folder", path=str(root)))
    source.read("train")
    source.read("test")
    assert beyond_the_account(source.notes) == [
        "1 of 2 images of 'train' was converted to grey; write channels: 3 to keep colour",
        "1 of 1 images of 'test' was converted to grey; write channels: 3 to keep colour",
    ]


@pytest.mark.parametrize(("modes", "channels"), [(["RGB", "RGB"], 1), (["L", "RGB"], 3), (["L", "I;16"], 1)])
def test_grey_that_was_asked_for_is_not_noted(modes: list[str], channels: int, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for mode, name in zip(modes, "12", strict=True):
        Image.new(mode, (4, 4)).save(tmp_path / "a" / f"{name}.png")
    source = open_source(spec("folder", path=str(tmp_path), channels=channels))
    source.read("train")
    assert beyond_the_account(source.notes) == []


def test_a_class_without_images_keeps_its_label(tmp_path: Path) -> None:
    source = open_source(spec("folder", path=str(write_images(tmp_path, {"a": ["1.png"], "b": [], "c": ["1.png"]}))))
    assert source.read("train").labels.tolist() == [0, 2]


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    root = write_images(tmp_path, CLASSES)
    (root / "bee" / "broken.png").write_bytes(b"this is no picture")
    source = open_source(spec("folder", path=str(root)))
    with pytest.raises(
        DataError,
        match=r"bee/broken\.png: cannot be read as an image \(not a PNG, JPEG, BMP, GIF, WebP, TIFF, PGM or PPM\); replace or remove it",
    ):
        source.read("train")


@pytest.mark.parametrize("suffix", ["png", "jpeg", "bmp"])
def test_a_cut_off_image_is_named(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).save(content, suffix)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / f"cut.{suffix}").write_bytes(content.getvalue()[: len(content.getvalue()) // 2])
    with pytest.raises(DataError, match=rf"a/cut\.{suffix}: cannot be read as an image"):
        open_source(spec("folder", path=str(tmp_path))).read("train")


def test_a_folder_without_classes_says_how_to_lay_images_out(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "1.png")
    with pytest.raises(DataError, match="contains no class folders; put the images of each class into a folder of its"):
        open_source(spec("folder", path=str(tmp_path)))


def test_a_set_of_empty_classes_is_refused(tmp_path: Path) -> None:
    source = open_source(spec("folder", path=str(write_images(tmp_path, {"a": [], "b": []}))))
    with pytest.raises(DataError, match=r"split 'train' has no images \(PNG, JPEG, .*, in one folder per class\)"):
        source.read("train")


def test_a_split_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    source = open_source(spec("folder", path=str(write_images(tmp_path / "train", CLASSES))))
    with pytest.raises(DataError, match=r"there is no split 'tset'; expected a folder .*/tset with one folder per class"):
        source.labels("tset")


def test_a_split_with_a_class_that_train_lacks_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "train", CLASSES)
    write_images(tmp_path / "test", {"ant": ["1.png"], "dog": ["1.png"]})
    source = open_source(spec("folder", path=str(tmp_path)))
    with pytest.raises(DataError, match=r"test: 'dog' is not a class of 'train'"):
        source.read("test")


def test_every_class_that_train_has_by_another_name_is_shown_with_it(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "café")
    write_images(tmp_path / "train", {key: ["1.png"] for key in ("0", "3", "Bird", "café")})
    write_images(tmp_path / "test", {key: ["1.png"] for key in ("00", "3 ", "bird", decomposed)})
    with pytest.raises(DataError) as error:
        open_source(spec("folder", path=str(tmp_path))).read("test")
    assert (
        "did you mean '0' for '00', which differs only in leading zeros; '3' for '3 ', which differs only in spaces around it; "
        f"'Bird' for 'bird', which differs only in capitals; 'café' for '{decomposed}', the same letters in another Unicode form?"
    ) in str(error.value)


# tfds: a set of this test's own, and the real ones where they are at hand

TINY_LABELS = {"train": [2, 0, 1, 1, 0, 2, 2], "test": [1, 0]}


def tiny_pixels(split: str) -> NDArray[np.uint8]:
    seed = len(TINY_LABELS[split])
    return np.random.default_rng(seed).integers(0, 256, (seed, 6, 5, 3), np.uint8)


def store(name: str, directory: Path, features: Any, splits: dict[str, dict[str, Any]], version: str = "1.0.0") -> None:
    quiet = contextlib.redirect_stderr(io.StringIO())
    with quiet, contextlib.redirect_stdout(io.StringIO()):
        tfds.dataset_builders.store_as_tfds_dataset(
            name,
            version=version,
            data_dir=str(directory),
            features=tfds.features.FeaturesDict(features),
            split_datasets={split: tf.data.Dataset.from_tensor_slices(content) for split, content in splits.items()},
            disable_shuffling=True,
        )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of prepared sets: `tiny` with images, `words` without."""
    directory = tmp_path_factory.mktemp("tensorflow_datasets")
    names = tfds.features.ClassLabel(names=["ant", "bee", "cat"])
    images = {split: {"photo": tiny_pixels(split), "label": labels} for split, labels in TINY_LABELS.items()}
    store("tiny", directory, {"photo": tfds.features.Image(shape=(6, 5, 3)), "label": names}, images)
    store("words", directory, {"text": tfds.features.Text(), "label": names}, {"train": {"text": ["a"], "label": [1]}})
    return directory


def tiny(prepared: Path, **fields: Any) -> DataSpec:
    return spec("tfds", **{"name": "tiny", "data_dir": str(prepared), "image_size": [6, 5], "channels": 3, **fields})


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_prepared_set_gives_its_pixels_labels_and_classes_in_its_order(prepared: Path, split: str) -> None:
    source = open_source(tiny(prepared))
    images = source.read(split)
    np.testing.assert_array_equal(images.images, tiny_pixels(split))
    assert images.labels.tolist() == TINY_LABELS[split]
    assert source.labels(split).tolist() == TINY_LABELS[split]
    assert images.labels.dtype == np.int64
    assert source.class_names == ["ant", "bee", "cat"]


def test_a_prepared_set_is_fitted_to_the_config(prepared: Path) -> None:
    wanted = tiny(prepared, image_size=[3, 4], channels=1, invert=True)
    images = open_source(wanted).read("test").images
    np.testing.assert_array_equal(images, [fit_image(Image.fromarray(image), wanted) for image in tiny_pixels("test")])


def test_part_of_a_split_can_be_read(prepared: Path) -> None:
    assert open_source(tiny(prepared)).read("train[:3]").labels.tolist() == [2, 0, 1]


def test_a_prepared_set_tells_its_size_and_classes_without_tensorflow(prepared: Path) -> None:
    unsaid = DataSpec.model_validate({"source": "tfds", "name": "tiny", "data_dir": str(prepared)})
    assert known_images(unsaid) == Images(6, 5, 3, 3)


def test_the_newest_prepared_version_is_taken(tmp_path: Path) -> None:
    for version in ("9.0.0", "10.0.0", "2.1.0"):
        (tmp_path / "mnist" / version).mkdir(parents=True)
        (tmp_path / "mnist" / version / "features.json").write_text("{}")
    (tmp_path / "mnist" / "11.0.0.incomplete").mkdir()
    assert prepared_dir(spec("tfds", name="mnist", data_dir=str(tmp_path))) == tmp_path / "mnist" / "10.0.0"


def test_a_name_without_a_config_does_not_take_whatever_config_is_prepared(tmp_path: Path) -> None:
    for config in ("balanced", "digits"):
        (tmp_path / "emnist" / config / "3.1.0").mkdir(parents=True)
        (tmp_path / "emnist" / config / "3.1.0" / "features.json").write_text("{}")
    assert prepared_dir(spec("tfds", name="emnist", data_dir=str(tmp_path))) is None
    assert prepared_dir(spec("tfds", name="emnist/digits", data_dir=str(tmp_path))) == tmp_path / "emnist" / "digits" / "3.1.0"


def test_a_name_with_a_version_takes_that_version(tmp_path: Path) -> None:
    for version in ("3.0.0", "3.0.1"):
        (tmp_path / "mnist" / version).mkdir(parents=True)
        (tmp_path / "mnist" / version / "features.json").write_text("{}")
    assert prepared_dir(spec("tfds", name="mnist:3.0.0", data_dir=str(tmp_path))) == tmp_path / "mnist" / "3.0.0"
    assert prepared_dir(spec("tfds", name="mnist:2.0.0", data_dir=str(tmp_path))) is None


def test_no_such_split_lists_the_splits(prepared: Path) -> None:
    with pytest.raises(DataError, match="tiny has no split 'validation'; expected one of train, test"):
        open_source(tiny(prepared)).read("validation")


@pytest.mark.parametrize("split", ["train[:x]", "train[:50%:3]"])
def test_a_split_that_cannot_be_understood_is_refused(prepared: Path, split: str) -> None:
    with pytest.raises(DataError, match=r"tiny: split 'train\[.*cannot be read: "):
        open_source(tiny(prepared)).labels(split)


def test_an_empty_part_of_a_split_is_refused(prepared: Path) -> None:
    with pytest.raises(DataError, match=r"tiny: split 'train\[:0\]' cannot be read: .*no data"):
        open_source(tiny(prepared)).read("train[:0]")


def test_a_set_without_images_says_what_it_has(prepared: Path) -> None:
    message = r"words has no image with a class label; its features are .*text \(Text\)"
    with pytest.raises(DataError, match=message):
        open_source(tiny(prepared, name="words")).read("train")


def test_a_damaged_set_is_named(prepared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny" / "1.0.0"
    folder.mkdir(parents=True)
    for file in (prepared / "tiny" / "1.0.0").iterdir():
        content = file.read_bytes()
        (folder / file.name).write_bytes(content[:-40] if "train.tfrecord" in file.name else content)
    source = open_source(tiny(tmp_path))
    with pytest.raises(DataError, match=r"tiny: split 'train' in .*/tiny/1\.0\.0 is damaged: .*; prepare it again"):
        source.read("train")


def test_a_set_without_its_description_is_named(prepared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "features.json").write_bytes((prepared / "tiny" / "1.0.0" / "features.json").read_bytes())
    with pytest.raises(DataError, match=r"/tiny/1\.0\.0 cannot be opened: .*; prepare it again"):
        open_source(tiny(tmp_path)).read("train")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfds_builders, "_network", lambda: False)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(("name", "folder"), [("kmnist", "kmnist"), ("emnist/digits", "emnist"), ("kmnist:3.0.1", "kmnist")])
def test_a_set_that_is_not_prepared_says_what_to_run_where(name: str, folder: str, tmp_path: Path) -> None:
    message = (
        f"'{name}' is not prepared in {tmp_path} and cannot be downloaded: there is no network. Run 'tfds build {name}' on a "
        f"machine with network and copy its {folder} folder to {tmp_path}, or set TFDS_DATA_DIR to a folder that has it"
    )
    with pytest.raises(DataError, match=f"^{message}$"):
        open_source(spec("tfds", name=name, data_dir=str(tmp_path)))


@pytest.mark.usefixtures("no_network")
def test_a_prepared_default_config_opens_without_network(tmp_path: Path) -> None:
    features = {"image": tfds.features.Image(shape=(28, 28, 1)), "label": tfds.features.ClassLabel(num_classes=62)}
    images = {"train": {"image": np.zeros((2, 28, 28, 1), np.uint8), "label": [3, 4]}}
    version = str(tfds.builder("emnist", data_dir=tmp_path).version)
    store("emnist", tmp_path / "made", features, images, version)
    (tmp_path / "emnist" / "byclass").mkdir(parents=True)
    shutil.copytree(tmp_path / "made" / "emnist" / version, tmp_path / "emnist" / "byclass" / version)
    wanted = spec("tfds", name="emnist", data_dir=str(tmp_path), image_size=[28, 28], classes=62)
    assert open_source(wanted).labels("train").tolist() == [3, 4]


def test_a_folder_of_prepared_data_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> bool:  # root may read every folder, so no mode of a folder would do
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(DataError, match=f"'{tmp_path}/mnist' cannot be read: Permission denied"):
        open_source(spec("tfds", name="mnist", data_dir=str(tmp_path)))


def test_a_class_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, listed = write_images(tmp_path, CLASSES), os.scandir

    def scandir(folder: Path) -> Any:  # root may read every folder, so no mode of a folder would do
        if str(folder).endswith("ant"):
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=f"'{tmp_path}/ant' cannot be read: Permission denied"):
        open_source(spec("folder", path=str(path)))


def test_a_download_that_fails_says_what_to_run_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("the line is dead\nand more")

    monkeypatch.setattr(tfds_builders, "_network", lambda: True)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(DataError, match=r"cannot be downloaded: the line is dead\. Run 'tfds build kmnist' on a machine"):
        open_source(spec("tfds", name="kmnist", data_dir=str(tmp_path)))


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_set", "TensorFlow Datasets has no set 'no_such_set', and there is no prepared one in"),
        ("mnist/no_such_config", "TensorFlow Datasets cannot open 'mnist/no_such_config': .*no_such_config"),
        ("not a name", "TensorFlow Datasets cannot open 'not a name': "),
        ("mnist/x=3", "TensorFlow Datasets cannot open 'mnist/x=3': .*unexpected keyword argument"),
        ("imdb_reviews", "imdb_reviews has no image with a class label"),
    ],
)
def test_a_name_that_is_no_image_set_is_refused_before_any_download(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_source(spec("tfds", name=name, data_dir=str(tmp_path)))


@pytest.mark.parametrize("name", TFDS_IMAGES)
def test_the_table_of_usual_sets_says_what_tfds_says(name: str, tmp_path: Path) -> None:
    features = tfds.builder(name, data_dir=tmp_path).info.features
    height, width, channels = features["image"].shape
    assert Images(height, width, channels, features["label"].num_classes) == TFDS_IMAGES[name]


# With every socket refused

OFFLINE = """
import json, socket, sys

def refuse(*arguments, **_):
    raise AssertionError(f"a socket was asked for: {arguments}")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse

import numpy as np

from cnnctl.data.sources.opening import open_source
from cnnctl.spec.dataset import DataSpec

printed = {}
for name, content in json.loads(sys.argv[1]).items():
    source = open_source(DataSpec.model_validate(content))
    test = source.read("test")
    printed[name] = {
        "train": np.bincount(source.labels("train")).tolist(),
        "test": np.bincount(test.labels).tolist(),
        "first": int(test.labels[0]),
        "mean": float(test.images.mean()),
    }
print(json.dumps(printed))
"""

REAL_MNIST = Path(os.environ.get("TFDS_DATA_DIR", "")) / "mnist"


@pytest.fixture(scope="module")
def read_offline(prepared: Path) -> dict[str, Any]:
    sets = {"tiny": tiny(prepared).model_dump()}
    if REAL_MNIST.is_dir():
        sets["mnist"] = spec("tfds", name="mnist", image_size=[28, 28], classes=10).model_dump()
    command = [sys.executable, "-c", OFFLINE, json.dumps(sets)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return printed


def test_a_prepared_set_opens_without_a_socket(read_offline: dict[str, Any]) -> None:
    assert read_offline["tiny"]["train"] == [2, 2, 3]
    assert read_offline["tiny"]["test"] == [1, 1]


@pytest.mark.skipif(not REAL_MNIST.is_dir(), reason="TFDS_DATA_DIR has no mnist; the tiny set above covers the path")
def test_real_mnist_opens_without_a_socket_and_has_the_published_counts(read_offline: dict[str, Any]) -> None:
    mnist = read_offline["mnist"]
    assert mnist["train"] == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert mnist["test"] == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert mnist["first"] == 2  # in the order of TFDS's own shuffle
    assert mnist["mean"] / 255 == pytest.approx(0.1325, abs=0.0001)
