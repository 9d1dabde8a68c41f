"""The data as code: reading, holding out, batches and augmentation, as `cnnctl.data` does them, to the bit."""

from __future__ import annotations

import json

from cnnctl.report.script.expressions import literal
from cnnctl.report.script.template import Needs, written
from cnnctl.spec.experiment import Augment, DataSpec, Experiment
from cnnctl.spec.folders import class_folders, folder_path, split_folder
from cnnctl.spec.images import TFDS_IMAGES, Images, known_images, prepared_dir

DIGITS = '''
def read():
    """Returns the digits of scikit-learn, uint8 $shape, and their labels (N,)."""
    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    images = np.stack([fit(image) for image in images])  #? fitted
    return 255 - images, digits.target  #? invert !fitted
    return images, digits.target  #? !invert
    return images, digits.target  #? invert fitted
'''

TFDS = '''
def read(split):
    """Returns the images of a split, uint8 $shape, and their labels (N,)."""
    dataset = tfds.load($set, split=split, as_supervised=True)  #? pairs
    dataset = tfds.load($set, split=split)  #? !pairs
    dataset = dataset.map(lambda example: (example[$image], example[$label]))  #? !pairs
    images, labels = zip(*tfds.as_numpy(dataset.batch(1024)))  #? !fitted
    return np.concatenate(images), np.concatenate(labels)  #? !fitted !invert
    return 255 - np.concatenate(images), np.concatenate(labels)  #? !fitted invert
    examples = [(fit(image), label) for image, label in tfds.as_numpy(dataset)]  #? fitted
    images, labels = zip(*examples)  #? fitted
    return np.stack(images), np.array(labels)  #? fitted
'''

FIT = '''
def fit(image):
    """Returns an image of any size as uint8 $one."""
    image = Image.fromarray(image.squeeze(-1))  #? own_grey
    image = Image.fromarray(image)  #? own_colour
    image = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)  #? any_mode
    if image.mode in ("I", "I;16", "I;16B", "I;16L"):  # sixteen bits a pixel  #? any_mode
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))  #? any_mode
    if "A" in image.getbands() or "transparency" in image.info:  # becomes white  #? any_mode
        image = image.convert("RGBA")  #? any_mode
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)  #? any_mode
    image = image.convert($mode)  #? converted
    image = image.resize(($width, $height), Image.Resampling.BILINEAR)
    image = np.asarray(image)
    image = image[..., np.newaxis]  #? grey
    return image  #? !invert
    return 255 - image  #? invert
'''

FOLDER = '''
def image_files(folder):
    """Returns the images in a folder, sorted by name."""
    files = sorted(file for file in folder.glob("*") if not file.name.startswith("."))
    return [file for file in files if file.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp")]


def class_names(folder):
    """Returns the names of the folders in a folder, sorted: each is a class."""
    folders = [each for each in folder.iterdir() if each.is_dir() and not each.name.startswith(".")]
    # one that holds folders and no images is a split  #? splits_beside
    folders = [each for each in folders if image_files(each) or not has_folders(each)]  #? splits_beside
    return sorted(each.name for each in folders)


def has_folders(folder):  #? splits_beside
    return any(each.is_dir() for each in folder.iterdir())  #? splits_beside
  #? splits_beside
  #? splits_beside
def read_image(file):
    """Returns an image of any size and mode as uint8 $one."""
    with Image.open(file) as opened:
        image = ImageOps.exif_transpose(opened)  # as a camera held it
    if image.mode in ("I", "I;16", "I;16B", "I;16L"):  # sixteen bits a pixel
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:  # becomes white
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert($mode).resize(($width, $height), Image.Resampling.BILINEAR)
    image = np.asarray(image)
    image = image[..., np.newaxis]  #? grey
    return image  #? !invert
    return 255 - image  #? invert


def read(folder):
    """Returns the images below a folder, uint8 $shape, and their labels (N,)."""
    found = [
        (file, label)
        for label, name in enumerate(CLASS_NAMES)
        for file in image_files(folder / name)
    ]
    images = np.stack([read_image(file) for file, _ in found])
    return images, np.array([label for _, label in found])


FOLDER = Path($folder)
CLASS_NAMES = class_names($train)
'''

