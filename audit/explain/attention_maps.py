"""Where the model looks, and whether that is what moves its answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from audit import stats
from audit.core import Cell, Context, Evidence, Floats, Interval, Measure, MissingOffer, NotApplicable, Subject, Table
from audit.data.captioned import Captioned
from audit.data.tabular import Tabular
from audit.data.texts import Texts
from audit.explain.attention import attention_chefer, attention_raw, attention_rollout, entropy, rollout
from audit.explain.attention_places import Query, real, supported, tokens_of
from audit.explain.attention_reading import blocks, query_of
from audit.explain.attribution import Attribution
from audit.explain.games import Game, Link, value_table
from audit.explain.ranks import rank_correlations
from audit.explain.sample import game_of, sampled_rows
from audit.registry import check

WORDS = {"raw": "the last layer", "rollout": "rollout", "chefer": "rollout weighted by gradients"}


@check(
    "explain.attention",
    title="Where the model looks, and whether that moves its answers",
    needs={"model", "rows", "attention"},
    sources=("abnar2020", "chefer2021", "jain2019", "wiegreffe2019"),
)
def attention(
    subject: Subject,
    context: Context,
    *,
    rows: int = 24,
    cases: int = 2,
    tokens: int = 24,
    query: Query | None = None,
    link: Link = "identity",
) -> Iterator[Evidence]:
    """Which words do the model's attention weights fall on, and are those the words that move its answers?

    For a few texts the weights of the last layer, their rollout over all layers and, where the model has gradients, the
    rollout weighted by them, from the token that the answer is read from (`query`; None sees it by the gradient); for
    every layer and head how widely it spreads its weights (entropy, and its share of the most that is possible).
    Each method's ranking of the words is then compared with what leaving out one word at a time does to the answer:
    Spearman's rank correlation in each text, averaged over `rows` sampled texts.

    Attention is not a reason. Weights say where a layer looked, not what the answer rests on: quite other weights can
    give the same answer (jain2019), and whether they explain anything has to be tested (wiegreffe2019). They have no
    sign: a word that speaks against the answer is as dark as one that speaks for it. Where the correlation is not
    clearly above 0, read the maps as a picture of the model's inside and of nothing else; where it is, the effects of
    leaving words out still are the evidence, and leaving out single words misses what two words do only together.
    """
    chosen = sampled_rows(subject, context, rows)
    # Of a picture with a caption the words are what is attended to: the picture stays.
    words = "word" if isinstance(subject.data.inputs, Captioned) else None
    game = game_of(subject, context, chosen, link=link, players=words)
    supported(game.masker.inputs)
    try:
        told: Query = query_of(game) if query is None else query
    except MissingOffer as none:
        raise NotApplicable(str(none)) from none
    found = {"raw": attention_raw(game, query=told), "rollout": attention_rollout(game, query=told)}
    if "gradients" in game.model.offers:
        found["chefer"] = attention_chefer(game, query=told)
    effects = leave_one_out(game)
    agreements = {name: rank_correlations(each.values, _sized(name, effects)) for name, each in found.items()}
    measures = [_agreement(name, each, context.confidence) for name, each in agreements.items()]
    shown = range(min(cases, len(game)))
    for place in shown:
        yield _matrix(game, place, int(chosen[place]), told, tokens)
        for name, measure in zip(found, measures, strict=True):
            yield _words(found[name], name, place, int(chosen[place]), float(agreements[name][place]), measure)
        yield _effects(found["raw"], effects, place, int(chosen[place]))
    yield from measures
    for name, each in found.items():
        yield _top(name, each.values, _sized(name, effects), context.confidence)
    yield from _entropies(game, context.confidence)


def leave_one_out(game: Game) -> Floats:
    """The explained output less what it is without one player (rows, most players), NaN behind a row's last player."""
    out = np.full((len(game), max((len(names) for names in game.masker.players), default=0)), np.nan)
    for players, rows in game.by_players():
        coalitions = np.concatenate([np.ones((1, players), dtype=bool), ~np.eye(players, dtype=bool)])
        table = np.zeros((len(game), players + 1))
        for block, chosen, values in value_table(game, rows, coalitions):
            table[np.ix_(block, chosen)] = values.mean(axis=2)
        out[rows, :players] = (table[:, :1] - table[:, 1:])[rows]
    return out


