"""Read the bundled digits, which need no download."""

from __future__ import annotations

import hashlib

import numpy as np

from cnnctl.data.image_set import ImageSet, Labels, Source, decoded_at_once, image_options
from cnnctl.data.images import fit_array
from cnnctl.data.store.image_store import ImageStore
from cnnctl.data.store.stream import Blocks
from cnnctl.spec.dataset import DataSpec


class DigitsSource(Source):
    """scikit-learn's 1,797 digits of 8×8 pixels."""

    def __init__(self, data: DataSpec) -> None:
        from sklearn.datasets import load_digits

        digits = load_digits()
        self._data = data
        self._pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
        self._labels: Labels = digits.target.astype(np.int64)
        self.class_names = [str(name) for name in digits.target_names]
        self.notes = []
        self._store = ImageStore(data, lambda _: len(self._labels), self.notes)

    def _decoded(self) -> Blocks:
        at_once = decoded_at_once(self._data)
        for start in range(0, len(self._pixels), at_once):
            yield fit_array(self._pixels[start : start + at_once], self._data)
        return {}

    def read(self, split: str) -> ImageSet:
        options = {"source": "digits", "content": hashlib.sha256(self._pixels.data).hexdigest(), **image_options(self._data)}
        images, _ = self._store.images(self._data.train, options, None, self._decoded, others=[""])
        return ImageSet(images, self._labels, ((8, 8), (8, 8)))

    def labels(self, split: str) -> Labels:
        return self._labels
