"""Which features work together: Friedman's H from games in which one, two or all but one player is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from audit import stats
from audit.core import Cell, Context, Evidence, Floats, Interval, Measure, NotApplicable, Subject, Table, UsageError
from audit.core import stream as stream_of
from audit.data.tabular import Tabular
from audit.explain.dependence import partial_dependence_pair
from audit.explain.features import in_words, output_of, said
from audit.explain.games import Game, Link, value_table
from audit.explain.interactions import interactions
from audit.explain.sample import game_of, sampled_rows, seed_of
from audit.registry import check

REPLICATES = 300
MAPPED = 16  # players up to which all Shapley interactions are estimated
SINGLE = 32  # rows over which their size is averaged


@dataclass(frozen=True, slots=True, kw_only=True)
class Plays:
    """The game (rows, coalitions, fillings) of chosen coalitions; `place` is where a coalition of players stands."""

    values: Floats
    place: dict[tuple[int, ...], int]

    def of(self, players: Sequence[int], rows: Floats, fillings: Floats) -> Floats:
        """A centred partial dependence (replicates, rows): weights rows (b, r) and fillings (b, k) each sum to 1."""
        found = np.einsum("rk,bk->br", self.values[:, self.place[tuple(players)]], fillings)
        return np.asarray(found - (found * rows).sum(axis=1, keepdims=True))


def play(game: Game, coalitions: Sequence[tuple[int, ...]]) -> Plays:
    """The value of every row of a game under each coalition of player numbers, for every filling; raises NotApplicable."""
    players = shared_players(game)
    present = np.array([[number in each for number in range(len(players))] for each in coalitions], dtype=np.bool_)
    values = np.zeros((len(game), len(coalitions), game.masker.fillings))
    for rows, chosen, found in value_table(game, np.arange(len(game)), present):
        values[np.ix_(rows, chosen)] = found
    return Plays(values=values, place={each: index for index, each in enumerate(coalitions)})


def shared_players(game: Game) -> tuple[str, ...]:
    """The players' names where all rows share them; raises NotApplicable where they do not, as in sentences."""
    if len(set(game.masker.players)) != 1:
        raise NotApplicable("rows have players of their own, so nothing can be compared over rows")
    return game.masker.players[0]


def overall_h(plays: Plays, player: int, players: int, rows: Floats, fillings: Floats) -> tuple[Floats, Floats]:
    """Friedman's H (b,) of a player with all the others, and the root mean square of what only both together do (b,)."""
    every, rest = tuple(range(players)), tuple(number for number in range(players) if number != player)
    whole = plays.of(every, rows, fillings)
    return _h(whole - plays.of((player,), rows, fillings) - plays.of(rest, rows, fillings), whole, rows)


def pair_h(plays: Plays, pair: tuple[int, int], rows: Floats, fillings: Floats) -> tuple[Floats, Floats]:
    """Friedman's H (b,) of two players, and the root mean square of what only both together do (b,) (friedman2008)."""
    whole = plays.of(pair, rows, fillings)
    alone = plays.of(pair[:1], rows, fillings) + plays.of(pair[1:], rows, fillings)
    return _h(whole - alone, whole, rows)


def _h(together: Floats, whole: Floats, rows: Floats) -> tuple[Floats, Floats]:
    """H is NaN where the whole does not vary; rounding errors of an additive game are 0."""
    over, under = ((side**2 * rows).sum(axis=1) for side in (together, whole))
    scale = 1e-20 * (np.abs(whole).max(axis=1) ** 2 + 1e-12)
    over = np.where(over <= scale, 0.0, over)
    return np.sqrt(stats.divide(over, np.where(under <= 1e-24, 0.0, under))), np.sqrt(over)


