"""Trained runs on a split, on other images, or several runs as an ensemble; and the classes of new images.

In: run folders and images. Out: scores, tables, pictures, `evaluation/` in the run folder. Open `evaluation.py` first.
"""
