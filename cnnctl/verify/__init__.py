"""Compare the builds, loops and gradients of one config.

In: an `Experiment`. Out: differences, value by value. Open `proof.py` first.
"""