def friedman_h(
    game: Game, pairs: Sequence[tuple[str, str]] | None = None
) -> dict[tuple[str, ...], tuple[float, float]]:
    """H and strength of every player (one name), and of pairs of players (by default all), of a game with shared players.

    Partial dependences are taken over the game's background. H is 0 where the model is additive in them, and 1 where all
    the effect of a pair is joint; the strength is in the unit of the output and does not blow up where a pair hardly matters.
    """
    names = shared_players(game)
    count = len(names)
    numbers = {name: place for place, name in enumerate(names)}
    wanted = list(combinations(range(count), 2)) if pairs is None else [(numbers[a], numbers[b]) for a, b in pairs]
    plays = play(game, coalitions_of(count, wanted))
    rows, fillings = (
        np.full((1, len(game)), 1 / len(game)),
        np.full((1, game.masker.fillings), 1 / game.masker.fillings),
    )
    out: dict[tuple[str, ...], tuple[float, float]] = {}
    for number in range(count):
        h, strength = overall_h(plays, number, count, rows, fillings)
        out[(names[number],)] = float(h[0]), float(strength[0])
    for a, b in wanted:
        h, strength = pair_h(plays, (a, b), rows, fillings)
        out[(names[a], names[b])] = float(h[0]), float(strength[0])
    return out


