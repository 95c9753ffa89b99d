"""How the gap of a graph network grows with homophily, in the lending network: python -m benchmarks homophily [--quick]."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from audit.core import Floats, RunSpec, Spec, stream
from audit.data.worlds.lending_network import LendingNetwork, lending_network
from audit.models.graph_promises import gap
from audit.models.reference import trained

LEVELS = (0.5, 0.7, 0.9)
FAMILIES = ("gcn", "gat", "gin")
ROWS, UNSEEN = 2000, 4000


def gaps(
    world: LendingNetwork, family: str, seeds: int, *, rows: int = ROWS, unseen: int = UNSEEN, **options: Any
) -> Floats:
    """The gap (seeds,) in shares of yes between west and east, of networks trained and judged on draws of their own."""
    found = []
    for seed in range(seeds):
        data = world.draw(rows, stream(seed, "homophily.training"))
        other = world.draw(unseen, stream(seed, "homophily.unseen"))
        model = trained(family, data, Spec(run=RunSpec(device="cpu", threads=1)), seed=seed, options=options)
        found.append(gap(other, model.predict(other.inputs) >= 0.5))
    return np.array(found)


def main(seeds: int = 5, levels: Sequence[float] = LEVELS) -> None:
    """A line a family: the mean gap and its standard deviation over seeds at every homophily, with and without `proxy`."""
    torch.set_num_threads(1)
    for proxy in (0.8, 0.0):
        truth = [lending_network(homophily=h, proxy=proxy).truth()["demographic_parity_difference"] for h in levels]
        print(f"proxy = {proxy:g}; gap of the labels .300; of the oracle " + ", ".join(f"{one:.3f}" for one in truth))
        print("family  " + "  ".join(f"h = {h:<10g}" for h in levels))
        for family in FAMILIES:
            each = [gaps(lending_network(homophily=h, proxy=proxy), family, seeds) for h in levels]
            told = (f"{one.mean():.3f} ± {one.std(ddof=1) if seeds > 1 else 0:.3f} " for one in each)
            print(f"{family:6}  " + "  ".join(told), flush=True)


TABLES = {"homophily": lambda quick: main(2 if quick else 5)}
