"""Decoding with several processes: the same arrays and messages as with one, and nothing that stays behind."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cnnctl.data import decoding, decoding_pool
from cnnctl.data.decoding import Decoder
from cnnctl.data.decoding_pool import blocks_of, in_order
from cnnctl.data.decoding_process import READY
from cnnctl.data.images import Fitting
from cnnctl.data.inputs import Inputs
from cnnctl.data.inspect.originals import thumbnail
from cnnctl.data.sources.opening import open_source
from cnnctl.data.store.cache import key_of
from cnnctl.errors import DataError
from cnnctl.spec.dataset import DataSpec

RANDOM = np.random.default_rng(0)
KINDS = ("png", "jpg", "gif", "tif", "bmp", "pgm", "webp")
COUNT = 210

Processes = Callable[[int], list[int]]


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNCTL_CACHE_DIR", "off")


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Processes:
    """Set the number of processes for any amount of work, and list those that are started."""
    started: list[int] = []

    class Noted(decoding_pool._Process):
        def __init__(self) -> None:
            super().__init__()
            started.append(self._process.pid)

    def use(count: int) -> list[int]:
        monkeypatch.setattr(decoding_pool, "MEASURED", 0.0)
        monkeypatch.setattr(decoding_pool, "_processes", lambda _: count)
        started.clear()
        return started

    monkeypatch.setattr(decoding_pool, "_Process", Noted)
    return use


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of all kinds, sizes and modes in two classes; a third one has a link to one of them."""
    root = tmp_path_factory.mktemp("images")
    for number in range(COUNT):
        file = root / "train" / "ab"[number % 2] / f"{number}.{KINDS[number % len(KINDS)]}"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = RANDOM.integers(0, 256, (5 + number % 7, 9, 3), np.uint8)
        image = Image.fromarray(pixels)
        image = image.convert("L") if file.suffix == ".pgm" or number % 3 == 0 else image
        exif = Image.Exif()
        exif[0x0112] = 1 + number % 8
        options: dict[str, Any] = {"exif": exif} if file.suffix in (".png", ".jpg") else {}
        image.save(file, **options)
    (root / "train" / "c").mkdir()
    (root / "train" / "c" / "link.png").symlink_to("../a/0.png")
    return root


def folder_of(root: Path, **fields: Any) -> DataSpec:
    return DataSpec(source="folder", path=str(root), image_size=(6, 6), channels=1, classes=3, **fields)


def parquet_of(root: Path, file: Path) -> DataSpec:
    contents = [each.read_bytes() for each in sorted(root.glob("train/*/*"))]
    pq.write_table(pa.table({"image": contents, "label": [place % 3 for place in range(len(contents))]}), file)
    return DataSpec(source="parquet", path=str(file), train="train", image_size=(6, 6), channels=1, classes=3)


def read(data: DataSpec) -> tuple[Any, ...]:
    source = open_source(data)
    found = source.read("train")
    return found.images[:].tobytes(), found.labels.tolist(), found.original_sizes, source.notes


@pytest.mark.parametrize("memory", ["keep", "stream"])
@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_several_processes_give_the_arrays_and_notes_of_one(
    kind: str, memory: str, images: Path, processes: Processes, tmp_path: Path
) -> None:
    data = folder_of(images) if kind == "folder" else parquet_of(images, tmp_path / "train.parquet")
    data = data.model_copy(update={"memory": memory})
    assert processes(1) == []
    alone, started = read(data), processes(3)
    assert read(data) == alone
    assert len(started) == 3
    assert "converted to grey" in " ".join(alone[-1])


def test_several_processes_predict_what_one_does(images: Path, processes: Processes) -> None:
    def predicted() -> list[Any]:
        files = sorted(images.glob("train/*/*"))
        inputs = Inputs(files, folder_of(images), 7, dict.fromkeys(files, images))
        batches = list(inputs.batches(16))
        facts = [[getattr(batch.originals, name).tolist() for name in ("heights", "lowest", "white")] for batch in batches]
        return [
            [(batch.names, batch.images.tolist()) for batch in batches],
            facts,
            [each.pixels.tolist() for each in inputs.thumbnails],
        ]

    processes(1)
    alone, started = predicted(), processes(2)
    assert predicted() == alone
    assert len(started) == 2
    assert len(alone[2]) == 7


