"""How much of an explanation is carried by features that stand for a protected attribute."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from audit.core import ALL, Cell, Codes, Context, Evidence, Floats, Measure, NotApplicable, Subject, Table, UsageError
from audit.data.tabular import Tabular
from audit.explain.games import Link
from audit.explain.quality import figures
from audit.explain.quality.panel import BACKGROUND, defined, missing, panel
from audit.explain.sample import model_and_inputs
from audit.registry import check
from audit.stats import delong


def association(values: Floats, codes: Codes, *, categorical: bool = False) -> float:
    """How well a column (n,) tells the groups apart, from 0 to 1; NaN for fewer than two groups or a constant column.

    Of a number the correlation ratio: the root of the share of its variance that lies between the groups. Of a category
    Cramer's V, without correction.
    """
    there = codes.known() & np.isfinite(values)
    column, group = values[there], np.asarray(codes.values)[there]
    levels, place = np.unique(group, return_inverse=True)
    if len(levels) < 2 or len(np.unique(column)) < 2:
        return float("nan")
    if categorical:
        kinds, kind = np.unique(column, return_inverse=True)
        table = np.zeros((len(levels), len(kinds)))
        np.add.at(table, (place, kind), 1.0)
        expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / len(column)
        chi = ((table - expected) ** 2 / expected).sum()
        return float(np.sqrt(chi / (len(column) * (min(table.shape) - 1))))
    count = np.bincount(place)
    means = np.bincount(place, column) / count
    return float(np.sqrt(count @ (means - column.mean()) ** 2 / (len(column) * column.var())))


@check(
    "explain.proxies",
    title="How much of the explanation is carried by proxies?",
    needs={"model", "rows", "groups"},
    sources=("lundberg2017", "slack2020", "delong1988"),
)
def proxies(
    subject: Subject,
    context: Context,
    *,
    rows: int = 64,
    background: int = BACKGROUND,
    link: Link = "identity",
    proxy: float = 0.3,
) -> Iterator[Evidence]:
    """How much of what moves the model comes through features that stand for a protected attribute?

    For every feature how well it alone tells the groups apart: the correlation ratio (of a category Cramer's V), and for
    two groups the area under the ROC curve. Beside it its share of the absolute attribution. A feature is called a proxy
    from an association of `proxy` on, the attribute itself included where the model reads it; the share of the
    explanation that proxies carry is given with its interval over rows, for every explainer that applies.

    The numbers do not say that a proxy is used unfairly, nor that features below the limit cannot stand for the attribute
    together. An association is what these data show; it is no cause.
    """
    if not 0 < proxy <= 1:
        raise UsageError(f"proxy: an association above 0 and at most 1, got {proxy}")
    _, inputs = model_and_inputs(subject)
    if not isinstance(inputs, Tabular):
        raise NotApplicable(f"proxies are looked for among the columns of a table, not in {type(inputs).__name__}")
    _, found = panel(subject, context, rows=rows, background=background, link=link)
    here = {id: each for id, each in defined(found).items() if set(each.players) == {inputs.columns}}
    shares = {id: _shares(each.values) for id, each in here.items()}
    for attribute, codes in subject.groups.items():
        strength = _strengths(inputs, codes)
        if np.isnan(strength).all():
            note = f"{attribute}: fewer than two groups, or no feature that varies"
            yield Measure(name="proxy_share", value=None, where={attribute: ALL}, better="lower", note=note)
            continue
        carried = np.nan_to_num(strength) >= proxy
        names = [name for name, is_proxy in zip(inputs.columns, carried, strict=True) if is_proxy]
        for id, each in shares.items():
            yield _carried(id, each, carried, names, attribute, proxy, context.confidence)
        yield _table(attribute, inputs, codes, strength, shares)
    yield from missing(found)


def _strengths(inputs: Tabular, codes: Codes) -> Floats:
    return np.array(
        [
            association(inputs.values[:, place], codes, categorical=name in inputs.categories)
            for place, name in enumerate(inputs.columns)
        ]
    )


def _shares(values: Floats) -> Floats:
    """Each player's share (rows, players) of the row's absolute attribution; NaN where it is undefined or 0."""
    size = np.abs(values)
    total = size.sum(axis=1, keepdims=True)
    return np.asarray(np.where(total > 0, size / np.where(total > 0, total, 1.0), np.nan))


def _carried(
    id: str, shares: Floats, carried: np.ndarray, names: list[str], attribute: str, proxy: float, level: float
) -> Measure:
    each = shares[:, carried].sum(axis=1)
    told = ", ".join(names) if names else "no feature"
    found = figures.mean(
        "proxy_share",
        each,
        explainer=id,
        level=level,
        better="lower",
        unit="proportion",
        note=f"of the absolute attribution; proxies of {attribute} (association of at least {proxy:g}): {told}",
        why="no row has an attribution other than 0",
        least=0.0,
        most=1.0,
    )
    return replace(found, where={attribute: ALL, "explainer": id})


def _table(attribute: str, inputs: Tabular, codes: Codes, strength: Floats, shares: dict[str, Floats]) -> Table:
    """Features by association, each with its area under the curve and its share in every explainer."""
    lines: list[tuple[Cell, ...]] = []
    means = {id: np.nanmean(each, axis=0) if np.isfinite(each).any() else None for id, each in shares.items()}
    for place in np.argsort(-np.nan_to_num(strength), kind="stable"):
        cells = [None if mean is None else float(mean[place]) for mean in means.values()]
        size = None if np.isnan(strength[place]) else float(strength[place])
        lines.append((inputs.columns[place], size, _auc(inputs, int(place), codes), *cells))
    return Table(
        name="proxies",
        title=f"How well each feature tells {attribute} apart, and its share of the absolute attribution",
        columns=("feature", "association", "AUC", *shares),
        rows=tuple(lines),
        note="AUC: of two groups only, at least one half by construction",
    )


def _auc(inputs: Tabular, place: int, codes: Codes) -> float | None:
    column = inputs.values[:, place]
    there = codes.known() & np.isfinite(column)
    if len(codes.levels) != 2 or inputs.columns[place] in inputs.categories:
        return None
    area = float(delong(column[there], np.asarray(codes.values)[there] == 1)[0])
    return None if np.isnan(area) else max(area, 1 - area)
