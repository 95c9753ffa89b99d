"""Association of words and sentences in an embedding: WEAT and its kin, with permutation tests."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from audit import stats
from audit.core import Cell, Context, Embedding, Evidence, Floats, Measure, NotApplicable, Subject, Table, UsageError
from audit.fairness.measures import bounded, measured
from audit.registry import check

EXACT = 200_000  # splits of the target words up to which all of them are tried
SPLITS = 10_000  # splits drawn at random beyond that
_SAME = 1e-12  # statistics this close are equal
_ROUNDING = 1e-6  # cosines of equal vectors in single precision differ by up to as much


@dataclass(frozen=True, slots=True, kw_only=True)
class WordTest:
    """Targets x and y, attributes a and b: is x nearer to a, and y to b, than the other way round?"""

    x: tuple[str, ...]
    y: tuple[str, ...]
    a: tuple[str, ...]
    b: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Association:
    """A WEAT result: effect size d, the sum statistic, the mean difference, and how often chance does as well.

    low, high: interval of d at `level`, NaN where it has none. p_value: one-sided, that x is nearer to a; p_two_sided:
    in either direction. splits: how many were tried; exact: were they all.
    """

    effect_size: float
    statistic: float
    mean_difference: float
    low: float
    high: float
    level: float
    p_value: float
    p_two_sided: float
    splits: int
    exact: bool
    n: int


def cosine(left: ArrayLike, right: ArrayLike) -> Floats:
    """Cosine similarities (n, m) of vectors (n, d) and (m, d); NaN for a vector of zeros."""
    one, other = unit(left), unit(right)
    return np.asarray(one @ other.T)


def unit(vectors: ArrayLike) -> Floats:
    """Vectors (n, d) at length 1; NaN for zeros."""
    v = np.atleast_2d(np.asarray(vectors, dtype=np.float64))
    return stats.divide(v, np.linalg.norm(v, axis=1, keepdims=True))


def word_association(words: ArrayLike, a: ArrayLike, b: ArrayLike) -> Floats:
    """How much nearer each word (n, d) is to the attributes a than to b: difference of mean cosines (n,) (caliskan2017)."""
    return np.asarray(cosine(words, a).mean(axis=1) - cosine(words, b).mean(axis=1))


def wefat(words: ArrayLike, a: ArrayLike, b: ArrayLike, *, ddof: int = 1) -> Floats:
    """The same in standard deviations of the cosines to a and b together (n,) (caliskan2017)."""
    near = cosine(words, np.concatenate([np.atleast_2d(a), np.atleast_2d(b)]))
    return stats.divide(word_association(words, a, b), near.std(axis=1, ddof=ddof))


def weat(
    x: ArrayLike,
    y: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    *,
    ddof: int = 1,
    level: float = 0.95,
    exact: int = EXACT,
    splits: int = SPLITS,
    rng: np.random.Generator | None = None,
) -> Association:
    """The word embedding association test on vectors x, y, a, b (n, d) each (caliskan2017).

    effect_size is the difference of the mean associations of x and y in standard deviations of all of them (ddof 1 as
    published); with vectors of sentences this is SEAT (may2019). The p-values are exact where there are at most `exact`
    ways to split the targets, else from `splits` random ones, drawn from `rng`, which is then needed. The interval is
    that of a noncentral t, which takes the words as a sample from a larger vocabulary (steiger1997). Raises UsageError.
    """
    first, second = word_association(x, a, b), word_association(y, a, b)
    if min(len(first), len(second)) < 2 or not np.isfinite([*first, *second]).all():
        raise UsageError("x, y: at least two vectors each, none of them zero")
    both = np.concatenate([first, second])
    difference = float(first.mean() - second.mean())
    spread = float(both.std(ddof=ddof))
    effect = difference / spread if spread > _ROUNDING else math.nan
    ways = math.comb(len(both), len(first))
    null = _all_splits(both, len(first)) if ways <= exact else _random_splits(both, len(first), splits, rng)
    extra = int(ways > exact)  # the observed split counts as one of the random ones (phipson2010)
    least = _SAME * max(1.0, float(np.abs(both).max())) if spread > _ROUNDING else _ROUNDING
    low, high = effect_interval(first, second, level, ddof)
    return Association(
        effect_size=effect,
        statistic=float(first.sum() - second.sum()),
        mean_difference=difference,
        low=low,
        high=high,
        level=level,
        p_value=(int((null >= difference - least).sum()) + extra) / (len(null) + extra),
        p_two_sided=(int((np.abs(null) >= abs(difference) - least).sum()) + extra) / (len(null) + extra),
        splits=len(null),
        exact=not extra,
        n=len(both),
    )


def _all_splits(values: Floats, size: int) -> Floats:
    """The mean difference of every way to take `size` of the values."""
    every = itertools.chain.from_iterable(itertools.combinations(range(len(values)), size))
    taken = np.fromiter(every, dtype=np.int64).reshape(-1, size)
    return _differences(values[taken].sum(axis=1), values, size)


def _random_splits(values: Floats, size: int, splits: int, rng: np.random.Generator | None) -> Floats:
    if rng is None:
        raise UsageError("rng: too many splits to try them all, so a numpy Generator is needed, got None")
    taken = np.argpartition(rng.random((splits, len(values))), size - 1, axis=1)[:, :size]
    return _differences(values[taken].sum(axis=1), values, size)


def _differences(chosen: Floats, values: Floats, size: int) -> Floats:
    return np.asarray(chosen / size - (values.sum() - chosen) / (len(values) - size))


def effect_interval(first: Floats, second: Floats, level: float = 0.95, ddof: int = 1) -> tuple[float, float]:
    """Interval of the mean difference of two normal samples in standard deviations of both together (steiger1997).

    From the noncentral t of their pooled difference. NaN without spread inside the samples.
    """
    n, m = len(first), len(second)
    total = n + m
    pooled = math.sqrt(float(((first - first.mean()) ** 2).sum() + ((second - second.mean()) ** 2).sum()) / (total - 2))
    difference = float(first.mean() - second.mean())
    if pooled <= _SAME or abs(difference) / pooled > 100.0:
        return math.nan, math.nan
    root = math.sqrt(n * m / total)
    t = difference / pooled * root

    def whole(shift: float) -> float:  # in standard deviations within, then of both samples together
        within = shift / root
        return within / math.sqrt(1.0 + n * m / total**2 * within**2) * math.sqrt((total - ddof) / total)

    tail = 0.5 - level / 2.0
    return whole(noncentrality(t, total - 2, 1.0 - tail)), whole(noncentrality(t, total - 2, tail))


def noncentrality(t: float, degrees: int, chance: float) -> float:
    """The shift under which a noncentral t of so many degrees lies below t with this chance (steiger1997).

    Quadrature over the estimated spread: the library's distribution function is undefined far out.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr
    from scipy.stats import chi

    ends = chi.ppf([1e-13, 1.0 - 1e-13], degrees)
    nodes, mass = np.polynomial.legendre.leggauss(120)
    spread = ends[0] + (nodes + 1.0) / 2.0 * (ends[1] - ends[0])
    mass = mass * chi.pdf(spread, degrees)
    mass, scaled = mass / mass.sum(), t * spread / math.sqrt(degrees)
    reach = 10.0 + 3.0 * abs(t)
    return float(brentq(lambda shift: mass @ ndtr(scaled - shift) - chance, t - reach, t + reach))