def test_no_thumbnail_is_drawn_once_there_are_enough(
    images: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Image.Image] = []

    def noted(image: Image.Image) -> Any:
        drawn.append(image)
        return thumbnail(image)

    monkeypatch.setattr(decoding, "thumbnail", noted)
    processes(1)
    inputs = Inputs(sorted(images.glob("train/[ab]/*")), folder_of(images), 20)
    assert sum(map(len, inputs.batches(16))) == COUNT
    assert len(inputs.thumbnails) == len(drawn) == 20


@pytest.fixture
def with_broken_images(images: Path, tmp_path: Path) -> Path:
    for file in sorted(images.glob("train/[ab]/*")):
        copy = tmp_path / file.relative_to(images)
        copy.parent.mkdir(parents=True, exist_ok=True)
        number = int(file.stem)
        content = file.read_bytes()
        copy.write_bytes(content if number % 9 else (content[:60], b"", b"no image", content[:12])[number // 9 % 4])
    (tmp_path / "train" / "c").mkdir()
    return tmp_path


def test_several_processes_name_the_broken_images_that_one_names(with_broken_images: Path, processes: Processes) -> None:
    def refused() -> str:
        with pytest.raises(DataError) as raised:
            open_source(folder_of(with_broken_images)).read("train")
        return str(raised.value.every)  # type: ignore[attr-defined]

    processes(1)
    alone, started = refused(), processes(3)
    assert refused() == alone
    assert len(started) == 3
    lines = alone.splitlines()
    assert lines[0] == "24 of 210 images cannot be read as images; replace or remove them:"
    assert len(lines) == 25


def test_files_are_hashed_by_several_processes_as_by_one(images: Path, processes: Processes) -> None:
    files = sorted(images.glob("train/*/*"))
    processes(1)
    alone, started = key_of({"a": 1}, files), processes(2)
    assert key_of({"a": 1}, files) == alone
    assert len(started) == 2


# when


@pytest.mark.parametrize("first", [0.0005, 0.1])
def test_few_images_start_no_process(first: float, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the first block takes long, since Pillow loads its plugins in it."""
    monkeypatch.setattr(decoding_pool, "_Process", None)
    monkeypatch.setattr(time, "perf_counter", itertools.chain([0.0], itertools.count(first, 0.0005)).__next__)
    assert len(open_source(folder_of(images)).read("train")) == COUNT + 1


@pytest.mark.parametrize(
    ("took", "expected"),
    [
        (0.3, [0.3 / 2 * 10, 0.6 / 6 * 6, 0.0]),  # the images are large
        (0.1, [0.1 / 4 * 6, 0.0]),  # Pillow may have loaded its plugins in the first block
    ],
)
def test_a_short_first_block_does_not_count_in_the_estimate(
    took: float, expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    estimates: list[float] = []

    def noted(seconds: float) -> int:
        estimates.append(seconds)
        return 1

    monkeypatch.setattr(decoding_pool, "_processes", noted)
    monkeypatch.setattr(time, "perf_counter", itertools.count(0.0, took).__next__)
    assert list(in_order(len, iter([[1] * 2, [2] * 4, [3] * 6]), 12)) == [2, 4, 6]
    assert estimates == pytest.approx(expected)


def test_kept_processes_become_more_where_more_pay_off(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    started = processes(0)
    numbers = []
    with decoding_pool.processes_kept():
        for count in (1, 2, 4, 3, 1):
            monkeypatch.setattr(decoding_pool, "_processes", lambda _, count=count: count)
            assert list(in_order(len, iter([[1], [2, 2], [3, 3, 3]]), 6)) == [1, 2, 3]
            numbers.append(len(started))
    assert numbers == [0, 2, 4, 4, 4]
    assert not any(map(exists, started))


@pytest.mark.parametrize(
    ("cores", "quota", "memory", "seconds", "count"),
    [
        (8, None, 2**36, 60.0, 8),
        (1, None, 2**36, 60.0, 1),
        (8, 2, 2**36, 60.0, 2),
        (8, None, 3 * 2**30, 60.0, 3),
        (8, None, 2**29, 60.0, 1),
        (8, None, None, 60.0, 8),
        (8, None, 2**36, 0.8, 3),
        (8, None, 2**36, 0.1, 0),
    ],
)
def test_processes_are_as_many_as_cores_memory_and_work_allow(
    cores: int, quota: int | None, memory: int | None, seconds: float, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setattr(decoding_pool, "cpu_limit", lambda: quota)
    monkeypatch.setattr(decoding_pool, "machine_memory", lambda: memory)
    assert decoding_pool._processes(seconds) == count


@pytest.mark.parametrize(("count", "at_once"), [(0, 9), (1, 9), (5, 2), (1000, 64), (40, 256)])
def test_blocks_have_all_items_in_order_and_begin_and_end_small(count: int, at_once: int) -> None:
    blocks = list(blocks_of(range(count), at_once))
    assert [item for block in blocks for item in block] == list(range(count))
    assert all(0 < len(block) <= at_once for block in blocks)
    assert all(len(block) <= 4 for block in (blocks[:1] + blocks[-1:]))


# what a process has, and how it ends


@dataclass
class Evaluated:
    """What a process gets by evaluating a text, since it cannot import this module; this process gets a function."""

    text: str
    here: Callable[[Any], Any] = len

    def __call__(self, task: Any) -> Any:
        return self.here(task)

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (self.text,)


def test_a_process_imports_neither_tensorflow_nor_the_config(processes: Processes, images: Path) -> None:
    started = processes(1)
    with decoding_pool._Pool() as pool:
        pool.enlarge(1)
        decoder = Decoder(Fitting.of(folder_of(images)), inspects=True, max_thumbnails=1)
        list(pool.results(decoder.files, iter([[(str(images / "train/a/0.png"), images)]])))
        (loaded,) = pool.results(Evaluated("lambda task: list(__import__('sys').modules)"), iter([[0]]))
    assert len(started) == 1
    assert "cnnctl.data.decoding" in loaded
    assert not {"tensorflow", "keras", "pydantic", "cnnctl.spec.dataset", "pyarrow"} & set(loaded)


def test_a_process_that_is_killed_is_one_clear_error(processes: Processes) -> None:
    started = processes(2)
    tasks: Iterator[Any] = iter([[0], [1], [Evaluated("__import__('os').kill(__import__('os').getpid(), 9)")], [2], [3]])
    with pytest.raises(DataError) as raised:
        list(in_order(len, tasks, 5))
    assert str(raised.value) == (
        "a process that decodes images was killed by SIGKILL; "
        "free some memory, or run the command on one core: taskset -c 0 cnnctl ..."
    )
    assert len(started) == 2
    assert not any(map(exists, started))


def test_where_the_system_allows_no_more_processes_one_decodes_all(
    images: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes(1)
    alone = read(folder_of(images))
    processes(2)
    start, started = subprocess.Popen, list[Any]()

    def refused(*words: Any, **options: Any) -> Any:
        if started:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        started.append(start(*words, **options))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", refused)
    assert read(folder_of(images)) == alone
    assert not exists(started[0].pid)


def test_where_the_system_allows_no_more_threads_one_process_decodes_all(
    images: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes(1)
    alone, started = read(folder_of(images)), processes(2)

    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refused)
        assert read(folder_of(images)) == alone
    assert len(started) == 2
    assert not any(map(exists, started))


NO_THREADS = """
import threading
def refused(thread):
    raise RuntimeError("can't start new thread")
threading.Thread.start = refused
from cnnctl.data.decoding_process import main
main()
"""


def test_where_a_process_may_start_no_thread_one_decodes_all(
    images: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    processes(1)
    alone, started = read(folder_of(images)), processes(2)
    monkeypatch.setattr(decoding_pool, "_START", NO_THREADS)
    assert read(folder_of(images)) == alone
    assert len(started) == 2
    assert not any(map(exists, started))
    assert capfd.readouterr().err == ""


def test_what_is_printed_while_python_starts_is_no_result(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os\nos.write(1, b'debug\\nmore')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    started = processes(2)
    assert list(in_order(len, iter([[1], [2, 2], [3, 3, 3]]), 6)) == [1, 2, 3]
    assert len(started) == 2


def test_a_process_that_writes_no_result_is_ended_and_one_clear_error(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding_pool, "_START", f"import os, time; os.write(1, {READY + b'debug'!r}); time.sleep(60)")
    started = processes(2)
    with pytest.raises(DataError) as raised:
        list(in_order(len, iter([[1], [2, 2], [3, 3, 3]]), 6))
    assert str(raised.value) == (
        "a process that decodes images wrote something that is not a result; "
        "run the command on one core: taskset -c 0 cnnctl ..."
    )
    assert len(started) == 2
    assert not any(map(exists, started))


def in_a_process(text: str) -> Any:
    """Evaluate a text in a decoding process."""
    with decoding_pool._Pool() as pool:
        pool.enlarge(1)
        (found,) = pool.results(Evaluated(f"lambda task: {text}"), iter([[0]]))
    return found


def test_a_process_imports_from_where_this_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the standard library is not replaced by one in the folder that has cnnctl."""
    monkeypatch.syspath_prepend(tmp_path / "größer '")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert in_a_process("__import__('sys').path") == sys.path
    assert in_a_process("__import__('os').environ['PYTHONPATH']") == str(tmp_path)


FLAGS = """
class Flags:
    def __reduce__(self):
        return eval, ("lambda task: [getattr(__import__('sys').flags, name) for name in task]",)
names = ["isolated", "ignore_environment", "no_user_site"]
with decoding_pool._Pool() as pool:
    pool.enlarge(1)
    (found,) = pool.results(Flags(), iter([names]))
print([getattr(sys.flags, name) for name in names] == found)
"""


@pytest.mark.parametrize("options", [[], ["-s"], ["-E"], ["-I"]])
def test_a_process_starts_with_the_options_of_this_one(options: list[str]) -> None:
    script = f"import sys; sys.path[:] = {sys.path}; from cnnctl.data import decoding_pool\n{FLAGS}"
    ran = subprocess.run([sys.executable, *options, "-c", script], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("True\n", "")


def test_an_error_of_a_task_is_that_of_this_process(processes: Processes) -> None:
    started = processes(2)
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        list(in_order(Evaluated("lambda task: 1 / len(task)"), iter([[1], [2], [], [4]]), 4))
    assert not any(map(exists, started))


def exists(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)  # a zombie counts too
        return True
    return False


def ignores(pid: int, number: signal.Signals) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    ignored = next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:"))
    return bool(int(ignored, 16) >> (number - 1) & 1)


def children_of(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], stdout=subprocess.PIPE, text=True, check=False)
    return list(map(int, found.stdout.split()))


SLOW = """
import sys
from cnnctl.data import decoding, decoding_pool
from cnnctl.data.decoding import Decoder
from cnnctl.data.sources.opening import open_source
from cnnctl.spec.dataset import DataSpec
from cnnctl.train.signals import Interruption
decoding_pool.MEASURED = 0.0
decoding_pool._processes = lambda _: 2
def tasks():
    yield [0]
    yield [0]
    yield [0]
    print("ready", flush=True)
    yield [1000]
with Interruption().listening():
    try:
        list(decoding_pool.in_order(SLEEP, tasks(), 4))
    except KeyboardInterrupt:
        sys.exit(130)
"""
SLEEP = """
class Sleep:
    def __call__(self, task):
        return 0
    def __reduce__(self):
        return eval, ("lambda task: __import__('time').sleep(task[0])",)
SLEEP = Sleep()
"""


@pytest.mark.parametrize(
    ("blow", "to_all"),
    [
        (signal.SIGINT, False),
        (signal.SIGINT, True),
        (signal.SIGTERM, False),
        (signal.SIGTERM, True),
        (signal.SIGKILL, False),
    ],
)
def test_no_signal_leaves_a_process_or_a_traceback(blow: signal.Signals, to_all: bool) -> None:
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    words = [sys.executable, "-c", SLEEP + SLOW]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        children = children_of(process.pid)
        assert len(children) == 2
        assert all(os.getpgid(child) == child for child in children), "Ctrl-C in a terminal goes to a whole group"
        if to_all:  # as a system that ends a service does
            for child in children:
                while not ignores(child, blow):
                    time.sleep(0.01)
                os.kill(child, blow)
            time.sleep(0.2)
            assert children_of(process.pid) == children
            assert process.poll() is None
        process.send_signal(blow)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == (-9 if blow == signal.SIGKILL else 130)
    assert errors == ""
    end = time.monotonic() + 10
    while any(map(exists, children)) and time.monotonic() < end:
        time.sleep(0.01)
    assert not any(map(exists, children))
