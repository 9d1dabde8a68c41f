"""Measure the memory of this machine, and refuse what does not fit before anything is allocated."""

from __future__ import annotations

import contextlib
import os
from math import prod

from cnnctl.data.store.cgroup import memory_limits
from cnnctl.errors import DataError, counted
from cnnctl.spec.dataset import DataSpec

SHARE = 8
"""`memory: auto` holds images of at most an eighth of the memory. Training took 4.6 times the memory of the images, measured by
scripts/bench --memory before the splits and TensorFlow shared them."""
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
    if has is None or needed * SHARE <= has:
        return ""
    return f"decoded they take {needed / 1e9:,.1f} GB, more than an eighth of the {has / 1e9:,.1f} GB of memory"


def bytes_of_image(data: DataSpec) -> int:
    """Compute the bytes of a decoded image of a checked config."""
    assert data.image_size and data.channels
    return prod((*data.image_size, data.channels))


def refuse_too_many_images(count: int, data: DataSpec, split: str) -> None:
    """Raise DataError where the decoded images of a split do not fit into memory.

    A part that is held out of a split is a copy.
    """
    drawn = any(part is not None and not isinstance(part, str) for part in (data.validation, data.test))
    reason = too_much(count * bytes_of_image(data) * (2 if drawn else 1), images_take(count, data, split))
    if reason:
        raise DataError(f"{reason}; {TOO_LARGE}")


def images_take(count: int, data: DataSpec, split: str) -> str:
    """Write the start of a sentence on the memory of the decoded images of a split."""
    size = "×".join(map(str, (*(data.image_size or ()), data.channels)))
    return f"the {counted(count, 'image')} of '{split}' {'takes' if count == 1 else 'take'}, as {size},"


def refuse_too_many_classes(data: DataSpec) -> None:
    """Raise DataError where there is not enough memory to name all classes."""
    reason = too_much((data.classes or 0) * BYTES_PER_CLASS, f"data.classes is {data.classes:,}: their names take")
    if reason:
        raise DataError(f"{reason}; set the number of classes of the data")