def _sized(name: str, effects: Floats) -> Floats:
    """What a method's weights should follow: of gradients the effect towards the target, of weights alone its size."""
    return effects if name == "chefer" else np.abs(effects)


def _agreement(name: str, each: Floats, level: float) -> Measure:
    known = each[~np.isnan(each)]
    side = "effects towards the target" if name == "chefer" else "sizes of the effects"
    note = f"Spearman, mean over texts, of {WORDS[name]} with the {side} of leaving out one word"
    facts: dict[str, Any] = {"where": {"method": name}, "better": "higher"}
    if not len(known):
        reason = f"{note}: no text has two words that both rank differently"
        return Measure(name="occlusion_rank_correlation", value=None, note=reason, **facts)
    value = float(np.clip(known.mean(), -1.0, 1.0))
    interval = None
    if len(known) > 1:
        low, high = (float(np.clip(side, -1.0, 1.0)) for side in stats.mean_interval(known, level))
        interval = Interval(low=low, high=high, level=level, method="t over texts")
    if left := len(each) - len(known):
        note += f"; {left} texts left out, where one of the two ranks all words alike"
    return Measure(name="occlusion_rank_correlation", value=value, n=len(known), interval=interval, note=note, **facts)


def _top(name: str, values: Floats, effects: Floats, level: float) -> Measure:
    """How often the word with the largest weight is one with the largest effect, in texts of two words and more."""
    there = np.isfinite(values) & np.isfinite(effects)
    several = there.sum(axis=1) > 1
    facts: dict[str, Any] = {"where": {"method": name}, "better": "higher", "unit": "proportion"}
    if not several.any():
        note = "no text has more than one word"
        return Measure(name="top_word_agreement", value=None, note=note, **facts)
    seen, moved = (np.where(there, each, -np.inf)[several] for each in (values, effects))
    best = seen.argmax(axis=1)
    hits = int((moved[np.arange(len(best)), best] >= moved.max(axis=1)).sum())
    low, high = (float(side) for side in stats.wilson(hits, len(best), level))
    return Measure(
        name="top_word_agreement",
        value=hits / len(best),
        n=len(best),
        interval=Interval(low=low, high=high, level=level, method="Wilson"),
        note=f"share of texts where the word that {WORDS[name]} ranks first has the largest effect when left out",
        **facts,
    )


def _matrix(game: Game, place: int, row: int, query: Query, most: int) -> Table:
    """Rollout from every token (a row) to every token (a column) of one text, padding left out."""
    inputs = game.masker.inputs.take(np.array([place]))
    model: Any = game.model
    found = model.attentions(inputs)
    whole = rollout(found.layers, found.kinds)[0]
    there = [np.flatnonzero(real(inputs, side, query)[0])[:most] for side in whole.shape]
    read, looked = ([f"{k + 1} {name}" for k, name in _named(inputs, side, query)] for side in whole.shape)
    rows = tuple((read[k], *(float(whole[k, column]) for column in there[1])) for k in there[0])
    cut = f"; the first {most} tokens of {max(whole.shape)}" if max(whole.shape) > most else ""
    return Table(
        name="rollout",
        title=f"Row {row}: attention rolled out over {len(found.layers)} layers, from the tokens of the rows",
        columns=("token", *(looked[k] for k in there[1])),
        rows=rows,
        note=f"shares of attention, not of the answer{cut}",
        view="matrix",
    )


def _named(inputs: Any, count: int, query: Query) -> Iterator[tuple[int, str]]:
    """Number and name of `count` tokens of one input."""
    names: tuple[str, ...] = ()
    inputs = tokens_of(inputs)
    if isinstance(inputs, Texts):
        names = tuple(inputs.vocabulary[id] for id in inputs.ids[0])
    elif isinstance(inputs, Tabular):
        names = inputs.columns
    if count == len(names) + 1 and names:
        names = (*names, "(own)") if query == "last" else ("(own)", *names)
    yield from enumerate(names if len(names) == count else ("",) * count)


