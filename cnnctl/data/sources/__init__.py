"""Read images from TensorFlow Datasets, folders, data files or the bundled digits.

In: the section `data`. Out: a `Source`, whose splits are `ImageSet`s. Open `opening.py` first.
"""
