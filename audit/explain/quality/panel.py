"""Every explainer that applies, run once on the same rows of the same game: what all quality checks look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from audit.core import (
    Context,
    Floats,
    Inputs,
    MissingOffer,
    ModelError,
    Need,
    NotApplicable,
    Stopped,
    Subject,
    Table,
    UsageError,
)
from audit.data.tabular import Tabular
from audit.explain.attribution import Attribution
from audit.explain.games import Game, Link, value_table
from audit.explain.masking import masker
from audit.explain.sample import affordable, game_of, model_and_inputs, sampled_rows, seed_of
from audit.registry import entries

Explain = Callable[..., Attribution]


class Failed(str):
    """A reason that is the model's failure, not a method's limit."""

    __slots__ = ()


Found = dict[str, "Attribution | str"]
ROWS = 12  # by default: a dozen rows show how explainers differ
BACKGROUND = 32
BUDGET = 256  # coalitions of Shapley values
SAMPLES = 500  # perturbations a row of a local surrogate of anything but a table


def explainers(game: Game, context: Context) -> dict[str, Explain | str]:
    """Every registered explainer by id, with its own defaults, or what the model lacks for it.

    Two are asked for less, as every row is explained again and again: Shapley values for no more coalitions than the check
    may spend, and local surrogates for fewer perturbations where rows cannot share them.
    """
    card, offers = game.model.card, game.model.offers
    there: set[Need] = {"model", "rows", *offers, *(("parameters",) if card.parameters_open else ())}
    found: dict[str, Explain | str] = {}
    for id, entry in entries("explainers").items():
        lacking = sorted(entry.needs - there)
        if lacking:
            found[id] = f"the model does not offer {', '.join(lacking)}"
        elif "budget" in entry.params:
            # Without the fit of relevances, which takes longer than the model does, again and again.
            plain = {"estimator": "odd_gp"} if "estimator" in entry.params and _many(game) else {}
            found[id] = partial(entry.function, budget=affordable(game, BUDGET, context), **plain)
        elif entry.params.get("samples", 0) > SAMPLES and not isinstance(game.masker.inputs, Tabular):
            found[id] = partial(entry.function, samples=SAMPLES)
        else:
            found[id] = entry.function
    return found


def _many(game: Game) -> bool:
    """Whether a row has more coalitions than are asked for."""
    most = max(len(names) for names in game.masker.players)
    return 1 << most > BUDGET


def panel_of(game: Game, context: Context, only: Mapping[str, Any] | None = None, *, salt: str = "") -> Found:
    """Every explainer's attribution of a game, or why there is none.

    only: ids of the explainers wanted, by default all. salt: another one gives explainers that draw another seed. A
    deadline and a spent budget pass through.
    """
    found: Found = {}
    for id, run in context.track(list(explainers(game, context).items()), "explainers"):
        if only is not None and id not in only:
            continue
        found[id] = run if isinstance(run, str) else attempted(run, game, seed_of(context, f"explain.{id}{salt}"))
    return found


def attempted(run: Explain, game: Game, seed: int) -> Attribution | str:
    """One explainer's attribution, or in words why it gives none; a deadline and a spent budget pass through."""
    try:
        found = run(game, seed=seed)
    except Stopped:
        raise
    except MissingOffer as error:
        return str(error)
    except ModelError as error:
        return Failed(error)
    except (NotApplicable, UsageError) as error:
        return str(error)
    except (RuntimeError, NotImplementedError) as error:  # what torch and captum raise for a module they cannot follow
        return f"{type(error).__name__}: {error}"
    if not np.isfinite(found.values).any():
        return found.note or "undefined in every row"
    return found


def panel(
    subject: Subject, context: Context, *, rows: int = ROWS, background: int = BACKGROUND, link: Link = "identity"
) -> tuple[Game, Found]:
    """The shared game of sampled rows, and every explainer's attribution of it or why there is none.

    Run once for all checks that ask for the same rows. Raises NotApplicable where there is no model or no explainer.
    """
    chosen = sampled_rows(subject, context, rows)
    game = game_of(subject, context, chosen, background=background, link=link)
    key = ("explain.panel", chosen.tobytes(), background, link)
    if key not in context.scratch:
        context.scratch[key] = panel_of(game, context)
    found: Found = context.scratch[key]
    if not defined(found):
        if failed := [reason for reason in found.values() if isinstance(reason, Failed)]:
            raise ModelError(failed[0])
        raise NotApplicable("no explainer applies: " + "; ".join(f"{id}: {reason}" for id, reason in found.items()))
    return game, found


def defined(found: Mapping[str, Attribution | str]) -> dict[str, Attribution]:
    """The explainers that gave an attribution."""
    return {id: each for id, each in found.items() if isinstance(each, Attribution)}


def missing(found: Mapping[str, Attribution | str]) -> Iterator[Table]:
    """Which explainers were left out, and why; nothing where all applied."""
    lines = tuple((id, each) for id, each in found.items() if isinstance(each, str))
    if lines:
        yield Table(name="left_out", title="Explainers left out", columns=("explainer", "why"), rows=lines)


def game_on(subject: Subject, context: Context, inputs: Inputs, like: Game, *, background: int) -> Game:
    """The same game of other inputs, one after the other for each of the rows: m of them for each of n rows."""
    _, everyone = model_and_inputs(subject)
    pool = everyone.take(sampled_rows(subject, context, background, "background"))
    copies = len(inputs) // len(like)
    return replace(
        like,
        masker=masker(inputs, pool, seed=seed_of(context, "explain.fill")),
        targets=np.repeat(like.targets, copies),
    )


def played(game: Game, row: int, coalitions: np.ndarray) -> Floats:
    """The value (c,) of a row's coalitions (c, players), the mean over fillings; none is asked twice."""
    alone, again = np.unique(coalitions, axis=0, return_inverse=True)
    means = np.zeros(len(alone))
    for _, chosen, block in value_table(game, np.array([row]), alone):
        means[chosen] = block[0].mean(axis=1)
    return np.asarray(means[again.ravel()])


def known(values: Floats, names: tuple[str, ...]) -> Floats | None:
    """A row's attributions (players,), or None where one of them is undefined."""
    own = values[: len(names)]
    return own if len(own) and np.isfinite(own).all() else None


def sizes(values: Floats) -> Floats:
    """Absolute attributions (rows, players), rounding (a billionth of the row's largest) taken as nought, so that it ranks nobody."""
    size = np.abs(values)
    largest = np.max(np.where(np.isfinite(size), size, 0.0), axis=1, keepdims=True, initial=0.0)
    return np.where(size <= 1e-9 * largest, 0.0, size)
