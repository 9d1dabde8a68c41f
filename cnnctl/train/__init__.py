"""The two loops, and all that a training needs while it runs.

In: a Keras model, an optimizer, a loss and batches. Out: trained weights and records for observers; nothing here prints. Open `loops.py`
first, then `steps.py`.
"""
