"""`predict` and `evaluate --data` on images that are unlike the training images: what is said, and what helps."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

from cnnctl.cli import main
from cnnctl.commands.evaluate import evaluate
from cnnctl.commands.predict import predict
from cnnctl.commands.train import train
from cnnctl.data.image_set import Labels
from cnnctl.data.images import Pixels
from cnnctl.data.inspect.statistics import statistics_of
from cnnctl.data.splits import read_splits
from cnnctl.errors import DataError, UsageError
from cnnctl.evaluate import prediction as prediction_module
from cnnctl.evaluate.image_options import AS_TRAINED, ImageOptions
from cnnctl.evaluate.prediction_tables import MAX_DRAWN
from cnnctl.report.console import Console
from cnnctl.session.trained_run import Trained, open_trained

CONV: dict[str, Any] = {"filters": 8, "kernel_size": 3, "activation": "relu"}
LAYERS = [{"conv2d": CONV}, "flatten", {"dense": {"units": "classes"}}]
CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "inverted": {"invert": True},
    "turned": {"transpose": True},
    "colour": {"channels": 3},
}
INVERT, TRANSPOSE = ImageOptions(invert=True), ImageOptions(transpose=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs on the digits as they are, inverted, transposed, and in three channels."""
    return {name: trained_on(tmp_path_factory.mktemp(name), data) for name, data in CONFIGS.items()}


def trained_on(folder: Path, data: dict[str, Any]) -> Path:
    config = {
        "data": {"source": "digits", **data},
        "model": {"layers": LAYERS},
        "train": {"epochs": 8, "batch_size": 16, "precision": "float32"},
        "log": {"tensorboard": False},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    train(folder / "config.yaml", [], folder / "run", None, "cpu", Console(quiet=True), verbose=True)
    return folder / "run"


@dataclass(frozen=True)
class Digits:
    """Images (N, 8, 8, 1), light on dark and upright, and their labels (N,)."""

    images: Pixels
    labels: Labels


@pytest.fixture(scope="module")
def digits(runs: dict[str, Path]) -> Digits:
    """The test images of the runs as the set has them."""
    images = read_splits(open_trained(runs["plain"]).experiment.data).read_test()
    return Digits(images.images[:], images.labels)


def saved(folder: Path, images: NDArray[Any], labels: Sequence[int] | NDArray[np.int64] | None = None) -> Path:
    """Write images as PNG files, in a folder for each class where there are labels."""
    for number, pixels in enumerate(images):
        place = folder if labels is None else folder / str(labels[number])
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.squeeze()).save(place / f"{number:03}.png")
    return folder


def predicted(
    capsys: pytest.CaptureFixture[str], run: Path, *images: Path, options: ImageOptions = AS_TRAINED
) -> tuple[list[Any], list[str]]:
    """Predict, and return predictions and warnings."""
    capsys.readouterr()
    predict(run, images, 3, None, "json", "cpu", Console(), verbose=True, options=options)
    printed = capsys.readouterr()
    return json.loads(printed.out), warnings_in(printed.err)


def evaluated(
    capsys: pytest.CaptureFixture[str], runs: Sequence[Path], data: Path, options: ImageOptions = AS_TRAINED
) -> tuple[dict[str, Any], list[str]]:
    capsys.readouterr()
    evaluate(runs, None, str(data), "json", "cpu", Console(), verbose=True, image_options=options)
    printed = capsys.readouterr()
    return json.loads(printed.out), warnings_in(printed.err)


def warnings_in(said: str) -> list[str]:
    return [line.removeprefix("warning").strip() for line in said.splitlines() if line.startswith("warning")]


def answers(found: list[Any]) -> list[Any]:
    return [each["predictions"] for each in found]


def contents(folder: Path) -> dict[str, str]:
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def run(runs: dict[str, Path], tmp_path: Path) -> Path:
    """A run of a test's own."""
    shutil.copytree(runs["plain"], tmp_path / "run", ignore=shutil.ignore_patterns("evaluation"))
    return tmp_path / "run"


