"""How much memory this machine has, and what would not fit into it; asked before anything is made."""

from __future__ import annotations

import contextlib
import os
from math import prod

from cnnctl.data.store.cgroup import memory_limits
from cnnctl.errors import DataError, counted
from cnnctl.spec.dataset import DataSpec

SHARE = 8
"""`memory: auto` keeps images that take at most an eighth of the memory: with the parts that are copied out of them and with
TensorFlow's own copies it was 4.6 times as much, measured by scripts/bench --memory."""
TOO_LARGE = "say data.memory: stream, give a smaller data.image_size, or read a part of the split"
"""What to do where images do not fit into memory."""
BYTES_PER_CLASS = 1_000
"""What the name of a class and its rows in tables take, roughly."""


def machine_memory() -> int | None:
    """Returns the bytes of memory that this process could have at most; None where the system does not say."""
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
    """Returns what to say where this machine has less than `needed` bytes, or an empty text; `what` begins the sentence."""
    has = machine_memory()
    if has is None or needed <= has:
        return ""
    return f"{what} {needed / 1e9:,.1f} GB, and this machine has {has / 1e9:,.1f} GB of memory"


def why_streamed(data: DataSpec, images: int) -> str:
    """Returns why the images of a checked config are read from disk batch by batch; empty where they are kept in memory.

    Args:
        data: of the config.
        images: in all splits that it names.
    """
    if data.memory != "auto":
        return "data.memory is stream" if data.memory == "stream" else ""
    needed, has = images * bytes_of_image(data), machine_memory()
    if has is None or needed * SHARE <= has:
        return ""
    return f"decoded they take {needed / 1e9:,.1f} GB, more than an eighth of the {has / 1e9:,.1f} GB of memory"


def bytes_of_image(data: DataSpec) -> int:
    """Returns the bytes of a decoded image of a checked config."""
    assert data.image_size and data.channels
    return prod((*data.image_size, data.channels))


def refuse_too_many_images(count: int, data: DataSpec, split: str) -> None:
    """Raises DataError where the images of a split, decoded, do not fit into memory.

    Parts that are drawn from a split are copied out of it.
    """
    drawn = any(part is not None and not isinstance(part, str) for part in (data.validation, data.test))
    told = too_much(
        count * bytes_of_image(data) * (2 if drawn else 1),
        images_take(count, data, split),
    )
    if told:
        raise DataError(f"{told}; {TOO_LARGE}")


def images_take(count: int, data: DataSpec, split: str) -> str:
    """Returns the begin of a sentence that says how much the decoded images of a split take."""
    size = "×".join(map(str, (*(data.image_size or ()), data.channels)))
    return f"the {counted(count, 'image')} of '{split}' {'takes' if count == 1 else 'take'}, as {size},"


def refuse_too_many_classes(data: DataSpec) -> None:
    """Raises DataError where there is not the memory to name so many classes."""
    told = too_much((data.classes or 0) * BYTES_PER_CLASS, f"data.classes is {data.classes:,}: to name them all takes")
    if told:
        raise DataError(f"{told}; give the number of classes that the data has")
