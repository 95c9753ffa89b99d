"""People who stand for the others, and people whom they do not stand for: prototypes and criticisms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from audit import stats
from audit.core import (
    Cell,
    Context,
    Evidence,
    Floats,
    Interval,
    Ints,
    Measure,
    NotApplicable,
    Subject,
    Table,
    UsageError,
)
from audit.core import stream as stream_of
from audit.data.tabular import Tabular
from audit.explain.features import most_varied, said, standardised, table_game
from audit.explain.sample import sampled_rows, seed_of
from audit.registry import check

SHOWN = 10  # features in the tables of people
RANDOM = 200  # random choices that the prototypes are compared with
_TITLES = {
    "prototypes": "People who stand for the others",
    "criticisms": "People around whom the prototypes are too rare or too many",
    "strangers": "People furthest from every prototype",
}


def rbf_kernel(points: Floats) -> Floats:
    """exp(-d² / m) (n, n) of points (n, d), m the median of the squared distances between different points (gretton2012)."""
    squares = (points**2).sum(axis=1)
    apart = np.maximum(squares[:, None] + squares[None] - 2 * points @ points.T, 0.0)
    np.fill_diagonal(apart, 0.0)
    pairs = apart[np.triu_indices(len(points), 1)]
    pairs = pairs[pairs > 1e-12]
    return np.asarray(np.exp(-apart / (np.median(pairs) if len(pairs) else 1.0)))


def mmd2(kernel: Floats, chosen: Ints) -> float:
    """Squared maximum mean discrepancy between all rows of a kernel (n, n) and the chosen ones (gretton2012)."""
    between, within = kernel[:, chosen].mean(), kernel[np.ix_(chosen, chosen)].mean()
    return float(kernel.mean() - 2 * between + within)


def prototypes(kernel: Floats, count: int) -> Ints:
    """Rows (count,) chosen one by one, each the one that makes the squared MMD smallest (kim2016); ties go to the first.

    Raises UsageError for a count outside 1 ... n.
    """
    n = len(kernel)
    if not 1 <= count <= n:
        raise UsageError(f"prototypes: from 1 to {n} rows, got {count}")
    mean = kernel.mean(axis=0)
    chosen: list[int] = []
    near, inside = np.zeros(n), 0.0  # sums of the kernel with the chosen ones, and among them
    for size in range(1, count + 1):
        gain = 2 * (mean[chosen].sum() + mean) / size - (inside + 2 * near + np.diag(kernel)) / size**2
        gain[chosen] = -np.inf
        best = int(np.argmax(gain >= gain.max() - 1e-13))
        inside += 2 * near[best] + kernel[best, best]
        near += kernel[best]
        chosen.append(best)
    return np.array(chosen, dtype=np.int64)


def witness(kernel: Floats, chosen: Ints) -> Floats:
    """How much denser (n,) all rows lie around each row than the chosen ones do; far from 0 where these miss it."""
    return np.asarray(kernel.mean(axis=1) - kernel[:, chosen].mean(axis=1))


def criticisms(kernel: Floats, chosen: Ints, count: int) -> Ints:
    """Rows (count,) around which the chosen ones are too rare or too many: greedily |witness| + log det of their kernel.

    The determinant (kim2016) keeps them apart from one another. Raises UsageError where fewer rows are left.
    """
    n = len(kernel)
    if not 0 <= count <= n - len(np.unique(chosen)):
        raise UsageError(f"criticisms: from 0 to {n - len(np.unique(chosen))} rows are left, got {count}")
    missed = np.abs(witness(kernel, chosen))
    left = np.diag(kernel).copy()  # what of each row the criticisms so far do not span: a Cholesky factor row by row
    factor = np.zeros((count, n))
    taken: list[int] = []
    for step in range(count):
        gain = missed + np.log(np.maximum(left, 1e-12))
        gain[[*chosen.tolist(), *taken]] = -np.inf
        best = int(np.argmax(gain >= gain.max() - 1e-13))
        factor[step] = (kernel[best] - factor[:step, best] @ factor[:step]) / np.sqrt(max(left[best], 1e-12))
        left -= factor[step] ** 2
        taken.append(best)
    return np.array(taken, dtype=np.int64)


def furthest(kernel: Floats, chosen: Ints, count: int) -> Ints:
    """Rows (at most count,) that are least like the chosen row nearest to them, the furthest first."""
    near = kernel[:, chosen].max(axis=1)
    near[chosen] = np.inf
    return np.argsort(near, kind="stable")[: min(count, len(near) - len(np.unique(chosen)))].astype(np.int64)


@check(
    "explain.prototypes",
    title="People who stand for the others",
    needs={"model", "rows"},
    sources=("kim2016", "gretton2012", "wilson1927"),
)
def prototypes_and_criticisms(
    subject: Subject,
    context: Context,
    *,
    rows: int = 512,
    count: int = 8,
    critics: int = 6,
) -> Iterator[Evidence]:
    """Which few people are typical of the data, whom do they leave out, and are the groups equally well represented?

    Prototypes are rows chosen one by one so that together they look like all rows (smallest maximum mean discrepancy with
    a Gaussian kernel of median width). Criticisms are rows around which the prototypes are too rare (witness above 0) or
    too many (below 0); the strangers are the rows furthest from every prototype. Numbers are brought to one scale, levels
    of categories count as equal or not. For each group it is measured how near its people are to their nearest prototype
    (`prototype_similarity`, 1 = the same), and how often the model decides about them as about that prototype
    (`prototype_agreement`).

    Prototypes describe the data, and the model only in so far as it decides alike about like people. A group of low
    similarity is one whose cases a reviewer would not meet by looking at typical people. The choice depends on the
    features' scale, and the rows shown are real people: mind who reads the page.
    """
    game = table_game(subject, context, rows=rows)
    chosen = sampled_rows(subject, context, rows)
    inputs: Tabular = game.masker.inputs
    if count < 1 or critics < 0:
        raise UsageError(f"count: at least 1, critics: at least 0, got {count} and {critics}")
    if len(chosen) < 10:
        raise NotApplicable(f"prototypes stand for 10 rows or more, and there are {len(chosen)}")
    points = standardised(inputs)
    if not points.shape[1]:
        raise NotApplicable("every feature has one value only in the sampled rows")
    kernel = rbf_kernel(points)
    typical = prototypes(kernel, min(count, len(chosen) // 3))
    unlike = criticisms(kernel, typical, min(critics, len(chosen) // 3))
    yield _discrepancy(kernel, typical, seed_of(context, "explain.prototypes"))
    yield from _coverage(subject, chosen, kernel, typical, context.confidence)
    columns = most_varied(game, SHOWN) or list(range(min(SHOWN, len(inputs.columns))))
    nearest = np.bincount(kernel[:, typical].argmax(axis=1), minlength=len(typical)) / len(chosen)
    yield _people(subject, inputs, chosen, typical, columns, "prototypes", ("stands for", nearest.tolist()))
    away = witness(kernel, typical)[unlike].tolist()
    yield _people(subject, inputs, chosen, unlike, columns, "criticisms", ("witness", away))
    strange = furthest(kernel, typical, min(critics, len(chosen) // 3))
    alike = kernel[np.ix_(strange, typical)].max(axis=1).tolist()
    yield _people(subject, inputs, chosen, strange, columns, "strangers", ("similarity", alike))


def _discrepancy(kernel: Floats, typical: Ints, seed: int) -> Measure:
    rng = stream_of(seed, "random")
    drawn = [mmd2(kernel, rng.choice(len(kernel), size=len(typical), replace=False)) for _ in range(RANDOM)]
    better = float(np.median(drawn))
    return Measure(
        name="prototype_mmd2",
        value=mmd2(kernel, typical),
        better="lower",
        note=f"{len(typical)} prototypes for {len(kernel)} rows; as many rows drawn at random have a median of {better:.3g}",
    )


def _coverage(subject: Subject, chosen: Ints, kernel: Floats, typical: Ints, level: float) -> Iterator[Measure]:
    others = np.ones(len(chosen), dtype=np.bool_)
    others[typical] = False  # a prototype is like itself
    near, which = kernel[:, typical].max(axis=1), typical[kernel[:, typical].argmax(axis=1)]
    decided = _decisions(subject)
    alike = None if decided is None else decided[chosen] == decided[chosen][which]
    parts: list[tuple[dict[str, str], NDArray[np.bool_]]] = [({}, others)]
    for name, codes in subject.groups.items():
        parts += [({name: group}, others & (codes.values[chosen] == code)) for code, group in enumerate(codes.levels)]
    for where, among in parts:
        yield _similarity(near[among], where, level)
        if alike is not None:
            yield _agreement(alike[among], where, level)


def _decisions(subject: Subject) -> Ints | None:
    if subject.score is not None and subject.score.ndim == 2:
        return np.asarray(subject.score.argmax(axis=1), dtype=np.int64)
    return subject.decision


def _similarity(near: Floats, where: dict[str, str], level: float) -> Measure:
    if not len(near):
        return Measure(
            name="prototype_similarity", value=None, where=where, note="nobody of this group is in the sample"
        )
    low, high = stats.mean_interval(near, level)
    known = (
        None if np.isnan(low) else Interval(low=max(low, 0.0), high=min(high, 1.0), level=level, method="t over rows")
    )
    note = "mean similarity to the nearest prototype"
    value = float(near.mean())
    return Measure(
        name="prototype_similarity", value=value, n=len(near), interval=known, where=where, better="higher", note=note
    )


def _agreement(alike: NDArray[np.bool_], where: dict[str, str], level: float) -> Measure:
    n, hits = len(alike), int(alike.sum())
    if not n:
        return Measure(
            name="prototype_agreement", value=None, where=where, note="nobody of this group is in the sample"
        )
    low, high = (float(side) for side in stats.wilson(hits, n, level))
    return Measure(
        name="prototype_agreement",
        value=hits / n,
        unit="proportion",
        n=n,
        interval=Interval(low=low, high=high, level=level, method="Wilson"),
        where=where,
        better="higher",
        note="share of people about whom the model decides as about their nearest prototype",
    )


def _people(
    subject: Subject,
    inputs: Tabular,
    chosen: Ints,
    places: Ints,
    columns: Sequence[int],
    name: str,
    extra: tuple[str, list[float]],
) -> Table:
    """Rows as a table: number, features, groups that are no feature, score, and one more figure."""
    attributes = [each for each in subject.groups if each not in inputs.columns]
    single = subject.score is not None and subject.score.ndim == 1
    lines: list[tuple[Cell, ...]] = []
    for place, figure in zip(places.tolist(), extra[1], strict=True):
        row = int(chosen[place])
        groups = [
            (*subject.groups[each].levels, "unknown")[int(subject.groups[each].values[row])] for each in attributes
        ]
        score = [float(subject.score[row])] if subject.score is not None and single else []
        shown = [said(inputs, column, float(inputs.values[place, column])) for column in columns]
        lines.append((row, *shown, *groups, *score, figure))
    rest = len(inputs.columns) - len(columns)
    return Table(
        name=name,
        title=_TITLES[name],
        columns=("row", *(inputs.columns[c] for c in columns), *attributes, *(["score"] if single else []), extra[0]),
        rows=tuple(lines),
        note=f"of {len(chosen)} rows"
        + (f"; {rest} features along which the output varies less are left out" if rest else ""),
    )
