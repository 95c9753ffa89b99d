"""The lending network: borrowers of two districts who know each other, and a loan that is repaid or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from audit.core import Codes, Dataset, Floats, Ints, Origin
from audit.data.graphs import Graphs, graph
from audit.data.worlds.additive import NodeForm
from audit.data.worlds.applicants import CLASSES
from audit.data.worlds.base import Draw, bounded, counted, source
from audit.data.worlds.blocks import ties
from audit.registry import world

LEVELS = ("east", "west")  # s = -1 and 1
LABELLED = ("income", "savings")  # told by the label
GROUPED = ("school", "language")  # told by the district
NOISE = ("n1", "n2", "n3", "n4")
KNOBS = {"homophily": "[0, 1]", "gap": "(-1, 1)", "degree": "(0, 100]", "shift": "(0, inf)", "proxy": "[0, inf)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LendingNetwork:
    """The lending network with its knobs; see `lending_network`."""

    homophily: float
    gap: float
    degree: float
    shift: float
    proxy: float

    def __post_init__(self) -> None:
        for knob, allowed in KNOBS.items():
            bounded(knob, getattr(self, knob), allowed)

    @property
    def columns(self) -> tuple[str, ...]:
        """The features of a borrower; without `proxy` none is told by the district."""
        return (*LABELLED, *(GROUPED if self.proxy else ()), *NOISE)

    def draw(self, rows: int, rng: np.random.Generator) -> Dataset:
        """One network whose nodes are the rows, with labels, districts and twins."""
        return self.sample(rows, rng).dataset

    def sample(self, rows: int, rng: np.random.Generator) -> Draw:
        """The same with latent factors; a twin is the same person of the other district, with the ties to the same people.

        All twins stand in one graph beside everybody as they are: a tie leads from each of a person's acquaintances to the
        twin, none back. So a twin is asked about among people who stay as they were, whoever else is asked about.
        """
        counted(rows)
        a = (rng.random(rows) < 0.5).astype(np.int64)
        latent = {"a": a.astype(np.float64), "u": rng.random(rows)}
        latent |= {f"e_{name}": rng.standard_normal(rows) for name in (*LABELLED, *GROUPED, *NOISE)}
        within, across = (min(1.0, 2 * self.degree * h / rows) for h in (self.homophily, 1 - self.homophily))
        known = ties(a, within, across, rng)
        inputs = graph(self._features(latent, a), known, columns=self.columns)
        twin = _beside(inputs, self._features(latent, 1 - a))
        dataset = Dataset(
            inputs=inputs,
            twin=twin,
            groups={"district": Codes(values=a.astype(np.uint8), levels=LEVELS)},
            origin=Origin(name="world: lending_network", source=source(self)),
            y=self._repaid(latent, a),
            names=self.columns,
            classes=CLASSES,
        )
        return Draw(dataset=dataset, latent=latent, twin=twin)

    def _repaid(self, latent: Mapping[str, Floats], a: Ints) -> Ints:
        return (latent["u"] < 0.5 + self.gap / 2 * (2 * a - 1)).astype(np.int64)

    def _features(self, latent: Mapping[str, Floats], a: Ints) -> Floats:
        """The features (n, d) of people of these latent factors if their district were a (n,)."""
        told = dict.fromkeys(LABELLED, self.shift * (2.0 * self._repaid(latent, a) - 1))
        told |= dict.fromkeys(GROUPED, self.proxy * (2.0 * a - 1))
        return np.column_stack([told.get(name, 0.0) + latent[f"e_{name}"] for name in self.columns])

    def oracle(self) -> NodeForm:
        """The linear discriminant of the label from a person's own features and their mean over the acquaintances.

        The best of linear graph convolutions of one step with weights of its own for the person (wu2019): its weights come
        from the exact means and covariances, and its log-odds would be exact were these all normal.
        """
        from audit.data.worlds.lending_truth import discriminant

        own, around = discriminant(self)
        return NodeForm(own=own, neighbours=around, columns=self.columns)

    def truth(self) -> Mapping[str, float]:
        """Exact quantities under the oracle's decisions (probability 1/2 or more), in a network of many people.

        base_rate, selection_rate, tpr, fpr and accuracy: overall, as NAME.east and NAME.west;
        demographic_parity_difference and equal_opportunity_difference (west less east); counterfactual_logit, the mean
        change over people of the east of the logit were they of the west, their ties as they are, and its parts
        path.label (through what the label changes) and path.proxy. Of the network: edge_homophily,
        assortativity, mean_degree and class_insensitive_homophily. In a network of n people they differ by an order of
        degree / n. Where ties know no district the third is left out: it counts what is above chance only, by chance too.
        """
        from audit.data.worlds.lending_truth import truth

        return truth(self)


def _beside(inputs: Graphs, features: Floats) -> Graphs:
    """Nodes with other features (n, d) beside those of a graph, which they hear and which do not hear them."""
    count = len(inputs.features)
    heard = inputs.edges + np.array([0, count])
    return replace(
        inputs,
        features=np.concatenate([inputs.features, features]),
        edges=np.concatenate([inputs.edges, heard]),
        targets=inputs.targets + count,
        copies=np.zeros(2 * count, dtype=np.int64),
    )


@world(
    "lending_network",
    title="Lending network whose ties tell the district",
    sources=("holland1983", "deshpande2018", "dai2021"),
)
def lending_network(
    *, homophily: float = 0.7, gap: float = 0.3, degree: float = 8.0, shift: float = 0.8, proxy: float = 0.8
) -> LendingNetwork:
    """A contextual stochastic block model: who repays depends on the district alone, and ties lead mostly home.

    With s = -1 in the east and 1 in the west, each half of n people: y ~ Bernoulli(.5 + gap/2 s); a pair is tied with
    chance 2 degree homophily / n in one district, 2 degree (1 - homophily) / n across (1 where that is more). Features
    are N(0, 1), income and savings shifted by shift (2y - 1), school and language by proxy s, n1 to n4 by nothing.

    homophily: the share of ties that stay in a district, .5 for none. gap: how much more often the west repays. degree:
    ties of a person, on average. shift: how much the features say of the label. proxy: how much they say of the district;
    0 leaves school and language out, so that the ties alone tell it. Raises DataError for a knob out of range.
    """
    return LendingNetwork(homophily=homophily, gap=gap, degree=degree, shift=shift, proxy=proxy)
