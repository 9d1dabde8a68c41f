"""Augmentation as code, bit-identical to `cnnctl.data.augment`."""

from __future__ import annotations

from cnnctl.script.expressions import literal
from cnnctl.script.template import Needs, written
from cnnctl.spec.dataset import Augment
from cnnctl.spec.draws import KNOTS, SMOOTHNESS, STREAM, STROKE_DRAWS, STROKE_STREAM

AUGMENT = '''
def augment(images, draws):
    """Return the images, each $changed by its own draws.

    Args:
        images: (B, $height, $width, $channels), float32.
        draws: (B, $numbers), between -1 and 1.
    """
    $used = tf.unstack(draws, axis=1)  #? !strokes
    $used = tf.unstack(draws[:, :6], axis=1)  #? moved strokes
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
    return tf.raw_ops.ImageProjectiveTransformV3(  #? !strokes
    images = tf.raw_ops.ImageProjectiveTransformV3(  #? moved strokes !elastic
        images=images,  #? moved !elastic
        transforms=tf.stack([xx, xy, to_x, yx, yy, to_y, zeros, zeros], axis=1),  #? moved !elastic
        output_shape=[$height, $width],  #? moved !elastic
        fill_value=0.0,  #? moved !elastic
        interpolation="BILINEAR",  #? moved !elastic
        fill_mode="NEAREST",  # edges repeat outwards  #? moved !elastic
    )  #? moved !elastic
    # knots on a grid displace nearby pixels: elastic distortion, Simard et al. 2003  #? elastic
    knots = tf.reshape(draws[:, 7:], (-1, 2, $knots, $knots))  #? elastic
    field = smooth($height) @ knots @ tf.transpose(smooth($width))  # (B, 2, $height, $width)  #? elastic
    column, row = tf.meshgrid(tf.range($width, dtype=tf.float32), tf.range($height, dtype=tf.float32))  #? elastic
    x = column + field[:, 0] * ($elastic * $width)  #? elastic
    y = row + field[:, 1] * ($elastic * $height)  #? elastic
    bent = tf.reshape(tf.stack([x, y, tf.ones_like(x)], axis=1), (-1, 3, $height * $width))  #? elastic moved
    moves = tf.reshape(tf.stack([xx, xy, to_x, yx, yy, to_y], axis=1), (-1, 2, 3))  #? elastic moved
    x, y = tf.unstack(tf.reshape(moves @ bent, (-1, 2, $height, $width)), axis=1)  #? elastic moved
    images = bilinear(images, x, y)  #? elastic thickness
    return bilinear(images, x, y)  #? elastic !thickness
    pixels = draws[:, 6, tf.newaxis, tf.newaxis, tf.newaxis] * $thickness  #? thickness
    side = tf.sign(pixels)  # max_pool2d takes the smallest where it is -1  #? thickness
    grown = side * tf.nn.max_pool2d(side * images, 3, 1, "SAME")  #? thickness
    return images + tf.abs(pixels) * (grown - images)  #? thickness
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

SEEDS = {"stream": f"SEED ^ 0x{STREAM:X}", "strokes": f"SEED ^ 0x{STROKE_STREAM:X}"}
"""Seeds of the draws, separate from the shuffle: for affine transformations, and for elastic and thickness."""
_DRAWS = {"turn": "rotation", "down": "shift", "right": "shift", "size": "zoom", "slant": "shear", "mirror": "flip"}
"""The six random numbers of the affine transformation, each with its setting."""


def augment_needs(settings: Augment | None) -> Needs:
    """Return the template flags of the augmentation."""
    needs = {name: bool(settings and getattr(settings, name)) for name in Augment.model_fields}
    moved, strokes = any(needs[name] for name in _DRAWS.values()), needs["elastic"] or needs["thickness"]
    return {**needs, "moved": moved, "strokes": strokes, "augment": moved or strokes}


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
    return [*elastic, _augment(settings, needs, channels=channels, **sides)]


def _augment(settings: Augment, needs: Needs, *, height: int, width: int, channels: int, knots: int) -> str:
    matrix = _matrix(needs)
    ones, zeros = (word in matrix.values() for word in ("ones", "zeros"))
    return written(
        AUGMENT,
        {**needs, "ones": needs["moved"] and ones, "zeros": needs["moved"] and (zeros or not needs["elastic"])},
        height=height,
        width=width,
        channels=channels,
        knots=knots,
        numbers=len(_DRAWS) + STROKE_DRAWS * needs["strokes"],
        changed=_changed(needs),
        used=", ".join(name if needs[need] else "_" for name, need in _DRAWS.items()),
        **{name: literal(getattr(settings, name)) for name in Augment.model_fields},
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
    words = {**moves, "elastic": "bent", "thickness": "thickened"}
    used = [word for need, word in words.items() if needs[need]]
    if len(used) > len(moves):
        return "changed"  # listing all would be too long
    return " and ".join(filter(None, (", ".join(used[:-1]), used[-1])))
