"""The output for TensorBoard.

In: records of `train.observers` and snapshots of the network. Out: one event file per run. `observer` decides what is written,
`summaries` encodes it, `events` writes it. Open `observer.py` first.
"""
