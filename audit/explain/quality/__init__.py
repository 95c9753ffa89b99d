"""Whether explanations are true: the same questions put to every explainer that applies."""
