"""Explanations: which features moved a model's answers, and how sure that is."""

from audit.explain.attribution import Attribution as Attribution
from audit.explain.gradients import integrated_gradients as integrated_gradients
from audit.explain.masking import Masker as Masker
from audit.explain.masking import masker as masker
from audit.explain.shapley import shapley as shapley
