"""How an attribution is made of attention weights: batch by batch, from the token that the answer is read from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.core import Floats, Ints, MissingOffer, UsageError
from audit.data.graphs import Graphs
from audit.data.images import Images
from audit.explain.attention_nodes import weights_of_nodes
from audit.explain.attention_places import Query, checked, laid_out, real, seen_query, starts, supported, tokens_of
from audit.explain.attribution import Attribution, attribution
from audit.explain.games import Game, counted, value_table

if TYPE_CHECKING:
    from audit.models.attentions import Attentions

BLOCK = 32  # texts whose attention weights are held at once, fewer where they are long
BLOCK_BYTES = 2**28  # of the weights of 144 heads, which is as many as a usual encoder has
PROBES = 4  # texts that show from which token the answer is read
Make = Callable[["Attentions", Floats, Any], Floats]
_WORDS = {"first": "the first token", "mean": "the mean over the tokens", "last": "the last token"}


def explained(
    game: Game,
    make: Make,
    method: str,
    query: Query | None,
    params: dict[str, Any],
    seed: int,
    *,
    gradients: bool = False,
    layer: int = -1,
) -> Attribution:
    """An attribution from `make`, of attention, of how the answer is read (n, queries) and of inputs to (n, tokens)."""
    offers = game.model.offers
    for offer in ("attention", "gradients") if gradients else ("attention",):
        if offer not in offers:
            raise MissingOffer(f"{method} needs a model that offers {offer!r}; it offers {sorted(offers)}")
    if not len(game):
        raise UsageError(f"{method} needs at least one input, got none")
    asked, counter = counted(game)
    chosen: Query
    if isinstance(game.masker.inputs, Graphs) and not gradients:
        chosen, where = "first", "the node itself"
        values = weights_of_nodes(asked, make, checked(query))
    else:
        values, chosen = _weights_of_tokens(asked, make, query, gradients=gradients, layer=layer)
        where = f"token {chosen + 1}" if isinstance(chosen, int) else _WORDS[chosen]
    base, outputs = ends(asked)
    return attribution(
        game,
        values,
        base=base,
        outputs=outputs,
        method=f"{method}, read from {where}",
        params={**params, "query": chosen},
        seed=seed,
        evaluations=counter.evaluations,
        forwards=float(counter.evaluations + (2 * len(game) if gradients else 0)),
        complete=False,
        note="attention shows where the model looked, not why it answered so; the values do not add up to the output",
    )


def _weights_of_tokens(
    game: Game, make: Make, query: Query | None, *, gradients: bool, layer: int
) -> tuple[Floats, Query]:
    """The weights (n, most players) of tokens, summed over what each player holds, and where they are read from."""
    model: Any = game.model
    inputs, chosen = supported(game.masker.inputs), checked(query)
    if chosen is None:
        chosen = query_of(game)
    parts = []
    for rows in blocks(inputs):
        some = inputs.take(rows)
        found = model.attention_gradients(some, game.targets[rows]) if gradients else model.attentions(some)
        place = layer if -len(found.layers) <= layer < len(found.layers) else -1
        start = starts(some, found.layers[place].shape[-2], chosen)
        parts.append(laid_out(some, make(found, start, some), chosen))
    return game.masker.pool(np.concatenate(parts)), chosen


def query_of(game: Game) -> Query:
    """The token that the model's answer is read from, seen on the longest inputs."""
    inputs, model = game.masker.inputs, game.model
    told: Any = model
    lengths = real(inputs, np.shape(tokens_of(inputs).values)[1], "mean").sum(axis=1)
    rows = np.sort(np.argsort(-lengths, kind="stable")[: min(PROBES, len(next(blocks(inputs))))])
    some = inputs.take(rows)
    if "gradients" in model.offers:
        return seen_query(told.attention_gradients(some, game.targets[rows]), some)
    return seen_query(told.attentions(some), some)


def blocks(inputs: Any) -> Iterator[Ints]:
    """Row numbers, as many at a time as their weights fit the memory."""
    tokens = 256 if isinstance(inputs, Images) else max(1, int(np.shape(tokens_of(inputs).values)[1]))
    size = max(1, min(BLOCK, BLOCK_BYTES // (8 * 144 * tokens**2)))
    for top in range(0, len(inputs), size):
        yield np.arange(top, min(top + size, len(inputs)))


def ends(game: Game) -> tuple[Floats, Floats]:
    """The explained output (rows,) with no player present, and with all."""
    both = np.zeros((2, len(game)))
    for players, rows in game.by_players():
        coalitions = np.array([[False], [True]]).repeat(players, axis=1)
        for block, chosen, values in value_table(game, rows, coalitions):
            both[np.ix_(chosen, block)] = values.mean(axis=2).T
    return both[0], both[1]
