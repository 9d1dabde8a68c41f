"""Read the limits of the Linux control groups of this process, such as a container, a Slurm job or a systemd slice."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

OF_THIS_PROCESS = Path("/proc/self")


def memory_limits(process: Path = OF_THIS_PROCESS) -> list[int]:
    """Read the limits in bytes of a process's control group and of each ancestor; the lowest one counts.

    Args:
        process: its folder below /proc. `cgroup` names its groups, `mountinfo` their mounts (proc(5), cgroups(7)).
            Version 1 has a tree of groups for memory, version 2 one tree for all resources.
    """
    folders = _folders("memory", process)
    files = [folder / ("memory.max" if version_2 else "memory.limit_in_bytes") for folder, version_2 in folders]
    return [limit for file in files for limit in _limit(file)]


def cpu_limit(process: Path = OF_THIS_PROCESS) -> int | None:
    """Read how many cores the control groups of a process allow it to use at a time, at least 1; None for all.

    The quota is the CPU time in microseconds per period.
    """
    limits = [limit for folder, version_2 in _folders("cpu", process) for limit in _cores(folder, version_2)]
    return max(int(min(limits)), 1) if limits else None


def _cores(folder: Path, version_2: bool) -> Iterator[float]:
    with contextlib.suppress(OSError, ValueError):  # `max` means no limit
        names = ["cpu.max"] if version_2 else ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        quota, period = (int(number) for name in names for number in (folder / name).read_text().split())
        if quota > 0 and period > 0:  # -1 means no limit
            yield quota / period


def _folders(controller: str, process: Path) -> list[tuple[Path, bool]]:
    """List the folders of a process's control group and of its ancestors, each with True for version 2."""
    try:
        groups = (process / "cgroup").read_text(errors="surrogateescape")
        mounts = (process / "mountinfo").read_text(errors="surrogateescape")
    except OSError:  # not Linux
        return []
    found = [(each, place) for each in _mounts(controller, mounts) for place in _places(controller, groups, *each)]
    return [(place, version_2) for (version_2, _, _), place in found]


def _mounts(controller: str, mountinfo: str) -> Iterator[tuple[bool, str, str]]:
    """Yield, for each mount of control groups of a controller, True for version 2, its root group and its folder."""
    for line in mountinfo.splitlines():
        fields, _, described = line.partition(" - ")
        kind, _, options = described.partition(" ")
        root, folder = (_unescaped(field) for field in fields.split(" ")[3:5])
        if kind == "cgroup2":
            yield True, root, folder
        elif kind == "cgroup" and controller in options.split(" ")[-1].split(","):
            yield False, root, folder


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)


def _places(controller: str, groups: str, version_2: bool, root: str, folder: str) -> Iterator[Path]:
    """Yield the folders of the process's group and its ancestors, up to the root of the mount."""
    for line in groups.splitlines():
        _, controllers, group = line.split(":", 2)
        if (not controllers) if version_2 else controller in controllers.split(","):
            below = _below(PurePosixPath(group), PurePosixPath(root))
            yield from (Path(folder, each) for each in (below, *below.parents))


def _below(group: PurePosixPath, root: PurePosixPath) -> PurePosixPath:
    """Compute the path of a group below the root of the mount; empty where the group is outside, as in a container."""
    if ".." not in group.parts and group.is_relative_to(root):
        return group.relative_to(root)
    return PurePosixPath()


def _limit(file: Path) -> Iterator[int]:
    with contextlib.suppress(OSError, ValueError):  # `max` means no limit
        yield int(file.read_text())
