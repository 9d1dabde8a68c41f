"""`cnnctl init`: lists the example configs, copies one to start from, or writes one for a folder or file of images."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from cnnctl.errors import RunError, UsageError, suggestion
from cnnctl.files import refuse_output, write_whole
from cnnctl.report.console import Console
from cnnctl.surroundings import is_utf8, shell_word


def init(name: str | None, images: Path | None, output: Path | None, console: Console) -> None:
    """Lists the example configs, copies one into the current folder, or writes one that trains on some images.

    Args:
        name: of an example config; None lists them.
        images: a folder or file to write a config for; None for none.
        output: the file to write; None for the name of the config or of the images in the current folder.
        console: where to print.

    Raises:
        UsageError: there is no such config, no images that can be read, or the file exists already.
        DataError: the images cannot be read.
    """
    if images is not None:
        _init_from(name, images, output, console)
        return
    configs = ready_configs()
    if name is None:
        width = max(map(len, configs))
        console.result("\n".join(f"{each:<{width}}  {_headline(file)}" for each, file in configs.items()))
        console.say("Copy one with: cnnctl init NAME, or write one for your own images: cnnctl init --from PATH")
        return
    name = name.removesuffix(".yaml")
    if name not in configs:
        raise UsageError(f"there is no example config '{name}'{suggestion(name, configs)}; there are {', '.join(configs)}")
    target = output or Path(f"{name}.yaml")
    refuse_output(target, "--output")
    write_whole(target, configs[name].read_bytes())
    console.result(_what_next(target))


def _init_from(name: str | None, images: Path, output: Path | None, console: Console) -> None:
    if name is not None:
        raise UsageError(f"give the name of an example config, '{name}', or --from {images}, not both")
    if not is_utf8(str(images)):
        raise UsageError(f"{images} has bytes in its name that are not UTF-8, and a config is text in UTF-8; rename it")
    with console.working(f"looking at {images}"):
        from cnnctl.data.inspect.starter_config import config_for, target_of

        target = target_of(images, output)
        text = config_for(images)
    write_whole(target, text.encode())
    console.result(text + "\n" + _what_next(target))


def _what_next(target: Path) -> str:
    steps = {"Its layers:": "summary", "Its data:": "data", "Train it:": "train"}
    ready = f"{target} is ready.  "
    return "\n".join(
        f"{'' if number else ready:<{len(ready)}}{step:<13}cnnctl {verb} {shell_word(target)}"
        for number, (step, verb) in enumerate(steps.items())
    )


def ready_configs() -> dict[str, Traversable]:
    """Returns the example configs that come with cnnctl, by name."""
    packaged = files("cnnctl") / "configs"
    folder = packaged if packaged.is_dir() else files("cnnctl") / ".." / "configs"  # from a checkout
    if not folder.is_dir():
        raise RunError("the example configs are not part of this installation; install cnnctl again")
    found = (file for file in folder.iterdir() if file.name.endswith(".yaml"))
    return {file.name.removesuffix(".yaml"): file for file in sorted(found, key=lambda file: file.name)}


def _headline(file: Traversable) -> str:
    """Returns what the first comment line of a config says it shows."""
    first = file.read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix("#").strip()
