"""What the user wrote, checked: plain Python, no TensorFlow."""
