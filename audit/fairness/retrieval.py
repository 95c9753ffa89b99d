"""Which people's pictures are found for a caption: shares at the top, and how scores are associated with groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from audit import stats
from audit.core import (
    Cell,
    Context,
    Evidence,
    Floats,
    Interval,
    Ints,
    Matching,
    Measure,
    NotApplicable,
    Subject,
    Table,
    UsageError,
)
from audit.data.captioned import Captioned
from audit.data.texts import UNKNOWN, Texts, tokenised
from audit.fairness import parts
from audit.fairness.galleries import Gallery, chances, gallery, largest
from audit.fairness.measures import bounded, measured
from audit.registry import check

ASSOCIATIONS = ("association", "relative_association", "effect_size")


# ----------------------------------------------------------------------------------------------------- the check
@check(
    "fairness.retrieval",
    title="Pictures found for a caption",
    needs={"model", "rows", "groups", "matching"},
    sources=("geyik2019", "berg2022", "wang2021queries", "steed2021", "caliskan2017", "phipson2010", "efron1993"),
)
def retrieval(
    subject: Subject,
    context: Context,
    *,
    queries: Sequence[str] = (),
    most: int = 20,
    k: tuple[int, ...] = (10, 100),
    replicates: int = 200,
    permutations: int = 999,
) -> Iterator[Evidence]:
    """If pictures are ranked by their match with a caption, does every group get its share of the places that are seen?

    Queries are the `most` frequent captions of the data, or those that are given. All pictures are ranked by the
    model's match with each. skew@k is the logarithm of a group's share in the first k places over its share of all
    pictures, max_skew@k the largest over the groups, ndkl the mean divergence of the first i places from all pictures,
    for every i (pictures with equal scores share their places). mean_max_skew@k and mean_ndkl are means over the
    captions. association is the mean match of a group's pictures with the caption less that of all others, on the
    model's scale of log-odds; relative_association is that less its mean over the captions, so that a model that scores
    a group higher with every text shows nothing; effect_size is the association in standard deviations of the scores,
    p_value the share of `permutations` random orders of the groups that give one as large, in either direction.
    Intervals come from `replicates` bootstrap draws of the pictures: percentiles, for ndkl and the largest skews, which
    chance alone moves upwards, the value with normal limits.

    The target is each group's share of the pictures. Where a caption says something that differs between the groups in
    truth, as a record of who holds an occupation does, a skew may mirror the world; whether a search should do that is
    not a matter of numbers. Each p_value is for one caption and group.
    """
    inputs = subject.data.inputs
    if not isinstance(inputs, Captioned):
        raise NotApplicable(f"pictures with captions are ranked, and the data hold {type(inputs).__name__}")
    if any(at < 1 for at in k) or replicates < 0 or permutations < 1:
        raise UsageError(
            f"k: 1 or more, replicates: 0 or more, permutations: 1 or more; got {k}, {replicates}, {permutations}"
        )
    texts, note = _queries(inputs.texts, queries, most)
    scores = cast(Matching, subject.model).match(inputs.images, texts)
    yield _listed(inputs.texts, texts, note)
    for attributes in subject.slices:
        shown = gallery(parts.rows_of(subject, attributes), scores, texts.strings())
        n = len(shown.code)
        if n == 0:
            raise NotApplicable("the group of every picture is unknown")
        found = shown.figures(k)
        turns = context.track(range(replicates), f"galleries drawn again, by {' and '.join(attributes)}")
        drawn = [shown.figures(k, context.rng.integers(0, n, n)) for _ in turns]
        again = {name: np.stack([each[name] for each in drawn]) for name in found} if drawn else {}
        told = _Told(shown=shown, k=tuple(map(int, k)), found=found, again=again, level=context.confidence)
        yield from told.means()
        p = chances(shown, found["association"], context, permutations)
        for place in range(len(shown.captions)):
            yield from told.shares(place)
            yield from told.associations(place, p[place])


def _queries(own: Texts, queries: Sequence[str], most: int) -> tuple[Texts, str]:
    """The texts that pictures are ranked for, most frequent first, and a note on those that are left out."""
    if isinstance(queries, str) or most < 1:
        raise UsageError(f"queries: a list of texts, most: 1 or more; got {queries!r:.60}, {most}")
    if queries:
        found = tokenised(queries, own.vocabulary)
        strange = [text for place, text in enumerate(queries) if UNKNOWN in found.tokens(place)]
        if strange:
            raise UsageError(f"queries: a word of {strange[0]!r} is not in the vocabulary of the captions")
        return found, ""
    ids, first, count = np.unique(own.ids, axis=0, return_index=True, return_counts=True)
    order = np.lexsort((*ids.T[::-1], -count))
    left = len(order) - most
    return own.take(first[order[:most]]), f"{left} rarer captions are left out" if left > 0 else ""


def _listed(own: Texts, texts: Texts, note: str) -> Table:
    count = Counter(own.strings())
    rows: tuple[tuple[Cell, ...], ...] = tuple((each, count[each]) for each in texts.strings())
    title = "Captions that pictures are ranked for"
    return Table(name="captions", title=title, columns=("caption", "rows with it"), rows=rows, note=note)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """The figures of a gallery, those of galleries drawn again (r, ...), and how they become measures."""

    shown: Gallery
    k: tuple[int, ...]
    found: Mapping[str, Floats]
    again: Mapping[str, Floats]
    level: float

    @property
    def sizes(self) -> Ints:
        """Pictures (g,) of each group."""
        return np.bincount(self.shown.code, minlength=len(self.shown.rows.groups))

    def short(self, top: int) -> str:
        """Why there are no first `top` places, "" where there are."""
        n = len(self.shown.code)
        return f"only {n} pictures are ranked" if top > n else ""

    def means(self) -> Iterator[Measure]:
        """What holds of all captions together."""
        for at, top in enumerate(self.k):
            skews = np.array([largest(each[:, at]).mean() for each in self.again.get("skew", ())])
            value = float(largest(self.found["skew"][:, at]).mean())
            yield self._overall(f"mean_max_skew@{top}", value, skews, {}, self.short(top))
        drawn = self.again["ndkl"].mean(axis=1) if self.again else np.empty(0)
        yield self._overall("mean_ndkl", float(self.found["ndkl"].mean()), drawn, {})

    def shares(self, place: int) -> Iterator[Measure]:
        """Who comes first where pictures are ranked for one caption."""
        rows, told = self.shown.rows, {"caption": self.shown.captions[place]}
        for at, top in enumerate(self.k):
            skews = self.found["skew"][place, at]
            for group, size in enumerate(self.sizes):
                why = "nobody of the group is among them" if size else "there is no picture"
                yield measured(
                    f"skew@{top}",
                    np.nan if self.short(top) else skews[group],
                    n=int(size),
                    where=told | dict(rows.where(group)),
                    unit="",
                    better="zero",
                    interval=self._percentiles("skew", (place, at, group)),
                    why=self.short(top) or why,
                )
            value = float(largest(skews))
            drawn = np.array([largest(each[place, at]) for each in self.again.get("skew", ())])
            highest = "" if np.isnan(value) else f"of {rows.label(int(np.nanargmax(skews)))}"
            yield self._overall(f"max_skew@{top}", value, drawn, told, self.short(top), highest)
        drawn = self.again["ndkl"][:, place] if self.again else np.empty(0)
        yield self._overall("ndkl", float(self.found["ndkl"][place]), drawn, told)

    def associations(self, place: int, p: Floats) -> Iterator[Measure]:
        """How much better each group's pictures match one caption than all others'."""
        rows, told = self.shown.rows, {"caption": self.shown.captions[place]}
        for group, size in enumerate(self.sizes):
            facts: dict[str, Any] = {"n": int(size), "where": told | dict(rows.where(group)), "unit": ""}
            why = "there is no picture" if not size else "there are no pictures of others"
            for name in ASSOCIATIONS:
                value = self.found[name][place, group]
                equal = "every picture matches alike" if np.isfinite(self.found["association"][place, group]) else why
                interval = self._percentiles(name, (place, group))
                yield measured(name, value, better="zero", interval=interval, why=equal, **facts)
            yield measured("p_value", p[group], note="two-sided, random orders of the groups", why=why, **facts)

    def _overall(
        self, name: str, value: float, drawn: Floats, told: Mapping[str, str], short: str = "", note: str = ""
    ) -> Measure:
        """A figure of all groups at once, give or take what it varies by between draws."""
        known = np.count_nonzero(self.sizes) > 1 and not short
        return measured(
            name,
            value if known else np.nan,
            n=len(self.shown.code),
            where={**told, **self.shown.rows.everywhere},
            unit="",
            better="zero",
            interval=_normal(value, drawn, self.level),
            note=note if known else "",
            why=short or "there are fewer than two groups",
        )

    def _percentiles(self, name: str, place: tuple[int, ...]) -> Interval | None:
        drawn = np.array([each[place] for each in self.again.get(name, ())])
        if not len(drawn) or not np.isfinite(drawn).all():
            return None
        bounds = stats.percentile_interval(drawn, self.level)
        return bounded(bounds, self.level, f"bootstrap, {len(drawn)} draws of the pictures")


def _normal(value: float, drawn: Floats, level: float) -> Interval | None:
    """The value give or take its spread between draws, from 0 on: chance moves percentiles upwards."""
    if len(drawn) < 2 or not np.isfinite([value, *drawn]).all():
        return None
    far = stats.z_quantile(level) * float(drawn.std(ddof=1))
    return bounded(
        (max(0.0, value - far), value + far), level, f"bootstrap, {len(drawn)} draws of the pictures, normal"
    )
