"""Augmentation as code, bit-identical to `cnnctl.data.augment`."""

from __future__ import annotations

from cnnctl.script.expressions import literal
from cnnctl.script.template import Needs, written
from cnnctl.spec.dataset import Augment, Erase
from cnnctl.spec.draws import (
    ERASE_DRAWS,
    ERASE_STREAM,
    KNOTS,
    MIXUP_DRAWS,
    MIXUP_STREAM,
    PARTNER_STREAM,
    SMOOTHNESS,
    STREAM,
    STROKE_DRAWS,
    STROKE_STREAM,
)

AUGMENT = '''
def augment(images, draws):
    """Return the images, each $changed by its own draws.

    Args:
        images: (B, $height, $width, $channels), float32.
        draws: (B, $numbers), between -1 and 1.
    """
    $used = tf.unstack(draws, axis=1)  #? moved !more
    $used = tf.unstack(draws[:, :6], axis=1)  #? moved more
    angle = turn * math.radians($rotation)  #? rotation
    shear = slant * math.radians($shear)  #? shear
    scale = 1.0 / (1.0 + size * $zoom)  #? zoom
    side = tf.where(mirror < 0, -1.0, 1.0)  #? flip
    zeros = tf.zeros_like(draws[:, 0])  #? zeros
    ones = tf.ones_like(draws[:, 0])  #? ones
    # (column, row) comes from (xx * column + xy * row + to_x, yx * column + yy * row + to_y)  #? moved
    xx, xy = $xx, $xy  #? moved
    yx, yy = $yx, $yy  #? moved
    from_x, from_y = $middle - right * $shift * $width, $centre - down * $shift * $height  #? shift
    to_x = $middle - xx * from_x - xy * from_y  #? shift
    to_y = $centre - yx * from_x - yy * from_y  #? shift
    to_x = $middle - xx * $middle - xy * $centre  #? moved !shift
    to_y = $centre - yx * $middle - yy * $centre  #? moved !shift
    return tf.raw_ops.ImageProjectiveTransformV3(  #? moved !elastic !after
    images = tf.raw_ops.ImageProjectiveTransformV3(  #? moved !elastic after
        images=images,  #? moved !elastic
        transforms=tf.stack([xx, xy, to_x, yx, yy, to_y, zeros, zeros], axis=1),  #? moved !elastic
        output_shape=[$height, $width],  #? moved !elastic
        fill_value=0.0,  #? moved !elastic
        interpolation="BILINEAR",  #? moved !elastic
        fill_mode="NEAREST",  # edges repeat outwards  #? moved !elastic
    )  #? moved !elastic
    # knots on a grid displace nearby pixels: elastic distortion, Simard et al. 2003  #? elastic
    knots = tf.reshape(draws[:, $knot_columns], (-1, $knots, $knots))  # (2B, $knots, $knots)  #? elastic
    # repeated, since oneDNN's product of tensors of different ranks is not safe  #? elastic
    rows = tf.tile(smooth($height)[tf.newaxis], (tf.shape(knots)[0], 1, 1))  #? elastic
    columns = tf.tile(tf.transpose(smooth($width))[tf.newaxis], (tf.shape(knots)[0], 1, 1))  #? elastic
    field = tf.reshape(rows @ knots @ columns, (-1, 2, $height, $width))  # right, down  #? elastic
    column, row = tf.meshgrid(tf.range($width, dtype=tf.float32), tf.range($height, dtype=tf.float32))  #? elastic
    x = column + field[:, 0] * ($elastic * $width)  #? elastic
    y = row + field[:, 1] * ($elastic * $height)  #? elastic
    bent = tf.reshape(tf.stack([x, y, tf.ones_like(x)], axis=1), (-1, 3, $height * $width))  #? elastic moved
    moves = tf.reshape(tf.stack([xx, xy, to_x, yx, yy, to_y], axis=1), (-1, 2, 3))  #? elastic moved
    x, y = tf.unstack(tf.reshape(moves @ bent, (-1, 2, $height, $width)), axis=1)  #? elastic moved
    images = bilinear(images, x, y)  #? elastic after
    return bilinear(images, x, y)  #? elastic !after
    pixels = draws[:, 6, tf.newaxis, tf.newaxis, tf.newaxis] * $thickness  #? thickness
    side = tf.sign(pixels)  # max_pool2d takes the smallest where it is -1  #? thickness
    grown = side * tf.nn.max_pool2d(side * images, 3, 1, "SAME")  #? thickness
    images = images + tf.abs(pixels) * (grown - images)  #? thickness erase
    return images + tf.abs(pixels) * (grown - images)  #? thickness !erase
    return erase(images, draws[:, $erase_columns])  #? erase
'''

