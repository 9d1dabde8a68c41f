"""Splits and batches as code, bit-identical to `cnnctl.data`."""

from __future__ import annotations

from cnnctl.script.augmentation import SEEDS, augmenting, numbers_of
from cnnctl.script.expressions import literal
from cnnctl.script.reading_code import Reading
from cnnctl.script.template import Needs, written
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.experiment import Experiment

HOLD_OUT = '''
def hold_out(labels, *fractions):
    """Return the indices of each fraction of every class, and of the rest."""
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
    """Round `wanted` to integers with the rounded sum: the largest remainders are rounded up."""
    counts = np.minimum(np.floor(wanted).astype(int), free)
    missing = round(float(wanted.sum())) - counts.sum()
    left = free - counts  # no class loses its last image while another has two
    counts[np.lexsort((-left, counts - wanted, left <= 1))[:missing]] += 1
    return counts
'''

BATCHES = '''
def prepare(images, labels):  #? !augment
    """Return float32 images $batch in [0, 1] and $labels labels."""  #? !augment
def prepare(images, labels, draws=None):  #? augment
    """Return float32 images $batch in [0, 1], $changed by `draws`, and $labels labels."""  #? augment
    images = tf.cast(images, tf.float32) / 255.0
    labels = tf.one_hot(labels, CLASSES)  #? mixup
    if draws is not None:  #? augment
        images = augment(images, draws)  #? changed
        images, labels = mix(images, draws[:, $mixup_columns]), mix(labels, draws[:, $mixup_columns])  #? mixup
    images = tf.transpose(images, (0, 3, 1, 2))  #? channels_first
    return images, labels  #? !one_hot
    return images, labels  #? mixup
    return images, tf.one_hot(labels, CLASSES)  #? one_hot !mixup


def training_batches(images, labels):
    """Return the batches of all epochs, one after the other, each epoch in an order of its own."""
    images, labels = tf.constant(images), tf.constant(labels)

    def epoch_of(number):
        order = tf.random.experimental.stateless_shuffle(tf.range(len(labels)), (SEED, number))
        draws = tf.random.stateless_uniform((len(labels), 6), ($stream, number), -1.0, 1.0)  #? augment
        more = tf.random.stateless_uniform((len(labels), 51), ($strokes, number), -1.0, 1.0)  #? strokes
        draws = tf.concat([draws, more], axis=1)  #? strokes
        more = tf.random.stateless_uniform((len(labels), 7), ($erasing, number), -1.0, 1.0)  #? erase
        draws = tf.concat([draws, more], axis=1)  #? erase
        more = tf.random.stateless_uniform((len(labels), 2), ($mixing, number), -1.0, 1.0)  #? mixup
        draws = tf.concat([draws, more], axis=1)  #? mixup
        partners = tf.random.experimental.stateless_shuffle(  #? mixup
            tf.range(len(labels)), ($partnering, number)  #? mixup
        )  #? mixup
        pairs = tf.stack([order, tf.gather(partners, order)], axis=1)  # each image and its partner  #? mixup
        examples = tf.data.Dataset.from_tensor_slices((pairs, tf.gather(draws, pairs)))  #? mixup
        examples = tf.data.Dataset.from_tensor_slices((order, tf.gather(draws, order)))  #? augment !mixup
        examples = tf.data.Dataset.from_tensor_slices(order)  #? !augment
        return examples.batch(BATCH_SIZE)

    def batch_of(indices):  #? !augment
        return prepare(tf.gather(images, indices), tf.gather(labels, indices))  #? !augment
    def batch_of(pairs, draws):  #? mixup
        indices = tf.reshape(tf.transpose(pairs), (-1,))  # all images, then their partners  #? mixup
        draws = tf.reshape(tf.transpose(draws, (1, 0, 2)), (-1, $numbers))  #? mixup
    def batch_of(indices, draws):  #? augment !mixup
        return prepare(tf.gather(images, indices), tf.gather(labels, indices), draws)  #? augment

    # the last epochs are not augmented  #? plain_epochs
    def plain_epoch_of(number):  #? plain_epochs
        order = tf.random.experimental.stateless_shuffle(tf.range(len(labels)), (SEED, number))  #? plain_epochs
        return tf.data.Dataset.from_tensor_slices(order).batch(BATCH_SIZE)  #? plain_epochs
  #? plain_epochs
    def plain_batch_of(indices):  #? plain_epochs
        return prepare(tf.gather(images, indices), tf.gather(labels, indices))  #? plain_epochs
  #? plain_epochs
    batches = tf.data.Dataset.range(EPOCHS).flat_map(epoch_of)  #? !plain_epochs
    return batches.map(batch_of, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)  #? !plain_epochs
    batches = tf.data.Dataset.range(EPOCHS - $plain_epochs).flat_map(epoch_of)  #? plain_epochs
    batches = batches.map(batch_of, num_parallel_calls=tf.data.AUTOTUNE)  #? plain_epochs
    last = tf.data.Dataset.range(EPOCHS - $plain_epochs, EPOCHS).flat_map(plain_epoch_of)  #? plain_epochs
    last = last.map(plain_batch_of, num_parallel_calls=tf.data.AUTOTUNE)  #? plain_epochs
    return batches.concatenate(last).prefetch(tf.data.AUTOTUNE)  #? plain_epochs


def ordered_batches(images, labels):
    """Return the batches of one pass in the order of the images."""
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(BATCH_SIZE)
    return batches.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
'''

