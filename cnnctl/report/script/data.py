"""The data as code: reading, holding out and batches, as `cnnctl.data` does them, to the bit."""

from __future__ import annotations

import json

from cnnctl.report.script.augment import SEEDS, augmenting
from cnnctl.report.script.expressions import literal
from cnnctl.report.script.template import Needs, written
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.experiment import Experiment
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
    changed = "changed" if needs["strokes"] else "moved"
    batches = written(BATCHES, needs, batch=batch, labels=labels, changed=changed, **SEEDS)
    return [*augmenting(data.augment, shape, needs), batches] if data.augment and needs["augment"] else [batches]


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
