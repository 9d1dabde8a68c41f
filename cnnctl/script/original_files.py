"""Original files as code: IDX, npz, CSV, Matlab and Parquet, as read by `cnnctl.formats`.

The script is for the files of the config: it names their arrays and columns, and has only the steps that their shapes and
dtypes require.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnnctl.errors import UsageError
from cnnctl.script.array_files import Split, idx_split, idx_types, mat_split, npz_split
from cnnctl.script.expressions import Call, laid_out, literal
from cnnctl.script.image_code import arranged, helpers, image_values
from cnnctl.script.parquet_code import PARQUET, parquet_split
from cnnctl.script.reading_code import Reading, array_needs, base_needs
from cnnctl.script.table_files import CSV, table_needs, table_split, table_values
from cnnctl.script.template import Needs
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.found_files import open_originals
from cnnctl.spec.tfds_images import Images

if TYPE_CHECKING:
    from cnnctl.formats import Part

READ_IDX = '''
def read_idx(file):
    """Read the array of an IDX file: type, rank and shape come before the values."""
    content = file.read_bytes()
    if content[:2] == b"\\x1f\\x8b":  # it is compressed  #? gzip
        content = gzip.decompress(content)  #? gzip
    dtype, rank = $types[content[2]], content[3]
    shape = np.frombuffer(content, ">u4", rank, offset=4)
    return np.frombuffer(content, dtype, offset=4 + 4 * rank).reshape(shape)
'''

INSIDE = '''
def inside(variables, name):
    """Look up a variable of a Matlab file; dots separate fields of structs."""
    for each in name.split("."):
        variables = variables[each]
    return variables
'''

IDX = """
    images, labels = (read_idx(FOLDER / name) for name in FILES[split])
"""

NPZ = """
    file, *names = FILES[split]  #? !halves
    arrays = np.load(FOLDER / file, allow_pickle=False)  #? !halves
    images, labels = (arrays[name] for name in names)  #? !halves
    files = [np.load(FOLDER / name, allow_pickle=False) for name in FILES[split]]  #? halves
    images, labels = files  #? halves !zipped
    images, labels = (next(iter(file.values())) for file in files)  # each has one array  #? halves zipped
"""

MAT = """
    file, *names = FILES[split]
    variables = scipy.io.loadmat(FOLDER / file, simplify_cells=True)
    images, labels = (variables[name] for name in names)  #? !structs
    images, labels = (inside(variables, name) for name in names)  #? structs
"""

READ = '''
def read(split):
    """Read the images of a split, uint8 $shape, and their labels (N,)."""
OPENED
    images = np.moveaxis(images, -1, 0)  # images are along the last axis  #? images_last
    images = images.reshape(-1, $rows, $columns, $own_channels)  #? !channels_before
    images = images.reshape(-1, $own_channels, $rows, $columns).transpose(0, 2, 3, 1)  #? channels_before
    images = images.astype(np.uint8)  #? cast
    images = images.astype(np.uint8) * 255  #? bits
    images = np.stack([fit(image) for image in images])  #? fitted
    labels = labels.reshape(-1)  #? label_column
    labels = labels[:, 0]  # the class; the other columns have the origin of an image  #? first_label
    labels = labels.argmax(axis=1)  # they are one-hot  #? one_hot_labels
    labels = np.char.decode(labels, "utf-8")  #? label_bytes
    return images, labels  #? fitted label_names
    return images, labels.astype(int)  #? fitted !label_names
    return $arranged, labels  #? !fitted label_names
    return $arranged, labels.astype(int)  #? !fitted !label_names
'''

FILES = """
FOLDER = Path($folder)
$files
"""


def file_reading(data: DataSpec) -> Reading:
    """Choose how a script reads the original files of a checked config; raise as `reading_of` does."""
    parts = open_originals(data)
    used = {name: parts[name] for name in (data.train, data.validation, data.test) if isinstance(name, str)}
    read = {"csv": _csv, "parquet": _parquet}
    return read.get(data.source, _arrays)(data, used)


def _refuse_different(data: DataSpec, facts: Mapping[str, object]) -> None:
    """Raise UsageError if the splits of a dataset have different layouts."""
    first, *others = facts
    for split in others:
        if facts[split] != facts[first]:
            raise UsageError(
                f"{data.path}: a short script reads all splits by the same code, but '{first}' has {facts[first]} and '{split}' "
                f"has {facts[split]}; store them alike, or hold fractions of '{first}' out"
            )


def _files(folder: Path, names: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the template values of FILES: the files and arrays of each split."""
    lines = [line for split, each in names.items() for line in _entry(f"    {literal(split)}: ", each)]
    return {"folder": literal(str(folder)), "files": "\n".join(["FILES = {", *lines, "}"])}