SPLITS = """
images, labels = read($train)  #? fractions
classes = np.unique(labels)  # classes that occur are numbered from 0  #? remap_labels fractions
labels = np.searchsorted(classes, labels)  #? remap_labels fractions
$parts, train = hold_out(labels, $fractions)  #? fractions
train_images, train_labels = images[train], labels[train]  #? fractions
train_images, train_labels = read($train)  #? !fractions
classes = np.unique(train_labels)  # classes that occur are numbered from 0  #? remap_labels !fractions
train_labels = np.searchsorted(classes, train_labels)  #? remap_labels !fractions
train_batches = training_batches(train_images, train_labels)
steps_per_epoch = math.ceil(len(train_labels) / BATCH_SIZE)
validation_batches = ordered_batches(images[validation], labels[validation])  #? validation validation_fraction
validation_batches = ordered_batches(*read($validation))  #? validation !validation_fraction !remap_labels
validation_images, validation_labels = read($validation)  #? validation !validation_fraction remap_labels
validation_labels = np.searchsorted(classes, validation_labels)  #? validation !validation_fraction remap_labels
validation_batches = ordered_batches(validation_images, validation_labels)  #? validation !validation_fraction remap_labels
"""


def batching(experiment: Experiment, needs: Needs) -> list[str]:
    """Generate the functions that create batches."""
    data, shape = experiment.data, _sides(experiment.data)
    batch = f"(B, {', '.join(map(str, (shape[-1:] + shape[:-1]) if needs['channels_first'] else shape))})"
    labels = "one-hot" if needs["one_hot"] else "integer"
    changed = "changed" if needs["more"] else "moved"
    columns = {"numbers": numbers_of(needs)["numbers"], "mixup_columns": f"{numbers_of(needs)['before_mixup']}:"}
    plain = experiment.train.epochs - experiment.plain_from
    batches = written(BATCHES, needs, batch=batch, plain_epochs=plain, labels=labels, changed=changed, **columns, **SEEDS)
    return [*augmenting(data.augment, shape, needs), batches] if data.augment and needs["augment"] else [batches]


def splitting(experiment: Experiment, needs: Needs, reading: Reading) -> str:
    """Generate the code that creates the batches of training and validation."""
    data = experiment.data
    fractions = held_out(data)
    return written(
        SPLITS,
        needs,
        train=reading.call(data.train),
        validation=reading.call(data.validation),
        parts=", ".join(fractions),
        fractions=", ".join(map(literal, fractions.values())),
    )


def held_out(data: DataSpec) -> dict[str, float]:
    """Return the parts that are fractions of train, test first, so that it does not depend on validation."""
    return {role: part for role in ("test", "validation") if isinstance(part := getattr(data, role), float)}


def _sides(data: DataSpec) -> tuple[int, ...]:
    assert data.image_size and data.channels
    return (*data.image_size, data.channels)