ELASTIC = '''
def smooth(pixels):
    """Return the weight of each of $knots knots for each pixel of an axis; rows sum to one."""
    apart = np.linspace(0, 1, pixels)[:, np.newaxis] - np.linspace(0, 1, $knots)
    weights = np.exp(-0.5 * (apart / $smoothness) ** 2)
    return tf.constant(weights / weights.sum(axis=1, keepdims=True), tf.float32)


def bilinear(images, x, y):
    """Interpolate the images at columns x and rows y, (B, $height, $width), between pixels."""
    x = tf.clip_by_value(x, 0.0, $last_column)  # edges repeat outwards
    y = tf.clip_by_value(y, 0.0, $last_row)
    left, top = tf.floor(x), tf.floor(y)
    right, down = (x - left)[..., tf.newaxis], (y - top)[..., tf.newaxis]
    pairs = tf.concat([images, tf.concat([images[:, :, 1:], images[:, :, -1:]], axis=2)], axis=3)
    corners = tf.concat([pairs, tf.concat([pairs[:, 1:], pairs[:, -1:]], axis=1)], axis=3)
    places = tf.cast(top, tf.int32) * $width + tf.cast(left, tf.int32)
    read = tf.gather(tf.reshape(corners, (-1, $pixels, $values)), places, axis=1, batch_dims=1)
    here, beside, below, across = tf.split(read, 4, axis=3)
    upper, lower = here + right * (beside - here), below + right * (across - below)
    return upper + down * (lower - upper)
'''

ERASE = '''
def erase(images, draws):
    """Fill a rectangle in some of the images: random erasing, Zhong et al. 2017.

    Args:
        images: (B, $height, $width, $channels), float32 in [0, 1].
        draws: (B, 7), between -1 and 1.
    """
    happens, area, ratio, down, right, _, _ = tf.unstack((draws + 1.0) / 2.0, axis=1)
    pixels = ($smallest + area * ($largest - $smallest)) * $pixels
    ratio = tf.exp(math.log($widest) + ratio * (math.log($highest) - math.log($widest)))
    rows = tf.clip_by_value(tf.floor(tf.sqrt(pixels * ratio) + 0.5), 1.0, $height)
    columns = tf.clip_by_value(tf.floor(tf.sqrt(pixels / ratio) + 0.5), 1.0, $width)
    rows = tf.where(happens < $probability, rows, 0.0)
    rows, columns = covered($height, down, rows), covered($width, right, columns)
    inside = rows[:, :, tf.newaxis] & columns[:, tf.newaxis, :]
    return tf.where(inside[..., tf.newaxis], $fill, images)


def covered(length, place, count):
    """Return which of `length` pixels are in an interval of `count`, (B, length)."""
    start = tf.floor(place * (length - count + 1.0))[:, tf.newaxis]
    at = tf.range(length, dtype=tf.float32)
    return (at >= start) & (at < start + count[:, tf.newaxis])


def noise(draws):  #? noise
    """Return values in [0, 1), (B, $height, $width, $channels): SplitMix64, Steele et al. 2014."""  #? noise
    seeds = tf.bitcast(draws[:, -2:], tf.uint64)[:, tf.newaxis]  #? noise
    numbers = tf.cast(tf.range(1, $values + 1, dtype=tf.int64), tf.uint64)  #? noise
    bits = seeds + numbers * tf.constant(0x9E3779B97F4A7C15, tf.uint64)  #? noise
    bits = shifted(bits, 30) * tf.constant(0xBF58476D1CE4E5B9, tf.uint64)  #? noise
    bits = shifted(bits, 27) * tf.constant(0x94D049BB133111EB, tf.uint64)  #? noise
    bits = tf.bitwise.right_shift(shifted(bits, 31), tf.constant(40, tf.uint64))  #? noise
    return tf.reshape(tf.cast(bits, tf.float32) / 2.0**24, (-1, $height, $width, $channels))  #? noise


def shifted(bits, count):  #? noise
    """Return the bits, combined with themselves shifted to the right."""  #? noise
    return tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, tf.constant(count, tf.uint64)))  #? noise
'''

