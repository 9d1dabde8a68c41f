"""Write a folder of classes with small PNG images: images.py FOLDER IMAGES CLASSES SIDE.

A few images are drawn; the others are links to them, since only their number matters.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image

MAX_LINKS = 500


def main() -> None:
    folder, (count, classes, side) = Path(sys.argv[1]), map(int, sys.argv[2:])
    generator = np.random.default_rng(0)
    drawn = folder / "drawn"
    drawn.mkdir(parents=True)
    for number in range(-(-count // MAX_LINKS)):
        pixels = generator.integers(0, 256, (side // 8, side // 8, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
        Image.fromarray(pixels).save(drawn / f"{number}.png")
    for number in range(classes):
        (folder / "train" / f"class {number}").mkdir(parents=True)
    for number in range(count):
        os.link(drawn / f"{number // MAX_LINKS}.png", folder / "train" / f"class {number % classes}" / f"{number}.png")


main()
