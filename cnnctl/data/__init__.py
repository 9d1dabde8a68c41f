"""Read images and labels, and prepare batches of them for the network.

In: the section `data` of a config. Out: one `ImageSet` per split, and batches of it. Open `splits.py` first, then `pipeline.py`.
"""