def _words(found: Attribution, name: str, place: int, row: int, agreement: float, measure: Measure) -> Table:
    names = found.players[place]
    lines: list[tuple[Cell, ...]] = [
        (word, float(value)) for word, value in zip(names, found.values[place, : len(names)], strict=True)
    ]
    here = "undefined" if np.isnan(agreement) else f"{agreement:.2f}"
    above = measure.interval is not None and measure.interval.low > 0
    verdict = "" if above else "; over all texts it is not clearly above 0, so this is where it looked and no reason"
    return Table(
        name=f"attention_{name}",
        title=f"Row {row}: where the model looked, by {WORDS[name]}",
        columns=("token", "value"),
        rows=tuple(lines),
        note=f"{found.method}; rank correlation with leaving out one word in this text: {here}{verdict}",
        view="tokens" if found.kind in ("texts", "captioned") else "bars",
    )


def _effects(found: Attribution, effects: Floats, place: int, row: int) -> Table:
    names = found.players[place]
    lines = [(word, float(value)) for word, value in zip(names, effects[place, : len(names)], strict=True)]
    return Table(
        name="left_out",
        title=f"Row {row}: what the answer loses when one word is left out",
        columns=("token", "value"),
        rows=tuple(lines),
        note=f"output {found.outputs[place]:.4g}; {found.background}",
        view="tokens" if found.kind in ("texts", "captioned") else "bars",
    )


def _entropies(game: Game, level: float) -> Iterator[Evidence]:
    """Entropy of every head as a table, and of every layer with its interval over texts."""
    inputs, model = game.masker.inputs, game.model
    told: Any = model
    parts, facts = [], []
    for rows in blocks(inputs):
        some = inputs.take(rows)
        found = told.attentions(some)
        parts.append([_of_heads(layer, real(some, layer.shape[2], "first")) for layer in found.layers])
        facts = list(zip(found.names, found.kinds, strict=True))
    layers = [np.concatenate(layer, axis=1) for layer in zip(*parts, strict=True)]  # each (2, texts, heads)
    lines = tuple(
        (number, name, kind, head + 1, float(bits), None if np.isnan(share) else float(share))
        for number, ((name, kind), layer) in enumerate(zip(facts, layers, strict=True), 1)
        for head, (bits, share) in enumerate(zip(*_mean(layer), strict=True))
    )
    yield Table(
        name="entropy",
        title="How widely each head spreads its attention",
        columns=("layer", "module", "kind", "head", "entropy (bits)", "share of the most possible"),
        rows=lines,
        note=f"mean over the tokens of {len(game)} texts; 0 bits is all on one token",
    )
    for number, ((name, _), layer) in enumerate(zip(facts, layers, strict=True), 1):
        each = layer[0].mean(axis=1)
        low, high = stats.mean_interval(each, level)
        known = len(each) > 1
        yield Measure(
            name="attention_entropy",
            value=float(each.mean()),
            unit="bits",
            n=len(each),
            interval=Interval(low=max(low, 0.0), high=high, level=level, method="t over texts") if known else None,
            where={"layer": str(number)},
            note=f"{name}: mean over heads and tokens",
        )


def _of_heads(layer: Floats, there: np.ndarray) -> Floats:
    """Entropy and its share of log2(tokens that can be seen), by text and head (2, n, heads), over tokens that are there.

    NaN where no token sees more than one.
    """
    bits = entropy(layer)  # (n, heads, queries)
    most = np.log2(np.maximum((layer > 0).sum(axis=-1), 1))
    asked = np.broadcast_to(there[:, None], bits.shape)
    several = asked & (most > 0)
    share = np.divide(bits, most, out=np.zeros_like(bits), where=several)
    counts, wide = asked.sum(axis=2), several.sum(axis=2)
    means = np.where(asked, bits, 0.0).sum(axis=2) / np.maximum(counts, 1)
    shares = np.where(wide > 0, share.sum(axis=2) / np.maximum(wide, 1), np.nan)
    return np.stack([means, shares])


def _mean(layer: Floats) -> Floats:
    """Mean over texts (2, heads) of (2, texts, heads), NaN left out; NaN where nothing is left."""
    known = ~np.isnan(layer)
    total = np.where(known, layer, 0.0).sum(axis=1)
    return np.asarray(np.divide(total, known.sum(axis=1), out=np.full(total.shape, np.nan), where=known.any(axis=1)))