# the right images


@pytest.mark.parametrize("name", CONFIGS)
def test_a_run_notes_what_its_training_images_are_like_as_the_network_sees_them(name: str, runs: dict[str, Path]) -> None:
    data = open_trained(runs[name]).experiment.data
    noted = json.loads((runs[name] / "environment.json").read_text())["training_images"]
    assert noted == json.loads(json.dumps(statistics_of(read_splits(data).train).as_plain()))
    assert noted["light_ink"] == (0.0 if name == "inverted" else 1.0)
    assert (noted["channels"], noted["original_sizes"]) == (data.channels, [[8, 8], [8, 8]])


@pytest.mark.parametrize("name", CONFIGS)
def test_the_test_images_of_a_run_are_no_reason_to_warn(
    name: str, runs: dict[str, Path], digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = saved(tmp_path / "data", digits.images[:60], digits.labels[:60])
    document, warned = evaluated(capsys, [runs[name]], folder)
    assert (warned, document["warnings"]) == ([], [])
    assert document["options"] == {"invert": False, "transpose": False, "pixel_max": None}
    for images in (folder, folder / "3", sorted((folder / "5").iterdir())[0]):
        assert predicted(capsys, runs[name], images)[1] == []


def test_the_own_splits_are_not_compared(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    evaluate([runs["plain"]], None, None, "json", "cpu", Console(), verbose=True)
    printed = capsys.readouterr()
    assert warnings_in(printed.err) == []
    assert {"options", "warnings"}.isdisjoint(json.loads(printed.out))


# inverted


@pytest.mark.parametrize("name", ["plain", "inverted"])
def test_inverted_images_are_told_and_the_option_puts_them_right(
    name: str, runs: dict[str, Path], digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(runs[name])
    right, quiet = predicted(capsys, runs[name], saved(tmp_path / "right", digits.images[:5]))
    wrong, warned = predicted(capsys, runs[name], saved(tmp_path / "wrong", 255 - digits.images[:5]))
    ours, theirs = ("dark on light", "light on dark")[:: 1 if name == "plain" else -1]
    assert quiet == []
    assert warned == [f"5 of 5 images look inverted ({ours} in the network's input, {theirs} in training): try --invert"]
    assert answers(wrong) != answers(right)
    again, quiet = predicted(capsys, runs[name], tmp_path / "wrong", options=INVERT)
    assert quiet == []
    assert answers(again) == answers(right)
    _, warned = predicted(capsys, runs[name], tmp_path / "right", options=INVERT)
    assert warned[0].endswith("): remove --invert")
    assert contents(runs[name]) == before


def test_evaluation_names_the_option_with_the_accuracy_that_it_reaches(
    run: Path, digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right, _ = evaluated(capsys, [run], saved(tmp_path / "right", digits.images[:80], digits.labels[:80]))
    config = contents(run)[str(run / "config.yaml")]
    wrong, (warned,) = evaluated(capsys, [run], saved(tmp_path / "wrong", 255 - digits.images[:80], digits.labels[:80]))
    assert warned.startswith("80 of 80 images look inverted (")
    accuracies = f"accuracy {right['accuracy']:.2%} instead of {wrong['accuracy']:.2%} on 80 images"
    assert warned.endswith(f": try --invert ({accuracies})")
    assert wrong["warnings"] == [warned]
    again, quiet = evaluated(capsys, [run], tmp_path / "wrong", INVERT)
    assert (quiet, again["warnings"]) == ([], [])
    assert again["confusion_matrix"] == right["confusion_matrix"]
    assert again["options"] == {"invert": True, "transpose": False, "pixel_max": None}
    assert contents(run)[str(run / "config.yaml")] == config


def test_an_evaluation_is_replaced_by_one_that_reads_the_images_alike(
    run: Path, digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = saved(tmp_path / "photos", digits.images[:20], digits.labels[:20])
    documents = [evaluated(capsys, [run], folder, options)[0] for options in (AS_TRAINED, INVERT, AS_TRAINED, INVERT)]
    kept = [json.loads((run / "evaluation" / name).read_text()) for name in ("photos.json", "photos_2.json")]
    assert kept == documents[:2]
    assert len(list((run / "evaluation").glob("*.json"))) == 2


def test_of_a_mixed_folder_the_images_are_named(
    run: Path, digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = digits.images[:40] ^ np.where(np.arange(40) % 4 == 3, 255, 0).astype(np.uint8)[:, None, None, None]
    folder = saved(tmp_path / "mixed", mixed, digits.labels[:40])
    _, (warned,) = evaluated(capsys, [run], folder)
    first = sorted(str(file.relative_to(folder)) for file in folder.rglob("*.png") if int(file.stem) % 4 == 3)[:3]
    assert warned.startswith("10 of 40 images look inverted")
    assert ": try --invert for these only, '{}', '{}', '{}' and 7 more".format(*first) in warned
    _, (warned,) = predicted(capsys, run, folder)
    assert f"for these only, '{folder / first[0]}'" in warned


def test_runs_of_an_ensemble_are_compared_each_and_the_same_is_said_once(
    runs: dict[str, Path], digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = saved(tmp_path / "wrong", 255 - digits.images[:20], digits.labels[:20])
    both = [runs["plain"], runs["colour"]]
    document, warned = evaluated(capsys, both, folder)
    assert len(warned) == 1
    assert warned == document["warnings"]
    document, warned = evaluated(capsys, both, folder, INVERT)
    assert (warned, document["options"]["invert"]) == ([], True)
    assert document["accuracy"] > 0.8
    _, (ours, theirs) = evaluated(capsys, [runs["plain"], runs["inverted"]], folder)
    assert "dark on light in the network's" in ours and "light on dark in the network's" in theirs
    document, warned = evaluated(
        capsys, [runs[name] for name in CONFIGS], saved(tmp_path / "right", digits.images[:20], digits.labels[:20])
    )
    assert warned == []
    assert min(each["accuracy"] for each in document["runs"]) > 0.8  # each read the images as it reads its own


# transposed


@pytest.mark.parametrize("name", ["plain", "turned"])
def test_transposed_images_are_told_and_the_option_puts_them_right(
    name: str, runs: dict[str, Path], digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(runs[name])
    right, _ = predicted(capsys, runs[name], saved(tmp_path / "right", digits.images[:30]))
    _, warned = predicted(capsys, runs[name], saved(tmp_path / "wrong", digits.images[:30].swapaxes(1, 2)))
    assert warned == [
        "the 30 images look transposed (rows and columns swapped), or rotated by 90 degrees: try --transpose",
    ]
    again, quiet = predicted(capsys, runs[name], tmp_path / "wrong", options=TRANSPOSE)
    assert quiet == []
    assert answers(again) == answers(right)
    _, warned = predicted(capsys, runs[name], tmp_path / "right", options=TRANSPOSE)
    assert warned[0].endswith(": remove --transpose")
    assert contents(runs[name]) == before


def without_orientation(run: Path) -> Path:
    """Remove the orientation from the statistics of a run's training images, but not from its checkpoints."""
    shutil.rmtree(run / "checkpoints")
    environment = json.loads((run / "environment.json").read_text())
    environment["training_images"]["orientation"] = None
    (run / "environment.json").write_text(json.dumps(environment))
    return run


def test_where_the_pixels_do_not_tell_labels_do(
    run: Path, digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without_orientation(run)
    turned = saved(tmp_path / "turned", digits.images[:80].swapaxes(1, 2), digits.labels[:80])
    _, (warned,) = evaluated(capsys, [run], turned)
    assert warned.startswith("the images look transposed: try --transpose (accuracy 9")
    both = saved(tmp_path / "both", 255 - digits.images[:80].swapaxes(1, 2), digits.labels[:80])
    _, (warned,) = evaluated(capsys, [run], both)
    assert ": try --invert and try --transpose (accuracy 9" in warned


def test_where_the_pixels_do_not_tell_the_network_may_be_surer_of_the_transposes(
    run: Path, digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_orientation(run)
    trained = open_trained(run)
    probabilities = trained.probabilities(np.asarray(trained.model(trained.inputs(digits.images))))
    sure = digits.images[probabilities.max(axis=1) > 0.99]
    certainty = [
        prediction_module._certainty(trained.probabilities(np.asarray(trained.model(trained.inputs(images)))))
        for images in (sure, sure.swapaxes(1, 2))
    ]
    clear = sure[np.argsort(certainty[1] - certainty[0])[:90]]  # those whose transposes puzzle the network most
    _, warned = predicted(capsys, run, saved(tmp_path / "turned", clear.swapaxes(1, 2)))
    said = "the 90 images look transposed to the network, which is surer of their transposes"
    assert warned == [f"{said} (rows and columns swapped), or rotated by 90 degrees: try --transpose"]
    assert predicted(capsys, run, saved(tmp_path / "right", clear))[1] == []
    assert predicted(capsys, run, *sorted((tmp_path / "turned").iterdir())[:49])[1] == []  # too few to say so
    monkeypatch.setattr(prediction_module, "MIN_CLASSES", 11)
    assert len(trained.class_names) // 2 == 5  # at most so many classes are needed
    assert predicted(capsys, run, tmp_path / "turned")[1] == warned


@pytest.mark.parametrize(("left", "is_surer"), [(0.9, False), (0.55, False), (0.45, True)])
def test_a_network_is_surer_only_where_its_entropy_is_halved(
    left: float, is_surer: bool, monkeypatch: pytest.MonkeyPatch, runs: dict[str, Path]
) -> None:
    """However significant less is: with many images everything is."""
    trained = open_trained(runs["plain"])
    answered = np.eye(10, dtype=np.float32)[np.arange(100) % 10]
    entropy = np.random.default_rng(0).uniform(0.9, 1.1, 100)
    monkeypatch.setattr(prediction_module, "_probabilities", lambda _, images: answered[: len(images)])
    certainties = iter([-left * entropy, -entropy])
    monkeypatch.setattr(prediction_module, "_certainty", lambda _: next(certainties))
    images = np.zeros((100, 8, 8, 1), np.uint8)
    assert prediction_module._is_surer(trained, images, images) is is_surer


# values, sizes, and all else


def test_values_of_a_small_range_are_told_and_the_option_puts_them_right(
    run: Path, digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right, _ = predicted(capsys, run, saved(tmp_path / "right", digits.images[:6]))
    deep = saved(tmp_path / "deep", digits.images[:6].astype(np.uint16), digits.labels[:6])
    found, warned = predicted(capsys, run, deep)
    assert warned == ["6 of 6 images use values up to 255 of 65,535, which is nearly black: try --pixel-max 255"]
    by_name = {Path(each["image"]).name: each["predictions"] for each in right}
    found, quiet = predicted(capsys, run, deep, options=ImageOptions(pixel_max=255))
    assert quiet == []
    assert {Path(each["image"]).name: each["predictions"] for each in found} == by_name
    capsys.readouterr()
    evaluate([run], None, str(deep), "table", "cpu", Console(), verbose=True)
    said = capsys.readouterr().err
    assert warnings_in(said)[0].endswith("try --pixel-max 255")
    assert (said.count("pixel-max"), said.count("pixel_max")) == (1, 0)  # once, and as the option of this command
    document, quiet = evaluated(capsys, [run], deep, ImageOptions(pixel_max=255))
    assert (quiet, document["options"]["pixel_max"]) == ([], 255)


def test_empty_large_and_strange_images_are_told(
    run: Path, digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blank = saved(tmp_path / "blank", np.full((2, 8, 8, 1), 255, np.uint8))
    assert predicted(capsys, run, blank)[1] == [
        "2 of 2 images have a single colour, or nearly: look at them with predict --show OUT.png"
    ]
    clear = Image.new("RGBA", (8, 8), (255, 255, 255, 0))
    clear.paste((255, 255, 255, 255), (2, 2, 5, 5))
    clear.save(tmp_path / "clear.png")
    assert "transparent parts become white, which hides white ink" in predicted(capsys, run, tmp_path / "clear.png")[1][0]
    large = saved(tmp_path / "large", digits.images[:3].repeat(40, axis=1).repeat(40, axis=2))
    (said,) = predicted(capsys, run, large)[1]
    assert said.startswith("3 of 3 images are far larger than the training images (up to 320×320 pixels, in training 8×8)")
    noise = saved(tmp_path / "noise", np.random.default_rng(0).integers(0, 256, (9, 8, 8, 1), np.uint8))
    (said,) = predicted(capsys, run, noise)[1]
    assert said.startswith("9 of 9 images are unlike the training images (brightness of the border 1")


def test_colours_are_told_to_a_network_that_sees_them(
    runs: dict[str, Path], digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    red = digits.images[:3].repeat(3, axis=3) // np.array([1, 3, 3], np.uint8)
    folder = saved(tmp_path / "red", red)
    assert predicted(capsys, runs["plain"], folder)[1] == []
    assert predicted(capsys, runs["colour"], folder)[1] == [
        "3 of 3 images have colour, but the training images are grey: convert them to grey"
    ]


# runs that noted nothing, or something else


@pytest.mark.parametrize("verb", ["predict", "evaluate"])
def test_a_run_of_an_earlier_version_compares_nothing(
    verb: str, run: Path, digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = json.loads((run / "environment.json").read_text())
    shutil.rmtree(run / "checkpoints")  # which have all that environment.json should have
    folder = saved(tmp_path / "wrong", 255 - digits.images[:20], digits.labels[:20])
    for noted, says in ((None, False), ({"images": 3}, True)):
        environment.pop("training_images", None)
        if noted:
            environment["training_images"] = noted
        (run / "environment.json").write_text(json.dumps(environment))
        capsys.readouterr()
        if verb == "predict":
            predict(run, [folder], 3, None, "json", "cpu", Console(), verbose=True)
        else:
            evaluate([run], None, str(folder), "json", "cpu", Console(), verbose=True)
        said = capsys.readouterr().err
        damaged = f"{run}/environment.json: 'training_images' is damaged; images are not compared with the training images"
        assert warnings_in(said) == []
        assert (damaged in said) is says


def test_options_are_for_other_images_alone_and_for_values_that_can_be(run: Path, tmp_path: Path) -> None:
    for options, name in ((INVERT, "--invert"), (TRANSPOSE, "--transpose"), (ImageOptions(pixel_max=9), "--pixel-max")):
        with pytest.raises(UsageError, match=f"^{name} is for other images than the run's own; add --data FOLDER"):
            evaluate([run], None, None, "json", "cpu", Console(), verbose=True, image_options=options)
    for value in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match=r"^--pixel-max: expected a "):
            predict(run, [tmp_path], 3, None, "json", "cpu", Console(), verbose=True, options=ImageOptions(pixel_max=value))
        with pytest.raises(UsageError, match=r"^--pixel-max: expected a "):
            evaluate(
                [run], None, str(tmp_path), "json", "cpu", Console(), verbose=True, image_options=ImageOptions(pixel_max=value)
            )


def test_the_command_line_has_the_options(
    run: Path, digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    turned = (255 - digits.images[:20].swapaxes(1, 2)).astype(np.uint16) * 16
    folder = saved(tmp_path / "turned", turned, digits.labels[:20])
    options = ["--invert", "--transpose", "--pixel-max", "4095"]
    for command in (
        ["predict", str(run), str(folder), "--show", str(tmp_path / "o.png")],
        ["evaluate", str(run), "--data", str(folder)],
    ):
        monkeypatch.setattr(sys, "argv", ["cnnctl", *command, "--format", "json", "--device", "cpu", "--verbose", *options])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        printed = capsys.readouterr()
        assert warnings_in(printed.err) == []
    assert json.loads(printed.out)["options"] == {"invert": True, "transpose": True, "pixel_max": 4095}
    assert (tmp_path / "o.png").is_file()


# what the network saw


def drawn_by(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    drawn: list[Any] = []

    def keep(*arguments: Any) -> bytes:
        drawn.extend(arguments)
        return b""

    monkeypatch.setattr("cnnctl.report.figures.seen_png", keep)
    return drawn


def test_the_picture_has_each_image_as_its_file_has_it_and_as_the_network_saw_it(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = drawn_by(monkeypatch)
    batches: list[Pixels] = []
    inputs = Trained.inputs

    def seen_by_the_network(trained: Any, images: Pixels) -> Any:
        batches.append(images)
        return inputs(trained, images)

    monkeypatch.setattr(Trained, "inputs", seen_by_the_network)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    options = ImageOptions(invert=True)
    predict(
        runs["inverted"], [tmp_path / "a.png"], 3, None, "json", "cpu", Console(quiet=True), True, tmp_path / "o.png", options
    )
    originals, sizes, seen, titles = drawn
    np.testing.assert_array_equal(originals[0], np.rot90(pixels, -1)[..., np.newaxis].repeat(3, axis=2))
    assert sizes == ["24×16"]
    np.testing.assert_array_equal(seen, batches[0])
    ((name, answer),) = titles
    assert name == "a.png"
    assert answer.endswith("%")


def test_the_picture_shows_the_pixels(tmp_path: Path, run: Path, digits: Digits, capsys: pytest.CaptureFixture[str]) -> None:
    """Read back from the PNG: on the left the file, on the right its inverse, each in a frame."""
    out = tmp_path / "out.png"
    folder = saved(tmp_path / "images", digits.images[:1])
    capsys.readouterr()
    predict(run, [folder], 3, None, "json", "cpu", Console(), True, out, INVERT)
    assert capsys.readouterr().err.splitlines()[-1] == f"show      {out}"
    with Image.open(out) as picture:
        page = np.asarray(picture.convert("L"))
    side, top = 130, 55  # in pixels: see PAIR_SIDE and its like
    for left, expected in ((18, digits.images[0]), (page.shape[1] - 18 - side, 255 - digits.images[0])):
        centres = (np.arange(8) * 2 + 1) * side // 16
        found = page[top + centres][:, left + centres]
        np.testing.assert_allclose(found, expected[..., 0], atol=2)


def test_both_pictures_may_be_asked_for_of_the_first_images(
    run: Path, digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = saved(tmp_path / "images", digits.images[:20])
    saliency, show = tmp_path / "saliency.png", tmp_path / "show.png"
    capsys.readouterr()
    predict(run, [folder], 3, saliency, "json", "cpu", Console(), True, show)
    of = f", of the first {MAX_DRAWN} of 20 images"
    assert capsys.readouterr().err.splitlines()[-2:] == [f"saliency  {saliency}{of}", f"show      {show}{of}"]
    with Image.open(io.BytesIO(show.read_bytes())) as many:
        assert many.size == (4 * 330, 4 * 220 + 10)
    single = tmp_path / "one.png"
    predict(run, [folder / "000.png"], 3, None, "json", "cpu", Console(quiet=True), True, single)
    with Image.open(single) as one:
        assert one.size == (330, 230)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out.jpg", "expected a name ending with .png, such as"),
        ("gone/out.png", "there is no folder .*gone"),
        ("images/000.png", "already exists; not overwriting"),
    ],
)
def test_a_picture_that_cannot_be_there_is_refused(name: str, message: str, run: Path, digits: Digits, tmp_path: Path) -> None:
    folder = saved(tmp_path / "images", digits.images[:1])
    before = contents(folder)
    with pytest.raises(UsageError, match=f"{name}:? {message}"):
        predict(run, [folder], 3, None, "json", "cpu", Console(), True, tmp_path / name)
    same = tmp_path / "same.png"
    with pytest.raises(UsageError, match="--saliency and --show name the same file; choose two different names"):
        predict(run, [folder], 3, same, "json", "cpu", Console(), True, same)
    assert contents(folder) == before


def test_names_in_the_picture_may_be_anything(run: Path, digits: Digits, tmp_path: Path) -> None:
    folder = saved(tmp_path / "images", digits.images[:1])
    (folder / "000.png").rename(folder / "\x1b[2J\nred$x^{$.png")
    predict(run, [folder], 3, None, "json", "cpu", Console(quiet=True), True, tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.size == (330, 230)


# files of many images


def test_rows_of_a_csv_are_predicted_as_the_same_images_in_files(
    run: Path, digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Kaggle's test.csv has them: a row of names, and a row of pixels for each image."""
    monkeypatch.setattr(prediction_module, "MAX_AT_ONCE", 16)
    images = digits.images[:50]
    header = ",".join(f"pixel{number}" for number in range(64))
    np.savetxt(tmp_path / "test.csv", images.reshape(50, 64), "%d", ",", header=header, comments="")
    expected, _ = predicted(capsys, run, saved(tmp_path / "files", images))
    found, warned = predicted(capsys, run, tmp_path / "test.csv")
    assert warned == []
    assert [each["image"] for each in found] == [f"{tmp_path}/test.csv:{row}" for row in range(1, 51)]
    assert answers(found) == answers(expected)
    both, _ = predicted(capsys, run, tmp_path / "files/007.png", tmp_path / "test.csv", tmp_path / "files/003.png")
    assert [Path(each["image"]).name for each in both[::51]] == ["007.png", "003.png"]
    np.savetxt(tmp_path / "inverted.csv", 255 - images.reshape(50, 64), "%d", ",", header=header, comments="")
    _, (said,) = predicted(capsys, run, tmp_path / "inverted.csv")
    assert said.startswith("50 of 50 images look inverted")
    again, quiet = predicted(capsys, run, tmp_path / "inverted.csv", options=INVERT)
    assert (answers(again), quiet) == (answers(expected), [])


def test_a_file_of_many_images_is_told_by_its_content(
    run: Path, digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected, _ = predicted(capsys, run, saved(tmp_path / "files", digits.images[:9]))
    np.savez(
        tmp_path / "mnist.npz", x_train=digits.images, y_train=digits.labels, x_test=digits.images[:9], y_test=digits.labels[:9]
    )
    (tmp_path / "mnist.npz").rename(tmp_path / "whatever")
    found, _ = predicted(capsys, run, tmp_path / "whatever")
    assert answers(found) == answers(expected)
    np.savez(tmp_path / "fractions.npz", x=digits.images[:9] / np.float32(255))
    with pytest.raises(DataError, match=r"fractions\.npz: the pixels are float32 .*; add --pixel-max 1, the value of white"):
        predicted(capsys, run, tmp_path / "fractions.npz")
    found, _ = predicted(capsys, run, tmp_path / "fractions.npz", options=ImageOptions(pixel_max=1))
    assert answers(found) == answers(expected)


def test_no_option_is_lost_on_a_run_that_has_one_itself(runs: dict[str, Path]) -> None:
    own = open_trained(runs["turned"]).experiment.data
    assert (own.transpose, own.invert, own.pixel_max) == (True, False, None)
    changed = ImageOptions(invert=True, transpose=True, pixel_max=7).applied(own)
    assert (changed.transpose, changed.invert, changed.pixel_max) == (False, True, 7)
    assert AS_TRAINED.applied(own) == own
    with_white = own.model_copy(update={"pixel_max": 9.0})
    assert AS_TRAINED.applied(with_white).pixel_max == 9
