"""What a set of images is like: counts, pixels, duplicates, orientation.

In: `ImageSet`s, files and folders. Out: facts, findings and a first config; nothing here prints. Open `facts.py` first.
"""