HOLD_OUT = '''
def hold_out(labels, *fractions):
    """Returns the indices of each fraction of every class, and of all that is left."""
    generator = np.random.default_rng(SPLIT_SEED)
    classes = [
        generator.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)
    ]
    sizes = np.array([len(indices) for indices in classes])
    parts = []
    for fraction in fractions:
        counts = whole_numbers(sizes * fraction, np.array([len(indices) for indices in classes]))
        parts.append([indices[:count] for indices, count in zip(classes, counts)])
        classes = [indices[count:] for indices, count in zip(classes, counts)]
    return [np.sort(np.concatenate(part)) for part in (*parts, classes)]


def whole_numbers(wanted, free):
    """Returns whole numbers with the rounded sum of `wanted`: the largest remainders go up."""
    counts = np.minimum(np.floor(wanted).astype(int), free)
    missing = round(float(wanted.sum())) - counts.sum()
    left = free - counts  # no class gives its last image while another has two
    counts[np.lexsort((-left, counts - wanted, left <= 1))[:missing]] += 1
    return counts
'''

BATCHES = '''
def prepare(images, labels):  #? !augment
    """Returns float32 images $batch in [0, 1] and $labels labels."""  #? !augment
def prepare(images, labels, draws=None):  #? augment
    """Returns float32 images $batch in [0, 1], $changed by `draws`, and $labels labels."""  #? augment
    images = tf.cast(images, tf.float32) / 255.0
    if draws is not None:  #? augment
        images = augment(images, draws)  #? augment
    images = tf.transpose(images, (0, 3, 1, 2))  #? channels_first
    return images, labels  #? !one_hot
    return images, tf.one_hot(labels, CLASSES)  #? one_hot


def training_batches(images, labels):
    """Returns the batches of all epochs, one after the other, each epoch in an order of its own."""
    images, labels = tf.constant(images), tf.constant(labels)

    def epoch_of(number):
        order = tf.random.experimental.stateless_shuffle(tf.range(len(labels)), (SEED, number))
        draws = tf.random.stateless_uniform((len(labels), 6), ($stream, number), -1.0, 1.0)  #? augment
        more = tf.random.stateless_uniform((len(labels), 51), ($strokes, number), -1.0, 1.0)  #? strokes
        draws = tf.concat([draws, more], axis=1)  #? strokes
        examples = tf.data.Dataset.from_tensor_slices((order, tf.gather(draws, order)))  #? augment
        examples = tf.data.Dataset.from_tensor_slices(order)  #? !augment
        return examples.batch(BATCH_SIZE)

    def batch_of(indices):  #? !augment
        return prepare(tf.gather(images, indices), tf.gather(labels, indices))  #? !augment
    def batch_of(indices, draws):  #? augment
        return prepare(tf.gather(images, indices), tf.gather(labels, indices), draws)  #? augment

    batches = tf.data.Dataset.range(EPOCHS).flat_map(epoch_of)
    return batches.map(batch_of, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def ordered_batches(images, labels):
    """Returns the batches of one pass in the order of the images."""
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(BATCH_SIZE)
    return batches.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
'''

AUGMENT = '''
def augment(images, draws):
    """Returns the images, each $changed by its own numbers.

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
    to_x = $middle - xx * $middle - xy * $centre  #? moved
    to_y = $centre - yx * $middle - yy * $centre  #? moved
    to_x += right * $shift * $width  #? shift
    to_y += down * $shift * $height  #? shift
    return tf.raw_ops.ImageProjectiveTransformV3(  #? !strokes
    images = tf.raw_ops.ImageProjectiveTransformV3(  #? moved strokes !elastic
        images=images,  #? moved !elastic
        transforms=tf.stack([xx, xy, to_x, yx, yy, to_y, zeros, zeros], axis=1),  #? moved !elastic
        output_shape=[$height, $width],  #? moved !elastic
        fill_value=0.0,  #? moved !elastic
        interpolation="BILINEAR",  #? moved !elastic
        fill_mode="NEAREST",  # edges repeat outwards  #? moved !elastic
    )  #? moved !elastic
    # knots on a grid move what lies around them: elastic distortion, Simard et al. 2003  #? elastic
    knots = tf.reshape(draws[:, 7:], (-1, 2, $knots, $knots))  #? elastic
    field = smooth($height) @ knots @ tf.transpose(smooth($width))  # (B, 2, $height, $width)  #? elastic
    column, row = tf.meshgrid(tf.range($width, dtype=tf.float32), tf.range($height, dtype=tf.float32))  #? elastic
    grid = tf.reshape(tf.stack([column, row, tf.ones_like(row)]), (3, -1))  #? elastic moved
    moves = tf.stack([xx, xy, to_x, yx, yy, to_y], axis=1)  #? elastic moved
    moved = tf.reshape(tf.reshape(moves, (-1, 2, 3)) @ grid, (-1, 2, $height, $width))  #? elastic moved
    column, row = tf.unstack(moved, axis=1)  #? elastic moved
    x = column + field[:, 0] * ($elastic * $width)  #? elastic
    y = row + field[:, 1] * ($elastic * $height)  #? elastic
    images = bilinear(images, x, y)  #? elastic thickness
    return bilinear(images, x, y)  #? elastic !thickness
    pixels = draws[:, 6, tf.newaxis, tf.newaxis, tf.newaxis] * $thickness  #? thickness
    side = tf.sign(pixels)  # max_pool2d takes the smallest where it is -1  #? thickness
    grown = side * tf.nn.max_pool2d(side * images, 3, 1, "SAME")  #? thickness
    return images + tf.abs(pixels) * (grown - images)  #? thickness
'''

