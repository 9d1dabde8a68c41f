"""`cnnctl init`: list the example configs, copy one, or write one for a folder or file of images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from cnnctl.errors import RunError, UsageError, suggestion
from cnnctl.files import refuse_output, write_whole
from cnnctl.report.console import Console
from cnnctl.report.text import printable
from cnnctl.spec.layers.custom import FLAG
from cnnctl.surroundings import is_utf8, shell_word


def init(name: str | None, images: Path | None, output: Path | None, console: Console) -> None:
    """List the example configs, copy one into the current folder, or write one for the user's images.

    Args:
        name: an example config; None lists all.
        images: a folder or file to write a config for, or None.
        output: the file to write; None for a name like the config or the images, in the current folder.
        console: prints results and messages.

    Raises:
        UsageError: there is no such config or no readable image, or the file exists already.
        DataError: the images cannot be read.
    """
    if images is not None:
        _init_from(name, images, output, console)
        return
    configs = example_configs()
    if name is None:
        width = max(map(len, configs))
        console.result("\n".join(f"{each:<{width}}  {_headline(file)}" for each, file in configs.items()))
        console.say("Copy one: cnnctl init NAME. Write one for your own images: cnnctl init --from PATH")
        return
    name = name.removesuffix(".yaml")
    if name not in configs:
        raise UsageError(
            f"there is no example config '{name}'{suggestion(name, configs)}; expected one of {', '.join(configs)}"
        )
    target = output or Path(f"{name}.yaml")
    refuse_output(target, "--output")
    layers = _layers_beside(configs[name], target)
    write_whole(target, configs[name].read_bytes())
    console.result(_what_next(target, layers))


def _layers_beside(config: Traversable, target: Path) -> list[str]:
    """Copy the file of layers that an example config needs beside the copy; return the words of its option.

    Raises:
        UsageError: there is another file of this name.
    """
    match = re.search(rf"{FLAG} configs/(\w+\.py)", config.read_text(encoding="utf-8"))
    if match is None:
        return []
    source, copy = _example_folder() / match[1], target.parent / match[1]
    if not (copy.is_file() and copy.read_bytes() == source.read_bytes()):
        refuse_output(copy, "--output")
        write_whole(copy, source.read_bytes())
    return [FLAG, str(copy)]


def _init_from(name: str | None, images: Path, output: Path | None, console: Console) -> None:
    if name is not None:
        raise UsageError(f"NAME and --from exclude each other; received '{name}' and --from {images}")
    if not is_utf8(str(images)):
        raise UsageError(f"{images} has a name that is not UTF-8, which a config cannot contain; rename it")
    with console.working(f"inspecting {images}"):
        from cnnctl.data.inspect.starter_config import config_for, target_of

        target = target_of(images, output)
        text = config_for(images)
    write_whole(target, text.encode())
    console.result(text + "\n" + _what_next(target))


def _what_next(target: Path, options: Sequence[str] = ()) -> str:
    steps = {"Its layers:": "summary", "Its data:": "data", "Train it:": "train"}
    ready = f"{printable(str(target))} is ready.  "
    return "\n".join(
        f"{'' if number else ready:<{len(ready)}}{step:<13}cnnctl {verb} {' '.join(map(shell_word, [target, *options]))}"
        for number, (step, verb) in enumerate(steps.items())
    )


def example_configs() -> dict[str, Traversable]:
    """Find the example configs of this installation, by name."""
    folder = _example_folder()
    if not folder.is_dir():
        raise RunError("this installation has no example configs; reinstall cnnctl")
    found = (file for file in folder.iterdir() if file.name.endswith(".yaml"))
    return {file.name.removesuffix(".yaml"): file for file in sorted(found, key=lambda file: file.name)}


def _example_folder() -> Traversable:
    packaged = files("cnnctl") / "configs"
    return packaged if packaged.is_dir() else files("cnnctl") / ".." / "configs"  # from a checkout


def _headline(file: Traversable) -> str:
    """Read the first comment line of a config, which describes it."""
    first = file.read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix("#").strip()
