"""Integrated gradients of 256 rows from each of 100 background rows, against captum's called for one baseline at a time."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import torch

from audit.explain import Game, game
from audit.explain.path_gradients import expected_gradients
from benchmarks import explain_models as models
from benchmarks.harness import Case

NODES, MANY = 32, 512  # of the peer and of the reference
TOLERANCE = 0.01


def _played(count: int) -> Game:
    return game(models.perceptron(), models.rows(count), models.background(), output="logit", link="logit")


def _forward(x: torch.Tensor) -> torch.Tensor:
    return models.perceptron()(x)[:, 0]


def captum_of(rows: np.ndarray, baselines: np.ndarray, nodes: int, *, together: bool) -> np.ndarray:
    """Means over the baselines (n, 20) of integrated gradients, row by row or all rows `together`."""
    explainer = models.peer("captum.attr").IntegratedGradients(_forward)
    x, b = torch.from_numpy(rows).float(), torch.from_numpy(baselines).float()
    parts = [x] if together else list(x.split(1))
    found = []
    for part in parts:
        each = [
            explainer.attribute(part, base[None].expand_as(part), n_steps=nodes, method="gausslegendre") for base in b
        ]
        found.append(torch.stack(each).mean(dim=0).detach().numpy())
    return np.concatenate(found)


def _reference() -> np.ndarray:
    return captum_of(models.rows(models.KNOWN), models.background(), MANY, together=True)


def _case(name: str, goal: float, part: tuple[int, int], *, together: bool) -> Callable[[int, bool], Case]:
    def build(size: int, quick: bool) -> Case:
        """Expected gradients of `size` rows."""
        chosen = min(size, part[0] if quick else part[1])
        truth = models.kept("expected-gradients", models.perceptron(), _reference)
        first = slice(0, models.KNOWN)

        def errors() -> tuple[float, float]:
            mine = expected_gradients(_played(models.KNOWN), steps=NODES, tolerance=TOLERANCE).values
            other = captum_of(models.rows(models.KNOWN), models.background(), NODES, together=together)
            return float(np.abs(mine[first] - truth).mean()), float(np.abs(other[first] - truth).mean())

        return Case(
            name=f"explain-{name}",
            peer=f"captum {version('captum')} IntegratedGradients, {NODES} nodes, "
            + ("all rows and one baseline a call" if together else "one row and one baseline a call"),
            goal=goal,
            ours=lambda: expected_gradients(_played(size), steps=NODES, tolerance=TOLERANCE),
            theirs=lambda: captum_of(models.rows(chosen), models.background(), NODES, together=together),
            rounds=1 if quick else 3,
            repeats=2,
            scale=size / chosen,
            scale_note=f"of {chosen} rows, scaled to {size}",
            errors=errors,
            truth=f"captum with {MANY} nodes on four rows",
        )

    return build


CASES = {
    "explain-captum-gradients": _case("captum-gradients", 40.0, (8, 32), together=False),
    "explain-captum-gradients-batched": _case("captum-gradients-batched", 1.0, (256, 256), together=True),
}
