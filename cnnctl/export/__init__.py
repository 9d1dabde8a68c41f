"""Export the network of a run to another runtime: Keras, SavedModel, TensorFlow Lite, ONNX.

In: a trained run. Out: a file that its own runtime has opened, with the same outputs. Open `exporter.py` first.
"""
