"""Imports go one way only, only the console prints, and one module alone writes event files."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "cnnctl"
MODULES = {
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): ast.parse(file.read_text())
    for file in sorted(PACKAGE.rglob("*.py"))
}
HEAVY = {
    "tensorflow",
    "keras",
    "tensorflow_datasets",
    "sklearn",
    "matplotlib",
    "numpy",
    "PIL",
    "tensorboard",
    "onnx",
    "onnxruntime",
    "optuna",
    "sqlalchemy",
    "pyarrow",
    "scipy",
}

BASE = {"errors", "files", "reading", "surroundings", "last_words", "svg"}
CORE = BASE | {"formats", "spec", "model", "data", "train", "run_folder", "report", "session"}
MAY_IMPORT = {
    # package: what it may import besides itself; whatever is not here it may not
    "errors": set(),
    "reading": set(),
    "last_words": set(),
    "svg": set(),
    "surroundings": {"errors", "reading"},
    "files": {"errors", "surroundings"},
    "formats": {"errors", "reading", "surroundings"},
    "spec": BASE - {"last_words"} | {"formats"},
    "model": {"errors", "reading", "spec"},
    "data": BASE - {"last_words"} | {"formats", "spec"},
    "train": BASE | {"spec", "model", "data"},
    "run_folder": BASE - {"last_words"} | {"spec", "train"},
    "report": BASE - {"last_words"} | {"spec", "train", "run_folder"},
    "session": CORE | {""},
    "few_shot": CORE,
    "evaluate": CORE | {"few_shot"},
    # The last four features do not know each other.
    "sweep": CORE | {"few_shot", ""},
    "export": CORE,
    "verify": CORE,
    "script": BASE | {"formats", "spec"},
    "draw": BASE | {"spec"},
    "explore": CORE | {"few_shot", "evaluate", ""},
    "commands": CORE | {"few_shot", "evaluate", "sweep", "export", "verify", "script", "draw", "explore"},
    "cli": CORE | {"few_shot", "evaluate", "commands", ""},
    "__main__": {"cli"},
    "": set(),  # cnnctl/__init__.py
}


def part_of(module: str) -> str:
    """Return `spec` for cnnctl.spec.load, and an empty text for cnnctl itself."""
    return module.split(".")[1] if "." in module else ""


def imported(tree: ast.AST, inside_functions: bool = True) -> Iterator[str]:
    """Yield the full name of every module that a module imports."""
    for node in ast.walk(tree) if inside_functions else at_module_level(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in names)


def at_module_level(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield what runs when the module is imported: not the bodies of functions, nor what only type checkers read."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from at_module_level(node)


def edges() -> Iterator[tuple[str, str]]:
    for module, tree in MODULES.items():
        for name in imported(tree):
            if name.split(".")[0] == "cnnctl":
                yield module, name


def test_every_package_has_its_place_in_the_order() -> None:
    assert {part_of(module) for module in MODULES} == set(MAY_IMPORT)


def test_imports_go_one_way_only() -> None:
    allowed = {part: {part, *others} for part, others in MAY_IMPORT.items()}
    assert [edge for edge in edges() if part_of(edge[1]) not in allowed[part_of(edge[0])]] == []


def test_run_folder_imports_only_records_and_origins_of_train() -> None:
    assert {name for module, name in edges() if module == "cnnctl.run_folder" and part_of(name) == "train"} == {
        "cnnctl.train.observers",
        "cnnctl.train.origin",
    }


def test_report_imports_only_records_of_train() -> None:
    used = {name for module, name in edges() if part_of(module) == "report" and part_of(name) == "train"}
    assert used == {"cnnctl.train.observers"}


def test_no_module_imports_itself_through_others() -> None:
    """At module level; within a part too."""
    graph = {
        module: {name for name in imported(tree, inside_functions=False) if name in MODULES and name != module}
        for module, tree in MODULES.items()
    }
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " → ".join((*above[above.index(module) :], module))
        if module not in done:
            for name in sorted(graph[module]):
                visit(name, (*above, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def streams_used(tree: ast.AST) -> int:
    """Count the places where a module prints or uses a stream; asking whether it is a terminal does not count."""
    code = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.Call | ast.ImportFrom)]
    streams = [text for text in code if text in ("sys.stdout", "sys.stderr")]
    asked = [text for text in code if text in ("sys.stdout.isatty", "sys.stderr.isatty")]
    printed = [text for text in code if text.startswith(("print(", "from sys import", "rich.print"))]
    return len(streams) - len(asked) + len(printed)


def test_only_the_console_prints() -> None:
    may = {
        "cnnctl.report.console",
        "cnnctl.cli",  # its version; and how both streams treat what they cannot show
        "cnnctl.train.quiet",  # keeps TensorFlow's start-up messages from the stream
        "cnnctl.surroundings",  # opens them where they are closed
        "cnnctl.model.custom_class",  # sends the prints of a user's layers to stderr
    }
    assert {module for module, tree in MODULES.items() if streams_used(tree)} == may


def test_the_command_line_prints_nothing_but_its_version() -> None:
    written = [ast.unparse(node) for node in ast.walk(MODULES["cnnctl.cli"]) if isinstance(node, ast.Attribute)]
    assert written.count("sys.stdout.write") == 1
    assert written.count("sys.stderr.write") == 0


def test_only_events_writes_event_files() -> None:
    def writes(tree: ast.AST) -> bool:
        names = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        writers = ("tf.summary", "TensorBoard", "TFRecordWriter", "tf.profiler")
        return any(writer in name for name in names for writer in writers)

    assert {module for module, tree in MODULES.items() if writes(tree)} == {"cnnctl.report.tensorboard.events"}


def test_only_reports_know_tensorboard() -> None:
    knowing = {module for module, tree in MODULES.items() if any(name.startswith("tensorboard") for name in imported(tree))}
    assert knowing == {f"cnnctl.report.tensorboard.{name}" for name in ("events", "reading", "summaries")}


LIGHT = {
    # packages, or modules of packages whose other modules need TensorFlow: what a command imports before it knows that it trains
    *(
        "cnnctl",
        "cnnctl.cli",
        "cnnctl.errors",
        "cnnctl.files",
        "cnnctl.run_folder",
        "cnnctl.spec",
        "cnnctl.script",
        "cnnctl.svg",
        "cnnctl.draw",
        "cnnctl.commands",
    ),
    *(
        f"cnnctl.report.{name}"
        for name in (
            "chart",
            "comparison",
            "console",
            "curves",
            "data_tables",
            "explain",
            "rows",
            "runs_plot",
            "tables",
            "text",
        )
    ),
    *("cnnctl.train.observers", "cnnctl.train.signals"),
    *(f"cnnctl.session.{name}" for name in ("resume", "run_files")),
    *(f"cnnctl.few_shot.{name}" for name in ("challenge_tables", "episode_tables", "options")),
    *(
        f"cnnctl.evaluate.{name}"
        for name in ("class_tables", "ensemble_tables", "image_options", "prediction_tables", "saliency_methods", "same_images")
    ),
    *("cnnctl.export.preparation", "cnnctl.report.tensorboard.reading"),
    *(f"cnnctl.sweep.{name}" for name in ("results", "sweep_folder", "trial_pool", "trial_process")),
}


def is_light(module: str) -> bool:
    return module in LIGHT or module.rpartition(".")[0] in LIGHT - {"cnnctl"}


@pytest.mark.parametrize("module", sorted(filter(is_light, MODULES)))
def test_nothing_heavy_is_imported_at_start_up(module: str) -> None:
    assert heavy_imports(module, set()) == []


def heavy_imports(module: str, seen: set[str]) -> list[str]:
    """Follow the imports that run with a module's, and list those of heavy packages."""
    seen.add(module)
    found = []
    for name in imported(MODULES[module], inside_functions=False):
        if name.split(".")[0] in HEAVY:
            found.append(f"{module} imports {name}")
        elif name in MODULES and name not in seen:
            found += heavy_imports(name, seen)
    return found


def test_only_model_turns_layers_into_keras() -> None:
    makers = {
        module
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith(("keras.layers.", "keras.optimizers."))
    }
    assert {module for module in makers if part_of(module) != "model"} == {"cnnctl.few_shot.cosine_head"}  # a layer of our own
