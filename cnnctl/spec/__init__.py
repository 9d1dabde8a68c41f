"""What the user wrote, checked; plain Python without TensorFlow.

In: a YAML file. Out: an `Experiment` and its `Network`: every layer with its shape. Open `load.py` first, then `experiment.py`.
"""
