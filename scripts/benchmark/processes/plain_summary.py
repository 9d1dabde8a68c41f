"""Builds the network with Keras and prints its summary."""

from __future__ import annotations

import numpy as np
from plain import arguments
from plain_network import network

options = arguments()
network(np.load(options.data)["test_images"].shape[1:], options).summary()