def _entry(head: str, names: Sequence[str]) -> list[str]:
    if len(names) == 1:
        return [f"{head}{literal(names[0])},"]
    return laid_out(head, Call("", tuple(map(literal, names))), ",")


# arrays


def _arrays(data: DataSpec, parts: Mapping[str, Part]) -> Reading:
    look = {"idx": idx_split, "npz": npz_split, "mat": mat_split}[data.source]
    splits = {name: look(data, part) for name, part in parts.items()}
    opened = {"idx": IDX, "npz": NPZ, "mat": MAT}[data.source]
    values = {"types": idx_types([*parts.values()])} if data.source == "idx" else {}
    return _array_reading(data, parts, splits, opened, {}, values)


def _csv(data: DataSpec, parts: Mapping[str, Part]) -> Reading:
    tables = {name: table_split(data, part) for name, part in parts.items()}
    _refuse_different(data, {name: each.table for name, each in tables.items()})
    splits = {name: each.split for name, each in tables.items()}
    return _array_reading(data, parts, splits, CSV, table_needs([*tables.values()]), table_values([*tables.values()]))


def _array_reading(
    data: DataSpec,
    parts: Mapping[str, Part],
    splits: Mapping[str, Split],
    opened: str,
    more: Needs,
    values: Mapping[str, object],
) -> Reading:
    """Describe how arrays are read, for any format of their files.

    Args:
        data: the data section of a checked config.
        parts: its splits by name.
        splits: their sources.
        opened: the lines that read arrays of images and labels from a file.
        more: the template flags of these lines.
        values: the template values of these lines.
    """
    _refuse_different(data, {name: split.stored for name, split in splits.items()})
    needs = {**base_needs(data), **_array_needs(data, [*splits.values()]), **more}
    stored, values = splits[data.train].stored, {**image_values(data), **values}
    values |= {"rows": stored.rows, "columns": stored.columns, "own_channels": stored.channels}
    values |= _files(parts[data.train].files[0].parent, {name: split.names for name, split in splits.items()})
    values["arranged"] = arranged("images", needs, values["white"])
    openers = [*([READ_IDX] if data.source == "idx" else []), *([INSIDE] if needs["structs"] else [])]
    read = READ.replace("OPENED", opened.strip("\n"))
    return Reading((*helpers(needs), *openers, read, FILES), needs, values)


def _array_needs(data: DataSpec, splits: Sequence[Split]) -> dict[str, bool]:
    stored, words = splits[0].stored, {word for split in splits for word in split.needs}
    sides = (stored.columns, stored.rows) if data.transpose else (stored.rows, stored.columns)
    white = data.pixel_max is not None and not stored.bits  # booleans are already black and white
    return {
        **array_needs(data, Images(*sides, stored.channels)),
        **{word: word in words for word in ("gzip", "halves", "zipped", "structs", "label_column")},
        "channels_before": stored.channels_before,
        "images_last": stored.images_last,
        "bits": stored.bits,
        "white": white,
        "cast": not white and not stored.bits and any(str(split.dtype) != "uint8" for split in splits),
        "not_finite": any(split.dtype.kind == "f" for split in splits),
        "first_label": stored.labels == "first",
        "one_hot_labels": stored.labels == "one-hot",
        "label_bytes": stored.labels == "bytes",
        **_names_needs(data, stored.labels in ("names", "bytes")),
    }


def _names_needs(data: DataSpec, names: bool) -> dict[str, bool]:
    """Return the template flags for labels that are class names, which are numbered like labels with gaps."""
    return {"label_names": names, "remap_labels": data.remap_labels or names}


# Parquet


def _parquet(data: DataSpec, parts: Mapping[str, Part]) -> Reading:
    folder = Path(str(data.path)) if Path(str(data.path)).is_dir() else Path(str(data.path)).parent
    splits = {name: parquet_split(data, part, folder) for name, part in parts.items()}
    _refuse_different(data, {name: split.columns for name, split in splits.items()})
    columns = splits[data.train].columns
    own = {"image_files": True, "converted": True, "not_finite": True, "structs": columns.structs}
    needs = {**base_needs(data), **own, **_names_needs(data, columns.names)}
    values = {**image_values(data), "image": literal(columns.image), "label": literal(columns.label)}
    values |= _files(folder, {name: (split.pattern,) for name, split in splits.items()})
    return Reading((*helpers(needs), PARQUET, FILES), needs, values)
