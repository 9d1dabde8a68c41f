"""Store decoded images in memory, in the cache on disk, or stream them from a file.

In: decoded images, block by block. Out: arrays, or `LazyImages` that are read on demand. Open `image_store.py` first.
"""
