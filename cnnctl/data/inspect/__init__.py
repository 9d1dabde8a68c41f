"""Describe a set of images: counts, pixels, duplicates, orientation.

In: `ImageSet`s, files and folders. Out: facts, findings and a starter config. Nothing here prints. Open `facts.py` first.
"""
