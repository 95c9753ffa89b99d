"""Which features move the model's answers most."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from audit import stats
from audit.core import Context, Evidence, Interval, Measure, NotApplicable, Subject, Table
from audit.data.texts import Texts
from audit.explain import views
from audit.explain.attribution import Attribution
from audit.explain.games import Link, unit_of
from audit.explain.sample import costs, sampled_rows, shapley_of
from audit.registry import check

SWARM = 64  # rows drawn at most
TEXTS = 5  # texts that a word must stand in
WORDS = 40  # words told at most


@check(
    "explain.global_importance",
    title="Which features move the model's answers most",
    needs={"model", "rows"},
    sources=("shapley1953", "lundberg2017", "lundberg2020", "musco2025"),
)
def global_importance(
    subject: Subject,
    context: Context,
    *,
    rows: int = 128,
    background: int = 64,
    budget: int = 256,
    link: Link = "identity",
) -> Iterator[Evidence]:
    """Which features move the model's answers most, on average over people?

    The mean absolute Shapley value of each feature over sampled rows: how far the feature moves the probability (link
    "identity") or the log-odds ("logit") of the positive class from the average over the background. A feature that
    is absent takes the values of sampled background rows, whatever the other features are (interventional). The
    interval joins the spread over rows with the errors from drawing the background, which all rows share, and the
    coalitions. The values are exact
    for up to 8 features and estimated from `budget` coalitions (at least four a feature) above that.

    Of texts it is the mean over the sampled texts that hold the word, of words that stand in at least five of them.

    The numbers do not say what would happen in the world if a feature changed, nor that a feature of small importance
    is harmless: a proxy can carry the weight of a protected attribute. Features that move together share their credit.
    """
    chosen = sampled_rows(subject, context, rows)
    texts = isinstance(subject.data.inputs, Texts)
    own = "" if texts else "rows have players of their own, so there is no mean over rows"
    found = shapley_of(subject, context, chosen, background=background, budget=budget, link=link, own=own)
    if texts:
        yield from _by_word(found, context.confidence)
        return
    measures = [_importance(found, index, context.confidence) for index in range(len(found.features))]
    yield from measures
    yield _ranking(found, measures)
    yield _swarm(found)
    yield Measure(
        name="evaluations",
        value=float(found.evaluations),
        note=f"rows that the model was asked for; {found.method}",
    )
    yield Measure(
        name="completeness_error",
        value=float(np.abs(found.delta).max()),
        better="lower",
        note="largest gap between the sum of a row's attributions and its output less the base",
    )


def _by_word(found: Attribution, level: float) -> Iterator[Measure]:
    """The mean absolute value of each word over the texts that hold it; a word that comes twice counts with its sum."""
    sums: dict[str, list[float]] = {}
    for names, values in zip(found.players, found.values, strict=True):
        here: dict[str, float] = {}
        for name, value in zip(names, values, strict=False):
            word = views.word(name)
            here[word] = here.get(word, 0.0) + float(value)
        for word, value in here.items():
            sums.setdefault(word, []).append(abs(value))
    common = {word: np.array(each) for word, each in sums.items() if len(each) >= TEXTS}
    if not common:
        raise NotApplicable(f"no word stands in {TEXTS} of the {len(found.values)} sampled texts")
    for word, moved in sorted(common.items(), key=lambda item: -item[1].mean())[:WORDS]:
        low, high = stats.mean_interval(moved, level)
        yield Measure(
            name="mean_abs_shap",
            value=float(moved.mean()),
            unit=unit_of(found.scale),
            n=len(moved),
            interval=Interval(low=max(low, 0.0), high=high, level=level, method="t over texts"),
            where={"feature": word},
        )
    yield from costs(found)


def _importance(found: Attribution, index: int, level: float) -> Measure:
    moved = np.abs(found.values[:, index])
    value = float(moved.mean())
    background, sampling = _errors(found, index)
    note = f"background: {_share(background, value)}; coalitions: {_share(sampling, value)}"
    where = {"feature": found.features[index]}
    if len(moved) < 2:
        return Measure(
            name="mean_abs_shap", value=value, unit=unit_of(found.scale), n=len(moved), where=where, note=note
        )
    rows = value - stats.mean_interval(moved, level)[0]
    half = float(np.hypot(rows, stats.z_quantile(level) * np.hypot(*np.nan_to_num([background, sampling]))))
    return Measure(
        name="mean_abs_shap",
        value=value,
        unit=unit_of(found.scale),
        n=len(moved),
        interval=Interval(
            low=max(value - half, 0.0),
            high=value + half,
            level=level,
            method="t over rows + background and coalition SE",
        ),
        where=where,
        note=note,
    )


def _errors(found: Attribution, index: int) -> tuple[float, float]:
    """Standard errors of the mean absolute value, from the background and from the coalitions.

    All rows share both draws: the mean of the rows' errors bounds the error of their mean, where that is not known itself.
    """
    both = (found.se_background, found.se_sampling)
    background, sampling = (float("nan") if error is None else float(error[:, index].mean()) for error in both)
    if found.se_mean_abs is not None:
        background = float(found.se_mean_abs[index])
    return background, sampling


def _share(error: float, value: float) -> str:
    if np.isnan(error):
        return "SE unknown (one filling has no spread), and not in the interval"
    return f"SE {error:.2g}" + (f" ({error / value:.0%} of the value)" if value > 0 else "")


def _swarm(found: Attribution) -> Table:
    """Single attributions of at most so many rows."""
    few = np.arange(min(SWARM, len(found.values)))
    data = None if found.data is None else found.data[few]
    part = replace(
        found,
        values=found.values[few],
        base=found.base[few],
        outputs=found.outputs[few],
        players=tuple(found.players[row] for row in few),
        targets=found.targets[few],
        se_sampling=None,
        se_background=None,
        data=data,
    )
    return views.swarm(part, title=f"Single attributions, {len(few)} rows; {found.method}")


def _ranking(found: Attribution, measures: list[Measure]) -> Table:
    values = np.array([measure.value for measure in measures], dtype=np.float64)
    total = float(values.sum())
    order = np.argsort(-values, kind="stable")
    lines = []
    for rank, index in enumerate(order, start=1):
        background, sampling = _errors(found, int(index))
        share = float(values[index]) / total if total > 0 else None
        signed = float(found.values[:, index].mean())
        lines.append(
            (
                rank,
                found.features[index],
                float(values[index]),
                share,
                signed,
                views.defined(background),
                views.defined(sampling),
            )
        )
    return Table(
        name="ranking",
        title="Features by mean absolute Shapley value",
        columns=("rank", "feature", "mean |shap|", "share", "mean shap", "background SE", "coalition SE"),
        rows=tuple(lines),
        note=f"{len(found.values)} rows; {found.background}; {found.method}",
    )
