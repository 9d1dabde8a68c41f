"""The config: its vocabulary and its checks, in plain Python without TensorFlow.

In: a YAML file and `--set` overrides. Out: a checked `Experiment` and its `Network`, every layer with its shape.
Open `load.py` first, then `experiment.py`.
"""
