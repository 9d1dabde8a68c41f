"""Results → people."""
