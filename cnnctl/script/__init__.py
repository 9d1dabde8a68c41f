"""A config as a plain Keras script that needs no cnnctl.

In: an `Experiment`. Out: Python source. Open `page.py` first.
"""
