"""The game that every explanation plays: a model, inputs as players, and the output that is explained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from audit.core import Floats, Ints, Model, Output, UsageError
from audit.data.tabular import Tabular
from audit.explain.masking import Coalitions, Masker, Players, masker
from audit.explain.playing import plan, values_of
from audit.models.counted import Counted

Link = Literal["identity", "logit"]
SCALES: Mapping[Link, str] = {"identity": "probability", "logit": "log-odds"}
MAX_BYTES = 16_000_000  # of one batch of filled inputs, whatever the sizes of rows, coalitions and background


@dataclass(frozen=True, slots=True, kw_only=True)
class Game:
    """What is explained: the output of `model` for the inputs of `masker`, as a function of who is present.

    targets (rows,): the class whose probability (link "identity") or log-odds ("logit") is explained; unused for a model
    that predicts a number.
    """

    model: Model
    masker: Masker
    targets: Ints
    link: Link = "identity"

    def __post_init__(self) -> None:
        if self.number:
            if self.link != "identity":
                raise UsageError(f'link: a model that predicts a number knows "identity" only, got {self.link!r}')
            object.__setattr__(self, "targets", np.ones_like(self.targets))  # a number has no other class to turn to

    def __len__(self) -> int:
        return len(self.masker.inputs)

    @property
    def number(self) -> bool:
        """Whether the model predicts a number, which has neither classes nor log-odds."""
        return self.model.card.output == "value"

    @property
    def scale(self) -> str:
        """What is explained: "probability", "log-odds" or "number"."""
        return "number" if self.number else SCALES[self.link]

    def answer(self, inputs: Any, rows: Ints) -> Floats:
        """The explained output (m n,) for inputs (m n,): m of them for each of the rows (n,), one row after the other."""
        return self.explained(self.model.predict(inputs), rows)

    def explained(self, scores: Floats, rows: Ints) -> Floats:
        """The explained output (m n,) of the model's scores (m n,) or (m n, k), laid out as in `answer`."""
        targets = self.targets[rows]
        if scores.ndim == 1 and (targets != 0).all():
            return linked(scores, self.link, targets[:1])
        return linked(scores, self.link, np.repeat(targets, len(scores) // len(rows)))

    def outputs(self) -> Floats:
        """The explained output (rows,) with everyone present."""
        return self.answer(self.masker.inputs, np.arange(len(self)))

    def by_players(self) -> Iterator[tuple[int, Ints]]:
        """Number of players and the rows that have so many: what can share one design."""
        counts = np.array([len(names) for names in self.masker.players], dtype=np.int64)
        for count in np.unique(counts):
            yield int(count), np.flatnonzero(counts == count)


def value_table(
    game: Game,
    rows: Ints,
    coalitions: Coalitions,
    draws: Ints | None = None,
    *,
    max_bytes: int = MAX_BYTES,
    kept: int = 0,
) -> Iterator[tuple[Ints, Ints, Floats]]:
    """The game v(row, coalition, filling) in blocks of bounded memory: row numbers, coalition indices, values (r, c, k).

    rows (r,) have as many players as coalitions (c, players). draws (c, k): the fillings each coalition uses, by default
    all. All coalitions of some rows come before the next rows. A link to log-odds is taken before any mean over fillings,
    so that a model additive in its log-odds has attributions additive too. The sizes of the blocks follow from the shapes
    alone; kept: how many numbers the caller keeps of each row and filling until the row's last block. What a block asks twice is asked once: `counted` tells how many rows the model did answer.
    """
    fillings = game.masker.fillings if draws is None else draws.shape[1]
    way = plan(game, len(rows), coalitions, fillings, max_bytes, kept)
    for top in range(0, len(rows), way.rows):
        block = rows[top : top + way.rows]
        for left in range(0, len(coalitions), way.coalitions):
            chosen = np.arange(left, min(left + way.coalitions, len(coalitions)))
            values = values_of(game, way, block, coalitions[chosen], None if draws is None else draws[chosen])
            yield block, chosen, values


def counted(game: Game) -> tuple[Game, Counted]:
    """The same game, and the counter of the rows that its model answers from now on."""
    counter = Counted(model=game.model)
    return replace(game, model=counter), counter


def unit_of(scale: str) -> str:
    """The unit of a measure on the scale that a game explains: a proportion where that is a probability."""
    return "proportion" if scale == "probability" else ""


def linked(scores: Floats, link: Link, targets: Ints) -> Floats:
    """Scores (n,) or (n, k) as probabilities or log-odds (n,) of the target class (n,), without clipping.

    Raises UsageError where a log-odds would be infinite, and for an unknown link or class.
    """
    if scores.ndim == 2:
        scores = np.take_along_axis(scores, targets[:, None], axis=1)[:, 0]
    elif (targets == 0).any():
        scores = np.where(targets == 0, 1 - scores, scores)
    if link == "identity":
        return scores
    if link != "logit":
        raise UsageError(f'link: "identity" (probability) or "logit" (log-odds), got {link!r}')
    certain = int(((scores <= 0) | (scores >= 1)).sum())
    if certain:
        raise UsageError(
            f'link: "logit" needs probabilities strictly between 0 and 1, but the model gave 0 or 1 for {certain} of '
            f'{len(scores)} rows, whose log-odds are infinite; use link = "identity"'
        )
    return np.asarray(np.log(scores) - np.log1p(-scores))


def game(
    model: Any,
    inputs: Any,
    background: Any = None,
    *,
    target: int | str | Ints = 1,
    link: Link = "identity",
    output: Output = "probability",
    classes: Sequence[str] = (),
    players: Players | None = None,
    size: int | None = None,
    fill: str | None = None,
    seed: int = 0,
) -> Game:
    """The game of a model over inputs, ready for every explainer.

    model: a torch module, a scikit-learn estimator, a function of the features, or a wrapped model. inputs, background: a
    frame, an array (n, d), or Tabular, Images, Texts, Series, Graphs; the background is what absent players are filled
    in from. target: the class explained, its place among the model's classes or its name, or one place a row (n,), or
    "predicted", the class the model finds most likely in each row; a model that predicts a number has none. output, classes: what a raw model returns ("probability", "logit", "value"), and of which classes
    where it does not say so itself. players, size, fill, seed: see `audit.explain.masking.masker`. Raises UsageError, ModelError,
    DataError.
    """
    from audit.explain.wrapping import aligned, as_inputs, as_model

    if output not in get_args(Output):
        raise UsageError(f"output: one of {', '.join(get_args(Output))}, got {output!r}")
    read = as_inputs(inputs)
    columns = read.columns if isinstance(read, Tabular) else None
    read, behind = (read, None) if background is None else aligned(read, as_inputs(background, columns))
    wrapped = as_model(model, read, output, classes)
    return Game(
        model=wrapped,
        masker=masker(read, behind, players=players, size=size, fill=fill, seed=seed),
        targets=targets_of(wrapped, read, target),
        link=link,
    )


def targets_of(model: Model, inputs: Any, target: int | str | Ints) -> Ints:
    """The class to explain in each row (n,); raises UsageError for one that the model does not have."""
    if model.card.output == "value":
        return np.ones(len(inputs), dtype=np.int64)
    classes = len(model.card.classes)
    if isinstance(target, str) and target == "predicted":
        scores = model.predict(inputs)
        return (scores.argmax(axis=1) if scores.ndim == 2 else scores >= 0.5).astype(np.int64)
    named = ", ".join(f"{place} = {name}" for place, name in enumerate(model.card.classes[:20]))
    if isinstance(target, str) and target in model.card.classes:
        target = model.card.classes.index(target)
    given = np.asarray(target)
    if given.dtype.kind not in "iu" or given.shape not in ((), (len(inputs),)):
        raise UsageError(
            f'target: the place or the name of a class ({named}), one place a row, or "predicted", got {target!r:.80}'
        )
    found = np.broadcast_to(given.astype(np.int64), (len(inputs),))
    if found.size and not 0 <= found.min() <= found.max() < classes:
        raise UsageError(f"target: the model has {classes} classes (0 to {classes - 1}: {named}), got {target}")
    return np.ascontiguousarray(found)
