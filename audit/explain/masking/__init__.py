"""The one door of perturbation: what an explanation may take away from an input, and what stands in its place."""

from audit.explain.masking.base import Coalitions as Coalitions
from audit.explain.masking.base import Masker as Masker
from audit.explain.masking.base import Players as Players
from audit.explain.masking.base import masker as masker
