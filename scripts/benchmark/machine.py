"""The machine and versions that the figures were measured with."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
"""Features of x86 CPUs that decide how fast they multiply matrices."""
PACKAGES = ("cnnctl", "tensorflow", "keras", "numpy")
TORCH_PACKAGES = ("torch", "lightning")
"""Packages of the extra `bench`; a contender is named after each."""
ASK_VERSIONS = """
import importlib.metadata, json, sys
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""


def machine(torch_versions: dict[str, str | None]) -> dict[str, Any]:
    """Describe CPU, usable cores, memory in bytes, system and versions."""
    info = _cpuinfo()
    return {
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu_flags": [flag for flag in FLAGS if flag in info.get("flags", "").split()],
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {**{name: _version(name) for name in PACKAGES}, **torch_versions},
    }


def _cpuinfo() -> dict[str, str]:
    """Read the description of the first CPU on Linux; empty on other systems."""
    try:
        first = Path("/proc/cpuinfo").read_text(errors="replace").partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions_in(python: str) -> dict[str, str | None]:
    """Look up the versions of the torch packages of an interpreter; None for those not installed.

    Raises:
        OSError: it cannot be started, or is not Python.
    """
    command = [python, "-c", ASK_VERSIONS, *TORCH_PACKAGES]
    variables = {name: value for name, value in os.environ.items() if python == sys.executable or name != "PYTHONPATH"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=variables)
        versions: dict[str, str | None] = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        raise OSError(f"{python} does not work as a Python interpreter") from error
    return versions
