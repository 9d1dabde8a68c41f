"""Images and labels, ready for the network.

In: the section `data` of a config. Out: an `ImageSet` a split, and batches of them. Open `splits.py` first, then `pipeline.py`.
"""
