"""Robustness: how the model's answers hold up when its inputs are disturbed."""
