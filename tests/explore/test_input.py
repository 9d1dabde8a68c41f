"""Images that a person puts into the page have the pixels that cnnctl makes of them, whatever their form."""

from __future__ import annotations

import base64
import io
import itertools
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

from cnnctl.commands.explore import PageOptions, explore
from cnnctl.commands.predict import predict
from cnnctl.commands.train import train
from cnnctl.data.decoding import decoded
from cnnctl.data.images import fit_image
from cnnctl.evaluate.evaluated_images import read_evaluated
from cnnctl.explore.bundle import FOLDER, joined_script
from cnnctl.explore.images import tall_first
from cnnctl.report.console import Console
from cnnctl.run_folder import RunFolder
from cnnctl.session.trained_run import open_ended
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.load import load
from tests.browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

Pixels = NDArray[np.uint8]
ENTRY = """
import { decodeImageFile } from "./input/file.js";
import { centredImage } from "./input/ink.js";
import { prepareImage } from "./input/prepare.js";
import { resizeImage } from "./input/resample.js";

const decodedText = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
const encodedText = (bytes) => btoa(Array.from(bytes, (value) => String.fromCharCode(value)).join(""));

/** Decode and prepare files; a file that cannot be read becomes its message. */
function prepared(cases) {
  return Promise.all(
    cases.map(async ({ file, name, preparation }) => {
      try {
        const image = await decodeImageFile(new File([decodedText(file)], name));
        return encodedText(prepareImage(image, preparation));
      } catch (error) {
        return { error: error.message };
      }
    }),
  );
}

window.input = { prepared, centredImage, resizeImage };
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def modules(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """The modules of `input/` in an empty page."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "input").symlink_to(FOLDER / "input")
    (folder / "entry.js").write_text(ENTRY, encoding="utf-8")
    page = folder / "page.html"
    page.write_text(
        f"<!doctype html><meta charset=utf-8><script>{joined_script(folder, 'entry.js')}</script>", encoding="utf-8"
    )
    browser.open_loaded(page.as_uri())
    return browser


def spec(channels: Literal[1, 3] = 1, size: tuple[int, int] = (12, 10), **options: Any) -> DataSpec:
    return DataSpec(source="folder", path="x", image_size=size, channels=channels, classes=2, **options)


def preparation(data: DataSpec) -> dict[str, Any]:
    assert data.image_size
    height, width = data.image_size
    options = {name: getattr(data, name) for name in ("channels", "invert", "transpose", "fit", "pixel_max")}
    return {"height": height, "width": width, "tall_first": tall_first(), **options}


def in_page(modules: Browser, files: list[tuple[bytes, DataSpec]], name: str = "x.png") -> list[Any]:
    cases = [{"file": base64.b64encode(file).decode(), "name": name, "preparation": preparation(data)} for file, data in files]
    return list(modules.compute(f"input.prepared({json.dumps(cases)})"))


def pixels_of(result: Any, data: DataSpec) -> Pixels:
    assert isinstance(result, str), result
    assert data.image_size and data.channels
    return np.frombuffer(base64.b64decode(result), np.uint8).reshape(*data.image_size, data.channels)


def expected(file: bytes, data: DataSpec) -> Pixels:
    with Image.open(io.BytesIO(file)) as image:
        return fit_image(decoded(image), data)


def as_png(image: Image.Image, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", **options)
    return out.getvalue()


def photo(generator: np.random.Generator, height: int, width: int, channels: int) -> Pixels:
    """A smooth picture with noise: neighbours are alike as in real images, so that every PNG filter is used."""
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / generator.uniform(2, 9) + columns / generator.uniform(2, 9)) for _ in range(channels)]
    noise = generator.normal(0, 12, (height, width, channels))
    return (128 + 100 * np.stack(waves, axis=-1) + noise).clip(0, 255).astype(np.uint8)


