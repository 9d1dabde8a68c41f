"""Generate a plain Keras script from a config, independent of cnnctl.

In: an `Experiment`. Out: Python source. Open `page.py` first.
"""
