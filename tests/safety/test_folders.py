"""Folders of images whose links lead elsewhere and whose names are made to trouble a terminal."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.safety.conftest import Command, config_of, raw_controls
from tests.safety.hostile import digits_in_folders

STRANGE = [
    "\x1b[2J\x1b[31mred",  # clears the screen
    "line\nbreak\r\ttab",
    "bell\x07back\x08del\x7f",
    "c1\x9b31m\x85\x90",
    "\u202egnp.exe\u2066\u2069\u200f",  # written from right to left
    "separators\u2028\u2029\u200b\ufeff",
    os.fsdecode(b"bytes\xff\xfe\x80"),  # no UTF-8
    "|pipe|`code`*star*[link](x)<b>",
    "{braces} %s %n $HOME $(reboot) `x`",
    "'quote\" \\ back",
    "=1+1",
    "-rf",
    "x..",
    "~root",
    "ünïcödé 数字 🎲",
    "x" * 240,
]
"""Names of classes; what of them a terminal acts on must never reach it."""


def folder_config(root: Path, file: Path, **data: Any) -> Path:
    file.write_text(config_of({"source": "folder", "path": str(root), **data}))
    return file


# links


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return digits_in_folders(tmp_path / "images" / "train", ["a", "b"], 4).parent


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Images that no config names."""
    return digits_in_folders(tmp_path / "outside" / "train", ["secret"], 4).parents[0]


def image(root: Path, outside: Path) -> Path:
    link = root / "train" / "a" / "link.png"
    link.symlink_to(outside / "train" / "secret" / "0.png")
    return link


def relative_image(root: Path, outside: Path) -> Path:
    link = root / "train" / "a" / "0.jpeg"
    link.symlink_to("../../../outside/train/secret/0.png")
    return link


def text(root: Path, outside: Path) -> Path:
    link = root / "train" / "a" / "-.bmp"  # the first of all images: `summary` looks at that one alone
    link.symlink_to("/etc/passwd")
    return link


def class_folder(root: Path, outside: Path) -> Path:
    link = root / "train" / "c"
    link.symlink_to(outside / "train" / "secret")
    return link


def split(root: Path, outside: Path) -> Path:
    shutil.rmtree(root / "train")
    (root / "train").symlink_to(outside / "train")
    return root / "train"


def by_way_of_another(root: Path, outside: Path) -> Path:
    (root / "train" / "a" / "step").symlink_to(outside / "train" / "secret" / "1.png")
    (root / "train" / "a" / "link.png").symlink_to("step")
    return root / "train" / "a" / "link.png"


def device(root: Path, outside: Path) -> Path:
    (root / "train" / "a" / "zero.png").symlink_to("/dev/zero")
    return root / "train" / "a" / "zero.png"


def neighbour_with_a_longer_name(root: Path, outside: Path) -> Path:
    shutil.copytree(root, root.with_name("images2"))
    (root / "train" / "a" / "link.png").symlink_to("../../../images2/train/a/0.png")
    return root / "train" / "a" / "link.png"


LEADING_AWAY: list[Callable[[Path, Path], Path]] = [
    image,
    relative_image,
    text,
    class_folder,
    split,
    by_way_of_another,
    device,
    neighbour_with_a_longer_name,
]


@pytest.mark.parametrize("make", LEADING_AWAY)
@pytest.mark.parametrize("verb", ["summary", "data", "train", "verify"])
def test_a_link_that_leads_out_of_the_folder_is_refused(
    verb: str, make: Callable[[Path, Path], Path], images: Path, outside: Path, tmp_path: Path, command: Command
) -> None:
    """With its name, where it leads and what to do; and nothing of what lies there is read."""
    link = make(images, outside)
    read_at = os.stat(os.path.realpath(link)).st_atime_ns
    said = {"image_size": [8, 8], "channels": 1, "classes": 2, "test": 0.2} if verb != "summary" else {}
    config = folder_config(images, tmp_path / "x.yaml", **said)
    printed = command(verb, config, *(["--run-dir", tmp_path / "new"] if verb == "train" else [])).refusal()
    wanted = (
        f"'{link}' cannot be read: it leads to {os.path.realpath(link)}, out of {images}; "
        "put a copy in its place, remove it, or write data.follow_links: true"
    )
    assert wanted in printed.splitlines()[-1]
    assert printed.count(wanted) == 1
    assert os.stat(os.path.realpath(link)).st_atime_ns == read_at
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("make", [image, relative_image, text, class_folder, by_way_of_another, device])
@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_the_same_in_other_images_of_a_run(
    verb: str, make: Callable[[Path, Path], Path], images: Path, outside: Path, run: Path, command: Command
) -> None:
    link = make(images, outside)
    for old, new in (("a", "0"), ("b", "1")):
        (images / "train" / old).rename(images / "train" / new)
    if verb == "predict" and make is class_folder:
        assert command("predict", run, images, "--format", "json").code == 0  # what lies below a link is not looked for
        return
    printed = command(verb, run, *(["--data", images / "train"] if verb == "evaluate" else [images])).refusal()
    assert f"{link.name}" in printed
    assert "it leads to " in printed


