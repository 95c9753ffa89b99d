"""What a model does not know, apart from what cannot be known, for everyone and by group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from audit import stats
from audit.core import Context, Evidence, Floats, Inputs, Measure, NotApplicable, Subject, Uncertain, UsageError
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
BATCHES = 10  # of draws, each left out once by the jackknife
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
    sources=("houlsby2011", "depeweg2018", "student1908", "efron1993", "wilson1927", "zou2008", "dunn1961"),
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
    That draws are few is allowed for: what they leave too low is added by the jackknife, and the intervals hold their chance
    too. The rise shows one way to be far from the data, not all.
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
    away = None
    if isinstance(inputs, Tabular) and (noisy_columns(inputs) > 0).any():
        away = _asked(model, _far(inputs, far), draws, seed)

    def told(kept: np.ndarray) -> list[Measure]:
        """The measures by these draws alone."""
        parts = decomposed(near[kept])
        values = {
            "total_uncertainty": parts.total,
            "aleatoric_uncertainty": parts.aleatoric,
            "epistemic_uncertainty": parts.epistemic,
            "contested_rate": (otherwise >= CONTESTED).astype(np.float64),
        }
        means = list(person_means(some, context, values, KINDS, merit=-found.epistemic, label="uncertainty"))
        if away is None:
            return means
        facts: dict[str, Any] = {"level": context.confidence, "weights": some.data.weights, "unit": "nat"}
        note = f"numeric features {far:g} times as far from their means"
        beyond = decomposed(away[kept]).epistemic
        rise = mean_measure("epistemic_rise_far", beyond - parts.epistemic, better="higher", note=note, **facts)
        return [*means, mean_measure("epistemic_uncertainty_far", beyond, note=note, **facts), rise]

    every = np.arange(draws)
    again = [told(every[every % BATCHES != left]) for left in range(min(BATCHES, draws))] if draws > 2 else []
    for place, measure in enumerate(told(every)):
        yield _over_draws(measure, [one[place] for one in again])


def _over_draws(measure: Measure, without: list[Measure]) -> Measure:
    """The measure with the jackknife over draws of the model: less its bias, and as unsure as the draws make it (efron1993).

    without: the same measure without one batch of draws each. Shares of people stay as they are: they have steps.
    """
    values = [one.value for one in without if one.value is not None]
    if measure.value is None or measure.interval is None or measure.unit != "nat" or len(values) < max(2, len(without)):
        return measure
    count, spread = len(values), np.array(values)
    error = float(np.sqrt((count - 1) / count * ((spread - spread.mean()) ** 2).sum()))
    least = 0.0 if measure.interval.low >= 0.0 and measure.value >= 0.0 else -np.inf
    value = max(measure.value + (count - 1) * (measure.value - float(spread.mean())), least)
    beyond = stats.z_quantile(measure.interval.level) * error
    low = value - float(np.hypot(measure.value - measure.interval.low, beyond))
    high = value + float(np.hypot(measure.interval.high - measure.value, beyond))
    method = f"{measure.interval.method} + jackknife over draws"
    interval = replace(measure.interval, low=max(low, least), high=high, method=method)
    return replace(measure, value=value, interval=interval)


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
