"""What the benchmarks of explanations explain: a trained perceptron of twenty features, and its exact Shapley values."""

from __future__ import annotations

import functools
import hashlib
import inspect
import math
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from audit.explain import Game, game, value_table

FEATURES, BACKGROUND, KNOWN = 20, 100, 4  # KNOWN: rows whose exact values are computed
BUDGET = 2048  # coalitions a row that a peer evaluates

torch.set_num_threads(1)


def peer(name: str) -> ModuleType:
    """A peer's module, its warnings unheard; ends the run where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module(name)
    except ImportError as error:
        raise SystemExit(f"{name.partition('.')[0]} is not installed ({error}); see benchmarks/README.md") from error


def law(rows: int, seed: int) -> np.ndarray:
    """Rows (rows, 20) of correlated normal features."""
    rng = np.random.default_rng(0)
    mixing = np.eye(FEATURES) + 0.25 * rng.normal(size=(FEATURES, FEATURES)) / math.sqrt(FEATURES)
    return np.asarray(np.random.default_rng(seed).normal(size=(rows, FEATURES)) @ mixing)


def _label(x: np.ndarray) -> np.ndarray:
    """Log-odds with main effects, pairs, a threshold and a triple."""
    weights = np.linspace(1.5, 0.0, FEATURES) * np.where(np.arange(FEATURES) % 2, 1, -1)
    pairs = x[:, 0] * x[:, 3] + x[:, 4] * x[:, 5] - x[:, 6] * x[:, 1] + 0.8 * x[:, 7] * x[:, 8] * x[:, 2]
    return np.asarray(x @ weights + pairs + 2.0 * (x[:, 9] > 0.5) * x[:, 10])


@functools.cache
def perceptron(outputs: int = 1) -> nn.Sequential:
    """A 64-64 perceptron of 20 features, trained for a few seconds; its output is the log-odds."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, outputs))
        x = law(8_000, 1)
        y = (np.random.default_rng(2).random(len(x)) < 1 / (1 + np.exp(-_label(x)))).astype(np.float32)
        inputs, labels = torch.from_numpy(x).float(), torch.from_numpy(y)
        optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
        for _ in range(15):
            for part in torch.randperm(len(x)).split(256):
                optimiser.zero_grad()
                nn.functional.binary_cross_entropy_with_logits(net(inputs[part])[:, 0], labels[part]).backward()
                optimiser.step()
    return net.eval()


def probability(x: np.ndarray) -> np.ndarray:
    """The model as a peer calls it: rows (n, 20) to probabilities (n,), in single precision, nothing checked."""
    with torch.no_grad():
        return torch.sigmoid(perceptron()(torch.from_numpy(np.asarray(x, dtype=np.float32)))[:, 0]).numpy()


def rows(count: int) -> np.ndarray:
    """The rows that are explained."""
    return law(count, 3)


@functools.cache
def background() -> np.ndarray:
    """The background rows, shared by all."""
    return law(BACKGROUND, 4)


def tabular(count: int) -> Game:
    """The game of the first rows over the shared background."""
    return game(perceptron(), rows(count), background(), output="logit")


def kept(name: str, module: nn.Module, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """A truth that takes long to compute, from a file of an earlier run where the model is the same."""
    digest = hashlib.sha256(inspect.getsource(import_module(compute.__module__)).encode())
    for value in module.state_dict().values():
        digest.update(value.numpy().tobytes())
    path = Path(tempfile.gettempdir()) / f"audit-benchmark-{name}-{digest.hexdigest()[:16]}.npy"
    if not path.exists():
        print(f"computing the truth of {name}, once: a minute or two")
        np.save(path, compute())
    return np.asarray(np.load(path))


@functools.cache
def exact() -> np.ndarray:
    """Shapley values (4, 20) from all 2^20 coalitions, summed by their definition."""
    return kept("shapley", perceptron(), _exact)


def _exact() -> np.ndarray:
    return by_definition(tabular(KNOWN))


def by_definition(played: Game) -> np.ndarray:
    """Shapley values (rows, players): the weighted differences of all coalitions with and without a player."""
    players = len(played.masker.players[0])
    size = np.array([math.factorial(s) * math.factorial(players - 1 - s) for s in range(players)])
    joins = size / math.factorial(players)  # the weight of a coalition of s others that a player joins
    found = np.zeros((len(played), players))
    for start in range(0, 2**players, 2**14):
        numbers = np.arange(start, min(start + 2**14, 2**players))
        present = (numbers[:, None] >> np.arange(players)) & 1 == 1
        count = present.sum(axis=1, keepdims=True)
        weight = np.where(present, joins[np.maximum(count - 1, 0)], -joins[np.minimum(count, players - 1)])
        for block, chosen, values in value_table(played, np.arange(len(played)), present):
            found[block] += values.mean(axis=2) @ weight[chosen]
    return found


def error(values: np.ndarray) -> float:
    """Mean absolute error of values of the first rows to the exact ones."""
    return float(np.abs(np.asarray(values)[:KNOWN] - exact()).mean())


def mean_error(explain: Callable[[int], np.ndarray], seeds: int = 3) -> float:
    """The mean over seeds of the error of values of the known rows."""
    return float(np.mean([error(explain(seed)) for seed in range(seeds)]))


def forward_seconds(
    module: nn.Module,
    batch: Callable[[int], Any],
    evaluations: float,
    *,
    sizes: tuple[int, ...] = (500, 1_000, 2_000, 4_000, 8_000),
) -> float:
    """CPU seconds of bare forward passes of so many rows, in the best of a few sizes of a batch."""
    best = math.inf
    with torch.inference_mode():
        for size in sizes:
            inputs, times = batch(size), max(1, 2 * sizes[-1] // size)
            module(inputs)
            for _ in range(3):
                start = time.process_time()
                for _ in range(times):
                    module(inputs)
                best = min(best, (time.process_time() - start) / (times * size))
    return best * evaluations
