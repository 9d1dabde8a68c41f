"""What TensorBoard shows of a training.

In: records of `train.observers` and snapshots of the network. Out: one event file a run. `observer` decides what is shown, `summaries` makes
it, `events` writes it. Open `observer.py` first.
"""
