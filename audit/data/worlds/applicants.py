"""The applicants of the credit and the rule world: their features, and how sex moves them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from audit.core import Floats

COLUMNS = ("income", "debt", "history", "zip", "n1", "n2", "sex")
LEVELS = ("female", "male")  # A = 0 and A = 1, the index of the level
RACES = ("blue", "green", "orange")
CLASSES = ("defaulted", "repaid")
INCOME, DEBT, HISTORY = 1.2, -0.9, 0.7  # weights of the credit world's logit
RESIDUAL = math.sqrt(0.75)  # of debt given income, so that debt has unit variance in a group


def features(latent: Mapping[str, Floats], a: Floats, proxy: float = 0.8, shift: Floats | float = 0.0) -> Floats:
    """The true features (n, 7) of people of these latent factors if their sex were a (n,)."""
    s = 2 * a - 1
    income = 0.5 * s + 0.8 * latent["merit"] + 0.6 * latent["e_income"] + shift
    debt = -0.5 * income + RESIDUAL * latent["e_debt"]
    history = 0.3 * s + latent["e_history"]
    home = proxy * s + 0.6 * latent["e_zip"] + shift
    return np.column_stack([income, debt, history, home, latent["n1"], latent["n2"], a])
