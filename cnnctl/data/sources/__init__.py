"""Where images come from: TensorFlow Datasets, folders, original files, the bundled digits.

In: the section `data`. Out: a `Source`, whose splits are `ImageSet`s. Open `opening.py` first.
"""
