"""Spec → Keras. Importing this package registers what Keras needs to load a saved run."""

from cnnctl.model.keras_optimizers import OneCycle
from cnnctl.model.styles import StackModel, build_model

__all__ = ["OneCycle", "StackModel", "build_model"]