@pytest.mark.parametrize("verb", ["data", "train"])
def test_links_that_stay_inside_are_followed(verb: str, images: Path, tmp_path: Path, command: Command) -> None:
    (images / "pool").mkdir()
    (images / "train" / "a" / "0.png").rename(images / "pool" / "0.png")
    (images / "train" / "a" / "0.png").symlink_to("../../pool/0.png")
    (images / "train" / "c").symlink_to(images / "train" / "b")
    (tmp_path / "link").symlink_to(images)  # and the folder itself may be anywhere
    config = folder_config(tmp_path / "link", tmp_path / "x.yaml")
    printed = command(verb, config, *(["--run-dir", tmp_path / "new"] if verb == "train" else ["--format", "json"]))
    assert printed.code == 0, printed.err
    if verb == "data":
        facts = json.loads(printed.out)
        assert [each["name"] for each in facts["classes"]] == ["a", "b", "c"]
        assert sum(each["images"] for each in facts["splits"].values()) == 12


@pytest.mark.parametrize(
    ("name", "target", "reason"),
    [
        ("a/broken.png", "nowhere", "No such file or directory"),
        ("a/itself.png", "itself.png", "Too many levels of symbolic links"),
        ("c", "c", "Too many levels of symbolic links"),
    ],
)
def test_links_that_lead_nowhere_are_named(
    name: str, target: str, reason: str, images: Path, tmp_path: Path, command: Command
) -> None:
    (images / "train" / name).symlink_to(target)
    printed = command("data", folder_config(images, tmp_path / "x.yaml")).refusal()
    assert f"'{images / 'train' / name}' cannot be read: {reason}" in printed


@pytest.mark.parametrize("target", [".", "..", "../.."])
def test_a_circle_of_folders_ends(target: str, images: Path, tmp_path: Path, command: Command) -> None:
    (images / "train" / "a" / "circle").symlink_to(target)
    (images / "train" / "circle").symlink_to(target if target != "../.." else "..")
    printed = command("data", folder_config(images, tmp_path / "x.yaml"), "--format", "json")
    assert printed.code == 0, printed.err
    assert [each["name"] for each in json.loads(printed.out)["classes"]] == ["a", "b"]


def test_links_that_are_no_images_are_nobodys_business(images: Path, tmp_path: Path, command: Command) -> None:
    (images / "README").symlink_to("/etc/passwd")
    (images / "train" / "notes.txt").symlink_to("/etc/passwd")
    (images / "train" / "a" / "notes.txt").symlink_to("/etc/passwd")
    (images / "train" / "a" / ".hidden.png").symlink_to("/etc/passwd")
    (images / "train" / ".hidden").symlink_to("/etc")
    assert command("data", folder_config(images, tmp_path / "x.yaml")).code == 0


def test_a_split_is_a_folder_of_the_set(images: Path, outside: Path, tmp_path: Path, command: Command) -> None:
    config = folder_config(images, tmp_path / "x.yaml", train="../outside/train", test=0.2)
    digits_in_folders(outside / "train", ["more"], 4)
    assert f"it leads to {outside / 'train'}, out of {images}" in command("data", config).refusal()


