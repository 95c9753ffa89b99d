"""LIME: a local linear surrogate of the model around every row, with its fit and its noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from audit.core import Floats, Ints, ModelError, NotApplicable, Track, UsageError, stream, suggest
from audit.data.tabular import Tabular
from audit.data.texts import Texts
from audit.explain import surrogate_tabular as tabular
from audit.explain.attribution import Attribution, attribution
from audit.explain.games import MAX_BYTES, Game, linked, value_table
from audit.explain.masking import Coalitions
from audit.explain.masking.tabular import TabularMasker
from audit.explain.surrogate_fits import Fit, Neighbours, blocks, fit, moments, pairs_of
from audit.explain.surrogate_selection import Selection, select
from audit.registry import explainer

Space = Literal["discretised", "continuous", "around", "binary"]
_CELLS = 8_000_000  # numbers of a table of outputs that is held at once


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """How to perturb: one set of draws for all rows, or one for each."""

    space: Space
    samples: int
    width: float | None
    shared: bool
    seed: int

    def groups(self, rows: Ints, players: int) -> Iterator[tuple[Ints, np.random.Generator]]:
        """Rows (of so many players) that share their draws, and the stream of those."""
        for group in [rows] if self.shared else rows[:, None]:
            own = "" if self.shared else f"/{group[0]}"
            yield group, stream(self.seed, f"explain.lime/{self.space}/{players}/{self.samples}{own}")


@explainer(
    "lime",
    title="LIME: a weighted linear surrogate around each row",
    needs=frozenset({"model", "rows"}),
    sources=("ribeiro2016", "white1980"),
)
def lime(
    game: Game,
    *,
    samples: int = 5000,
    space: Space | None = None,
    kernel_width: float | None = None,
    ridge: float = 1.0,
    features: int | None = None,
    selection: Selection = "none",
    shared: bool = True,
    seed: int = 0,
    track: Track | None = None,
) -> Attribution:
    """The coefficients of a weighted ridge regression of the output on perturbations around each row (ribeiro2016).

    samples: perturbations, besides the row itself, which counts as one of weight 1. space, of tables: "discretised"
    (the default: being in the row's quartile bin or category), "continuous" (the change for one standard deviation,
    perturbed about the background's mean), "around" (the same about the row); of all inputs: "binary" (being present;
    the default where there are no columns for players). kernel_width: by default 0.75 sqrt(columns), of binary spaces
    0.25 in cosine distance. features, selection: keep at most so many players, the others' coefficients are 0. shared:
    one set of draws for all rows. Tables are then also asked the same questions: samples + rows model calls instead of
    samples * rows. That is valid because the law does not depend on the row; "around" depends on it and asks for each
    row. base is the surrogate's intercept, `fit` its weighted R2; se_sampling covers the draw of perturbations (given
    the players selected), and with shared draws the errors of rows go together. The values do not add up to output -
    base. Raises UsageError, NotApplicable for groups of columns in a space of columns, ModelError for outputs that are
    not finite.
    """
    space = _space(game, space)
    _refuse(game, samples, kernel_width, ridge, features, selection)
    plan = _Plan(space=space, samples=samples, width=kernel_width, shared=shared, seed=seed)
    outputs = _finite(game.outputs(), "the rows explained")
    most = max((len(names) for names in game.masker.players), default=0)
    values, se = np.full((len(game), most), np.nan), np.full((len(game), most), np.nan)
    base, explained, mass = outputs.copy(), np.full(len(game), np.nan), np.full(len(game), np.inf)
    evaluations = len(game)
    parts = _binary(game, outputs, plan) if space == "binary" else _table(game, outputs, plan)
    for rows, near, spent in parts if track is None else track(parts, "LIME"):
        found = _surrogate(near, ridge, features, selection, samples)
        players = near.anchor.shape[1]
        values[rows, :players], se[rows, :players] = found.coefficients, found.se
        base[rows], explained[rows], mass[rows] = found.intercept, found.r2, found.mass - 1
        evaluations += spent
    return attribution(
        game,
        values,
        base=base,
        outputs=outputs,
        method=f"LIME, {space} space, {samples} perturbations" + (" shared by all rows" if shared else " a row"),
        params={
            "samples": samples,
            "space": space,
            "kernel_width": kernel_width,
            "ridge": ridge,
            "features": features,
            "selection": selection,
            "shared": shared,
        },
        seed=seed,
        evaluations=evaluations,
        forwards=float(evaluations),
        complete=False,
        se_sampling=se,
        fit=explained,
        note=_note(explained, mass, ridge, most, samples),
    )


def _surrogate(near: Neighbours, ridge: float, features: int | None, selection: Selection, samples: int) -> Fit:
    sums = moments(near)
    players = near.anchor.shape[1]
    chosen = select(sums, near.anchor, players if features is None else features, selection, samples + 1)
    return fit(near, ridge, chosen, sums)


def _space(game: Game, space: Space | None) -> Space:
    """The space asked for, or the one that the inputs have by default."""
    if space is not None and space not in get_args(Space):
        raise UsageError(f"space: one of {', '.join(get_args(Space))}, got {space!r}{suggest(space, get_args(Space))}")
    masker = game.masker
    columns = isinstance(masker, TabularMasker) and set(masker.players) <= {masker.inputs.columns}
    if space is None:
        return "discretised" if columns else "binary"
    if space != "binary" and not columns:
        what = "groups of columns" if isinstance(masker, TabularMasker) else type(masker.inputs).__name__
        raise NotApplicable(f'LIME\'s {space} space perturbs single columns, got {what}; use space = "binary"')
    return space


def _refuse(
    game: Game, samples: int, width: float | None, ridge: float, features: int | None, selection: Selection
) -> None:
    most = max((len(names) for names in game.masker.players), default=0)
    if samples < 2:
        raise UsageError(f"samples: at least 2 are needed, got {samples}")
    if width is not None and not width > 0:
        raise UsageError(f"kernel_width: a number above 0, got {width}")
    if not 0 <= ridge < np.inf:
        raise UsageError(f"ridge: a number of at least 0, got {ridge}")
    if selection not in get_args(Selection):
        known = get_args(Selection)
        raise UsageError(f"selection: one of {', '.join(known)}, got {selection!r}{suggest(selection, known)}")
    if features is not None and not 1 <= features <= most:
        raise UsageError(f"features: from 1 to {most}, the number of players, got {features}")
    if features is not None and selection == "none":
        raise UsageError('features: how many are kept needs a selection: "forward", "lasso" or "highest"')


def _table(game: Game, outputs: Floats, plan: _Plan) -> Iterator[tuple[Ints, Neighbours, int]]:
    """Blocks of rows, their perturbations in a space of columns, and the model calls that those took."""
    filler = game.masker
    assert isinstance(filler, TabularMasker)
    assert plan.space != "binary"
    law, inputs = tabular.law_of(filler.rows, filler.inputs, plan.space), filler.inputs
    known = law.read(inputs.values)
    width = plan.width or 0.75 * np.sqrt(len(inputs.columns))
    for group, rng in plan.groups(np.arange(len(game)), len(inputs.columns)):
        drawn = law.draw(plan.samples, rng)
        pairs = pairs_of(drawn.steps) if law.shares_design and len(group) > 1 else None
        spent = 0 if law.around else plan.samples
        classes, place = np.unique(game.targets[group], return_inverse=True)
        asked = None if law.around else _asked(game, inputs.with_values(drawn.values), classes)
        for block in blocks(np.arange(len(group)), plan.samples, len(law.levels) if pairs is None else 1):
            rows = group[block]
            if asked is None:
                moved = inputs.with_values(law.moved(drawn, inputs.values[rows]))
                targets = _finite(game.answer(moved, rows), "perturbed rows").reshape(len(rows), -1)
                spent += targets.size
            else:
                targets = asked[place[block]]
            yield rows, law.neighbours(drawn, known.take(rows), targets, outputs[rows], width, pairs), spent
            spent = 0


def _asked(game: Game, inputs: Tabular, classes: Ints) -> Floats:
    """The explained output (classes, s) of inputs (s,) for each class, from one pass of the model."""
    step = max(1, MAX_BYTES // (8 * len(inputs.columns)))
    parts = [
        game.model.predict(inputs.take(np.arange(top, min(top + step, len(inputs)))))
        for top in range(0, len(inputs), step)
    ]
    scores = _finite(np.concatenate(parts), "perturbed rows")
    return np.stack([linked(scores, game.link, np.full(len(scores), each)) for each in classes])


def _binary(game: Game, outputs: Floats, plan: _Plan) -> Iterator[tuple[Ints, Neighbours, int]]:
    """Blocks of rows, their coalitions with the outputs of those, and the model calls that those took.

    Equal coalitions are asked once, over all fillings, where that takes no more calls than samples; else each draw has
    one filling drawn with it, whose expectation is the mean over fillings.
    """
    fillings = game.masker.fillings
    for players, rows in game.by_players():
        if not players:
            continue
        for group, rng in plan.groups(rows, players):
            present = _coalitions(players, plan.samples, isinstance(game.masker.inputs, Texts), rng)
            asked, place = np.unique(present, axis=0, return_inverse=True)
            draws = None
            if len(asked) * fillings > plan.samples and fillings > 1:
                asked, place = present, np.arange(len(present))
                draws = rng.integers(fillings, size=(len(present), 1))
            weights = _closeness(present, plan.width or 0.25)[None]
            step = max(1, _CELLS // plan.samples)
            for top in range(0, len(group), step):
                these = group[top : top + step]
                table, spent = _played(game, these, asked, draws)
                for block in blocks(np.arange(len(these)), plan.samples, players):
                    near = Neighbours(
                        design=present.T.astype(np.float64),
                        targets=table[np.ix_(block, place.reshape(-1))],
                        weights=weights,
                        anchor=np.ones((len(block), players)),
                        outputs=outputs[these[block]],
                    )
                    yield these[block], near, spent
                    spent = 0


def _played(game: Game, rows: Ints, asked: Coalitions, draws: Ints | None) -> tuple[Floats, int]:
    """The mean output (rows, coalitions) over the fillings, and the model calls."""
    row_of = {int(row): index for index, row in enumerate(rows)}
    table, spent = np.zeros((len(rows), len(asked))), 0
    for block, chosen, values in value_table(game, rows, asked, draws):
        here = np.array([row_of[int(row)] for row in block], dtype=np.int64)
        table[np.ix_(here, chosen)] = values.mean(axis=2)
        spent += values.size
    return _finite(table, "perturbed rows"), spent


def _coalitions(players: int, samples: int, text: bool, rng: np.random.Generator) -> Coalitions:
    """Who is present (samples, players): of texts, a number of words that is drawn first is removed; else coins."""
    if not text:
        return rng.random((samples, players)) < 0.5
    removed = rng.integers(1, players + 1, size=samples)
    rank = rng.random((samples, players)).argsort(axis=1).argsort(axis=1)
    return np.asarray(rank >= removed[:, None])


def _closeness(present: Coalitions, width: float) -> Floats:
    """The kernel (samples,) of the cosine distance to everyone, which is 1 where no one is present."""
    distance = 1 - np.sqrt(present.mean(axis=1))
    return np.asarray(np.exp(-0.5 * (distance / width) ** 2))


def _finite(values: Floats, where: str) -> Floats:
    """The values, refused with ModelError where the model gave something that is not finite."""
    wrong = int((~np.isfinite(values)).sum())
    if wrong:
        raise ModelError(f"the model's output must be finite, but {wrong} of {values.size} for {where} are not")
    return values


def _note(explained: Floats, mass: Floats, ridge: float, most: int, samples: int) -> str:
    """What a reader must know of rows whose surrogate says little."""
    away = mass < ridge
    far, flat = int(away.sum()), int((np.isnan(explained) & ~away).sum())
    notes = [
        f"R2 is undefined for {flat} of {len(mass)} rows: the output does not vary around them" if flat else "",
        f"{far} of {len(mass)} rows lie so far from their perturbations that the ridge outweighs those and the values "
        "shrink to 0"
        if far
        else "",
        f"no standard errors: {samples} samples are too few for {most} players" if samples <= most + 1 else "",
    ]
    return "; ".join(note for note in notes if note)
