"""Games whose values are known, as functions of coalitions or as models."""

import itertools
import math

import numpy as np


def network(columns: int, seed: int = 0):
    """A perceptron with two layers of 64 and a probability, in numpy: a function of rows (n, columns)."""
    rng = np.random.default_rng(seed)
    sizes = (columns, 64, 64, 1)
    layers = [
        (rng.normal(size=shape) * np.sqrt(2 / shape[0]), rng.normal(size=shape[1]) * 0.1)
        for shape in itertools.pairwise(sizes)
    ]

    def answer(rows):
        for weights, bias in layers[:-1]:
            rows = np.maximum(rows @ weights + bias, 0)
        return 1 / (1 + np.exp(-1.5 * (rows @ layers[-1][0] + layers[-1][1])[:, 0]))

    return answer


def everyone(players: int) -> np.ndarray:
    """All coalitions (2^players, players), coalition k the bits of k."""
    return (np.arange(2**players)[:, None] >> np.arange(players) & 1).astype(bool)


def code(coalitions: np.ndarray) -> np.ndarray:
    return coalitions @ (1 << np.arange(coalitions.shape[1]))


def halves(values: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Odd and even parts (rows, pairs) of games (rows, 2^players) at coalitions (pairs, players)."""
    here, there = values[:, code(present)], values[:, code(~present)]
    return (here - there) / 2, (here + there) / 2


def shapley_of(values: np.ndarray) -> np.ndarray:
    """Shapley values (players,) of a game (2^players,), by the definition."""
    players = int(np.log2(len(values)))
    found = np.zeros(players)
    for each in range(2**players):
        size = each.bit_count()
        for player in range(players):
            if not each >> player & 1:
                weight = math.factorial(size) * math.factorial(players - size - 1) / math.factorial(players)
                found[player] += weight * (values[each | 1 << player] - values[each])
    return found


def interactions_of(values: np.ndarray) -> np.ndarray:
    """The Shapley interaction index (players, players) of a game (2^players,), by the definition."""
    players = int(np.log2(len(values)))
    found = np.full((players, players), np.nan)
    for i, j in itertools.permutations(range(players), 2):
        found[i, j] = 0.0
        for each in range(2**players):
            if each >> i & 1 or each >> j & 1:
                continue
            size = each.bit_count()
            weight = math.factorial(size) * math.factorial(players - size - 2) / math.factorial(players - 1)
            more = values[each | 1 << i | 1 << j] - values[each | 1 << i] - values[each | 1 << j] + values[each]
            found[i, j] += weight * more
    return found


def tabulated(answer, inputs: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The games (rows, 2^players) of a function of rows over a background."""
    present = everyone(inputs.shape[1])
    out = np.empty((len(inputs), len(present)))
    for row, values in enumerate(inputs):
        filled = np.where(present[:, None], values, background)
        out[row] = answer(filled.reshape(-1, inputs.shape[1])).reshape(len(present), -1).mean(axis=1)
    return out
