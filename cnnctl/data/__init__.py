"""Sources → splits → batches."""
