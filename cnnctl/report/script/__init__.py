"""A checked experiment → a stand-alone Keras script that a person likes to read. Plain Python, no TensorFlow."""
