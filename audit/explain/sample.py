"""What the explanation checks share, so that no figure depends on which of them ran first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from audit.core import Context, Ints, Model, NotApplicable, Subject, UsageError
from audit.data.tabular import Tabular
from audit.explain.attribution import Attribution, Link
from audit.explain.coalitions import Design, design, least_budget
from audit.explain.masking import masker
from audit.explain.shapley import shapley

S = TypeVar("S")


def model_and_inputs(subject: Subject) -> tuple[Model, Tabular]:
    """The model and the tabular inputs to explain it on; raises NotApplicable where there is none of them."""
    if subject.model is None or subject.data.inputs is None:
        raise NotApplicable("explanations need a model that answers new inputs, and the inputs themselves")
    if not isinstance(subject.data.inputs, Tabular):
        raise NotApplicable(f"explained are tabular inputs, not {type(subject.data.inputs).__name__}")
    return subject.model, subject.data.inputs


def sampled_rows(subject: Subject, context: Context, rows: int, purpose: str = "rows") -> Ints:
    """Up to `rows` different row numbers in ascending order, the same for every check that asks for this purpose."""
    if rows < 1:
        raise UsageError(f"{purpose}: at least 1 is needed, got {rows}")

    def draw(rng: np.random.Generator) -> Ints:
        chosen = rng.choice(len(subject), size=min(rows, len(subject)), replace=False)
        return np.sort(chosen).astype(np.int64)

    return _shared(context, f"explain.{purpose}/{rows}", draw)


def shapley_of(
    subject: Subject, context: Context, rows: Ints, *, background: int, budget: int, link: Link
) -> Attribution:
    """Shapley values of the named rows over the shared background and the shared coalition design.

    A budget below what the number of features needs is raised to that.
    """
    model, inputs = model_and_inputs(subject)
    pool = inputs.take(sampled_rows(subject, context, background, "background"))
    players = len(masker(pool).players)
    budget = max(budget, least_budget(players))
    plan: Design = _shared(context, f"explain.shapley/{players}/{budget}", lambda rng: design(players, budget, rng))
    key = ("explain.attribution", rows.tobytes(), background, budget, link)
    if key not in context.scratch:
        context.scratch[key] = shapley(
            model, inputs.take(rows), pool, rng=context.rng, link=link, budget=budget, plan=plan, track=context.track
        )
    found: Attribution = context.scratch[key]
    return found


def _shared(context: Context, name: str, draw: Callable[[np.random.Generator], S]) -> S:
    """What was drawn under this name, drawn from the stream of that name the first time."""
    if name not in context.scratch:
        context.scratch[name] = draw(context.stream(name))
    found: S = context.scratch[name]
    return found
