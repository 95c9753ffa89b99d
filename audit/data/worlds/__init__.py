"""Planted worlds: data from causal models whose bias and attributions are known exactly."""