MIXUP = '''
def mix(values, draws):
    """Mix each row of the first half with its partner in the second half: mixup, Zhang et al. 2018.

    Args:
        values: (2 * B, ...), float32.
        draws: (2 * B, 2), between -1 and 1.
    """
    first, partners = tf.split(values, 2)
    draws, _ = tf.split(draws, 2)
    # shares from a Beta distribution: Devroye 1996, Random variate generation in one line of code
    power = tf.pow((draws[:, 0] + 1.0) / 2.0, 1.0 / $alpha)
    cosine = tf.cos(math.pi * draws[:, 1])
    rest = 1.0 - power
    signed = cosine * tf.sqrt(rest / (power + rest * cosine * cosine))
    shares = tf.clip_by_value((1.0 + signed) / 2.0, 0.0, 1.0)
    shares = tf.reshape(shares, (-1,) + (1,) * (len(values.shape) - 1))
    return partners + shares * (first - partners)
'''

_STREAMS = {
    "stream": STREAM,
    "strokes": STROKE_STREAM,
    "erasing": ERASE_STREAM,
    "mixing": MIXUP_STREAM,
    "partnering": PARTNER_STREAM,
}
SEEDS = {name: f"SEED ^ 0x{stream:X}" for name, stream in _STREAMS.items()}
"""Seeds of the draws, separate from the shuffle: affine transformations, elastic and thickness, erase, mixup and its partners."""
_DRAWS = {"turn": "rotation", "down": "shift", "right": "shift", "size": "zoom", "slant": "shear", "mirror": "flip"}
"""The six random numbers of the affine transformation, each with its setting."""


def augment_needs(settings: Augment | None) -> Needs:
    """Return the template flags of the augmentation."""
    needs = {name: bool(settings and getattr(settings, name)) for name in Augment.model_fields}
    moved, strokes = any(needs[name] for name in _DRAWS.values()), needs["elastic"] or needs["thickness"]
    erase, mixup = needs["erase"], needs["mixup"]
    return {
        **needs,
        "moved": moved,
        "strokes": strokes,
        "noise": bool(settings and settings.erase and settings.erase.fill_value is None),
        "more": strokes or erase or mixup,  # draws than those of the affine transformation
        "after": needs["thickness"] or erase,  # something is changed after the pixels have moved
        "changed": moved or strokes or erase,
        "augment": moved or strokes or erase or mixup,
    }


def numbers_of(needs: Needs) -> dict[str, int]:
    """Count the random numbers per image: all, and those before the ones of erase and of mixup."""
    before_erase = len(_DRAWS) + STROKE_DRAWS * needs["strokes"]
    before_mixup = before_erase + ERASE_DRAWS * needs["erase"]
    return {
        "before_erase": before_erase,
        "before_mixup": before_mixup,
        "numbers": before_mixup + MIXUP_DRAWS * needs["mixup"],
    }