def grey(generator: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(photo(generator, *size, 1)[:, :, 0])


def colour(generator: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(photo(generator, *size, 3))


def with_alpha(generator: np.random.Generator, size: tuple[int, int], mode: str) -> Image.Image:
    image = colour(generator, size).convert(mode)
    image.putalpha(Image.fromarray(generator.integers(0, 256, size, np.uint8)))
    return image


def sixteen_bits(generator: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(generator.integers(0, 65536, size, np.uint16))


KINDS: dict[str, Callable[[np.random.Generator, tuple[int, int]], bytes]] = {
    "1 bit": lambda generator, size: as_png(grey(generator, size).convert("1")),
    "grey": lambda generator, size: as_png(grey(generator, size)),
    "grey of 16 bits": lambda generator, size: as_png(sixteen_bits(generator, size)),
    "grey with alpha": lambda generator, size: as_png(with_alpha(generator, size, "LA")),
    "grey with a transparent value": lambda generator, size: as_png(
        grey(generator, size).quantize(4).convert("L"), transparency=_value(generator, size)
    ),
    "palette": lambda generator, size: as_png(colour(generator, size).quantize(200)),
    "palette of 4 bits": lambda generator, size: as_png(colour(generator, size).quantize(13), bits=4),
    "palette with transparency": lambda generator, size: as_png(
        colour(generator, size).quantize(7), transparency=bytes([0, 90, 200])
    ),
    "RGB": lambda generator, size: as_png(colour(generator, size)),
    "RGB with a transparent colour": lambda generator, size: as_png(_flat(generator, size), transparency=(255, 0, 0)),
    "RGBA": lambda generator, size: as_png(with_alpha(generator, size, "RGBA")),
    "RGB of 16 bits": lambda generator, size: raw_png(generator.integers(0, 65536, (*size, 3), np.uint16)),
    "RGBA of 16 bits": lambda generator, size: raw_png(generator.integers(0, 65536, (*size, 4), np.uint16)),
    "every filter": lambda generator, size: raw_png(photo(generator, *size, 3)),
    "interlaced": lambda generator, size: raw_png(photo(generator, *size, 3), interlaced=True),
    "interlaced grey": lambda generator, size: raw_png(photo(generator, *size, 1), interlaced=True),
}


def _value(generator: np.random.Generator, size: tuple[int, int]) -> int:
    return int(np.asarray(grey(generator, size).quantize(4).convert("L"))[0, 0])


def _flat(generator: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Pure colours, of which red is to be transparent."""
    return Image.fromarray(generator.choice(np.array([[255, 0, 0], [0, 255, 0], [9, 9, 200]], np.uint8), size))


PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def raw_png(values: NDArray[Any], interlaced: bool = False) -> bytes:
    """Write a PNG of forms that Pillow does not write: 16 bits per channel, or interlaced (Adam7)."""
    height, width, channels = values.shape
    kind = {1: 0, 3: 2, 4: 6}[channels]
    depth = values.dtype.itemsize * 8
    parts = [values[top::down, left::across] for left, top, across, down in PASSES] if interlaced else [values]
    lines = [line for part in parts if part.size for line in filtered(part)]
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, int(interlaced))
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"".join(lines))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def filtered(values: NDArray[Any]) -> Iterator[bytes]:
    """Apply the five filters of PNG in turn to the lines of an image (H, W, C): none, left, above, mean and Paeth's."""
    step = values.shape[2] * values.dtype.itemsize
    lines = (
        np.frombuffer(values.astype(values.dtype.newbyteorder(">")).tobytes(), np.uint8).reshape(len(values), -1).astype(int)
    )
    for number, line in enumerate(lines):
        above = lines[number - 1] if number else np.zeros_like(line)
        left, corner = (np.concatenate([np.zeros(step, int), each[:-step]]) for each in (line, above))
        distances = [np.abs(left + above - corner - each) for each in (left, above, corner)]
        paeth = np.select(
            [distances[0] <= np.minimum(distances[1], distances[2]), distances[1] <= distances[2]], [left, above], corner
        )
        guess = (np.zeros_like(line), left, above, (left + above) // 2, paeth)[number % 5]
        yield bytes([number % 5]) + ((line - guess) % 256).astype(np.uint8).tobytes()


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


OPTIONS: list[dict[str, Any]] = [
    {},
    {"channels": 3},
    {"invert": True},
    {"transpose": True},
    {"fit": "crop"},
    {"fit": "pad"},
    {"fit": "pad", "channels": 3, "invert": True},
    {"fit": "crop", "transpose": True, "channels": 3},
    {"pixel_max": 200},
    {"pixel_max": 4095},
    {"size": (40, 33)},
    {"size": (40, 33), "fit": "pad"},
    {"size": (40, 33), "fit": "crop"},
]
SIZES = [
    (12, 10),
    (10, 12),
    (31, 47),
    (90, 25),
    (7, 5),
    (1, 60),
    (96, 20),
    (15, 50),
]  # padded, the last two end in half a pixel


FILES_PER_KIND = 24
"""Random pairs of a size and options for each kind of file."""


@pytest.mark.parametrize("kind", KINDS)
def test_png_files_have_the_pixels_of_fit_image(modules: Browser, kind: str) -> None:
    generator = np.random.default_rng(list(KINDS).index(kind))
    files = [
        (KINDS[kind](generator, SIZES[generator.integers(len(SIZES))]), spec(**OPTIONS[generator.integers(len(OPTIONS))]))
        for _ in range(FILES_PER_KIND)
    ]
    for (file, data), result in zip(files, in_page(modules, files), strict=True):
        assert np.array_equal(pixels_of(result, data), expected(file, data)), (data, Image.open(io.BytesIO(file)).size)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_at_every_size(modules: Browser, options: dict[str, Any]) -> None:
    generator = np.random.default_rng(1)
    files = [(as_png(colour(generator, size)), spec(**options)) for size in SIZES]
    for (file, data), result in zip(files, in_page(modules, files), strict=True):
        assert np.array_equal(pixels_of(result, data), expected(file, data)), Image.open(io.BytesIO(file)).size


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_the_orientation_of_exif_data_is_applied(modules: Browser, orientation: int, form: str) -> None:
    image = Image.fromarray(np.kron(np.arange(0, 240, 40).astype(np.uint8).reshape(2, 3), np.ones((16, 16), np.uint8)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    image.save(out, form, exif=exif, **({"quality": 100} if form == "JPEG" else {}))
    data = spec(size=(16, 16))
    (result,) = in_page(modules, [(out.getvalue(), data)])
    assert np.abs(pixels_of(result, data).astype(int) - expected(out.getvalue(), data)).max() <= (form == "JPEG") * 2


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_files_differ_by_the_decoder_alone(modules: Browser, mode: str) -> None:
    generator = np.random.default_rng(2)
    out = io.BytesIO()
    colour(generator, (61, 47)).convert(mode).save(out, "JPEG", quality=90)
    files = [(out.getvalue(), spec(**options)) for options in OPTIONS]
    for (file, data), result in zip(files, in_page(modules, files, "x.jpg"), strict=True):
        difference = np.abs(pixels_of(result, data).astype(int) - expected(file, data))
        assert difference.max() <= 3, data
        assert difference.mean() < 0.5, data


GOOD = as_png(Image.new("L", (30, 20), 7))
DAMAGED = {
    "a text": b"not an image",
    "nothing": b"",
    "a PNG that ends early": GOOD[:60],
    "a PNG without data": GOOD[:33],
    "a PNG of another depth": GOOD[:24] + b"\x07" + GOOD[25:],
    "a PNG without pixels": GOOD[:16] + bytes(8) + GOOD[24:],
    "a PNG of a palette without colours": GOOD[:25] + b"\x03" + GOOD[26:],
    "a PNG with an unknown filter": b"\x89PNG\r\n\x1a\n"
    + _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    + _chunk(b"IDAT", zlib.compress(b"\x09\x00")),
    "a PNG of 40 gigapixels": GOOD[:16] + struct.pack(">II", 200_000, 200_000) + GOOD[24:],
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_named(modules: Browser, name: str) -> None:
    (result,) = in_page(modules, [(DAMAGED[name], spec())], "my file.png")
    assert result["error"].startswith("my file.png cannot be read as an image: ")


def test_a_small_file_that_inflates_to_a_large_one_is_read_as_far_as_its_header_says(modules: Browser) -> None:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", zlib.compress(bytes(50_000_000), 9))
    (result,) = in_page(modules, [(bomb, spec(size=(2, 2)))])
    assert not pixels_of(result, spec(size=(2, 2))).any()


def test_a_drawing_is_centred_by_its_mass(modules: Browser) -> None:
    generator = np.random.default_rng(3)
    drawn = np.full((21, 33), 200, np.uint8)
    drawn[2:9, 20:31] = generator.integers(0, 255, (7, 11))
    image = {"width": 33, "height": 21, "channels": 1, "bytes": drawn.ravel().tolist()}
    script = f"Array.from(input.centredImage({{...{json.dumps(image)}, bytes: Uint8Array.from({json.dumps(image['bytes'])})}}, 200).bytes)"
    moved = np.array(modules.compute(script)).reshape(21, 33)
    mass = np.abs(moved - 200.0)
    rows, columns = np.mgrid[:21, :33]
    assert abs((mass * rows).sum() / mass.sum() - 10) <= 0.5
    assert abs((mass * columns).sum() / mass.sum() - 16) <= 0.5
    assert sorted(moved.ravel().tolist()) == sorted(drawn.ravel().tolist())


# The page of a trained run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    config = {
        "data": {"source": "digits"},
        "model": {
            "layers": [
                {"conv2d": {"filters": 8, "kernel_size": 3, "activation": "relu"}},
                "flatten",
                {"dense": {"units": "classes"}},
            ]
        },
        "train": {"epochs": 4, "precision": "float32"},
        "log": {"tensorboard": False},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    train(folder / "config.yaml", [], folder / "run", None, "cpu", Console(quiet=True), verbose=True)
    return folder / "run"


@pytest.fixture(scope="module")
def file(run: Path) -> Path:
    page = run.parent / "page.html"
    explore(run, [], page, PageOptions(20, 30, None), "cpu", Console(quiet=True), verbose=True)
    return page


@pytest.fixture
def page(browser: Browser, file: Path) -> Browser:
    browser.show_as(1280, 900)
    browser.open_loaded(file.as_uri())
    browser.settle()
    return browser


def select(page: Browser, tab: str) -> None:
    page.compute(f"document.getElementById('input-tab-{tab}').click()")
    page.settle()


def place_of(page: Browser, selector: str) -> tuple[float, float, float, float]:
    """Scroll to an element; return its left and top edge, width and height in the window."""
    page.compute(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
    page.settle()
    rectangle = f"(({{left, top, width, height}}) => [left, top, width, height])(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
    left, top, width, height = page.compute(rectangle)
    return left, top, width, height


def pad_points(page: Browser, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the places in the window of points on the pad, whose sides have the length 1."""
    left, top, width, height = place_of(page, ".pad")
    return [(left + x * width, top + y * height) for x, y in points]


def network_input(page: Browser) -> Pixels:
    """Return the network's input as pixels, (H, W)."""
    page.settle()
    values = np.array(page.compute("Array.from(cnnctl.activations('input').values)"), np.float32)
    pixels = values * 255
    assert np.abs(pixels - pixels.round()).max() < 1e-4
    return pixels.round().astype(np.uint8).reshape(8, 8)


def classified(page: Browser) -> dict[str, float]:
    return {each["class"]: each["probability"] for each in page.compute("cnnctl.classify()")}


ZERO = [(0.5 + 0.22 * np.sin(angle), 0.5 - 0.36 * np.cos(angle)) for angle in np.linspace(0, 2 * np.pi, 40)]
SEVEN = [
    *((x, 0.15) for x in np.linspace(0.25, 0.75, 12)),
    *((0.75 - 0.3 * step, 0.15 + 0.7 * step) for step in np.linspace(0, 1, 20)),
]
ONE = [(0.5, y) for y in np.linspace(0.12, 0.88, 25)]


@pytest.mark.parametrize(("digit", "points"), [("0", ZERO), ("7", SEVEN), ("1", ONE)])
def test_a_drawn_digit_is_classified_as_predict_classifies_its_pixels(
    page: Browser, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], digit: str, points: list[tuple[float, float]]
) -> None:
    select(page, "draw")
    page.drag(pad_points(page, points))
    pixels = network_input(page)
    assert pixels.max() > 200
    assert np.median([*pixels[0], *pixels[-1], *pixels[:, 0], *pixels[:, -1]]) < 30  # light ink on dark paper, as the data
    Image.fromarray(pixels).save(tmp_path / "drawn.png")
    capsys.readouterr()
    predict(run, [tmp_path / "drawn.png"], 10, None, "json", "cpu", Console(), verbose=True)
    guesses = json.loads(capsys.readouterr().out)[0]["predictions"]
    in_the_page = classified(page)
    assert max(in_the_page, key=lambda name: in_the_page[name]) == guesses[0]["class"] == digit
    assert in_the_page == pytest.approx({each["class"]: each["probability"] for each in guesses}, abs=1e-4)
    assert page.events.errors == []


def test_a_stroke_is_seen_while_it_is_drawn(page: Browser) -> None:
    select(page, "draw")
    points = pad_points(page, ONE)
    page.mouse("pressed", *points[0])
    seen = [network_input(page)]
    for point in points[1::6]:
        page.mouse("moved", *point, pressed=True)
        seen.append(network_input(page))
    page.mouse("released", *points[-1])
    assert all(later.astype(int).sum() > earlier.astype(int).sum() for earlier, later in itertools.pairwise(seen))


def test_a_finger_draws_without_moving_the_page(browser: Browser, file: Path) -> None:
    browser.show_as(360, 640, touch=True)
    browser.open_loaded(file.as_uri())
    browser.settle()
    select(browser, "draw")
    points = pad_points(browser, ONE)
    before = browser.compute("[scrollX, scrollY]")
    browser.touch(points)
    drawn = network_input(browser)
    assert drawn[1:-1, 3:5].min() > 100
    assert browser.compute("[scrollX, scrollY]") == before


def test_strokes_can_be_undone_and_cleared(page: Browser) -> None:
    select(page, "draw")
    page.drag(pad_points(page, ONE))
    one = network_input(page)
    page.drag(pad_points(page, SEVEN))
    both = network_input(page)
    assert not np.array_equal(one, both)
    press = "[...document.querySelectorAll('.pad-tools button')].find((each) => each.textContent === '{}').click()"
    page.compute(press.format("Undo"))
    assert np.array_equal(network_input(page), one)
    page.compute(press.format("Clear"))
    assert not network_input(page).any()
    page.compute(press.format("Undo"))
    assert np.array_equal(network_input(page), one)


def test_a_drawing_is_shown_again_when_its_tab_is(page: Browser) -> None:
    select(page, "draw")
    page.drag(pad_points(page, ONE))
    drawn = network_input(page)
    select(page, "images")
    page.compute("document.querySelectorAll('.thumb')[3].click()")
    assert not np.array_equal(network_input(page), drawn)
    select(page, "draw")
    assert np.array_equal(network_input(page), drawn)


def test_keys_draw(page: Browser) -> None:
    select(page, "draw")
    page.compute("document.querySelector('.pad').focus()")
    for key in [" ", *["ArrowDown"] * 4, " ", *["ArrowRight"] * 3]:
        page.press(key)
    drawn = network_input(page)
    assert drawn[4:6, 3:5].min() > 60  # from the middle downwards
    assert not drawn[:, 6:].any()  # the pen was lifted before it moved to the right


def test_a_wider_brush_draws_wider_lines(page: Browser) -> None:
    select(page, "draw")
    page.drag(pad_points(page, ONE))
    narrow = network_input(page)
    page.compute("document.querySelector('.pad-brush input').value = 4")
    page.drag(pad_points(page, ONE))
    assert network_input(page).astype(int).sum() > 1.5 * narrow.astype(int).sum()


def test_centring_moves_a_drawing_to_the_middle(page: Browser) -> None:
    select(page, "draw")
    page.drag(pad_points(page, [(0.2, y) for y in np.linspace(0.3, 0.7, 9)]))
    aside = network_input(page)
    page.compute("document.querySelector('.pad-centre input').click()")
    middle = network_input(page)
    columns = np.arange(8)
    assert (aside.sum(0) * columns).sum() / aside.sum() < 2
    assert (middle.sum(0) * columns).sum() / middle.sum() == pytest.approx(3.5, abs=0.1)


def drop(page: Browser, file: bytes, name: str) -> None:
    page.compute(
        f"""(() => {{
          const bytes = Uint8Array.from(atob("{base64.b64encode(file).decode()}"), (each) => each.charCodeAt(0));
          const transfer = new DataTransfer();
          transfer.items.add(new File([bytes], {json.dumps(name)}));
          document.body.dispatchEvent(new DragEvent("drop", {{ dataTransfer: transfer, bubbles: true, cancelable: true }}));
        }})()"""
    )


def caption_of_file(page: Browser, word: str) -> str:
    """Wait for the caption of the file to have a word."""
    for _ in range(200):
        text = str(page.compute("document.querySelector('.file-panel [role=status]').textContent"))
        if word in text:
            return text
        page.settle(1)
    raise AssertionError(f"no {word!r} in {text!r}")


def test_a_dropped_file_is_shown_as_training_would_prepare_it(page: Browser, run: Path) -> None:
    data = RunFolder(run).read_config().data
    dropped = as_png(with_alpha(np.random.default_rng(4), (50, 64), "RGBA"))
    drop(page, dropped, "a photo.png")
    assert caption_of_file(page, "→") == "a photo.png: 50 × 64 → grey, stretched to 8 × 8"
    assert np.array_equal(network_input(page), expected(dropped, data)[:, :, 0])
    page.compute("document.querySelector('.file-panel input[type=checkbox]').click()")
    assert np.array_equal(network_input(page), 255 - expected(dropped, data)[:, :, 0])
    drop(page, b"nonsense", "b.png")
    assert "b.png cannot be read as an image" in caption_of_file(page, "b.png")
    assert page.events.errors == []


def test_the_picker_shows_images_by_why_they_were_chosen(page: Browser, run: Path) -> None:
    test = read_evaluated(open_ended(run), "test", None).images
    options = page.compute("[...document.querySelectorAll('.picker option')].map((each) => each.value)")
    assert options[0] == ""
    for tag in ["", "class", "right"]:
        page.compute(
            f"(() => {{ const s = document.querySelector('.picker select'); s.value = '{tag}'; s.dispatchEvent(new Event('change')); }})()"
        )
        titles = page.compute("[...document.querySelectorAll('.thumb')].map((each) => each.title)")
        assert titles, tag
        for number, title in enumerate(titles[:3]):
            page.compute(f"document.querySelectorAll('.thumb')[{number}].click()")
            position = int(title.split(",")[0].removeprefix("test "))
            assert np.array_equal(network_input(page), np.asarray(test.images[position])[:, :, 0])
            assert title.endswith(f"class {test.labels[position]}")
    assert len(page.compute("[...document.querySelectorAll('.picker option')].map((each) => each.textContent)")) == len(options)


def test_arrow_keys_choose_images(page: Browser) -> None:
    page.compute("document.querySelector('.thumb').focus()")
    first = network_input(page)
    page.press("ArrowRight")
    page.settle()
    assert page.compute("[...document.querySelectorAll('.thumb')].indexOf(document.activeElement)") == 1
    assert page.compute("document.querySelectorAll('.thumb')[1].getAttribute('aria-selected')") == "true"
    assert not np.array_equal(network_input(page), first)


def test_channels_come_first_where_the_network_has_them_first(browser: Browser, tmp_path: Path) -> None:
    content = {
        "data": {"source": "digits", "channels": 3, "invert": True},
        "model": {"data_format": "channels_first", "layers": [{"conv2d": {"filters": 2, "kernel_size": 3}}, "flatten", {"dense": {"units": "classes"}}]},
    }  # fmt: skip
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(content))
    explore(tmp_path / "c.yaml", [], tmp_path / "c.html", PageOptions(20, 4, None), "cpu", Console(quiet=True), verbose=True)
    browser.show_as(1280, 900)
    browser.open_loaded((tmp_path / "c.html").as_uri())
    dropped = as_png(colour(np.random.default_rng(5), (20, 30)))
    drop(browser, dropped, "c.png")
    assert caption_of_file(browser, "→") == "c.png: 20 × 30 → RGB, stretched to 8 × 8, inverted"
    browser.settle()
    seen = browser.compute("(({shape, values}) => ({shape, values: Array.from(values)}))(cnnctl.activations('input'))")
    assert seen["shape"] == [3, 8, 8]
    data = load(tmp_path / "c.yaml", []).data
    values = np.array(seen["values"]).reshape(3, 8, 8).transpose(1, 2, 0)
    assert np.allclose(values * 255, expected(dropped, data), atol=1e-4)
    assert browser.events.errors == []
