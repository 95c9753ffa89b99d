"""What local surrogates are fitted to: the perturbations of each row, with the model's answers to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from audit.core import Floats, Ints, ModelError, stream
from audit.data.tabular import Tabular
from audit.data.texts import Texts
from audit.explain.games import MAX_BYTES, Game, linked, value_table
from audit.explain.masking import Coalitions
from audit.explain.masking.tabular import TabularMasker
from audit.explain.surrogate_fits import Neighbours, blocks, pairs_of
from audit.explain.surrogate_tabular import law_of

Space = Literal["discretised", "continuous", "around", "binary"]
_CELLS = 8_000_000  # numbers of a table of outputs that is held at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
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


def table(game: Game, outputs: Floats, plan: Plan) -> Iterator[tuple[Ints, Neighbours, int]]:
    """Blocks of rows, their perturbations in a space of columns, and the model calls that those took."""
    filler = game.masker
    assert isinstance(filler, TabularMasker)
    assert plan.space != "binary"
    law, inputs = law_of(filler.rows, filler.inputs, plan.space), filler.inputs
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
                targets = finite(game.answer(moved, rows), "perturbed rows").reshape(len(rows), -1)
                spent += targets.size
            else:
                targets = asked if len(asked) == 1 else asked[place[block]]
            yield rows, law.neighbours(drawn, known.take(rows), targets, outputs[rows], width, pairs), spent
            spent = 0


def _asked(game: Game, inputs: Tabular, classes: Ints) -> Floats:
    """The explained output (classes, s) of inputs (s,) for each class, from one pass of the model."""
    step = max(1, MAX_BYTES // (8 * len(inputs.columns)))
    parts = [
        game.model.predict(inputs.take(np.arange(top, min(top + step, len(inputs)))))
        for top in range(0, len(inputs), step)
    ]
    scores = finite(np.concatenate(parts), "perturbed rows")
    return np.stack([linked(scores, game.link, np.full(len(scores), each)) for each in classes])


def binary(game: Game, outputs: Floats, plan: Plan) -> Iterator[tuple[Ints, Neighbours, int]]:
    """Blocks of rows, their coalitions with the outputs of those, and the model calls that those took.

    Equal coalitions are asked once, over all fillings, where that takes no more calls than samples; else each draw has
    one filling drawn with it, whose expectation is the mean over fillings.
    """
    fillings = game.masker.fillings
    for players, rows in game.by_players():
        if not players:
            continue
        for group, rng in plan.groups(rows, players):
            present = coalitions(players, plan.samples, isinstance(game.masker.inputs, Texts), rng)
            asked, place = np.unique(present, axis=0, return_inverse=True)
            draws = None
            if len(asked) * fillings > plan.samples and fillings > 1:
                asked, place = present, np.arange(len(present))
                draws = rng.integers(fillings, size=(len(present), 1))
            weights = closeness(present, plan.width or 0.25)[None]
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
    return finite(table, "perturbed rows"), spent


def coalitions(players: int, samples: int, text: bool, rng: np.random.Generator) -> Coalitions:
    """Who is present (samples, players): of texts, a number of words that is drawn first is removed; else coins."""
    if not text:
        return rng.random((samples, players)) < 0.5
    removed = rng.integers(1, players + 1, size=samples)
    rank = rng.random((samples, players)).argsort(axis=1).argsort(axis=1)
    return np.asarray(rank >= removed[:, None])


def closeness(present: Coalitions, width: float) -> Floats:
    """The kernel (samples,) of the cosine distance to everyone, which is 1 where no one is present."""
    distance = 1 - np.sqrt(present.mean(axis=1))
    return np.asarray(np.exp(-0.5 * (distance / width) ** 2))


def finite(values: Floats, where: str) -> Floats:
    """The values, refused with ModelError where the model gave something that is not finite."""
    wrong = int((~np.isfinite(values)).sum())
    if wrong:
        raise ModelError(f"the model's output must be finite, but {wrong} of {values.size} for {where} are not")
    return values
