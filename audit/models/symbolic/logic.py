"""Truth values in [0, 1] as tensors: connectives of product or Łukasiewicz logic, quantifiers as means of errors."""

from __future__ import annotations

from typing import Literal, assert_never

from torch import Tensor

from audit.core import UsageError

Semantics = Literal["product", "lukasiewicz"]


def negation(a: Tensor) -> Tensor:
    """Not a: 1 - a."""
    return 1 - a


def conjunction(a: Tensor, b: Tensor, semantics: Semantics = "product") -> Tensor:
    """A and b: a b in product logic, max(0, a + b - 1) in Łukasiewicz logic."""
    match semantics:
        case "product":
            return a * b
        case "lukasiewicz":
            return (a + b - 1).clamp(min=0)
        case _:
            assert_never(semantics)


def disjunction(a: Tensor, b: Tensor, semantics: Semantics = "product") -> Tensor:
    """A or b: the negation of the conjunction of both negations."""
    return negation(conjunction(negation(a), negation(b), semantics))


def implication(a: Tensor, b: Tensor, semantics: Semantics = "product") -> Tensor:
    """If a then b: 1 - a + a b (Reichenbach) in product logic, min(1, 1 - a + b) in Łukasiewicz logic."""
    return disjunction(negation(a), b, semantics)


def equivalence(a: Tensor, b: Tensor, semantics: Semantics = "product") -> Tensor:
    """A if and only if b: both implications; in Łukasiewicz logic that is 1 - |a - b|."""
    return conjunction(implication(a, b, semantics), implication(b, a, semantics), semantics)


def forall(truth: Tensor, p: float = 2.0) -> Tensor:
    """How far all truths (n,) hold: 1 - mean((1 - truth)^p)^(1/p), stricter for larger p (badreddine2022).

    Of no cases it is 1. Raises UsageError for p below 1.
    """
    _at_least_one(p)
    if not len(truth):
        return truth.new_ones(())
    # The small number keeps the gradient of the root finite where nothing fails.
    return 1 - ((1 - truth) ** p).mean().clamp(min=1e-12) ** (1 / p)


def exists(truth: Tensor, p: float = 2.0) -> Tensor:
    """How far one of the truths (n,) holds: mean(truth^p)^(1/p); of no cases 0 (badreddine2022). Raises UsageError."""
    _at_least_one(p)
    if not len(truth):
        return truth.new_zeros(())
    return (truth**p).mean().clamp(min=1e-12) ** (1 / p)


def _at_least_one(p: float) -> None:
    if not p >= 1:
        raise UsageError(f"p: a mean of errors needs 1 or more, got {p}")
