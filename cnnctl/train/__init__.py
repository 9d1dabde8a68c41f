"""Spec, model and batches → results."""
