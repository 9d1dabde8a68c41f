"""The network of a run for another runtime: Keras, SavedModel, TensorFlow Lite, ONNX.

In: a trained run. Out: a file that its own runtime has opened and that gives the same answers. Open `exporter.py` first.
"""
