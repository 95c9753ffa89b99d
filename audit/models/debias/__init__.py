"""Ways to train any differentiable model so that it treats groups more alike."""