def ripa(words: ArrayLike, pairs: ArrayLike) -> Floats:
    """Relational inner product association (n,): the words' part along what tells the pairs apart (ethayarajh2019).

    words (n, d), not normalised; pairs (k, 2, d), such as (he, she). The relation is the first principal direction of
    the differences, about the origin; with one pair it is their difference at length 1. Positive = towards the first.
    """
    v = np.asarray(pairs, dtype=np.float64)
    if v.ndim != 3 or v.shape[1] != 2:
        raise UsageError(f"pairs: allowed is (k, 2, d), got {v.shape}")
    steps = v[:, 0] - v[:, 1]
    direction = np.linalg.svd(steps, full_matrices=False)[2][0]
    towards = 1.0 if float(steps.sum(axis=0) @ direction) >= 0.0 else -1.0
    return np.asarray(np.atleast_2d(np.asarray(words, dtype=np.float64)) @ direction * towards)


def relative_norm(words: ArrayLike, first: ArrayLike, second: ArrayLike) -> Floats:
    """Distance to the mean of the first group less that to the second (n,): positive = nearer the second (garg2018).

    All vectors are taken at length 1; the published figure is the sum over the words.
    """
    v = unit(words)
    near, far = (np.linalg.norm(v - unit(group).mean(axis=0), axis=1) for group in (first, second))
    return np.asarray(near - far)


def sentences(
    words: Sequence[str], templates: Sequence[str] = ("This is {}.", "That is {}.", "There is {}.")
) -> tuple[str, ...]:
    """Every word in every bleached template, for SEAT (may2019)."""
    return tuple(template.format(word) for word in words for template in templates)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_YOUTH = (
    "Tiffany Michelle Cindy Kristy Brad Eric Joey Billy",
    "Ethel Bernice Gertrude Agnes Cecil Wilbert Mortimer Edgar",
)
_GOOD = (
    "joy love peace wonderful pleasure friend laughter happy",
    "agony terrible horrible nasty evil war awful failure",
)
WEAT: Mapping[str, WordTest] = {
    name: WordTest(x=_words(x), y=_words(y), a=_words(a), b=_words(b))
    for name, x, y, a, b in (
        (
            "names of men and women, career and family",
            "John Paul Mike Kevin Steve Greg Jeff Bill",
            "Amy Joan Lisa Sarah Diana Kate Ann Donna",
            "executive management professional corporation salary office business career",
            "home parents children family cousins marriage wedding relatives",
        ),
        (
            "mathematics and arts, male and female",
            "math algebra geometry calculus equations computation numbers addition",
            "poetry art dance literature novel symphony drama sculpture",
            "male man boy brother he him his son",
            "female woman girl sister she her hers daughter",
        ),
        (
            "science and arts, male and female",
            "science technology physics chemistry Einstein NASA experiment astronomy",
            "poetry art Shakespeare dance literature novel symphony drama",
            "brother father uncle grandfather son he his him",
            "sister mother aunt grandmother daughter she hers her",
        ),
        (
            "mental and physical illness, passing and lasting",
            "sad hopeless gloomy tearful miserable depressed",
            "sick illness influenza disease virus cancer",
            "impermanent unstable variable fleeting short-term brief occasional",
            "stable always constant persistent chronic prolonged forever",
        ),
        ("names of young and old people, pleasant and unpleasant", *_YOUTH, *_GOOD),
    )
}  # tests 6 to 10 of caliskan2017