def test_regular_files_are_listed_without_being_asked_for(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One call for a folder and none for a file, so that a set of many files is found fast."""
    from cnnctl.spec.listing import listed

    asked: list[str] = []

    def asking(ask: Callable[..., Any]) -> Callable[..., Any]:
        def asked_for(path: Any, *rest: Any, **more: Any) -> Any:
            asked.append(str(path))
            return ask(path, *rest, **more)

        return asked_for

    for name in ("stat", "lstat"):
        monkeypatch.setattr(os, name, asking(getattr(os, name)))
    assert len(listed(images).images) == 8
    assert [path for path in asked if path.endswith(".png")] == []


# names


@pytest.fixture(scope="session")
def strange_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with strange classes in a folder with a strange name, and a run that is trained on it."""
    from cnnctl.commands.train import train
    from cnnctl.report.console import Console

    root = tmp_path_factory.mktemp("strange") / "\x1b[2Jda\nta"
    root.mkdir()
    digits_in_folders(root / "train", STRANGE, 4)
    shutil.copy(root / "train" / STRANGE[0] / "0.png", root / "train" / STRANGE[0] / "\x1b]0;title\x07\n.png")
    shutil.copy(root / "train" / STRANGE[0] / "0.png", root / "train" / STRANGE[1] / os.fsdecode(b"\xff.png"))
    config = folder_config(root, root / "\x1b[31mx\n.yaml")
    config.write_text(config.read_text().replace("tensorboard: false", "tensorboard: true"))
    run = root / "\x1b[1mrun\n"
    train(config, [], run, None, "cpu", Console(quiet=True), verbose=True)
    return run


def test_a_run_keeps_the_names_as_they_are(strange_run: Path) -> None:
    assert json.loads((strange_run / "environment.json").read_text())["class_names"] == sorted(STRANGE)


SHOWN = {
    "summary": ("summary", "{config}"),
    "data": ("data", "{config}"),
    "evaluate": ("evaluate", "{run}"),
    "evaluate train": ("evaluate", "{run}", "--split", "train"),
    "evaluate elsewhere": ("evaluate", "{run}", "--data", "{images}"),
    "predict": ("predict", "{run}", "{images}"),
    "predict all": ("predict", "{run}", "{images}", "--top", "16"),
    "runs": ("runs", "{root}"),
}
FORMS = [
    *((name, form) for name in SHOWN for form in ("table", "json", "markdown")),
    *(("export", form) for form in ("table", "json")),
]


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_no_name_reaches_the_terminal_as_it_is(
    name: str, form: str, strange_run: Path, tmp_path: Path, command: Command
) -> None:
    """`command` looks through all that is printed; JSON stays JSON, and a table keeps a line a row."""
    root = strange_run.parent
    exported = ("export", "{run}", "--to", "keras", "--output", str(tmp_path / f"{form}.keras"))
    arguments = {**SHOWN, "export": exported}[name]
    places = {"config": root / "\x1b[31mx\n.yaml", "run": strange_run, "images": root / "train", "root": root}
    output = command(*(each.format(**places) for each in arguments), "--format", form)
    assert output.code == 0, output.err
    if form == "json":
        json.loads(output.out)
    if form == "markdown" and name != "summary":
        tables = [line for line in output.out.splitlines() if line.startswith("|")]
        assert tables and all(line.endswith("|") for line in tables)


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "{config}", "--run-dir", "{run}"),
        ("train", "--resume", "{run}"),
        ("train", "{config}", "--set", "data.classes=3"),
        ("data", "{config}", "--set", "data.path={root}/nowhere"),
        ("data", "{config}", "--output", "{root}/nowhere/x.png"),
        ("data", "{config}", "--set", "data.test=\x1b[2J"),
        ("evaluate", "{run}", "--data", "{root}"),
        ("evaluate", "{run}", "--data", "{root}/\x1b[2J"),
        ("evaluate", "{root}"),
        ("predict", "{run}", "{root}/\x1b[2J\n.png"),
        ("predict", "{run}", "{config}"),
        ("predict", "{root}\x1b[2J", "{config}"),
        ("runs", "{root}/\x1b[2J"),
        ("runs", "{root}", "--sort", "\x1b[2J"),
        ("runs", "{root}", "--filter", "\x1b[2J=1"),
        ("export", "{run}", "--to", "keras", "--output", "{root}/\x1b[2J"),
        ("export", "{run}", "--to", "keras", "--output", "{config}"),
        ("one-shot", "{run}", "{root}"),
        ("summary", "{root}/\x1b[2J"),
        ("code", "{root}/\x1b[2J"),
        ("init", "\x1b[2J"),
    ],
    ids=lambda arguments: ascii(" ".join(each for each in arguments if not each.startswith("{")))[1:-1],
)
def test_no_name_reaches_the_terminal_by_a_message(arguments: tuple[str, ...], strange_run: Path, command: Command) -> None:
    root = strange_run.parent
    places = {"config": root / "\x1b[31mx\n.yaml", "run": strange_run, "images": root / "train", "root": root}
    printed = command(*(each.format(**places) for each in arguments))
    assert "Traceback" not in printed.err
    assert printed.code in (1, 2) or "--resume" in arguments
    assert printed.err.strip()


def test_pictures_are_drawn_whatever_the_names(strange_run: Path, tmp_path: Path, command: Command) -> None:
    root = strange_run.parent
    assert command("data", root / "\x1b[31mx\n.yaml", "--output", tmp_path / "\x1b[2J.png").code == 0
    assert command("predict", strange_run, root / "train", "--saliency", tmp_path / "s\n.png").code == 0
    for file in (tmp_path / "\x1b[2J.png", tmp_path / "s\n.png", strange_run / "evaluation" / "test.png"):
        assert file.read_bytes().startswith(b"\x89PNG"), file


def test_tensorboard_gets_no_control_characters(strange_run: Path) -> None:
    import tensorflow as tf
    from tensorboard.compat.proto.event_pb2 import Event

    texts = []
    for file in strange_run.rglob("*tfevents*"):
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            for value in Event.FromString(record).summary.value:
                texts += [part.decode() for part in value.tensor.string_val if value.metadata.plugin_data.plugin_name == "text"]
                texts.append(value.tag)
    assert len(texts) > 10
    assert [text for text in texts if raw_controls(text)] == []
