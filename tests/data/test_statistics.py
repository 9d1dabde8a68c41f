"""What images are like, what makes new ones unlike them, and that the right ones never are."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cnnctl.data.findings import confirmed, findings, transposed
from cnnctl.data.image_set import ImageSet, Labels
from cnnctl.data.images import Pixels
from cnnctl.data.inputs import InputBatch
from cnnctl.data.inspect import statistics
from cnnctl.data.inspect.orientation import Orientation
from cnnctl.data.inspect.originals import Originals, array_thumbnail, originals_in, originals_of, thumbnail
from cnnctl.data.inspect.statistics import ImageMeasures, ImageStatistics, evenly, measured, statistics_of
from cnnctl.data.new_images import NewImages, Sample
from cnnctl.data.store.lazy import LazyImages
from cnnctl.spec.dataset import DataSpec

OWN = DataSpec.model_validate({"source": "digits", "image_size": [8, 8], "channels": 1, "classes": 10})
SIZES = ((8, 8), (8, 8))
RANDOM = np.random.default_rng(5)


def all_digits() -> tuple[Pixels, Labels]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.images))
    return np.round(digits.images * (255 / 16)).astype(np.uint8)[order, ..., np.newaxis], digits.target[order].astype(np.int64)


PIXELS, LABELS = all_digits()
TEST, TEST_LABELS = PIXELS[1300:], LABELS[1300:]
TRAINED_ON = statistics_of(ImageSet(PIXELS[:1300], LABELS[:1300], SIZES))


def found(images: Pixels, trained_on: ImageStatistics = TRAINED_ON, data: DataSpec = OWN, **about: Any) -> list[str]:
    new = NewImages(trained_on, OWN, data, measured(images), **{"originals": originals_in(images), **about})
    return [str(finding) for finding in findings(new)]


def kinds(images: Pixels, trained_on: ImageStatistics = TRAINED_ON, **about: Any) -> list[str]:
    new = NewImages(trained_on, OWN, OWN, measured(images), **{"originals": originals_in(images), **about})
    return [finding.kind for finding in findings(new)]


# what images are like


def test_measures_are_those_of_a_plain_loop_over_the_pixels() -> None:
    images = RANDOM.integers(0, 256, (7, 5, 6, 3), np.uint8)
    each = measured(images)
    for index, image in enumerate(images.mean(axis=3) / 255):
        outermost = [
            value for row, line in enumerate(image) for col, value in enumerate(line) if row in (0, 4) or col in (0, 5)
        ]
        border, contrast = np.median(outermost), image.max() - image.min()
        ink = np.abs(image - border) > contrast / 4
        places = np.argwhere(ink)
        weights = np.abs(image - border)[ink]
        centre = np.average((places + 0.5) / (5, 6), axis=0, weights=weights)
        squares = (((places + 0.5) / (5, 6) - centre) ** 2).sum(axis=1)
        expected = {
            "mean": image.mean(),
            "border": border,
            "spread": image.std(),
            "darkest": image.min(),
            "brightest": image.max(),
            "ink": ink.mean(),
            "extent": np.sqrt(np.average(squares, weights=weights)),
            "polarity": (image - border)[ink].mean() / contrast,
        }
        assert {name: getattr(each, name)[index] for name in expected} == pytest.approx(expected, abs=1e-5)


def test_a_blank_image_has_no_ink() -> None:
    each = measured(np.full((1, 4, 4, 1), 90, np.uint8))
    assert [each.ink[0], each.extent[0], each.polarity[0], each.contrast[0]] == [0, 0, 0, 0]
    assert not each.maps.any()


def test_statistics_are_the_quantiles_and_shares_of_the_measures() -> None:
    each = measured(PIXELS[:1300])
    assert TRAINED_ON.images == 1300
    assert (TRAINED_ON.size, TRAINED_ON.channels, TRAINED_ON.original_sizes) == ((8, 8), 1, SIZES)
    for name in ("mean", "border", "spread", "ink", "extent", "contrast"):
        values, measure = getattr(each, name), getattr(TRAINED_ON, name)
        low, high = np.quantile(values, [0.005, 0.995])
        assert [measure.mean, measure.deviation] == pytest.approx([values.mean(), values.std()], abs=1e-6)
        assert [measure.low, measure.high] == pytest.approx([low, high], abs=1e-6)
    assert (TRAINED_ON.light_ink, TRAINED_ON.coloured) == (1.0, 0.0)
    inverted = statistics_of(ImageSet(255 - PIXELS, LABELS))
    assert inverted.light_ink == 0
    assert inverted.mean.mean == pytest.approx(1 - statistics_of(ImageSet(PIXELS, LABELS)).mean.mean, abs=1e-6)


def test_colour_is_what_a_share_of_pixels_has_and_a_tint_is_none() -> None:
    grey = np.full((1, 10, 10, 3), 100, np.uint8)
    tinted, one_pixel, coloured = grey.copy(), grey.copy(), grey.copy()
    tinted[..., 0] += 20
    one_pixel[0, 0, 0] = (255, 0, 0)
    coloured[0, 0] = (255, 0, 0)
    assert measured(np.concatenate([grey, tinted, one_pixel, coloured])).coloured.tolist() == [False, False, False, True]
    assert statistics_of(ImageSet(np.concatenate([grey, coloured]), np.zeros(2, np.int64))).coloured == 0.5


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measured(PIXELS[:50])
    monkeypatch.setattr("cnnctl.data.inspect.statistics.MEASURED_AT_ONCE", 64 * 7)
    parts = measured(PIXELS[:50])
    for each in fields(ImageMeasures):
        np.testing.assert_allclose(getattr(parts, each.name), getattr(whole, each.name), atol=1e-6)


def test_of_many_images_some_are_measured_evenly_and_only_those_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counted(LazyImages):
        def __init__(self) -> None:
            super().__init__((len(PIXELS), 8, 8, 1))
            self.rows: list[int] = []

        def _read(self, rows: NDArray[np.int64]) -> Pixels:
            self.rows += rows.tolist()
            return PIXELS[rows]

    images = Counted()
    monkeypatch.setattr(statistics, "MAX_IMAGES", 100)
    assert statistics_of(ImageSet(images, LABELS)).images == 100
    assert len(images.rows) == 100
    assert (images.rows[0], images.rows[-1]) == (0, 1796)
    assert set(np.diff(images.rows)) <= {18, 19}
    monkeypatch.setattr(statistics, "MAX_VALUES", 64 * 10)
    assert len(evenly(1797, 64)) == 10  # large images are fewer
    assert evenly(3, 10**9).tolist() == [0]


def test_statistics_are_the_same_from_json() -> None:
    plain = json.loads(json.dumps(TRAINED_ON.as_plain()))
    again = ImageStatistics.from_plain(plain)
    assert again.as_plain() == plain
    assert (again.size, again.original_sizes, again.images) == ((8, 8), SIZES, 1300)
    assert again.orientation is not None and TRAINED_ON.orientation is not None
    assert again.orientation.weights == pytest.approx(TRAINED_ON.orientation.weights, rel=1e-5)
    unknown = replace(TRAINED_ON, original_sizes=None, orientation=None)
    assert ImageStatistics.from_plain(json.loads(json.dumps(unknown.as_plain()))).orientation is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda plain: None,
        lambda plain: [],
        lambda plain: {},
        lambda plain: {**plain, "mean": 3},
        lambda plain: {**plain, "size": [8]},
        lambda plain: {**plain, "light_ink": float("nan")},
        lambda plain: {**plain, "mean": {**plain["mean"], "low": float("inf")}},
        lambda plain: {**plain, "orientation": {**plain["orientation"], "weights": [1.0]}},
        lambda plain: {name: value for name, value in plain.items() if name != "border"},
    ],
)
def test_what_are_no_statistics_are_refused(damage: Callable[[dict[str, Any]], Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        ImageStatistics.from_plain(damage(TRAINED_ON.as_plain()))


# images before they are fitted


def saved(pixels: NDArray[Any], mode: str | None = None) -> Image.Image:
    image = Image.fromarray(pixels)
    return image.convert(mode) if mode else image


def test_originals_are_what_the_files_have() -> None:
    ramp = np.arange(3, 63, dtype=np.uint8).reshape(6, 10)
    see_through = Image.merge("RGBA", [saved(ramp)] * 3 + [saved(ramp)])
    images = [saved(ramp), saved(ramp.astype(np.uint16) * 100), saved(ramp / np.float32(100)), saved(ramp, "P"), see_through]
    looked_at = originals_of(images)
    assert (looked_at.heights.tolist(), looked_at.widths.tolist()) == ([6] * 5, [10] * 5)
    np.testing.assert_allclose(looked_at.lowest, [3, 300, 0.03, 3, 3], rtol=1e-6)
    np.testing.assert_allclose(looked_at.highest, [62, 6200, 0.62, 62, 62], rtol=1e-6)
    assert looked_at.white.tolist() == [255, 65535, 255, 255, 255]
    assert looked_at.transparent.tolist() == [False, False, False, False, True]


def test_originals_of_an_array_leave_alpha_aside_and_take_true_for_white() -> None:
    array = np.zeros((2, 3, 4, 2), np.float32)
    array[0, 0, 0] = (0.5, 9)
    looked_at = originals_in(array)
    assert (looked_at.highest.tolist(), looked_at.transparent.tolist()) == ([0.5, 0], [True, True])
    assert originals_in(np.eye(4, dtype=np.bool_)[np.newaxis, ..., np.newaxis]).highest.tolist() == [255]


def test_a_thumbnail_is_what_a_viewer_shows() -> None:
    wide = thumbnail(Image.new("RGB", (1000, 500), (10, 20, 30)))
    assert (wide.height, wide.width, wide.pixels.shape) == (500, 1000, (128, 256, 3))
    assert wide.pixels[0, 0].tolist() == [10, 20, 30]
    assert thumbnail(Image.new("I;16", (4, 4), 65535)).pixels.min() == 255
    clear = thumbnail(Image.new("RGBA", (16, 16), (0, 0, 0, 0))).pixels
    assert np.unique(clear).tolist() == [215, 255]
    assert array_thumbnail(np.full((2, 2, 1), 1.0)).pixels.min() == 255
    assert array_thumbnail(np.full((2, 2, 1), 100, np.int32)).pixels.max() == 100
    assert array_thumbnail(np.full((2, 2, 1), True)).pixels.min() == 255


# the right images


def subset(each: ImageMeasures, rows: NDArray[np.int64]) -> ImageMeasures:
    return ImageMeasures(*(getattr(each, name.name)[rows] for name in fields(ImageMeasures)))


@pytest.mark.parametrize("count", [1, 5, 20, 100])
@pytest.mark.parametrize("polarity", ["light on dark", "dark on light"])
def test_nothing_is_found_in_subsets_of_the_runs_own_test_images(count: int, polarity: str) -> None:
    """Of all classes, and of one class alone; 400 subsets of each size and kind."""
    flip = np.uint8(255 if polarity == "dark on light" else 0)
    trained_on = statistics_of(ImageSet(PIXELS[:1300] ^ flip, LABELS[:1300], SIZES))
    each, originals = measured(TEST ^ flip), originals_in(TEST ^ flip)
    generator = np.random.default_rng(count)
    for turn in range(400):
        pool = np.flatnonzero(np.equal(TEST_LABELS, turn % 10)) if turn % 2 else np.arange(len(TEST))
        rows = generator.choice(pool, count)
        assert findings(NewImages(trained_on, OWN, OWN, subset(each, rows), originals.take(rows))) == []


def test_images_of_every_kind_are_right_where_training_images_are_of_every_kind() -> None:
    """Photos, noise, blank images and both polarities in training: nothing can be said of new ones."""
    noise = RANDOM.integers(0, 256, (200, 8, 8, 1), np.uint8)
    blank = np.repeat(RANDOM.integers(0, 256, (200, 1, 1, 1), np.uint8), 64, axis=1).reshape(-1, 8, 8, 1)
    mixed = np.concatenate([noise, blank, PIXELS[:200], 255 - PIXELS[:200]])
    trained_on = statistics_of(ImageSet(mixed, np.arange(800, dtype=np.int64) % 4))
    for images in (noise, blank, PIXELS[:200], 255 - PIXELS[:200]):
        for part in np.split(images, 20):
            assert kinds(part, trained_on) == []


@pytest.mark.parametrize(
    ("turned", "name"),
    [
        (lambda images: np.roll(np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0))), (1, -2), axis=(1, 2)), "moved"),
        (lambda images: images // 2, "half the contrast"),
        (lambda images: (60 + images * (195 / 255)).astype(np.uint8), "a grey background"),
        (
            lambda images: np.clip(images + np.random.default_rng(0).normal(0, 15, images.shape), 0, 255).astype(np.uint8),
            "grainy",
        ),
    ],
)
def test_what_a_network_bears_is_not_warned_about(turned: Callable[[Pixels], Pixels], name: str) -> None:
    padded = np.pad(PIXELS[:1300], ((0, 0), (4, 4), (4, 4), (0, 0))) if name == "moved" else PIXELS[:1300]
    trained_on = statistics_of(ImageSet(padded, LABELS[:1300]))
    assert kinds(turned(TEST), trained_on) == []


# the wrong ones


def test_inverted_images_are_counted_with_the_option_that_helps() -> None:
    (said,) = found(255 - TEST[:5])
    assert said == (
        "5 of 5 images look inverted (dark on light in the network's input, light on dark in training): try --invert"
    )
    (one,) = found(255 - TEST[:1])
    assert one.startswith("the image looks inverted")
    with_option = OWN.model_copy(update={"invert": True})
    assert found(255 - TEST[:5], data=with_option)[0].endswith(": remove --invert")


def test_of_mixed_images_the_inverted_ones_are_named() -> None:
    mixed = np.concatenate([TEST[:7], 255 - TEST[7:10]])
    names = [f"{number}.png" for number in range(10)]
    (said,) = found(mixed, names=names)
    assert said.startswith("3 of 10 images look inverted")
    assert said.endswith("try --invert for these only, '7.png', '8.png', '9.png'")
    assert found(np.concatenate([TEST[:9], 255 - TEST[9:10]]), names=names) == []  # a tenth is no part to speak of


def test_dark_ink_on_dim_paper_is_inverted_too() -> None:
    """Its border and mean are nearer to those of the training images than to their inverse."""
    paper = (110 - TEST[:20] * (100 / 255)).astype(np.uint8)
    assert kinds(paper) == ["inverted"]


@pytest.mark.parametrize("count", [1, 5, 20, 100])
def test_transposed_digits_are_found(count: int) -> None:
    rows = np.random.default_rng(count).choice(len(TEST), count)
    images = TEST[rows].swapaxes(1, 2)
    (said,) = found(images)
    subject = "the image looks" if count == 1 else f"the {count} images look"
    assert said == f"{subject} transposed (rows and columns swapped), or rotated by 90 degrees: try --transpose"
    with_option = OWN.model_copy(update={"transpose": True})
    assert found(images, data=with_option)[0].endswith(": remove --transpose")
    assert kinds(255 - images) == ["inverted", "transposed"]


def test_transposition_is_told_by_the_drawing_and_not_by_where_it_lies() -> None:
    """Digits that lie in one corner in training are not transposed when they lie in another corner."""

    def placed(images: Pixels, top: int, left: int) -> Pixels:
        page = np.zeros((len(images), 16, 16, 1), np.uint8)
        page[:, top : top + 8, left : left + 8] = images
        return page

    trained_on = statistics_of(ImageSet(placed(PIXELS[:1300], 1, 7), LABELS[:1300]))
    assert kinds(placed(TEST, 7, 1), trained_on) == []
    assert kinds(placed(TEST, 1, 7).swapaxes(1, 2), trained_on) == ["transposed"]
    assert kinds(placed(TEST.swapaxes(1, 2), 1, 7), trained_on) == ["transposed"]


def test_nothing_is_said_of_transposition_where_the_images_do_not_tell() -> None:
    symmetric = np.maximum(PIXELS[:1300], PIXELS[:1300].swapaxes(1, 2))
    assert kinds(TEST.swapaxes(1, 2), statistics_of(ImageSet(symmetric, LABELS[:1300]))) == []
    few = statistics_of(ImageSet(PIXELS[:25], LABELS[:25]))  # 15 beside one of each class
    assert few.orientation is None
    each_a_class = statistics_of(ImageSet(PIXELS[:100], np.arange(100)))
    assert each_a_class.orientation is None


def test_a_class_that_lies_the_other_way_does_not_look_transposed() -> None:
    """One class of ten is drawn as the transposes of the others are: alone, it says nothing."""
    turned = np.where((LABELS == 3)[:, np.newaxis, np.newaxis, np.newaxis], PIXELS.swapaxes(1, 2), PIXELS)
    trained_on = statistics_of(ImageSet(turned[:1300], LABELS[:1300]))
    assert kinds(turned[1300:][TEST_LABELS == 3], trained_on) == []
    assert kinds(turned[1300:], trained_on) == []


def test_few_images_and_images_of_the_hardest_class_need_a_clearer_score() -> None:
    orientation = Orientation((0.0,) * 28, lowest=0.4, deviation=0.6)
    limits = {1: -2.0, 5: 0.4 - 4 * 0.6 / np.sqrt(5), 20: -0.5, 10_000: -0.5}
    for images, limit in limits.items():
        assert not orientation.looks_transposed(limit + 0.01, images)
        assert orientation.looks_transposed(limit - 0.01, images)
    assert [orientation.can_tell(images) for images in limits] == [False, True, True, True]
    assert not replace(orientation, lowest=-4.0).can_tell(10_000)  # as of Omniglot


def test_scores_are_those_of_images_that_the_weights_do_not_come_from() -> None:
    """Of patterns without an orientation none is learned, however few they are; weights would flatter their own images."""
    noise = np.random.default_rng(0).integers(0, 256, (80, 8, 8, 1), np.uint8)
    orientation = statistics_of(ImageSet(noise, np.arange(80, dtype=np.int64) % 2)).orientation
    assert orientation is None or orientation.lowest < -1


def test_the_lowest_class_is_noted_less_its_standard_errors() -> None:
    turned = np.where((LABELS == 3)[:, np.newaxis, np.newaxis, np.newaxis], PIXELS.swapaxes(1, 2), PIXELS)
    orientation = statistics_of(ImageSet(turned, LABELS)).orientation
    assert orientation is not None
    scores = orientation.scores(measured(turned).maps)
    means, deviations = (np.array([each(scores[label == LABELS]) for label in range(10)]) for each in (np.mean, np.std))
    assert means.argmin() == 3
    assert means[3] - 0.4 < orientation.lowest < means[3]
    assert orientation.deviation == pytest.approx(deviations.max(), rel=0.1)


def test_a_few_images_do_not_say_how_the_others_lie() -> None:
    blank = np.full((9, 8, 8, 1), 90, np.uint8)
    assert kinds(np.concatenate([blank, TEST[:1].swapaxes(1, 2)])) == ["empty"]
    assert kinds(TEST[:1].swapaxes(1, 2)) == ["transposed"]


def test_transposes_have_the_shape_of_the_images() -> None:
    wide = DataSpec.model_validate({"source": "digits", "image_size": [8, 12], "channels": 1, "invert": True, "pixel_max": 9.0})
    images = np.repeat(TEST[:3], 12, axis=2)[:, :, :12]
    turned = transposed(images, wide)
    assert turned.shape == images.shape
    for given, each in zip(images, turned, strict=True):
        expected = Image.fromarray(given[..., 0].T).resize((12, 8), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(each[..., 0], expected)
    np.testing.assert_array_equal(transposed(TEST[:3], OWN), TEST[:3].swapaxes(1, 2))


@pytest.mark.parametrize("grey", [0, 90, 255])
def test_images_of_one_colour_are_empty(grey: int) -> None:
    images = np.full((4, 8, 8, 1), grey, np.uint8)
    assert found(images) == ["4 of 4 images have a single colour, or nearly: look at them with predict --show OUT.png"]
    images[:, 3, 3] ^= 7
    assert kinds(images, originals=None) == ["empty"]


def test_white_ink_on_a_transparent_page_is_told() -> None:
    page = Image.new("RGBA", (8, 8), (255, 255, 255, 0))
    (said,) = found(np.full((1, 8, 8, 1), 255, np.uint8), originals=originals_of([page]))
    assert said.endswith("transparent parts become white, which hides white ink; save the images on a dark background")


def with_values(highest: float, white: float = 255.0, count: int = 3) -> Originals:
    one = np.ones(count)
    sides = (8 * one).astype(np.int64)
    return Originals(sides, sides, 0 * one, highest * one, white * one, np.zeros(count, np.bool_))


@pytest.mark.parametrize(
    ("highest", "white", "remedy"),
    [(255, 65535, 255), (4000, 65535, 4095), (1, 255, 1), (0.8, 255, 1), (15, 255, 15), (16, 255, 16), (1000, 65535, 1023)],
)
def test_a_small_range_of_values_is_told_with_the_value_of_white(highest: float, white: float, remedy: int) -> None:
    seen = (TEST[:3] * (highest / white)).astype(np.uint8)
    said = found(seen, originals=with_values(highest, white))
    shown = f"{highest:,g} of {white:,g}"
    assert said == [f"3 of 3 images use values up to {shown}, which is nearly black: try --pixel-max {remedy}"]


def test_the_range_is_that_of_the_training_images() -> None:
    dim = statistics_of(ImageSet(PIXELS[:1300] // 5, LABELS[:1300], SIZES))
    assert kinds(TEST // 5, dim) == []
    inverted = OWN.model_copy(update={"invert": True})
    dim_inverted = statistics_of(ImageSet(255 - PIXELS[:1300] // 5, LABELS[:1300], SIZES))
    assert findings(NewImages(dim_inverted, inverted, inverted, measured(255 - TEST // 5), originals_in(TEST // 5))) == []
    as_seen = statistics_of(ImageSet(255 - PIXELS[:1300], LABELS[:1300], SIZES))
    new = NewImages(as_seen, inverted, inverted, measured(255 - TEST[:5]), originals_in(TEST[:5]))
    assert findings(new) == []
    dark = NewImages(as_seen, inverted, inverted, measured(255 - TEST[:5] // 20), originals_in(TEST[:5] // 20))
    assert str(findings(dark)[0]).endswith("try --pixel-max 15")


def test_a_value_of_white_that_is_too_low_or_too_high_is_told() -> None:
    low = OWN.model_copy(update={"pixel_max": 15.0})
    (said, *_) = found(TEST[:3], data=low)
    assert said == "3 of 3 images have values up to 255, but all above 15 become white: remove --pixel-max"
    high = OWN.model_copy(update={"pixel_max": 4095.0})
    (said,) = found(TEST[:3] // 16, data=high, originals=originals_in(TEST[:3]))
    assert said.endswith("255 of 4,095, which is nearly black: remove --pixel-max")


def test_floats_beyond_white_are_told() -> None:
    (said, *_) = found(TEST[:3], originals=with_values(4000))
    assert said == "3 of 3 images have values up to 4,000, but all above 255 become white: try --pixel-max 4095"
    assert found(TEST[:3], originals=with_values(255)) == []


def of_size(height: int, width: int) -> Originals:
    return replace(with_values(255), heights=np.full(3, height), widths=np.full(3, width))


def test_images_far_larger_or_smaller_are_told_with_both_sizes() -> None:
    assert found(TEST[:3], originals=of_size(20, 40)) == [
        "3 of 3 images are far larger than the training images (up to 20×40 pixels, in training 8×8): "
        "thin or small details may be lost; look at them with predict --show OUT.png"
    ]
    (said,) = found(TEST[:3], originals=of_size(2, 2))
    assert said.startswith("3 of 3 images are far smaller than the training images (up to 2×2 pixels, in training 8×8)")
    for size in ((31, 20), (3, 3)):
        assert found(TEST[:3], originals=of_size(*size)) == []
    unknown = replace(TRAINED_ON, original_sizes=None)
    assert found(TEST[:3], unknown, originals=of_size(999, 999)) == []


def test_what_is_drawn_too_small_is_to_be_cropped() -> None:
    def drawn(side: int, images: Pixels) -> Pixels:
        page = np.zeros((len(images), 32, 32, 1), np.uint8)
        start = (32 - side) // 2
        for image, place in zip(images, page, strict=True):
            resized = Image.fromarray(image[..., 0]).resize((side, side), Image.Resampling.BILINEAR)
            place[start : start + side, start : start + side, 0] = np.asarray(resized)
        return page

    trained_on = statistics_of(ImageSet(drawn(24, PIXELS[:1300]), LABELS[:1300]))
    assert kinds(drawn(20, TEST), trained_on) == []
    (said,) = found(drawn(10, TEST), trained_on)
    assert "images show drawings 2.4 times smaller than in training: crop them" in said
    (said,) = found(drawn(24, TEST), statistics_of(ImageSet(drawn(16, PIXELS[:1300]), LABELS[:1300])))
    assert "images show drawings 1.6 times larger than in training: leave a margin as in training" in said


def test_noise_is_unlike_the_training_images_and_the_difference_is_told() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), np.uint8)
    (said,) = found(noise)
    assert said.startswith("19 of 20 images are unlike the training images (brightness of the border 1")
    assert said.endswith(", in training 0): look at them with predict --show OUT.png")


def test_colours_are_told_where_the_training_images_are_grey() -> None:
    grey = np.repeat(PIXELS[:1300], 3, axis=3)
    trained_on = statistics_of(ImageSet(grey, LABELS[:1300], SIZES))
    red = np.repeat(TEST[:5], 3, axis=3)
    assert kinds(red, trained_on) == []
    red[..., 1:] //= 2
    (said,) = found(red, trained_on)
    assert said == "5 of 5 images have colour, but the training images are grey: convert them to grey"
    assert kinds(red, statistics_of(ImageSet(np.concatenate([grey, red]), np.zeros(1305, np.int64)))) == ["colour"]
    half = statistics_of(ImageSet(np.concatenate([grey[:5], red]), np.zeros(10, np.int64)))
    assert "colour" not in kinds(red, half)


# what the network says of labelled images


def confirmed_by(right: int, right_turned: int, turned: list[str], images: Pixels, of: int = 100) -> list[str]:
    new = NewImages(TRAINED_ON, OWN, OWN, measured(images), originals_in(images))
    as_it_is, best = np.arange(of) < right, np.arange(of) < right_turned
    return [str(each) for each in confirmed(new, findings(new), as_it_is, best, turned)]


def test_an_option_that_the_network_confirms_is_told_with_the_accuracy() -> None:
    (said,) = confirmed_by(5, 95, ["inverted"], 255 - TEST[:5])
    assert said.startswith("5 of 5 images look inverted (")
    assert said.endswith(": try --invert (accuracy 95.00% instead of 5.00% on 100 images)")
    (said,) = confirmed_by(5, 95, ["transposed"], TEST[:5])  # which the pixels do not tell
    assert said == "the images look transposed: try --transpose (accuracy 95.00% instead of 5.00% on 100 images)"
    (said,) = confirmed_by(5, 95, ["inverted", "transposed"], 255 - TEST[:5].swapaxes(1, 2))
    assert said.endswith("try --invert and try --transpose (accuracy 95.00% instead of 5.00% on 100 images)")


def test_what_the_network_does_not_confirm_stays_as_it_was_found() -> None:
    assert confirmed_by(5, 20, ["inverted"], 255 - TEST[:5]) == found(255 - TEST[:5])
    assert confirmed_by(5, 5, [], TEST[:5]) == []
    assert confirmed_by(0, 5, ["inverted"], 255 - TEST[:5], of=5) == found(255 - TEST[:5])  # five may be so by chance


# images as they come


def batches_of(images: Pixels, size: int) -> list[InputBatch]:
    names = [str(number) for number in range(len(images))]
    starts = range(0, len(images), size)
    return [InputBatch(names[at : at + size], images[at : at + size], originals_in(images[at : at + size])) for at in starts]


@pytest.mark.parametrize("size", [1, 7, 500])
def test_images_in_batches_are_compared_as_all_at_once(size: int) -> None:
    mixed = np.concatenate([TEST[:70], 255 - TEST[70:100]])
    sample = Sample(100, 64, keep=10)
    for batch in batches_of(mixed, size):
        sample.add(batch)
    new = sample.compared(TRAINED_ON, OWN, OWN)
    assert new is not None
    assert [str(each) for each in findings(new)] == found(mixed, names=[str(number) for number in range(100)])
    np.testing.assert_array_equal(np.concatenate(sample.kept), mixed[np.linspace(0, 99, 10).round().astype(int)])


def test_what_is_kept_of_images_does_not_grow_with_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "MAX_IMAGES", 20)
    sample = Sample(400, 64, keep=5)
    for batch in batches_of(255 - TEST[:400], 32):
        sample.add(batch)
    new = sample.compared(TRAINED_ON, OWN, OWN)
    assert new is not None
    assert len(new.each.mean) == 20
    assert sum(map(len, sample.kept)) == 5
    assert Sample(3, 64, keep=5).compared(TRAINED_ON, OWN, OWN) is None  # none could be read