ELASTIC = '''
def smooth(pixels):
    """Returns how much each pixel of an axis takes of each of $knots knots; a row sums to one."""
    apart = np.linspace(0, 1, pixels)[:, np.newaxis] - np.linspace(0, 1, $knots)
    weights = np.exp(-0.5 * (apart / $smoothness) ** 2)
    return tf.constant(weights / weights.sum(axis=1, keepdims=True), tf.float32)


def bilinear(images, x, y):
    """Returns the images read at columns x and rows y, (B, $height, $width), which lie between pixels."""
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

SPLITS = """
images, labels = read($train)  #? fractions
classes = np.unique(labels)  # those that occur are numbered from 0  #? renumber fractions
labels = np.searchsorted(classes, labels)  #? renumber fractions
$parts, train = hold_out(labels, $fractions)  #? fractions
train_images, train_labels = images[train], labels[train]  #? fractions
train_images, train_labels = read($train)  #? !fractions
classes = np.unique(train_labels)  # those that occur are numbered from 0  #? renumber !fractions
train_labels = np.searchsorted(classes, train_labels)  #? renumber !fractions
train_batches = training_batches(train_images, train_labels)
steps_per_epoch = math.ceil(len(train_labels) / BATCH_SIZE)
validation_batches = ordered_batches(images[validation], labels[validation])  #? validation validation_fraction
validation_batches = ordered_batches(*read($validation))  #? validation !validation_fraction !renumber
validation_images, validation_labels = read($validation)  #? validation !validation_fraction renumber
validation_labels = np.searchsorted(classes, validation_labels)  #? validation !validation_fraction renumber
validation_batches = ordered_batches(validation_images, validation_labels)  #? validation !validation_fraction renumber
"""

STREAM, STROKE_STREAM = "SEED ^ 0x5EED", "SEED ^ 0x57120"
"""What `data.augment` draws with, apart from the shuffle: what moves an image, and what changes its strokes."""
_DRAWS = {"turn": "rotation", "down": "shift", "right": "shift", "size": "zoom", "slant": "shear", "mirror": "flip"}
"""The six numbers that move an example, each with the setting that it serves."""
_KNOTS, _STROKES, _SMOOTHNESS = 5, 51, 0.15
"""As `cnnctl.data.augment` has them, which is not imported: it needs TensorFlow."""


def reading(experiment: Experiment, needs: Needs) -> list[str]:
    """Returns the functions that read and split the data."""
    data = experiment.data
    assert data.image_size and data.channels
    (height, width), mode = data.image_size, literal("L" if data.channels == 1 else "RGB")
    one = literal((height, width, data.channels))
    values = {"shape": f"(N, {one[1:]}", "one": one, "height": height, "width": width, "mode": mode}
    fit = [written(FIT, needs, **values)] if needs["fitted"] else []
    held_out = [written(HOLD_OUT, needs)] if needs["fractions"] else []
    if data.source == "folder":
        places = {"folder": literal(str(folder_path(data))), "train": _place(data, data.train)}
        return [written(FOLDER, needs, **values, **places), *held_out]
    if data.source == "digits":
        return [*fit, written(DIGITS, needs, **values), *held_out]
    image, label = _features(data)
    folder = f", data_dir={literal(data.data_dir)}" if data.data_dir else ""
    names = {"set": literal(data.name) + folder, "image": literal(image), "label": literal(label)}
    return [*fit, written(TFDS, needs, **values, **names), *held_out]


def batching(experiment: Experiment, needs: Needs) -> list[str]:
    """Returns the functions that make batches."""
    data, shape = experiment.data, _sides(experiment.data)
    batch = f"(B, {', '.join(map(str, (shape[-1:] + shape[:-1]) if needs['channels_first'] else shape))})"
    labels = "one-hot" if needs["one_hot"] else "integer"
    draws = {"stream": STREAM, "strokes": STROKE_STREAM, "changed": "changed" if needs["strokes"] else "moved"}
    batches = written(BATCHES, needs, batch=batch, labels=labels, **draws)
    return [*_augmenting(data.augment, data, needs), batches] if data.augment and needs["augment"] else [batches]


def splitting(experiment: Experiment, needs: Needs) -> str:
    """Returns the code that makes the batches of training and validation."""
    data = experiment.data
    fractions = held_out(data)
    return written(
        SPLITS,
        needs,
        train=_place(data, data.train),
        validation=_place(data, str(data.validation)),
        parts=", ".join(fractions),
        fractions=", ".join(map(literal, fractions.values())),
    )


def test_split(data: DataSpec) -> str:
    """Returns the argument with which the script's `read` reads the test split."""
    return _place(data, str(data.test))


def held_out(data: DataSpec) -> dict[str, float]:
    """Returns the parts that are fractions of train, the test first, so that it does not depend on the validation."""
    return {role: part for role in ("test", "validation") if isinstance(part := getattr(data, role), float)}


def own_images(data: DataSpec) -> Images:
    """Returns what is known of the images as their source has them; nothing of a folder's, which may differ."""
    if data.source == "folder":
        return Images()
    return known_images(data.model_copy(update={"image_size": None, "channels": None}))


def well_known(data: DataSpec) -> bool:
    """Returns whether TFDS gives pairs of image and label for a set, uint8 of one mode."""
    return (data.name or "").partition(":")[0] in TFDS_IMAGES


def splits_beside_classes(data: DataSpec) -> bool:
    """Returns whether a folder of train holds other folders than those of classes."""
    root = split_folder(folder_path(data), data.train)
    plain = [each.name for each in root.iterdir() if each.is_dir() and not each.name.startswith(".")]
    return sorted(plain) != [each.name for each in class_folders(folder_path(data), data.train)]


def _place(data: DataSpec, split: str) -> str:
    if data.source == "digits":
        return ""
    if data.source == "tfds":
        return literal(split)
    return "FOLDER" if split_folder(folder_path(data), split) == folder_path(data) else f"FOLDER / {literal(split)}"


def _features(data: DataSpec) -> tuple[str, str]:
    """Returns the names of image and label among the features of a set; those that TFDS usually gives where it is not prepared."""
    folder = prepared_dir(data)
    features = json.loads((folder / "features.json").read_text())["featuresDict"]["features"] if folder else {}
    return _named(features, "image"), _named(features, "label")


def _named(features: dict[str, dict[str, object]], name: str) -> str:
    kind = {"image": "image", "label": "classLabel"}[name]
    found = [key for key, feature in features.items() if kind in feature]
    return name if name in found or not found else found[0]


def _sides(data: DataSpec) -> tuple[int, ...]:
    assert data.image_size and data.channels
    return (*data.image_size, data.channels)


# augmentation


def augment_needs(settings: Augment | None) -> Needs:
    """Returns what the script must have to change images, by the words of its templates."""
    needs = {name: bool(settings and getattr(settings, name)) for name in Augment.model_fields}
    moved, strokes = any(needs[name] for name in _DRAWS.values()), needs["elastic"] or needs["thickness"]
    return {**needs, "moved": moved, "strokes": strokes, "augment": moved or strokes}


def _augmenting(settings: Augment, data: DataSpec, needs: Needs) -> list[str]:
    """Returns the functions that change images."""
    height, width, channels = _sides(data)
    sides = {"height": height, "width": width, "knots": _KNOTS}
    reading = {
        "smoothness": literal(_SMOOTHNESS),
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
        numbers=len(_DRAWS) + _STROKES * needs["strokes"],
        changed=_changed(needs),
        used=", ".join(name if needs[need] else "_" for name, need in _DRAWS.items()),
        **{name: literal(getattr(settings, name)) for name in Augment.model_fields},
        **matrix,
        middle=literal((width - 1) / 2),
        centre=literal((height - 1) / 2),
    )


def _matrix(needs: Needs) -> dict[str, str]:
    """Returns the entries of the matrix that turns, shears, zooms and mirrors, made of the factors that are needed."""
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
    said = [word for need, word in words.items() if needs[need]]
    if len(said) > len(moves):
        return "changed"  # all of them would be a long line
    return " and ".join(filter(None, (", ".join(said[:-1]), said[-1])))
