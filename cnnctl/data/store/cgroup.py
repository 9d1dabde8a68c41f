"""Read the memory limits of the Linux control groups of this process, such as a container, a Slurm job or a systemd slice."""

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
    try:
        groups = (process / "cgroup").read_text(errors="surrogateescape")
        mounts = (process / "mountinfo").read_text(errors="surrogateescape")
    except OSError:  # not Linux
        return []
    files = [file for mount in _mounts(mounts) for file in _limit_files(groups, *mount)]
    return [limit for file in files for limit in _limit(file)]


def _mounts(mountinfo: str) -> Iterator[tuple[str, str, str]]:
    """Yield, for each mount of memory control groups, the name of its limit file, its root group and its folder."""
    for line in mountinfo.splitlines():
        fields, _, described = line.partition(" - ")
        kind, _, options = described.partition(" ")
        root, folder = (_unescaped(field) for field in fields.split(" ")[3:5])
        if kind == "cgroup2":
            yield "memory.max", root, folder
        elif kind == "cgroup" and "memory" in options.split(" ")[-1].split(","):
            yield "memory.limit_in_bytes", root, folder


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)


def _limit_files(groups: str, name: str, root: str, folder: str) -> Iterator[Path]:
    """Yield the limit files of the process's group and its ancestors, up to the root of the mount."""
    for line in groups.splitlines():
        _, controllers, group = line.split(":", 2)
        version_2 = name == "memory.max"
        if (not controllers) if version_2 else "memory" in controllers.split(","):
            below = _below(PurePosixPath(group), PurePosixPath(root))
            yield from (Path(folder, each, name) for each in (below, *below.parents))


def _below(group: PurePosixPath, root: PurePosixPath) -> PurePosixPath:
    """Compute the path of a group below the root of the mount; empty where the group is outside, as in a container."""
    if ".." not in group.parts and group.is_relative_to(root):
        return group.relative_to(root)
    return PurePosixPath()


def _limit(file: Path) -> Iterator[int]:
    with contextlib.suppress(OSError, ValueError):  # `max` means no limit
        yield int(file.read_text())
