"""The one result type of every attribution method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from audit.core import Floats, UsageError

if TYPE_CHECKING:
    import pandas as pd

Link = Literal["identity", "logit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """How much each feature moved each output away from the base.

    values (rows, features): attributions in the unit of the link (probability or log-odds); a row of NaN is undefined and
    `note` says why. base, outputs (rows,): the output with no feature known, and with all of them.
    se_sampling, se_background (rows, features): standard errors from drawing coalitions and from drawing the
    background; None where the method has no such error. data (rows, features): what the features were, NaN where a
    feature stands for several columns. evaluations: rows that the model was asked for.
    """

    values: Floats
    base: Floats
    outputs: Floats
    features: tuple[str, ...]
    method: str
    link: Link
    evaluations: int
    background: str
    se_sampling: Floats | None = None
    se_background: Floats | None = None
    data: Floats | None = None
    note: str = ""

    @property
    def delta(self) -> Floats:
        """Completeness error (rows,): the sum of the attributions less (output - base)."""
        return np.asarray(self.values.sum(axis=1) - (self.outputs - self.base))

    def frame(self) -> pd.DataFrame:
        """A pandas frame: one row a case, one column a feature."""
        import pandas as pd

        return pd.DataFrame(self.values, columns=list(self.features))

    def to_shap(self) -> Any:
        """The same as a shap.Explanation, for shap's plots; raises UsageError where shap is not installed."""
        from audit.explain import _foreign

        return _foreign.to_shap(self)


def linked(scores: Floats, link: Link, target: int = 1) -> Floats:
    """Scores (n,) or (n, k) as probabilities or log-odds (n,) of one class, in float64 and without clipping.

    Raises UsageError where a log-odds would be infinite, and for an unknown link or class.
    """
    if scores.ndim == 2:
        if not 0 <= target < scores.shape[1]:
            raise UsageError(
                f"target: the model has {scores.shape[1]} classes (0 to {scores.shape[1] - 1}), got {target}"
            )
        scores = scores[:, target]
    if link == "identity":
        return scores
    if link != "logit":
        raise UsageError(f'link: "identity" (probability) or "logit" (log-odds), got {link!r}')
    certain = int(((scores <= 0) | (scores >= 1)).sum())
    if certain:
        raise UsageError(
            f'link: "logit" needs probabilities strictly between 0 and 1, but the model gave 0 or 1 for {certain} of '
            f'{len(scores)} rows, whose log-odds are infinite; use link = "identity"'
        )
    return np.asarray(np.log(scores) - np.log1p(-scores))
