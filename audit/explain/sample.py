"""What the explanation checks share, so that no figure depends on which of them ran first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, TypeVar

import numpy as np

from audit.core import Context, Inputs, Ints, Measure, Model, NotApplicable, Subject, UsageError
from audit.data.graphs import Graphs
from audit.explain.attribution import Attribution
from audit.explain.coalitions import least_budget
from audit.explain.games import Game, Link, targets_of
from audit.explain.masking import Players, masker
from audit.explain.shapley import shapley

S = TypeVar("S")


def model_and_inputs(subject: Subject) -> tuple[Model, Inputs]:
    """The model and the inputs to explain it on; raises NotApplicable where there is none of them."""
    if subject.model is None or subject.data.inputs is None:
        raise NotApplicable("explanations need a model that answers new inputs, and the inputs themselves")
    return subject.model, subject.data.inputs


def sampled_rows(subject: Subject, context: Context, rows: int, purpose: str = "rows") -> Ints:
    """Up to `rows` different row numbers in ascending order, the same for every check that asks for this purpose."""
    if rows < 1:
        raise UsageError(f"{purpose}: at least 1 is needed, got {rows}")

    def draw(rng: np.random.Generator) -> Ints:
        chosen = rng.choice(len(subject), size=min(rows, len(subject)), replace=False)
        return np.sort(chosen).astype(np.int64)

    return _shared(context, f"explain.{purpose}/{rows}", draw)


def game_of(
    subject: Subject,
    context: Context,
    rows: Ints,
    *,
    background: int = 64,
    link: Link = "identity",
    players: Players | None = None,
    size: int | None = None,
    fill: str | None = None,
) -> Game:
    """The game of the named rows over the background that all checks share, for the positive or the predicted class."""
    model, inputs = model_and_inputs(subject)
    pool = inputs.take(sampled_rows(subject, context, background, "background"))
    chosen = inputs.take(rows)
    if players is None and isinstance(inputs, Graphs):
        players = "feature"  # which all nodes share, and a node without ties has too
    seed = seed_of(context, "explain.fill")
    target: int | Literal["predicted"] = "predicted" if len(model.card.classes) > 2 else 1
    return Game(
        model=model,
        masker=masker(chosen, pool, players=players, size=size, fill=fill, seed=seed),
        targets=targets_of(model, chosen, target),
        link="identity" if model.card.output == "value" else link,
    )


def seed_of(context: Context, name: str) -> int:
    """A seed of the stream of that name: the same for every check that asks."""
    return int(_shared(context, f"{name}/seed", lambda rng: rng.integers(2**31)))


def shapley_of(
    subject: Subject,
    context: Context,
    rows: Ints,
    *,
    background: int,
    budget: int,
    link: Link,
    own: str = "",
    players: Players | None = None,
    size: int | None = None,
) -> Attribution:
    """Shapley values of the named rows over the shared background and the shared coalition design.

    own: why rows that have players of their own are of no use; raises NotApplicable with it before anything is asked.

    A budget below what the number of players needs is raised to that, one above what the check may ask for is lowered.
    """
    game = game_of(subject, context, rows, background=background, link=link, players=players, size=size)
    if own and len(set(game.masker.players)) != 1:
        raise NotApplicable(own)
    budget = affordable(game, budget, context)
    key = (
        "explain.attribution",
        rows.tobytes(),
        background,
        budget,
        link,
        players if isinstance(players, str) else None,
    )
    if key not in context.scratch:
        context.scratch[key] = shapley(
            game, budget=budget, seed=seed_of(context, "explain.shapley"), track=context.track
        )
    found: Attribution = context.scratch[key]
    return found


def costs(found: Attribution) -> Iterator[Measure]:
    """What an attribution cost: rows that the model was asked for, and forward passes of one row that this amounts to."""
    where = {"explainer": found.method.partition(",")[0]}
    note = "rows that the model was asked for"
    yield Measure(name="evaluations", value=float(found.evaluations), where=where, better="lower", note=note)
    note = "forward passes of one row; a gradient counts as three"
    yield Measure(name="forward_equivalents", value=found.forwards, where=where, better="lower", note=note)


def affordable(game: Game, budget: int, context: Context, fillings: int | None = None) -> int:
    """Coalitions a row that the check's budget of model rows allows, at most `budget` and at least what identifies them."""
    most = max(len(names) for names in game.masker.players)
    least = least_budget(most)
    if budget < 1:
        raise UsageError(f"budget: at least 1 coalition, got {budget}")
    if context.budget is None:
        return max(budget, least)
    each = len(game) * (game.masker.fillings if fillings is None else fillings)
    return max(min(budget, context.budget // max(each, 1)), least)


def _shared(context: Context, name: str, draw: Callable[[np.random.Generator], S]) -> S:
    """What was drawn under this name, drawn from the stream of that name the first time."""
    if name not in context.scratch:
        context.scratch[name] = draw(context.stream(name))
    found: S = context.scratch[name]
    return found
