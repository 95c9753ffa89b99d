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
from audit.fairness.galleries import Gallery, at_random, gallery, orders
from audit.fairness.measures import bounded, measured
from audit.registry import check

ASSOCIATIONS = ("association", "relative_association", "effect_size")


# ----------------------------------------------------------------------------------------------------- the check
@check(
    "fairness.retrieval",
    title="Pictures found for a caption",
    needs={"model", "rows", "groups", "matching"},
    sources=(
        "geyik2019",
        "berg2022",
        "wang2021queries",
        "steed2021",
        "caliskan2017",
        "phipson2010",
        "efron1993",
        "wilson1927",
    ),
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
    pictures, share@k that share itself with Wilson's interval, which also holds where nobody of the group is there.
    max_skew@k is the largest skew over the groups, ndkl the mean divergence of the first i places from all pictures, for
    every i (pictures with equal scores share their places); mean_max_skew@k and mean_ndkl are means over the captions.
    No order of pictures makes these 0, and few pictures and short lists make them large: read them beside what random
    orders of the groups give (NAME_expected_by_chance, with the range that they fill; for single captions in the note).
    NAME_p_value is the share of `permutations` random orders that give as much. An interval they do not have, as one
    around a figure that chance alone moves upwards would not hold "no skew" where there is none. association is the mean match of a group's pictures with the caption less that of all others, on the
    model's scale of log-odds; relative_association is that less its mean over the captions, so that a model that scores
    a group higher with every text shows nothing; effect_size is the association in standard deviations of the scores,
    p_value the share of the random orders that give one as large, in either direction. Other intervals are percentiles
    of `replicates` bootstrap draws of the pictures.

    The target is each group's share of the pictures. Where a caption says something that differs between the groups in
    truth, as a record of who holds an occupation does, a skew may mirror the world; whether a search should do that is
    not a matter of numbers. Each p_value is for one figure.
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
        ranked = orders(shown.scores)
        chance = at_random(shown, ranked, k, context, permutations)
        found |= ranked.figures(shown.code, len(shown.rows.groups), k)
        told = _Told(
            shown=shown, k=tuple(map(int, k)), found=found, again=again, chance=chance, level=context.confidence
        )
        yield from told.means()
        p = stats.permutation_p(np.abs(found["association"]), np.abs(chance["association"]))
        for place in range(len(shown.captions)):
            yield from told.shares(place)
            yield from told.extremes(place)
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
    """The figures of a gallery, those of galleries drawn again and of random orders (r, ...), as measures."""

    shown: Gallery
    k: tuple[int, ...]
    found: Mapping[str, Floats]
    again: Mapping[str, Floats]
    chance: Mapping[str, Floats]
    level: float

    def short(self, top: int) -> str:
        """Why there are no first `top` places, "" where there are."""
        n = len(self.shown.code)
        return f"only {n} pictures are ranked" if top > n else ""

    def means(self) -> Iterator[Measure]:
        """What holds of all captions together."""
        found, chance = self.found, self.chance
        for at, top in enumerate(self.k):
            value, drawn = found["max_skew"][:, at].mean(), chance["max_skew"][:, :, at].mean(axis=1)
            yield from self._overall(f"mean_max_skew@{top}", float(value), drawn, {}, self.short(top))
        yield from self._overall("mean_ndkl", float(found["ndkl"].mean()), chance["ndkl"].mean(axis=1), {})

    def shares(self, place: int) -> Iterator[Measure]:
        """Who comes first where pictures are ranked for one caption."""
        rows, told, n = self.shown.rows, {"caption": self.shown.captions[place]}, len(self.shown.code)
        for at, top in enumerate(self.k):
            shares, skews = self.found["share"][place, at], self.found["skew"][place, at]
            for group, size in enumerate(self.shown.sizes):
                known = size > 0 and not self.short(top)
                facts: dict[str, Any] = {"where": told | dict(rows.where(group))}
                yield measured(
                    f"share@{top}",
                    shares[group] if known else np.nan,
                    n=top,
                    interval=bounded(stats.wilson(shares[group] * top, top, self.level), self.level, "Wilson"),
                    note=f"of all pictures {size / n:.3f}" if known else "",
                    why=self.short(top) or "there is no picture",
                    **facts,
                )
                yield measured(
                    f"skew@{top}",
                    skews[group] if known else np.nan,
                    n=int(size),
                    unit="",
                    better="zero",
                    interval=self._percentiles("skew", (place, at, group)),
                    why=self.short(top) or ("nobody of the group is among them" if size else "there is no picture"),
                    **facts,
                )

    def extremes(self, place: int) -> Iterator[Measure]:
        """How far the order of pictures for one caption is from all groups' shares at once."""
        rows, told = self.shown.rows, {"caption": self.shown.captions[place]}
        for at, top in enumerate(self.k):
            value, skews = float(self.found["max_skew"][place, at]), self.found["skew"][place, at]
            highest = "" if np.isnan(value) else f"of {rows.label(int(np.nanargmax(skews)))}"
            drawn = self.chance["max_skew"][:, place, at]
            yield from self._overall(f"max_skew@{top}", value, drawn, told, self.short(top), highest)
        value, drawn = float(self.found["ndkl"][place]), self.chance["ndkl"][:, place]
        yield from self._overall("ndkl", value, drawn, told)

    def associations(self, place: int, p: Floats) -> Iterator[Measure]:
        """How much better each group's pictures match one caption than all others'."""
        rows, told = self.shown.rows, {"caption": self.shown.captions[place]}
        for group, size in enumerate(self.shown.sizes):
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
    ) -> Iterator[Measure]:
        """A figure of all groups at once beside those of random orders (r,), which alone tell what it says."""
        known = np.count_nonzero(self.shown.sizes) > 1 and not short
        found, mean = (value, float(drawn.mean())) if known else (np.nan, np.nan)
        facts: dict[str, Any] = {
            "n": len(self.shown.code),
            "where": {**told, **self.shown.rows.everywhere},
            "unit": "",
            "why": short or "there are fewer than two groups",
        }
        beside = f"random orders give {mean:.3g} in the mean"
        notes = "; ".join(part for part in (note, beside if told else "") if part) if known else ""
        yield measured(name, found, better="zero", note=notes, **facts)
        if not told:
            ends = stats.percentile_interval(drawn, self.level) if known else (np.nan, np.nan)
            method = f"permutation, {len(drawn)} orders"
            interval = bounded(ends, self.level, method)
            yield measured(f"{name}_expected_by_chance", mean, interval=interval, **facts)
        p = float(stats.permutation_p(found, drawn)) if known else np.nan
        yield measured(f"{name}_p_value", p, note="one-sided, random orders of the groups", **facts)

    def _percentiles(self, name: str, place: tuple[int, ...]) -> Interval | None:
        drawn = np.array([each[place] for each in self.again.get(name, ())])
        if not len(drawn) or not np.isfinite(drawn).all():
            return None
        bounds = stats.percentile_interval(drawn, self.level)
        return bounded(bounds, self.level, f"bootstrap, {len(drawn)} draws of the pictures")
