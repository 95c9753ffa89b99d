"""What the model's quality, or its answer, loses when a feature is shuffled among people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from audit import stats
from audit.core import Context, Evidence, Floats, Interval, Ints, Measure, Subject, UsageError, suggest
from audit.core import stream as stream_of
from audit.explain.features import encoded, table_game, table_of
from audit.explain.games import MAX_BYTES, Game, Link, linked, unit_of
from audit.explain.influences import mean_of, performance
from audit.explain.masking.tabular import TabularMasker
from audit.explain.sample import sampled_rows, seed_of
from audit.registry import check

METRICS: Mapping[str, float] = {  # the sign that makes a loss of quality positive
    "auc": -1.0,
    "accuracy": -1.0,
    "log_loss": 1.0,
    "brier": 1.0,
    "squared_error": 1.0,
    "score_change": 1.0,
}
LABEL_FREE = "score_change"
_NAMES = {False: "permutation_importance", True: "conditional_permutation_importance"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Permuted:
    """What shuffling one player costs under one metric.

    each (repeats,): the increase of the loss (decrease of AUC or accuracy) in each shuffle, NaN where undefined.
    influence (rows,): a row's part in the error, as the one who gets another's value and as the one whose value is given.
    """

    player: str
    metric: str
    each: Floats
    influence: Floats

    @property
    def value(self) -> float:
        """The mean over the shuffles."""
        return float(self.each.mean())

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """A t interval for other people and other shuffles; NaN below two rows (fisher2019).

        The mean over all shuffles is a U-statistic, whose error is that of its projection on single rows.
        """
        low, high = stats.mean_interval(self.influence, level)
        return self.value + low, self.value + high


def permutation_importance(
    game: Game,
    player: str,
    orders: Ints,
    labels: Floats | Ints | None = None,
    *,
    metrics: tuple[str, ...] = (LABEL_FREE,),
) -> dict[str, Permuted]:
    """What shuffling a player (a column or a group of columns) of a table costs, by metric (breiman2001, fisher2019).

    orders (repeats, rows): row i takes the player's values of row orders[r, i]. labels (rows,): class index, or a number
    for "squared_error". metrics: of METRICS; "score_change", the mean absolute change of the explained output, needs no
    labels. Raises UsageError for an unknown player or metric, or for labels that are missing.
    """
    masker, inputs = _masker(game), table_of(game)
    if player not in masker.names:
        raise UsageError(f"player: one of {', '.join(masker.names)}, got {player!r}{suggest(player, masker.names)}")
    held = masker.membership[masker.names.index(player)]
    for metric in metrics:
        if metric not in METRICS:
            raise UsageError(f"metrics: of {', '.join(METRICS)}, got {metric!r}{suggest(metric, METRICS)}")
        if metric != LABEL_FREE and labels is None:
            raise UsageError(f"metrics: {metric!r} needs labels; without them there is {LABEL_FREE!r}")
    before = game.model.predict(inputs)[None]
    room = max(1, MAX_BYTES // (8 * inputs.values.size))
    parts: list[Floats] = []
    for top in range(0, len(orders), room):
        block = orders[top : top + room]
        filled = np.where(held, inputs.values[block], inputs.values[None])
        scores = game.model.predict(inputs.with_values(filled.reshape(-1, filled.shape[-1])))
        parts.append(scores.reshape(*block.shape, *scores.shape[1:]))
    after = np.concatenate(parts)
    return {metric: _permuted(game, player, metric, (before, after), orders, labels) for metric in metrics}


def _permuted(
    game: Game, player: str, metric: str, scores: tuple[Floats, Floats], orders: Ints, labels: Floats | Ints | None
) -> Permuted:
    if metric == LABEL_FREE:
        before, after = (
            linked(side.reshape(-1, *side.shape[2:]), game.link, np.tile(game.targets, len(side))).reshape(
                side.shape[:2]
            )
            for side in scores
        )
        first = mean_of(np.zeros_like(before))
        second = mean_of(np.abs(after - before))
    else:
        assert labels is not None
        first, second = (performance(side, labels, metric) for side in scores)
    change = second[1] - first[1]
    given = np.zeros(orders.shape)
    np.put_along_axis(given, orders, change, axis=1)  # the part of a row whose value somebody else got
    part = (change + given).mean(axis=0)
    sign = METRICS[metric]
    return Permuted(player=player, metric=metric, each=sign * (second[0] - first[0]), influence=sign * part)


def _masker(game: Game) -> TabularMasker:
    table_of(game)
    assert isinstance(game.masker, TabularMasker)
    return game.masker


def shuffles(strata: Ints, repeats: int, rng: np.random.Generator) -> Ints:
    """Orders (repeats, rows) that shuffle the rows within their strata (rows,)."""
    if repeats < 1:
        raise UsageError(f"repeats: at least 1 is needed, got {repeats}")
    mixed = rng.permuted(np.broadcast_to(np.arange(len(strata)), (repeats, len(strata))), axis=1)
    orders = np.zeros_like(mixed)
    home = np.argsort(strata, kind="stable")
    sorted_in = np.take_along_axis(mixed, np.argsort(strata[mixed], axis=1, kind="stable"), axis=1)
    orders[:, home] = sorted_in
    return orders


def strata_of(game: Game, player: str, *, least: int = 20, seed: int = 0) -> Ints:
    """Strata (rows,) of rows alike in the other features: the leaves of a tree that predicts the player from them.

    Within a leaf the player tells (almost) nothing about the others any more, so shuffling there keeps what they have in
    common (strobl2008, molnar2024). least: rows in a leaf at least. One stratum where nothing predicts the player.
    """
    from sklearn.tree import DecisionTreeRegressor

    masker, inputs = _masker(game), table_of(game)
    held = masker.membership[masker.names.index(player)]
    inside, outside = (tuple(np.flatnonzero(side).tolist()) for side in (held, ~held))
    others, wanted = encoded(inputs, outside).matrix, encoded(inputs, inside).matrix
    gaps = np.isnan(wanted)
    middle = np.where(gaps, 0.0, wanted).sum(axis=0) / np.maximum(1, (~gaps).sum(axis=0))
    wanted = np.hstack([np.where(gaps, middle, wanted), gaps])
    spread = wanted.std(axis=0)
    wanted = wanted[:, spread > 0] / spread[spread > 0]
    if not others.shape[1] or not wanted.shape[1] or len(inputs) < 2 * least:
        return np.zeros(len(inputs), dtype=np.int64)
    tree = DecisionTreeRegressor(min_samples_leaf=least, min_impurity_decrease=0.01, random_state=seed)
    return np.asarray(tree.fit(others, wanted).apply(others), dtype=np.int64)


@check(
    "explain.permutation_importance",
    title="What is lost when a feature is shuffled",
    needs={"model", "rows"},
    sources=("breiman2001", "strobl2008", "fisher2019", "molnar2024", "delong1988"),
)
def permutation(
    subject: Subject,
    context: Context,
    *,
    rows: int = 512,
    repeats: int = 10,
    conditional: bool = True,
    metrics: tuple[str, ...] = (),
    link: Link = "identity",
) -> Iterator[Evidence]:
    """How much worse are the answers when a feature is shuffled among people, so that it says nothing any more?

    With labels the figure is what the AUC loses and the log-loss gains (several classes: accuracy and log-loss; numbers:
    the squared error), without them how far the output moves on average; `metrics` names others. Each feature is shuffled
    `repeats` times; the interval is for other people and other shuffles. The conditional importance shuffles only among
    people alike in the other features (leaves of a tree that predicts this feature from them): it is what the feature
    tells beyond the others. A feature with a high marginal and no conditional importance can be had from the others.

    The model is not fitted again: the figures say what this model uses, not what a new one could do without. A feature of
    no importance may still decide for a few. Shuffling one of two features that say the same thing understates both.
    """
    game = table_game(subject, context, rows=rows, link=link)
    chosen = sampled_rows(subject, context, rows)
    labels = _labels(subject, game)
    used = metrics or _usual(subject, game, labels is not None)
    labels = None if labels is None else labels[chosen]
    seed = seed_of(context, "explain.permutation_importance")
    names = _masker(game).names
    found: list[Measure] = []
    for player in context.track(names, "permutation importance"):
        for within in (False, True) if conditional else (False,):
            strata = strata_of(game, player, seed=seed % 2**31) if within else np.zeros(len(game), dtype=np.int64)
            orders = shuffles(strata, repeats, stream_of(seed, f"{player}/{within}"))
            costs = permutation_importance(game, player, orders, labels, metrics=used)
            found += [
                _measure(game, each, within, len(np.unique(strata)), context.confidence) for each in costs.values()
            ]
    yield from found


def _labels(subject: Subject, game: Game) -> Floats | Ints | None:
    return subject.data.target if game.number else subject.y


def _usual(subject: Subject, game: Game, labelled: bool) -> tuple[str, ...]:
    if not labelled:
        return (LABEL_FREE,)
    if game.number:
        return ("squared_error",)
    return ("log_loss", "accuracy") if subject.score is not None and subject.score.ndim == 2 else ("auc", "log_loss")


def _measure(game: Game, found: Permuted, within: bool, strata: int, level: float) -> Measure:
    where = {"feature": found.player, "metric": found.metric}
    if np.isnan(found.value):
        return Measure(name=_NAMES[within], value=None, where=where, note="an AUC needs labels of exactly two classes")
    low, high = found.interval(level)
    bounds = Interval(low=low, high=high, level=level, method="t, projection on rows") if not np.isnan(low) else None
    how = f"shuffled within {strata} strata alike in the other features" if within else "shuffled among all rows"
    proportion = found.metric in ("auc", "accuracy") or (found.metric == LABEL_FREE and unit_of(game.scale))
    return Measure(
        name=_NAMES[within],
        value=found.value,
        unit="proportion" if proportion else "",
        n=len(found.influence),
        interval=bounds,
        where=where,
        note=f"{how}, {len(found.each)} times (sd over shuffles {found.each.std():.2g})",
    )
