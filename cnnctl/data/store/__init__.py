"""Where decoded images are kept: in memory, in the cache on disk, or streamed from a file.

In: images as they are decoded. Out: arrays, or `LazyImages` that are read when they are used. Open `image_store.py` first.
"""
