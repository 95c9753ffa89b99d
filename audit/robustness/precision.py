"""Whether a model in a lower number type would decide otherwise, and about whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, cast, get_args

import numpy as np

from audit.core import (
    Context,
    Dtype,
    Evidence,
    Floats,
    Inputs,
    Ints,
    Measure,
    Model,
    ModelError,
    NotApplicable,
    Subject,
    UsageError,
)
from audit.registry import check
from audit.robustness.noise import decide, flip_rate, flips_by_group

LOWER = ("bfloat16", "float16")


class Castable(Protocol):
    """What a model whose parameters are open has beyond the protocol of models."""

    def scores_in(self, dtype: Dtype, inputs: Any) -> Floats:
        """What `predict` gives by a copy of the model in another number type; raises ModelError where it fails in it."""
        ...


@check(
    "robustness.precision",
    title="Decisions in a lower number type",
    needs={"model", "parameters", "rows"},
    sources=("kalamkar2019", "micikevicius2018", "hooker2020", "wilson1927", "newcombe1998", "kish1965"),
)
def precision(
    subject: Subject, context: Context, *, types: Sequence[str] = LOWER, rows: int = 10_000
) -> Iterator[Evidence]:
    """Would lower precision change decisions?

    A copy of the model with its parameters and inputs in bfloat16 (8 bits of precision) and in float16 (11 bits) decides
    the same rows as the model in its own type. flip_rate is the share of decisions that differ, flip_rate_difference the
    largest difference of it between groups, max_score_change the largest change of a score. A type in which the model
    cannot run, or not on this machine, has no value and the reason. Models are often served in such types to save memory
    and time, and rows near the threshold turn first: a group with many of them bears more of it.

    A flip is a change, not an error: it says nothing about which of the two decisions is right. Compression to whole
    numbers (int8), which rescales parameters, is another thing and is not measured here, nor is what other hardware or
    libraries round differently. Few flips on these rows do not bound those on others.
    """
    model, types = _asked(subject, types, rows)
    chosen = np.sort(context.rng.choice(len(subject), size=min(rows, len(subject)), replace=False))
    inputs = cast(Inputs, subject.data.inputs).take(chosen)
    before = model.predict(inputs)
    failed: dict[str, str] = {}
    for kind in context.track(types, "number types"):
        try:
            after = cast(Castable, model).scores_in(cast(Dtype, kind), inputs)
        except ModelError as error:
            failed[kind] = str(error)
        else:
            note = f"{model.card.dtype} against {kind} on {len(chosen)} rows"
            yield from _compared(subject, chosen, before, after, context.confidence, {"dtype": kind}, note)
    if len(failed) == len(types):
        reasons = "; ".join(f"{kind}: {why}" for kind, why in failed.items())
        raise NotApplicable(f"the model runs in none of the lower number types: {reasons}")
    for kind, why in failed.items():
        yield Measure(name="flip_rate", value=None, unit="proportion", where={"dtype": kind}, better="lower", note=why)


def _asked(subject: Subject, types: Sequence[str], rows: int) -> tuple[Model, list[str]]:
    """The model, and the types that it does not run in already; raises NotApplicable, UsageError."""
    if subject.model is None or subject.data.inputs is None or subject.score is None:
        raise NotApplicable("a model in two number types is compared by its scores, and there are none")
    if subject.model.card.output == "value":
        raise NotApplicable("the model predicts a number, from which no decision is made")
    allowed = [kind for kind in get_args(Dtype) if kind != "auto"]
    if rows < 1 or not types or not set(types) <= set(allowed):
        raise UsageError(f"types: some of {', '.join(allowed)}; rows: at least 1; got {list(types)} and {rows}")
    others = [kind for kind in types if kind != subject.model.card.dtype]
    if not others:
        raise NotApplicable(f"the model runs in {subject.model.card.dtype} already")
    return subject.model, others


def _compared(
    subject: Subject,
    chosen: Ints,
    before: Floats,
    after: Floats,
    level: float,
    where: Mapping[str, str],
    note: str,
) -> Iterator[Measure]:
    """Flips of everyone, the largest change of a score, and flips by group, on the chosen rows."""
    first, second = (decide(scores, subject.threshold) for scores in (before, after))
    flips = (first != second).astype(np.float64)
    weights = np.ones(len(chosen)) if subject.data.weights is None else subject.data.weights[chosen]
    yield flip_rate(flips, weights, level, where, note)
    largest = float(np.abs(after - before).max())
    yield Measure(name="max_score_change", value=largest, n=len(chosen), where=where, better="lower", note=note)
    yield from flips_by_group(subject, chosen, flips, weights, level, where, note)
