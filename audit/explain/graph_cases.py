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
from audit.explain.masking.graphs import HOPS
from audit.explain.sample import costs, shapley_of

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

    A row without ties within `HOPS` steps has its features only.
    """
    rows = np.array(list(titles), dtype=np.int64)
    tied = np.array([row for row in titles if len(neighbourhood(inputs, row, HOPS)[0]) > 1], dtype=np.int64)

    def played(chosen: np.ndarray, players: str) -> Attribution:
        return shapley_of(subject, context, chosen, background=background, budget=budget, link=link, players=players)

    parts = {"feature": played(rows, "feature")}
    if len(tied):
        parts |= {players: played(tied, players) for players in ("node", "edge")}
    known, asked = _groups(subject, inputs), inputs.take(tied)
    place = {int(row): k for k, row in enumerate(tied)}
    for k, (row, title) in enumerate(titles.items()):
        if row in place:
            nodes, ties = parts["node"], parts["edge"]
            yield around(nodes, asked, place[row], title=title, ties=ties, groups=known)
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


def _groups(subject: Subject, inputs: Graphs) -> tuple[str, ...]:
    """Of every node of the graph its level of the first protected attribute, "" where it is no row or not known."""
    found = [""] * len(inputs.features)
    for name, codes in subject.groups.items():
        levels = (*(f"{name} = {level}" for level in codes.levels), "")
        for node, code in zip(inputs.targets.tolist(), codes.values.tolist(), strict=True):
            found[node] = levels[code]
        break
    return tuple(found)
