"""Reason codes of the people who were refused: what they would be told, and whether they would be told it again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

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
    Subject,
    Table,
    UsageError,
)
from audit.data.tabular import Tabular
from audit.explain.backgrounds import Background
from audit.explain.coalitions import least_budget
from audit.explain.games import Game, Link
from audit.explain.masking import masker
from audit.explain.masking.tabular import one_hot_groups
from audit.explain.reason_codes import MOST, NONE, ReasonCodes, reason_codes
from audit.explain.refusals import refusals, table_and_score
from audit.explain.scorecards import Reference, reference_rows
from audit.explain.shapley import shapley
from audit.registry import check

METHODS: tuple[Reference, ...] = get_args(Reference)
WORDS = {"all": "all applicants", "at-cutoff": "approved applicants nearest above the threshold"}
DRAWN = 6  # reasons in the picture of each group


@check(
    "explain.reason_codes",
    title="Reasons given to people who were refused",
    needs={"model", "rows", "scores", "decisions"},
    sources=("regb", "shapley1953", "lundberg2017", "wilson1927"),
)
def denial_reasons(
    subject: Subject,
    context: Context,
    *,
    rows: int = 48,
    background: int = 64,
    budget: int = 256,
    seeds: int = 3,
    most: int = MOST,
    least_effect: float = 0.0,
    link: Link = "identity",
    shown: int = 6,
    protected: Sequence[str] = (),
    texts: Mapping[str, str] = NONE,
    players: Mapping[str, Sequence[str]] = NONE,
) -> Iterator[Evidence]:
    """Which reasons would people who were refused be given, and would they be given the same ones again?

    For up to `rows` refusals the features that told most against the applicant, at most four: those whose Shapley value
    goes against them by more than its error at the audit's confidence. United States law (12 CFR 1002.9(b)(2), comment 5)
    knows two references for a scoring system: all applicants, and those whose score was at or slightly above the cut-off.
    Both are computed (at the cut-off: the nearest quarter of the approved, `background` people at most; `cutoff_band` says
    how far up they reach): the share of refusals with each reason, for everyone and by group; how often the set of reasons
    stays the same when the reference people (and, with many features, the coalitions) are drawn again `seeds` times; how
    often it changes with the reference; how many refusals have no reason beyond its error. Columns of a one-hot code count
    as one feature (`players` names them where they are not found). `texts` maps a feature to the sentence of a notice.

    A protected attribute that the model reads is never given as a reason. How often it would be one is a figure of its
    own: a notice may not leave a principal reason out either, so these refusals themselves have to be looked at.

    The numbers do not say that the reasons are true in the world or fair, nor what a person should change, and a stable
    reason can still rest on a proxy. Which references and how many reasons the law asks for is for a lawyer to say.
    """
    study = _study(subject, context, rows, background, players)
    plan = {"budget": max(budget, least_budget(len(study.names))), "link": link}
    if seeds < 2:
        raise UsageError(f"seeds: at least 2 draws are needed to compare, got {seeds}")
    options = {
        "most": most,
        "least_effect": least_effect,
        "confidence": context.confidence,
        "protected": study.protected(protected),
        "texts": texts,
    }
    draws = {
        method: [study.codes(context, method, seed, plan, options) for seed in range(seeds)]
        for method in METHODS
        if len(study.reference(method, background, None))
    }
    first = draws["all"][0]
    yield _notices(study, first, shown)
    yield from _shares(study, first, context.confidence)
    for method, drawn in draws.items():
        yield from _doubt(method, drawn, context.confidence)
        yield from _withheld(method, drawn[0], tuple(study.subject.groups), context.confidence)
    yield from _by_method(study, draws, background, context.confidence)
    asked = sum(one.evaluations for drawn in draws.values() for one in drawn)
    yield Measure(name="evaluations", value=float(asked), note=f"rows that the model was asked for; {first.method}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Study:
    """The refusals that are looked at (rows,), out of so many, and how their features are grouped."""

    subject: Subject
    inputs: Tabular
    score: Floats
    rows: Ints
    refused: int
    held: Mapping[str, Sequence[str]]
    size: int

    @property
    def names(self) -> tuple[str, ...]:
        """The players."""
        inside = {column: name for name, columns in self.held.items() for column in columns}
        return tuple(dict.fromkeys(inside.get(column, column) for column in self.inputs.columns))

    def protected(self, named: Sequence[str]) -> tuple[str, ...]:
        """The players that are protected: those named, and every attribute of the groups that the model reads."""
        return tuple(dict.fromkeys([*named, *(name for name in self.names if name in self.subject.groups)]))

    def reference(self, method: Reference, size: int, rng: np.random.Generator | None) -> Ints:
        """The rows compared with."""
        return reference_rows(self.score, method=method, threshold=self.subject.threshold, size=size, rng=rng)

    def codes(
        self, context: Context, method: Reference, seed: int, plan: Mapping[str, Any], options: Mapping[str, Any]
    ) -> ReasonCodes:
        """The reason codes against one draw of the reference."""
        rng = context.stream(f"explain.reason_codes/{method}/{seed}")
        whole = method != "all" or len(self.score) <= self.size
        people = self.reference(method, self.size, None if whole and not seed else rng)
        compared, chosen = self.inputs.take(people), self.inputs.take(self.rows)
        behind = Background(inputs=compared, words=WORDS[method])
        assert self.subject.model is not None
        game = Game(
            model=self.subject.model,
            masker=masker(chosen, behind, players=self.held),
            targets=np.ones(len(chosen), dtype=np.int64),
            link=plan["link"],
        )
        found = shapley(game, budget=plan["budget"], seed=seed, track=context.track)
        return reason_codes(found, groups=self.held, inputs=chosen, background=compared, **options)


def _study(
    subject: Subject, context: Context, rows: int, background: int, players: Mapping[str, Sequence[str]]
) -> _Study:
    inputs, score = table_and_score(subject)
    if rows < 1 or background < 1:
        raise UsageError(f"rows and background: at least 1 each, got {rows} and {background}")
    chosen, refused = refusals(subject, context, rows)
    held = {name: tuple(columns) for name, columns in (players or one_hot_groups(inputs)).items()}
    return _Study(
        subject=subject,
        inputs=inputs,
        score=score,
        rows=chosen,
        refused=refused,
        held=held,
        size=background,
    )


def _notices(study: _Study, codes: ReasonCodes, shown: int) -> Table:
    lines: list[tuple[Cell, ...]] = []
    for place in range(min(shown, len(codes.rows))):
        row, score = int(study.rows[place]), float(study.score[study.rows[place]])
        lines += [(row, score, one.rank, one.text, one.effect, one.se) for one in codes.reasons[place]]
        lines += [(row, score, None, f"withheld: {name} is protected", None, None) for name in codes.withheld[place]]
        if not (codes.reasons[place] or codes.withheld[place]):
            lines.append((row, score, None, "no effect exceeds its error", None, None))
    return Table(
        name="notices",
        title="What the first of the people refused would be told",
        columns=("row", "score", "rank", "reason", "effect", "SE"),
        rows=tuple(lines),
        note=f"against {codes.background}; {len(study.rows)} of {study.refused} refusals; {codes.method}",
    )


def _shares(study: _Study, codes: ReasonCodes, level: float) -> Iterator[Evidence]:
    """How often each feature is a reason, as measures and as bars, for everyone and by group."""
    given = codes.chosen
    order = np.argsort(-given.mean(axis=0), kind="stable")
    measures = [
        _share("reason_share", given[:, player], level, {"method": "all", "feature": codes.players[player]})
        for player in order
    ]
    yield from measures
    lines = [(codes.players[player], *_bar(given[:, player], level)) for player in order if given[:, player].any()]
    yield _bars("reasons", f"Share of {len(given)} refusals with each reason", lines)
    for attribute, codes_of in study.subject.groups.items():
        belongs = codes_of.values[study.rows]
        by_group = [
            (f"{codes.players[player]}: {group}", *_bar(given[belongs == index, player], level))
            for player in order[:DRAWN]
            for index, group in enumerate(codes_of.levels)
            if (belongs == index).sum() and given[:, player].any()
        ]
        yield _bars("reasons_by_group", f"Share of refusals with each reason by {attribute}", by_group)


def _bars(name: str, title: str, lines: Sequence[tuple[Cell, ...]]) -> Table:
    columns = ("reason", "share", "low", "high")
    return Table(name=name, title=title, columns=columns, rows=tuple(lines), note="Wilson intervals", view="bars")


def _doubt(method: str, drawn: Sequence[ReasonCodes], level: float) -> Iterator[Measure]:
    """How often the reasons stay when chance draws again, and how often there are none."""
    where = {"method": method}
    pairs = [one.same(other) for place, one in enumerate(drawn) for other in drawn[place + 1 :]]
    everywhere = np.asarray(np.all([drawn[0].same(other) for other in drawn[1:]], axis=0), dtype=np.bool_)
    yield _share(
        "same_reasons_over_seeds",
        everywhere,
        level,
        where,
        better="higher",
        note=f"the same set of reasons in each of {len(drawn)} draws of the reference; "
        f"two draws agree on {float(np.mean(pairs)):.1%} of the refusals",
    )
    none = np.asarray((drawn[0].top < 0).all(axis=1))
    note = "no effect against the applicant exceeds its error: the refusal has no reason that could be stated"
    yield _share("no_reason_share", none, level, where, better="lower", note=note)


def _withheld(method: str, codes: ReasonCodes, attributes: Sequence[str], level: float) -> Iterator[Measure]:
    """How often a protected attribute would be a reason; those that the model does not read never are."""
    chosen = codes.chosen
    for name in dict.fromkeys([*codes.protected, *attributes]):
        where = {"method": method, "feature": name}
        if name not in codes.players:
            note = "the model does not read it under this name; a proxy for it may still be a reason"
            yield Measure(name="protected_reason_share", value=0.0, where=where, better="zero", note=note)
            continue
        note = "a protected attribute is among the principal reasons, which a notice may neither give nor leave out"
        column = chosen[:, codes.players.index(name)]
        yield _share("protected_reason_share", column, level, where, better="zero", note=note if column.any() else "")


def _by_method(
    study: _Study, draws: Mapping[Reference, Sequence[ReasonCodes]], background: int, level: float
) -> Iterator[Measure]:
    name = "reasons_change_with_method"
    if "at-cutoff" not in draws:
        reason = "nobody was approved, so there are no applicants at or above the cut-off to compare with"
        yield Measure(name=name, value=None, better="lower", note=reason)
        return
    changed = ~draws["all"][0].same(draws["at-cutoff"][0])
    again = ~draws["all"][0].same(draws["all"][1])
    note = (
        f"all applicants against those at the cut-off; another draw of all applicants alone changes {again.mean():.1%}"
    )
    yield _share(name, changed, level, {}, better="lower", note=note)
    near = study.reference("at-cutoff", background, None)
    yield Measure(
        name="cutoff_band",
        value=float(study.score[near].max() - study.subject.threshold),
        better="none",
        note=f"how far above the threshold the scores of the {len(near)} people compared with at the cut-off reach",
    )


def _share(
    name: str, hits: NDArray[np.bool_], level: float, where: Mapping[str, str], *, better: Any = "none", note: str = ""
) -> Measure:
    value, low, high = _bar(hits, level)
    interval = Interval(low=low, high=high, level=level, method="Wilson")
    n = len(hits)
    return Measure(
        name=name, value=value, unit="proportion", n=n, interval=interval, where=where, better=better, note=note
    )


def _bar(hits: NDArray[np.bool_], level: float) -> tuple[float, float, float]:
    count, n = int(hits.sum()), len(hits)
    low, high = stats.wilson(count, n, level)
    return count / n, float(low), float(high)
