"""How alike two explanations of the same rows rank their players."""

from __future__ import annotations

import numpy as np

from audit.core import Floats


def rank_correlations(first: Floats, second: Floats) -> Floats:
    """Spearman's rank correlation (rows,) of two attributions (rows, players), over the players that both know.

    NaN where fewer than two are known, or where one of them ranks all alike.
    """
    from scipy.stats import rankdata

    found = np.full(len(first), np.nan)
    for row, (one, two) in enumerate(zip(first, second, strict=True)):
        known = np.isfinite(one) & np.isfinite(two)
        if known.sum() < 2:
            continue
        a, b = (side - side.mean() for side in (rankdata(one[known]), rankdata(two[known])))
        spread = np.sqrt((a @ a) * (b @ b))
        if spread > 0:
            found[row] = np.clip(a @ b / spread, -1, 1)
    return found
