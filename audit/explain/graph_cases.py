"""Single decisions about nodes of a graph: by their features, their neighbours and their ties."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from audit.core import Context, Evidence, Measure, Subject
from audit.data.graphs import Graphs, neighbourhood
from audit.explain import views
from audit.explain.attribution import Attribution
from audit.explain.games import Link
from audit.explain.graph_views import around
from audit.explain.masking.graphs import HOPS, ties_between
from audit.explain.sample import costs, shapley_of

MOST = (
    250  # neighbours or ties that are told apart: of more those farther away are left as they are, or ties are not told
)
NONE = "no integrated gradients: neighbours and ties are there or not"


def graph_cases(
    subject: Subject,
    context: Context,
    inputs: Graphs,
    titles: Mapping[int, str],
    *,
    background: int,
    budget: int,
    link: Link,
) -> Iterator[Evidence]:
    """Of each row, named with its title, the neighbourhood that it is judged by and its features.

    A row without ties within `HOPS` steps has its features only. Where a row has more than `MOST` neighbours within them,
    those one step away are looked at; where it has more ties than that between them, the ties are drawn without figures.
    """
    rows = np.array(list(titles), dtype=np.int64)
    tied = np.array([row for row in titles if len(neighbourhood(inputs, row, HOPS)[0]) > 1], dtype=np.int64)

    hops = next((far for far in range(HOPS, 1, -1) if _most(inputs, tied, far)[0] <= MOST), 1)

    def played(chosen: np.ndarray, players: str) -> Attribution:
        size = None if players == "feature" else hops
        return shapley_of(
            subject, context, chosen, background=background, budget=budget, link=link, players=players, size=size
        )

    parts = {"feature": played(rows, "feature")}
    if len(tied):
        few = _most(inputs, tied, hops)[1] <= MOST
        parts |= {players: played(tied, players) for players in (("node", "edge") if few else ("node",))}
    known, asked = _groups(subject, inputs), inputs.take(tied)
    place = {int(row): k for k, row in enumerate(tied)}
    for k, (row, title) in enumerate(titles.items()):
        if row in place:
            yield around(parts["node"], asked, place[row], title=title, ties=parts.get("edge"), groups=known, hops=hops)
        told = f"Row {row}: features, everywhere around" if row in place else f"{title}, without ties"
        table = views.case(parts["feature"], k, title=told)
        called = {"player": "feature", "what it was": "value", "value": "shap", "SE": "shap SE"}
        yield replace(table, columns=tuple(called.get(column, column) for column in table.columns))
    for players, found in parts.items():
        where = {"method": "shap", "players": players}
        worst = float(np.abs(found.delta).max())
        yield Measure(name="completeness_error", value=worst, where=where, better="lower", note=found.method)
        for cost in costs(found):
            yield replace(cost, where={**cost.where, "players": players})
    yield Measure(name="shap_ig_rank_correlation", value=None, better="higher", note=NONE)


def _most(inputs: Graphs, rows: np.ndarray, hops: int) -> tuple[int, int]:
    """The most neighbours, and the most ties, that one of the rows has within so many hops."""
    found = [neighbourhood(inputs, int(row), hops) for row in rows]
    nodes = max((len(each) - 1 for each, _ in found), default=0)
    return nodes, max((len(ties_between(inputs.edges[edges], each)) for each, edges in found), default=0)


def _groups(subject: Subject, inputs: Graphs) -> tuple[str, ...]:
    """Of every node of the graph its level of the first protected attribute, "" where it is no row or not known."""
    found = [""] * len(inputs.features)
    for name, codes in subject.groups.items():
        levels = (*(f"{name} = {level}" for level in codes.levels), "")
        for node, code in zip(inputs.targets.tolist(), codes.values.tolist(), strict=True):
            found[node] = levels[code]
        break
    return tuple(found)