def coalitions_of(players: int, pairs: Sequence[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Everyone, each alone, all but each, and the pairs; every coalition once."""
    every = tuple(range(players))
    rest = [tuple(number for number in every if number != player) for player in every]
    return list(dict.fromkeys([every, *((number,) for number in every), *rest, *pairs]))


@check(
    "explain.interactions",
    title="Which features work together",
    needs={"model", "rows"},
    sources=("friedman2008", "inglis2022", "grabisch1999", "efron1993"),
)
def interactions_check(
    subject: Subject,
    context: Context,
    *,
    rows: int = 64,
    background: int = 48,
    features: int = 5,
    most: int = 64,
    budget: int = 512,
    link: Link = "identity",
) -> Iterator[Evidence]:
    """Does a feature work in the same way whatever the others are, or do some work only together?

    Friedman's H of a feature is the share (of standard deviation) of the model's answers that it makes only together with
    the others, H of a pair the share of the pair's effect that is joint: 0 where the effects just add up. Pairs are made of
    the `features` with the strongest joint effects. The strength is the same in the unit of the output: H alone can be large
    for a pair that hardly matters. Intervals are bootstraps over the explained rows and over the background together; they
    are never below 0, and a model that is exactly additive gives exactly 0. One map shows the mean output over the strongest
    pair, another (up to 16 features) how large the Shapley interaction of every pair is in single rows: what two features
    do together in one answer, which may cancel out on average. Of pictures and sequences, whose parts have no common
    background to be averaged over, there is the second map alone.

    On the scale of probabilities even a logistic model without any product of features has interactions, because the
    scale is curved; link = "logit" takes that away. Partial dependences mix in people who cannot exist.
    """
    chosen = sampled_rows(subject, context, rows)
    game = game_of(subject, context, chosen, background=background, link=link)
    names = shared_players(game)
    if not 2 <= len(names) <= most:
        raise NotApplicable(f"interactions are of 2 to {most} features, and there are {len(names)}")
    if features < 2:
        raise UsageError(f"features: at least 2 make a pair, got {features}")
    seed = seed_of(context, "explain.interactions")
    few = game_of(subject, context, chosen[:SINGLE], background=background, link=link)
    if not isinstance(game.masker.inputs, Tabular):
        if len(names) > MAPPED:
            raise NotApplicable(f"interactions of parts are told of {MAPPED} at most, and there are {len(names)}")
        yield _shapley(few, budget, seed)
        return
    weights = _weights(game, stream_of(seed, "bootstrap"))
    alone = play(game, coalitions_of(len(names), []))
    singles = [overall_h(alone, number, len(names), *weights) for number in range(len(names))]
    for name, found in zip(names, singles, strict=True):
        yield _measure("friedman_h", {"feature": name}, found[0], game, context.confidence)
    order = sorted(range(len(names)), key=lambda number: -float(singles[number][1][0]))[:features]
    pairs = [(min(pair), max(pair)) for pair in combinations(order, 2)]
    both = play(game, list(dict.fromkeys([*((number,) for number in sorted(order)), *pairs])))
    results = {(names[a], names[b]): pair_h(both, (a, b), *weights) for a, b in pairs}
    for (first, second), found in results.items():
        where = {"pair": f"{first} × {second}"}
        yield _measure("friedman_h_pair", where, found[0], game, context.confidence)
    strongest = sorted(results, key=lambda pair: -float(results[pair][1][0]))
    yield _table(game, results, strongest, context.confidence)
    if names == game.masker.inputs.columns:
        yield _matrix(game, *strongest[0])
    if len(names) <= MAPPED:
        yield _shapley(few, budget, seed)


def _shapley(game: Game, budget: int, seed: int) -> Table:
    """The mean absolute Shapley interaction of every pair of players."""
    names = shared_players(game)
    found = interactions(game, budget=budget, seed=seed)
    size = np.abs(found.values).mean(axis=0)
    lines: list[tuple[Cell, ...]] = [
        (name, *(None if np.isnan(each) else each for each in line))
        for name, line in zip(names, size.tolist(), strict=True)
    ]
    return Table(
        name="shapley_interactions",
        title=f"Mean absolute Shapley interaction of each pair, on the {output_of(game)}",
        columns=("feature", *names),
        rows=tuple(lines),
        note=f"{len(game)} rows; {found.method}; {game.masker.background}",
        view="matrix",
    )


def _weights(game: Game, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Weights of rows (b, r) and fillings (b, k): as they are first, then bootstrap replicates of both."""
    sides = []
    for count in (len(game), game.masker.fillings):
        drawn = stats.bootstrap_counts(np.ones(count, dtype=np.int64), REPLICATES, rng)
        sides.append(np.vstack([np.ones(count), drawn]) / count)
    return sides[0], sides[1]


def _measure(name: str, where: dict[str, str], found: Floats, game: Game, level: float) -> Measure:
    value = float(found[0])
    if np.isnan(value):
        return Measure(name=name, value=None, where=where, note="the output does not vary with it")
    low, high = (float(side) for side in stats.percentile_interval(found[1:], level))
    bounds = Interval(low=min(low, value), high=max(high, value), level=level, method="bootstrap, rows and background")
    return Measure(
        name=name,
        value=value,
        n=len(game),
        interval=bounds if len(game) > 1 else None,
        where=where,
        note=f"of the {output_of(game)}; {game.masker.background}",
    )


def _table(
    game: Game, results: dict[tuple[str, str], tuple[Floats, Floats]], order: list[tuple[str, str]], level: float
) -> Table:
    lines: list[tuple[Cell, ...]] = []
    for pair in order:
        h, strength = (side[0] for side in results[pair])
        low, high = (float(side) for side in stats.percentile_interval(results[pair][1][1:], level))
        lines.append((" × ".join(pair), float(strength), low, high, None if np.isnan(h) else float(h)))
    return Table(
        name="interactions",
        title=f"Pairs by the strength of their joint effect on the {output_of(game)}",
        columns=("pair", "strength", "low", "high", "H"),
        rows=tuple(lines),
        note=f"strength: root mean square of what only both together do; {level:.0%} bootstrap interval",
    )


def _matrix(game: Game, first: str, second: str) -> Table:
    one, two, mean = partial_dependence_pair(game, first, second, points=6)
    inputs = game.masker.inputs
    a, b = inputs.columns.index(first), inputs.columns.index(second)

    def name(feature: str, column: int, at: float) -> str:
        return f"{feature} = {in_words(said(inputs, column, at))}"

    lines: list[tuple[Cell, ...]] = [
        (name(first, a, at), *line) for at, line in zip(one.tolist(), mean.tolist(), strict=True)
    ]
    return Table(
        name="partial_dependence_pair",
        title=f"Mean {output_of(game)} over {first} and {second}",
        columns=(first, *(name(second, b, at) for at in two.tolist())),
        rows=tuple(lines),
        note=f"partial dependence of the strongest pair, {len(game)} rows",
        view="matrix",
    )
