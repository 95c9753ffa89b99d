"""Which rows of an attention map a model's answer is read from, and which inputs its columns belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from audit.core import Floats, Ints, NotApplicable, UsageError
from audit.data.captioned import Captioned
from audit.data.images import Images
from audit.data.series import Series
from audit.data.tabular import Tabular
from audit.data.texts import Texts

if TYPE_CHECKING:
    from audit.models.attentions import Attentions

Query = Literal["first", "mean", "last"] | int  # a number: that token, counted from 0 with the model's own
QUERIES: tuple[Query, ...] = ("first", "mean", "last")
NEGLIGIBLE = 1e-9  # share of the gradient that counts as none


def supported(inputs: Any) -> Any:
    """The inputs as they are; raises NotApplicable for those whose parts are no tokens."""
    if not isinstance(inputs, Texts | Series | Tabular | Images | Captioned):
        raise NotApplicable(
            f"attention is read over texts, captions, sequences, tables and pictures, not {type(inputs).__name__}"
        )
    return inputs


def tokens_of(inputs: Any) -> Any:
    """The inputs whose tokens are attended to: of pictures with captions the captions."""
    return inputs.texts if isinstance(inputs, Captioned) else inputs


def checked(query: Query | None) -> Query | None:
    """The option as it is; raises UsageError for one that is not known."""
    numbered = isinstance(query, int) and not isinstance(query, bool) and query >= 0
    if query is not None and query not in QUERIES and not numbered:
        raise UsageError(
            f"query: {', '.join(map(repr, QUERIES))}, the number of a token from 0 on, or None (seen by the gradient), "
            f"got {query!r}"
        )
    return query


def real(inputs: Any, count: int, query: Query) -> NDArray[np.bool_]:
    """Which of `count` tokens (n, count) are there and no padding.

    One token more than the inputs have is the model's own ([CLS]): the first, or the last where that is read.
    """
    there = _there(tokens_of(inputs))
    if there is None or count not in (there.shape[1], there.shape[1] + 1):
        return np.ones((len(inputs), count), dtype=bool)
    own = np.ones((len(inputs), count - there.shape[1]), dtype=bool)
    return np.concatenate([there, own] if query == "last" else [own, there], axis=1)


def starts(inputs: Any, count: int, query: Query) -> Floats:
    """How much (n, count) the answer is read from each of `count` tokens; every row adds up to 1.

    Raises UsageError for the number of a token that is not there.
    """
    known = real(inputs, count, query)
    if isinstance(query, int):
        if query >= count:
            raise UsageError(f"query: from 0 to {count - 1}, got {query}")
        return np.tile(np.eye(count)[query], (len(known), 1))
    if query == "mean":
        return np.asarray(known / np.maximum(known.sum(axis=1, keepdims=True), 1))
    place = np.zeros(len(known), dtype=np.int64) if query == "first" else last_of(known)
    return np.eye(count)[place]


def last_of(known: NDArray[np.bool_]) -> Ints:
    """The last token (n,) that is there."""
    return np.asarray(known.shape[1] - 1 - known[:, ::-1].argmax(axis=1))


def seen_query(found: Attentions, inputs: Any) -> Query:
    """What the model reads, seen by where the gradient of its answer with respect to the last layer is not nought.

    Without gradients it is what is usual: the last token of a causal model, the first of others.
    """
    usual: Query = "last" if found.kinds[-1] == "causal" else "first"
    if found.gradients is None:
        return usual
    mass = np.abs(found.gradients[-1]).sum(axis=(1, 3))
    count = mass.shape[1]
    telling = (mass.sum(axis=1) > 0) & (real(inputs, count, "mean").sum(axis=1) > 1)
    if not telling.any():
        return usual
    mass = mass[telling] / mass[telling].sum(axis=1, keepdims=True)
    for query in ("first", "last"):
        there = starts(inputs, count, query)[telling] > 0
        if (mass[~there] <= NEGLIGIBLE).all():
            return query
    read = np.flatnonzero((mass > NEGLIGIBLE).any(axis=0))  # one and the same place inside: a word that is foretold
    return int(read[0]) if len(read) == 1 else "mean"


def laid_out(inputs: Any, weights: Floats, query: Query) -> Floats:
    """Weights (n, keys) of tokens, laid out like the inputs' values; raises NotApplicable where tokens are no inputs.

    Tokens are the words of a text, the columns of a table, the steps of a sequence, or square patches of a picture; of a
    picture with a caption the words, its pixels get 0. What falls on a token of the model's own is left out. A token's
    weight is spread evenly over its pixels.
    """
    keys = weights.shape[1]
    if isinstance(inputs, Captioned):
        found = laid_out(inputs.texts, weights, query)
        return np.concatenate([np.zeros((len(found), inputs.pixels)), found], axis=1)
    if isinstance(inputs, Images):
        return _patches(inputs, weights)
    there = _there(inputs)
    count = keys if there is None else there.shape[1]
    if there is None or keys not in (count, count + 1):
        raise NotApplicable(
            f"attention is over {keys} tokens, the {type(inputs).__name__.lower()} have {count}: no token is one input"
        )
    if keys > count:
        weights = weights[:, :-1] if query == "last" else weights[:, 1:]
    return weights[:, :, None] if isinstance(inputs, Series) else weights


def _there(inputs: Any) -> NDArray[np.bool_] | None:
    """Which tokens (n, tokens) of the inputs are no padding; None for inputs that are not tokens by themselves."""
    if isinstance(inputs, Texts):
        return np.asarray(inputs.ids != inputs.pad)
    if isinstance(inputs, Series):
        return np.asarray(np.arange(inputs.values.shape[1]) < inputs.lengths[:, None])
    return np.ones(inputs.values.shape, dtype=bool) if isinstance(inputs, Tabular) else None


def _patches(inputs: Images, weights: Floats) -> Floats:
    high, wide = inputs.values.shape[2:]
    for own in (0, 1, 2):  # tokens before the patches: none, [CLS], [CLS] and that of a teacher
        count = weights.shape[1] - own
        side = round((high * wide / count) ** 0.5) if count > 0 else 0
        if side and high % side == 0 and wide % side == 0 and (high // side) * (wide // side) == count:
            grid = weights[:, own:].reshape(len(weights), high // side, wide // side) / side**2
            return np.asarray(grid.repeat(side, axis=1).repeat(side, axis=2)[:, None])
    raise NotApplicable(f"{weights.shape[1]} tokens are no grid of square patches of pictures of {high} by {wide}")
