"""Explanations: which features moved a model's answers, and how sure that is."""