@check(
    "fairness.association",
    title="Associations in the embedding",
    needs={"embedding"},
    sources=("caliskan2017", "may2019", "phipson2010", "steiger1997"),
)
def association_check(
    subject: Subject,
    context: Context,
    *,
    x: Sequence[str] = (),
    y: Sequence[str] = (),
    a: Sequence[str] = (),
    b: Sequence[str] = (),
    templates: Sequence[str] = (),
    splits: int = SPLITS,
) -> Iterator[Evidence]:
    """Does the embedding hold some groups of words nearer to certain attributes than others, as people's prejudices do?

    Each test has two sets of target words, x and y, and two of attributes, a and b. effect_size is the difference between
    x and y in mean cosine to a less mean cosine to b, in standard deviations of the target words, between -2 and 2;
    p_value is the share of all ways to split the targets that give as large a difference (all are tried where there are
    at most 200,000, else `splits` at random). The interval takes the words as a sample of a larger vocabulary. Without
    x, y, a, b the tests 6 to 10 of the WEAT are run; with templates such as "This is {}." whole sentences are compared
    (SEAT). Words that the model does not know are left out and listed.

    A small effect does not show that the model is unprejudiced: the word lists are short and English, and associations may
    sit elsewhere. A large one says nothing about decisions made with the embedding. Each p_value is for one test.
    """
    tests = {"own words": WordTest(x=tuple(x), y=tuple(y), a=tuple(a), b=tuple(b))} if x or y or a or b else WEAT
    model = cast(Embedding, subject.model)
    known = {
        name: {side: _known(model, getattr(words, side), templates) for side in LEAST} for name, words in tests.items()
    }
    if not any(len(vectors) for sets in known.values() for vectors, _ in sets.values()):
        raise NotApplicable("the model knows none of the words")
    if tests is WEAT and not any(_enough(sets) for sets in known.values()):
        raise NotApplicable("the model knows too few words of every built-in test; give words of its own as x, y, a, b")
    rows: list[tuple[Cell, ...]] = []
    for name, sets in context.track(list(known.items()), "associations"):
        rows += [(name, side, len(vectors), ", ".join(missing)) for side, (vectors, missing) in sets.items()]
        yield from _measures(name, sets, context, splits)
    yield Table(
        name="words",
        title="Words of the tests",
        columns=("test", "set", "known", "not known, left out"),
        rows=tuple(rows),
    )


Sets = Mapping[str, tuple[Floats, list[str]]]  # of each side the vectors that are known, and the words that are not
LEAST: Mapping[str, int] = {"x": 2, "y": 2, "a": 1, "b": 1}


def _enough(sets: Sets) -> bool:
    return all(len(sets[side][0]) >= least for side, least in LEAST.items())


def _known(model: Embedding, words: Sequence[str], templates: Sequence[str]) -> tuple[Floats, list[str]]:
    """Vectors of the texts that the model knows, and the words that it does not."""
    if not words:
        return np.empty((0, 1)), []
    texts = sentences(words, templates or ("{}",))
    owners = [word for word in words for _ in templates or ("{}",)]
    vectors = np.asarray(model.embed(texts), dtype=np.float64)
    there = np.isfinite(vectors).all(axis=1) & (vectors != 0.0).any(axis=1)
    return vectors[there], list(dict.fromkeys(word for word, known in zip(owners, there, strict=True) if not known))


def _measures(name: str, sets: Sets, context: Context, splits: int) -> Iterator[Measure]:
    x, y, a, b = (sets[side][0] for side in LEAST)
    where, n = {"test": name}, len(x) + len(y)
    if not _enough(sets):
        why = "too few of its words are known: at least two of x and y and one of a and b are needed"
        yield measured("effect_size", math.nan, n=n, where=where, unit="", better="zero", why=why)
        return
    found = weat(x, y, a, b, level=context.confidence, splits=splits, rng=context.rng)
    how = f"{'all' if found.exact else 'random'} {found.splits} splits"
    yield measured(
        "effect_size",
        found.effect_size,
        n=n,
        where=where,
        unit="",
        better="zero",
        interval=bounded((found.low, found.high), context.confidence, "noncentral t"),
        why="all words are associated equally",
    )
    yield measured("mean_difference", found.mean_difference, n=n, where=where, unit="", better="zero")
    yield measured("p_value", found.p_value, n=n, where=where, unit="", note=f"one-sided, {how}")
    yield measured("p_two_sided", found.p_two_sided, n=n, where=where, unit="", note=how)
