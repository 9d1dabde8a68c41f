"""Builds, loops and gradients of one config, compared.

In: an `Experiment`. Out: differences, value by value. Open `proof.py` first.
"""
