"""Build Keras models, optimizers and losses from a config.

In: a checked `Experiment`. Out: a `keras.Model` in one of three styles, with optimizer and loss. Importing this package
registers the classes that Keras needs to load a saved run. Open `styles.py` first.
"""

from cnnctl.model.keras_optimizers import OneCycle
from cnnctl.model.styles import StackModel, build_model

__all__ = ["OneCycle", "StackModel", "build_model"]
