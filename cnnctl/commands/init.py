"""`cnnctl init`: lists the ready configs, or copies one to start from."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from cnnctl.errors import RunError, UsageError
from cnnctl.files import write_whole
from cnnctl.report.console import Console
from cnnctl.spec.section import suggestion


def init(name: str | None, console: Console) -> None:
    """Lists the ready configs, or copies one into the current folder.

    Args:
        name: of a ready config; None lists them.
        console: where to print.

    Raises:
        UsageError: there is no such config, or a file of that name is here already.
    """
    configs = ready_configs()
    if name is None:
        width = max(map(len, configs))
        console.result("\n".join(f"{each:<{width}}  {_headline(file)}" for each, file in configs.items()))
        console.say("Copy one with: cnnctl init NAME")
        return
    name = name.removesuffix(".yaml")
    if name not in configs:
        raise UsageError(f"there is no ready config '{name}'{suggestion(name, configs)}; there are {', '.join(configs)}")
    target = Path(f"{name}.yaml")
    if target.exists():
        raise UsageError(f"{target} is here already, and nothing is written over")
    write_whole(target, configs[name].read_bytes())
    console.result(_what_next(target))


def _what_next(target: Path) -> str:
    steps = {"Its layers:": "summary", "Its data:": "data", "Train it:": "train"}
    ready = f"{target} is ready.  "
    return "\n".join(
        f"{'' if number else ready:<{len(ready)}}{step:<13}cnnctl {verb} {target}"
        for number, (step, verb) in enumerate(steps.items())
    )


def ready_configs() -> dict[str, Traversable]:
    """Returns the configs that come with cnnctl, by name."""
    packaged = files("cnnctl") / "configs"
    folder = packaged if packaged.is_dir() else files("cnnctl") / ".." / "configs"  # from a checkout
    if not folder.is_dir():
        raise RunError("the ready configs are not part of this installation; install cnnctl again")
    found = (file for file in folder.iterdir() if file.name.endswith(".yaml"))
    return {file.name.removesuffix(".yaml"): file for file in sorted(found, key=lambda file: file.name)}


def _headline(file: Traversable) -> str:
    """Returns what the first comment line of a config says it shows."""
    first = file.read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix("#").strip()
