"""Whether explainers can be fooled on these data by a wrapper that behaves only where it is probed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from audit.core import (
    Card,
    Cell,
    Context,
    Evidence,
    Floats,
    Ints,
    Measure,
    Model,
    NotApplicable,
    Subject,
    Table,
    UsageError,
)
from audit.data.tabular import Tabular
from audit.explain.attribution import Attribution
from audit.explain.games import Game
from audit.explain.masking import masker
from audit.explain.masking.tabular import TabularMasker
from audit.explain.quality import figures
from audit.explain.quality.panel import BACKGROUND, BUDGET, Found, attempted, defined, missing, panel_of, sizes
from audit.explain.quality.proxies import association
from audit.explain.sample import affordable, game_of, model_and_inputs, sampled_rows, seed_of
from audit.explain.shapley import shapley
from audit.models.hiding import cut_of, detector, mixed, noisy
from audit.registry import check

ONE = "rows of one wrapper"
SHARED = f"interval over {ONE}, which share one detector and one set of draws"
LEARNT = 2000  # rows that the wrapper learns on at most
NEAREST = "shapley (nearest fill)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaffold:
    """A wrapper that answers people by one feature and probes by another (slack2020).

    biased, innocuous: the columns of the two rules, each of which says 1 above its cut. real: whether rows (n, d) look
    like people (n,).
    """

    biased: int
    innocuous: int
    cuts: tuple[float, float]
    real: Callable[[Floats], np.ndarray]

    def answer(self, inputs: Any) -> Floats:
        """The biased rule on people, the innocuous one on the others (n,)."""
        values = inputs.values
        one, other = (
            values[:, column] > cut for column, cut in zip((self.biased, self.innocuous), self.cuts, strict=True)
        )
        return np.asarray(np.where(self.real(values), one, other), dtype=np.float64)


def scaffold(
    inputs: Tabular, biased: int, innocuous: int, rng: np.random.Generator, *, probes: int = 2, people: float = 0.75
) -> Scaffold:
    """A wrapper that has learnt to tell rows from what explainers make of them.

    The detector is a random forest on the rows and `probes` perturbed copies of each of both kinds that explainers ask:
    normal noise on every number, and columns of the row mixed with those of another row. It takes for people what is as
    likely to be one as the share `people` of rows that were kept from it: a wrapper that hides its bias from the
    people too would gain nothing.
    """
    order = rng.permutation(len(inputs))
    unseen, values = np.split(inputs.values[order], [max(1, len(order) // 4)])
    fakes = [make(values, rng) for _ in range(probes) for make in (noisy, mixed)]
    forest, least = detector(values, fakes, unseen, rng, share=people)
    return Scaffold(
        biased=biased,
        innocuous=innocuous,
        cuts=(cut_of(inputs.values[:, biased]), cut_of(inputs.values[:, innocuous])),
        real=lambda rows: np.asarray(forest.predict_proba(np.nan_to_num(rows))[:, 1] >= least),
    )


def first_by(values: Floats, player: int) -> np.ndarray:
    """Whether this player has the largest absolute attribution, alone (m,), in those rows that have any at all."""
    size = sizes(values)
    there = np.isfinite(size).all(axis=1) & (size > 0).any(axis=1)
    size = size[there]
    others = np.delete(size, player, axis=1)
    return np.asarray(size[:, player] > others.max(axis=1, initial=0.0))


# ------------------------------------------------------------------------------------------------- the check
@check(
    "explain.scaffold",
    title="Could a wrapper hide its bias from the explanations?",
    needs={"model", "rows"},
    sources=("slack2020",),
)
def hidden(
    subject: Subject,
    context: Context,
    *,
    rows: int = 24,
    background: int = 2 * BACKGROUND,
    probes: int = 2,
    people: float = 0.75,
) -> Iterator[Evidence]:
    """Could a model on these data show the explainers one face and the people another?

    A wrapper is built that answers people by a protected attribute (a column of that name, else the feature that betrays
    it best, else one drawn), and answers whatever looks like an explainer's probe by an unrelated feature. A random forest
    tells the two apart; it has not seen the rows that are explained, and is set so that it takes the share `people` of
    unseen rows for people. Survival: of the rows that are answered by the biased rule, the share where an explainer still
    ranks its feature first; its interval is over rows of one wrapper, which share one detector and one set of draws, and
    does not say how another wrapper would fare. Control: the same where the biased rule answers everything, so that 100 % can be reached.
    Shapley values filled in from the nearest rows ask fewer questions that no person would.

    The numbers do not say that the audited model hides anything: the wrapper takes its place, and only the data and the
    explainers are tested. Survival below the control says that a clean explanation of such data proves little; a high one
    only that this wrapper, with this detector, was seen through. Explainers that need the inside of a model are left out,
    as a wrapper would not show it.
    """
    _, inputs = model_and_inputs(subject)
    if not isinstance(inputs, Tabular):
        raise NotApplicable(f"the wrapper reads the columns of a table, not {type(inputs).__name__}")
    if probes < 1 or not 0 < people < 1:
        raise UsageError(f"probes, people: at least 1 and a share between 0 and 1, got {probes}, {people}")
    rng = context.stream("explain.scaffold")
    biased, innocuous, why = rules(subject, inputs, rng)
    chosen = sampled_rows(subject, context, rows)
    wrapper = scaffold(
        inputs.take(_others(len(inputs), chosen, rng)), biased, innocuous, rng, probes=probes, people=people
    )
    honest = replace(wrapper, real=lambda values: np.ones(len(values), dtype=bool))
    plain = game_of(subject, context, chosen, background=background)
    found, control = (_explained(plain, _model(each), context) for each in (wrapper, honest))
    there = wrapper.real(inputs.take(chosen).values)
    yield figures.share(
        "people_recognised",
        there,
        explainer="the wrapper",
        level=context.confidence,
        note=f"share of the rows explained that it answers by the biased rule; {SHARED}",
        what=ONE,
    )
    for id, each in defined(found).items():
        yield _survival(id, each, control.get(id), there, biased, inputs.columns[biased], context.confidence)
    yield _table(inputs, found, control, there, biased, innocuous, why)
    yield from missing(found)


def rules(subject: Subject, inputs: Tabular, rng: np.random.Generator) -> tuple[int, int, str]:
    """The columns of the biased and of the innocuous rule, and why these; raises NotApplicable for fewer than two.

    The innocuous one is the column that tells the biased one's least.
    """
    usable = [
        k for k in range(len(inputs.columns)) if len(np.unique(inputs.values[np.isfinite(inputs.values[:, k]), k])) > 1
    ]
    if len(usable) < 2:
        raise NotApplicable("the wrapper needs two columns that vary")
    named = [k for k in usable if inputs.columns[k] in subject.groups]
    strength = {
        (k, name): association(inputs.values[:, k], codes, categorical=inputs.columns[k] in inputs.categories)
        for k in usable
        for name, codes in subject.groups.items()
    }
    known = {pair: size for pair, size in strength.items() if np.isfinite(size)}
    if named:
        biased, why = named[0], "a protected attribute that the model reads"
    elif known:
        (biased, name), size = max(known.items(), key=lambda item: item[1])
        why = f"the feature that betrays {name} best (association {size:.2g})"
    else:
        biased, why = int(rng.choice(usable)), "drawn: there is no protected attribute"
    rest = [k for k in usable if k != biased]
    filled = np.nan_to_num(inputs.values)
    close = [
        abs(float(np.corrcoef(filled[:, biased], filled[:, k])[0, 1])) if np.ptp(filled[:, k]) else 1.0 for k in rest
    ]
    return biased, rest[int(np.argmin(close))], why


def _others(count: int, chosen: Ints, rng: np.random.Generator) -> Ints:
    """Rows to learn on: none of those that are explained, unless there are no others."""
    rest = np.setdiff1d(np.arange(count), chosen)
    return np.sort(rng.permutation(rest if len(rest) > 1 else np.arange(count))[:LEARNT])


def _model(wrapper: Scaffold) -> Model:
    card = Card(family="scaffold", kind="callable", digest=f"scaffold/{wrapper.biased}/{wrapper.innocuous}")
    from audit.models.base import Reading, Wrapped

    return Wrapped(card=card, answer=wrapper.answer, reading=Reading(batch_size=65_536))


def _explained(plain: Game, model: Model, context: Context) -> Found:
    """Every black-box explainer of the wrapper, and Shapley values over the nearest rows."""
    assert isinstance(plain.masker, TabularMasker)
    game = replace(plain, model=model, targets=np.ones(len(plain), dtype=np.int64))
    near = masker(plain.masker.inputs, plain.masker.rows, fill="nearest", seed=seed_of(context, "explain.fill"))
    found = panel_of(game, context)

    def by_nearest(asked: Game, *, seed: int) -> Attribution:
        return shapley(asked, budget=affordable(asked, BUDGET, context), seed=seed)

    found[NEAREST] = attempted(by_nearest, replace(game, masker=near), seed_of(context, "explain.scaffold.shapley"))
    return found


def _survival(
    id: str,
    found: Attribution,
    control: Attribution | str | None,
    there: np.ndarray,
    biased: int,
    name: str,
    level: float,
) -> Measure:
    hits = first_by(found.values[there], biased)
    best = first_by(control.values[there], biased) if isinstance(control, Attribution) else np.zeros(0, dtype=bool)
    measure = figures.share(
        "survival",
        hits,
        explainer=id,
        level=level,
        better="higher",
        why="no row that the biased rule answers has an attribution other than 0",
        what=ONE,
    )
    if measure.value is None or measure.interval is None:
        return measure
    reach = f"{best.mean():.0%}" if len(best) else "unknown"
    side = "the interval lies above one half" if measure.interval.low > 0.5 else "the interval holds one half"
    side = "the interval lies below one half" if measure.interval.high < 0.5 else side
    how = "the further below the control, the better the rule was hidden from it"
    note = f"ranks {name!r} first ({reach} where nothing is hidden); {side}; to be read as: {how}; {SHARED}"
    return replace(measure, note=note)


def _table(
    inputs: Tabular, found: Found, control: Found, there: np.ndarray, biased: int, innocuous: int, why: str
) -> Table:
    lines: list[tuple[Cell, ...]] = []
    for id, each in defined(found).items():
        best = control.get(id)
        sides = [
            each.values[there],
            best.values[there] if isinstance(best, Attribution) else np.zeros((0, len(inputs.columns))),
        ]
        ranked = [
            first_by(values, player)
            for values, player in ((sides[0], biased), (sides[0], innocuous), (sides[1], biased))
        ]
        lines.append((id, *(float(one.mean()) if len(one) else None for one in ranked)))
    return Table(
        name="scaffold",
        title="Share of the rows under the biased rule where an explainer ranks a rule's feature first",
        columns=("explainer", "biased, wrapped", "innocuous, wrapped", "biased, nothing hidden"),
        rows=tuple(lines),
        note=f"biased rule: {inputs.columns[biased]!r}, {why}; innocuous rule: {inputs.columns[innocuous]!r}",
    )
