"""Output for users: text on a terminal, pictures, TensorBoard.

In: plain values and the records of `train.observers`. Out: text, PNG and SVG, event files. Only `console` and `progress` print. Open
`rows.py` and `tables.py` first.
"""
