"""The forms of oracles: log-odds with set weights, whose explanations are known in closed form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import numpy as np

from audit.core import Floats
from audit.data.rules import Rules
from audit.data.worlds.boxes import Boxes, boxes, plus, shapley


@dataclass(frozen=True, slots=True, kw_only=True)
class LogisticForm:
    """logit(x) = z·weights + bias + Σ weight z_i z_j over pairs, where z is x, or for a column in `cuts` [x_j > cut].

    Every z_j depends on its own column only, so Shapley values are those of z.
    """

    columns: tuple[str, ...]
    weights: tuple[float, ...]
    bias: float = 0.0
    pairs: tuple[tuple[int, int, float], ...] = ()
    cuts: tuple[tuple[int, float], ...] = ()

    def _entering(self, x: Floats) -> Floats:
        z = np.array(x, dtype=np.float64)
        for column, cut in self.cuts:
            z[:, column] = x[:, column] > cut
        return z

    def logit(self, x: Floats) -> Floats:
        """Log-odds of the positive class (n,) for rows x (n, d)."""
        z = self._entering(x)
        logit: Floats = z @ np.array(self.weights) + self.bias
        for i, j, weight in self.pairs:
            logit += weight * z[:, i] * z[:, j]
        return logit

    def shapley_truth(self, x: Floats, background: Floats) -> Floats:
        """Interventional Shapley values (n, d) of the logit for rows x against background rows (m, d), in closed form.

        w_j (z_j - m_j), and for a pair (i, j) of weight ω, feature i gains
        ω/2 [(z_i m_j - E[z_i z_j]) + (z_i z_j - m_i z_j)], j the mirror image; m and E are over the background.
        """
        z, behind = self._entering(x), self._entering(background)
        mean = behind.mean(axis=0)
        values: Floats = (z - mean) * np.array(self.weights)
        for i, j, weight in self.pairs:
            together, both = (behind[:, i] * behind[:, j]).mean(), z[:, i] * z[:, j]
            values[:, i] += weight / 2 * (z[:, i] * mean[j] - together + both - mean[i] * z[:, j])
            values[:, j] += weight / 2 * (z[:, j] * mean[i] - together + both - mean[j] * z[:, i])
        return values

    def occlusion_truth(self, x: Floats, background: Floats) -> Floats:
        """What the logit loses (n, d) when a column alone is filled from the background: (z_j - m_j) times its slope in z."""
        z = self._entering(x)
        mean = self._entering(background).mean(axis=0)
        return np.asarray((z - mean) * self._slopes(z))

    def gradients_truth(self, x: Floats, baseline: Floats) -> Floats | None:
        """Integrated gradients (n, d) of the logit along the straight line from baseline (d,); None with cuts.

        A pair (i, j) of weight ω gives feature i ω/2 (x_i - b_i) (x_j + b_j). Where a column is cut the logit jumps, and
        no gradient along a path sees that.
        """
        if self.cuts:
            return None
        step = x - baseline
        values: Floats = step * np.array(self.weights)
        for i, j, weight in self.pairs:
            values[:, i] += weight / 2 * step[:, i] * (x[:, j] + baseline[j])
            values[:, j] += weight / 2 * step[:, j] * (x[:, i] + baseline[i])
        return values

    def slopes(self, x: Floats) -> Floats | None:
        """The gradient (n, d) of the logit; None with cuts."""
        return None if self.cuts else self._slopes(x)

    def _slopes(self, z: Floats) -> Floats:
        values = np.tile(np.array(self.weights), (len(z), 1))
        for i, j, weight in self.pairs:
            values[:, i] += weight * z[:, j]
            values[:, j] += weight * z[:, i]
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleForm:
    """logit(x) = bias + Σ weight [the rules accept x] over parts; `rules` are those that hold where the logit is 0 or more."""

    columns: tuple[str, ...]
    rules: Rules
    bias: float
    parts: tuple[tuple[Rules, float], ...]

    def logit(self, x: Floats) -> Floats:
        """Log-odds of the positive class (n,) for rows x (n, d)."""
        logit = np.full(len(x), self.bias)
        for rules, weight in self.parts:
            logit += weight * rules.decide(x)
        return logit

    def boxes(self) -> Boxes:
        """The logit as a sum of boxes."""
        return reduce(lambda total, part: plus(total, boxes(part[0]), part[1]), self.parts, {(): self.bias})

    def shapley_truth(self, x: Floats, background: Floats) -> Floats:
        """Interventional Shapley values (n, d) of the logit for rows x against background rows (m, d), in closed form.

        A clause is a product of its columns, rules are sums of such products, and Shapley values add up; several
        literals on one column are one player (see audit.data.worlds.boxes).
        """
        return shapley(self.boxes(), x, background)

    def occlusion_truth(self, x: Floats, background: Floats) -> Floats:
        """What the logit loses (n, d) when one column alone is filled from the background rows (m, d), on average."""
        return np.column_stack(list(self._losses(x, background)))

    def _losses(self, x: Floats, background: Floats) -> Iterator[Floats]:
        inside = {
            (column, low, high): (x[:, column] > low) & (x[:, column] <= high)
            for box in self.boxes()
            for column, low, high in box
        }
        for place in range(x.shape[1]):
            loss = np.zeros(len(x))
            for box, weight in self.boxes().items():
                others = [inside[side] for side in box if side[0] != place]
                rest = np.logical_and.reduce(others) if others else np.ones(len(x), dtype=bool)
                for side in box:
                    if side[0] == place:
                        share = ((background[:, place] > side[1]) & (background[:, place] <= side[2])).mean()
                        loss += weight * rest * (inside[side] - share)
            yield loss

    def gradients_truth(self, x: Floats, baseline: Floats) -> Floats | None:
        """None: the logit is flat but for its jumps."""
        return None

    def slopes(self, x: Floats) -> Floats | None:
        """None: the logit is flat but for its jumps."""
        return None
