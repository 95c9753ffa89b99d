"""What a model does not know, apart from what cannot be known, for everyone and by group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from audit.core import Context, Evidence, Floats, Inputs, NotApplicable, Subject, Uncertain, UsageError
from audit.data.tabular import Tabular, noisy_columns
from audit.fairness.individual import decided, mean_measure, sampled
from audit.fairness.person_means import among, mean_kind, person_means
from audit.registry import check

KINDS = {
    "total_uncertainty": mean_kind("lower", "nat"),
    "aleatoric_uncertainty": mean_kind("none", "nat"),
    "epistemic_uncertainty": mean_kind("lower", "nat"),
    "contested_rate": mean_kind("lower", "proportion"),
}
CONTESTED = 0.05  # share of draws that decide otherwise from which on a decision counts as contested


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Uncertainty of each row (n,) in nats: total = aleatoric + epistemic."""

    total: Floats
    aleatoric: Floats
    epistemic: Floats


def decomposed(draws: Floats) -> Parts:
    """The parts of the predictive distribution of draws of probabilities (draws, n) or (draws, n, k) (depeweg2018).

    total: entropy of the mean. aleatoric: mean entropy of a draw. epistemic: mean divergence of a draw from the mean,
    which is the mutual information of the label and the model (houlsby2011).
    """
    p = draws if draws.ndim == 3 else np.stack([1.0 - draws, draws], axis=-1)
    mean = p.mean(axis=0)
    own = _times_log(p, p).sum(axis=-1)
    return Parts(
        total=-_times_log(mean, mean).sum(axis=-1),
        aleatoric=-own.mean(axis=0),
        epistemic=np.maximum((own - _times_log(p, mean).sum(axis=-1)).mean(axis=0), 0.0),
    )


def _times_log(p: Floats, q: Floats) -> Floats:
    """The product p log q, 0 where p is 0."""
    return np.asarray(p * np.log(np.where(p > 0.0, q, 1.0)))


@check(
    "robustness.uncertainty",
    title="What the model does not know, and what nobody could",
    needs={"uncertainty", "rows"},
    sources=("houlsby2011", "depeweg2018", "student1908", "wilson1927", "zou2008", "dunn1961"),
)
def uncertainty(
    subject: Subject, context: Context, *, draws: int = 50, rows: int = 4000, far: float = 4.0
) -> Iterator[Evidence]:
    """For whom is the model itself unsure, and does it notice what is unlike anything it has seen?

    The model answers each row in `draws` draws of itself. total_uncertainty is the entropy of the mean answer, in nats.
    It is the sum of two parts: aleatoric_uncertainty, the mean entropy of a draw, is what no model could tell from these
    inputs; epistemic_uncertainty, the mutual information of the answer and the draw, is what more data would teach.
    contested_rate is the share of people whose decision is another one in at least one draw of twenty than under the mean
    answer. All are given for everyone and every group, with t or Wilson intervals and differences to the reference group
    (the one named in the configuration, else the one with the least epistemic uncertainty among those of at least min_n
    people). epistemic_uncertainty_far is that of everyone moved away from the mean by the factor `far` in every
    numeric feature; epistemic_rise_far is the paired difference: a model that knows what it does not know has one above 0.
    At most `rows` people are asked.

    The parts are as true as the model's distribution over itself, which is an approximation: a wrong model can be sure.
    With few draws epistemic uncertainty reads too low by about its own share in 1/draws. The rise shows one way to be far
    from the data, not all.
    """
    if draws < 2 or not far > 1.0:
        raise UsageError(f"draws: at least 2, far: above 1; got {draws} and {far}")
    chosen = sampled(context.rng, len(subject), rows)
    some = among(subject, chosen)
    model, inputs, seed = cast(Uncertain, subject.model), some.data.inputs, int(context.rng.integers(2**31))
    assert inputs is not None
    near = _asked(model, inputs, draws, seed)
    found = decomposed(near)
    first = decided(near.mean(axis=0), subject.threshold)
    otherwise = np.mean([decided(one, subject.threshold) != first for one in near], axis=0)
    values = {
        "total_uncertainty": found.total,
        "aleatoric_uncertainty": found.aleatoric,
        "epistemic_uncertainty": found.epistemic,
        "contested_rate": (otherwise >= CONTESTED).astype(np.float64),
    }
    yield from person_means(some, context, values, KINDS, merit=-found.epistemic, label="uncertainty")
    if isinstance(inputs, Tabular) and (noisy_columns(inputs) > 0).any():
        away = decomposed(_asked(model, _far(inputs, far), draws, seed)).epistemic
        facts: dict[str, Any] = {"level": context.confidence, "weights": some.data.weights, "unit": "nat"}
        note = f"numeric features {far:g} times as far from their means"
        yield mean_measure("epistemic_uncertainty_far", away, note=note, **facts)
        yield mean_measure("epistemic_rise_far", away - found.epistemic, better="higher", note=note, **facts)


def _asked(model: Uncertain, inputs: Inputs, draws: int, seed: int) -> Floats:
    found = model.draws(inputs, draws, seed=seed)
    if found.min(initial=0.0) < 0.0 or found.max(initial=0.0) > 1.0:
        raise NotApplicable("the draws do not lie in [0, 1]: uncertainty of classes is told from probabilities")
    return found


def _far(inputs: Tabular, factor: float) -> Tabular:
    """The rows moved away from the mean in every numeric column with more than two values."""
    moved = noisy_columns(inputs) > 0
    values = inputs.values.copy()
    mean = np.nanmean(values[:, moved], axis=0)
    values[:, moved] = mean + factor * (values[:, moved] - mean)
    return inputs.with_values(values)
