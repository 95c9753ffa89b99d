"""audit: examines machine-learning models."""
