"""Read the splits of a config as `cnnctl train` does before its first step, and print seconds and images: read.py CONFIG."""

import time

STARTED = time.perf_counter()

import json  # noqa: E402  # the time counts from before all imports
import sys  # noqa: E402
from pathlib import Path  # noqa: E402


def main(config: Path) -> None:
    from cnnctl.spec.load import load

    experiment = load(config)
    loaded = time.perf_counter()
    if experiment.data.source == "tfds":
        from cnnctl.train.quiet import import_tensorflow

        import_tensorflow(verbose=False)
    started = time.perf_counter()
    from cnnctl.data.splits import read_splits

    images = len(read_splits(experiment.data).train)
    read = time.perf_counter()
    found = {"images": images, "load_seconds": loaded - STARTED, "read_seconds": read - started, "all_seconds": read - STARTED}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