def augmenting(settings: Augment, image: tuple[int, ...], needs: Needs) -> list[str]:
    """Generate the functions that augment images of (H, W, C)."""
    height, width, channels = image
    sides = {"height": height, "width": width, "knots": KNOTS}
    reading = {
        "smoothness": literal(SMOOTHNESS),
        "last_row": literal(height - 1.0),
        "last_column": literal(width - 1.0),
        "pixels": height * width,
        "values": 4 * channels,
    }
    elastic = [written(ELASTIC, needs, **sides, **reading)] if needs["elastic"] else []
    erase = [_erase(settings.erase, needs, height, width, channels)] if settings.erase else []
    changing = [_augment(settings, needs, channels=channels, **sides)] if needs["changed"] else []
    mixing = [written(MIXUP, needs, alpha=literal(settings.mixup))] if needs["mixup"] else []
    return [*elastic, *erase, *changing, *mixing]


def _erase(settings: Erase, needs: Needs, height: int, width: int, channels: int) -> str:
    smallest, largest = map(literal, settings.scale)
    widest, highest = map(literal, settings.ratio)
    return written(
        ERASE,
        needs,
        height=height,
        width=width,
        channels=channels,
        pixels=height * width,
        values=height * width * channels,
        smallest=smallest,
        largest=largest,
        widest=widest,
        highest=highest,
        probability=literal(settings.probability),
        fill="noise(draws)" if settings.fill_value is None else literal(settings.fill_value),
    )


def _augment(settings: Augment, needs: Needs, *, height: int, width: int, channels: int, knots: int) -> str:
    matrix = _matrix(needs)
    ones, zeros = (word in matrix.values() for word in ("ones", "zeros"))
    numbers = numbers_of(needs)
    before_erase, before_mixup = numbers["before_erase"], numbers["before_mixup"]
    return written(
        AUGMENT,
        {**needs, "ones": needs["moved"] and ones, "zeros": needs["moved"] and (zeros or not needs["elastic"])},
        height=height,
        width=width,
        channels=channels,
        knots=knots,
        numbers=numbers["numbers"],
        knot_columns=f"{len(_DRAWS) + 1}:{before_erase}" if needs["erase"] or needs["mixup"] else f"{len(_DRAWS) + 1}:",
        erase_columns=f"{before_erase}:{before_mixup}" if needs["mixup"] else f"{before_erase}:",
        changed=_changed(needs),
        used=", ".join(name if needs[need] else "_" for name, need in _DRAWS.items()),
        **{name: literal(getattr(settings, name)) for name in (*_DRAWS.values(), "elastic", "thickness")},
        **matrix,
        middle=literal((width - 1) / 2),
        centre=literal((height - 1) / 2),
    )


def _matrix(needs: Needs) -> dict[str, str]:
    """Return the entries of the affine matrix, with only the factors that are needed."""
    scale, side = ["scale"] * needs["zoom"], ["side"] * needs["flip"]
    tilt = " + ".join(["angle"] * needs["rotation"] + ["shear"] * needs["shear"])
    cosine, sine = (["tf.cos(angle)"], ["tf.sin(angle)"]) if needs["rotation"] else ([], [])
    return {
        "xx": _product(*scale, *cosine, *side) or "ones",
        "xy": _product(*scale, f"-tf.sin({tilt})") if tilt else "zeros",
        "yx": _product(*scale, *sine, *side) if sine else "zeros",
        "yy": _product(*scale, *([f"tf.cos({tilt})"] if tilt else [])) or "ones",
    }


def _product(*factors: str) -> str:
    return " * ".join(factors)


def _changed(needs: Needs) -> str:
    moves = {"flip": "mirrored", "rotation": "turned", "shear": "sheared", "zoom": "zoomed", "shift": "shifted"}
    words = {**moves, "elastic": "bent", "thickness": "thickened", "erase": "erased"}
    used = [word for need, word in words.items() if needs[need]]
    if len(used) > len(moves):
        return "changed"  # listing all would be too long
    return " and ".join(filter(None, (", ".join(used[:-1]), used[-1])))
