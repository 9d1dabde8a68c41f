"""Read the images of a config as cnnctl does, and write them for the plain scripts: prepare.py CONFIG OUT.npz."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from cnnctl.data.splits import read_splits
from cnnctl.errors import CnnctlError
from cnnctl.spec.load import load
from cnnctl.train.quiet import import_tensorflow


def main() -> None:
    import_tensorflow()
    splits = read_splits(load(Path(sys.argv[1])).data)
    assert splits.validation is not None
    sets = {"train": splits.train, "validation": splits.validation, "test": splits.read_test()}
    images = {f"{part}_images": each.images[:] for part, each in sets.items()}
    labels = {f"{part}_labels": each.labels for part, each in sets.items()}
    np.savez(sys.argv[2], **images, **labels)
    print(json.dumps({part: len(each) for part, each in sets.items()}))


try:
    main()
except CnnctlError as error:
    sys.exit(str(error))
