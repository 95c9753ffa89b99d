"""How many players an explanation needs to say what it says."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from audit.core import Context, Evidence, Floats, Subject
from audit.explain.games import Link
from audit.explain.quality import figures
from audit.explain.quality.panel import BACKGROUND, ROWS, defined, missing, panel
from audit.registry import check


def entropy(values: Floats) -> Floats:
    """Entropy in nats (rows,) of each player's share of the absolute attributions (rows, players) (bhatt2020).

    0 where one player has all of it, log(players) where all have the same; NaN players are not there, and a row without
    any attribution is NaN.
    """
    share = _shares(values)
    logs = np.log(share, out=np.zeros_like(share), where=share > 0)
    return np.asarray(-(share * logs).sum(axis=1))


def gini(values: Floats) -> Floats:
    """Gini index (rows,) of the absolute attributions (rows, players): 0 all alike, towards 1 on one (chalasani2020)."""
    found = np.full(len(values), np.nan)
    for row, own in enumerate(np.abs(values)):
        size = np.sort(own[np.isfinite(own)])
        if size.sum() > 0:
            rank = np.arange(1, len(size) + 1)
            found[row] = 1 - 2 * float(size @ (len(size) - rank + 0.5)) / (len(size) * float(size.sum()))
    return found


def _shares(values: Floats) -> Floats:
    size = np.where(np.isfinite(values), np.abs(values), 0.0)
    total = size.sum(axis=1, keepdims=True)
    return np.where(total > 0, size / np.where(total > 0, total, 1.0), np.nan)


@check(
    "explain.complexity",
    title="How many features does an explanation need?",
    needs={"model", "rows"},
    sources=("bhatt2020", "chalasani2020"),
)
def complexity(
    subject: Subject,
    context: Context,
    *,
    rows: int = ROWS,
    background: int = BACKGROUND,
    link: Link = "identity",
) -> Iterator[Evidence]:
    """How many features does a reader have to keep in mind to follow an explanation?

    Entropy of the features' shares of the absolute attribution; the effective number of features, its exponential (as
    many equal features would have the same entropy); and the Gini index, 0 where all features share alike and near 1
    where one has everything. Mean over rows, for every explainer that applies.

    The numbers do not say that a short explanation is true. A model that uses twenty features has no honest explanation
    of three, and an explainer that always names one feature has the best figures of all.
    """
    _, found = panel(subject, context, rows=rows, background=background, link=link)
    for id, each in defined(found).items():
        why = "no row has an attribution other than 0"
        spread = entropy(each.values)
        players = np.array([len(names) for names in each.players])[np.isfinite(spread)]
        note = f"as many equal ones would spread alike; the rows have {players.mean():.3g}" if len(players) else why
        yield figures.mean(
            "effective_features",
            np.exp(spread),
            explainer=id,
            level=context.confidence,
            note=note,
            why=why,
            least=1.0,
        )
        yield figures.mean("entropy", spread, explainer=id, level=context.confidence, unit="nats", why=why, least=0.0)
        yield figures.mean(
            "gini",
            gini(each.values),
            explainer=id,
            level=context.confidence,
            note="0: all features alike, towards 1: one has all",
            why=why,
            least=0.0,
            most=1.0,
        )
    yield from missing(found)
