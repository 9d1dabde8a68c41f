"""Builds the network with Keras and prints its summary."""

from __future__ import annotations

import numpy as np
from plain import asked
from plain_network import network

wish = asked()
network(np.load(wish.data)["test_images"].shape[1:], wish).summary()
