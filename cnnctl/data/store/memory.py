"""Measure the memory of this machine, and refuse what does not fit before anything is allocated."""

from __future__ import annotations

import contextlib
import os
from math import prod

from cnnctl.data.store.cgroup import memory_limits
from cnnctl.errors import DataError, counted
from cnnctl.spec.dataset import DataSpec

SHARE, SHARE_OF_CLASSES = 4, 8
"""`memory: auto` holds images of at most a quarter of the memory, or an eighth where splits share no class.

A training takes 0.3 GB, the memory of its images, and that of the copies in `copied_part`, so at most half of the memory besides the
network. Measured by scripts/bench --memory: of 2.0 GB of images 10 % and 10 % are held out, and the peak is 2.8 GB. Few-shot tasks may
also copy images to rotate and reflect them.
"""
TOO_LARGE = "write data.memory: stream or a smaller data.image_size, or read part of the split"
"""Advice where images do not fit into memory."""
BYTES_PER_CLASS = 1_000
"""Rough memory of the name of a class and its rows in tables."""


def machine_memory() -> int | None:
    """Find the maximum memory in bytes of this process; None where the system does not report it."""
    limits: list[int] = []
    with contextlib.suppress(AttributeError, ValueError, OSError):  # Windows has no sysconf
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    limits += memory_limits()
    with contextlib.suppress(ImportError, AttributeError):  # not every system has all of them
        import resource

        for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
            limit, _ = resource.getrlimit(kind)
            limits += [limit] if limit != resource.RLIM_INFINITY else []
    return min((limit for limit in limits if limit > 0), default=None)


def too_much(needed: int, what: str) -> str:
    """Return a message that starts with `what` where this machine has less than `needed` bytes, else an empty text."""
    has = machine_memory()
    if has is None or needed <= has:
        return ""
    return f"{what} {needed / 1e9:,.1f} GB, but this machine has {has / 1e9:,.1f} GB of memory"


def why_streamed(data: DataSpec, images: int) -> str:
    """Explain why the images of a checked config are streamed from disk; empty where they are kept in memory.

    Args:
        data: a checked config.
        images: number of images in all its splits.
    """
    if data.memory != "auto":
        return "data.memory is stream" if data.memory == "stream" else ""
    needed, has = images * bytes_of_image(data), machine_memory()
    share, named = (SHARE_OF_CLASSES, "an eighth") if data.holds_out_classes else (SHARE, "a quarter")
    if has is None or needed * share <= has:
        return ""
    return f"decoded they take {needed / 1e9:,.1f} GB, more than {named} of the {has / 1e9:,.1f} GB of memory"


def bytes_of_image(data: DataSpec) -> int:
    """Compute the bytes of a decoded image of a checked config."""
    assert data.image_size and data.channels
    return prod((*data.image_size, data.channels))


def refuse_too_many_images(count: int, data: DataSpec, split: str) -> None:
    """Raise DataError where the decoded images of a split do not fit into memory, with the copies made of them."""
    needed = int(count * bytes_of_image(data) * (1 + copied_part(data, split)))
    if reason := too_much(needed, images_take(count, data, split)):
        raise DataError(f"{reason}; {TOO_LARGE}")


def copied_part(data: DataSpec, split: str) -> float:
    """Compute which part of the images of a split is copied while all of them are in memory.

    Images that are held out are copied; the others move together in place. Splits that share no class are all copies.
    """
    if data.holds_out_classes:
        return 1
    held_out = (part for part in (data.validation, data.test) if isinstance(part, float))
    return sum(held_out) if split == data.train else 0


def images_take(count: int, data: DataSpec, split: str) -> str:
    """Write the start of a sentence on the memory of the decoded images of a split."""
    size = "×".join(map(str, (*(data.image_size or ()), data.channels)))
    return f"the {counted(count, 'image')} of '{split}' {'takes' if count == 1 else 'take'}, as {size},"


def refuse_too_many_classes(data: DataSpec) -> None:
    """Raise DataError where there is not enough memory to name all classes."""
    reason = too_much((data.classes or 0) * BYTES_PER_CLASS, f"data.classes is {data.classes:,}: their names take")
    if reason:
        raise DataError(f"{reason}; set the number of classes of the data")
