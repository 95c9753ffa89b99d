"""Shapley values of the tokens of texts and the squares of pictures, where the model's own work is nearly all there is.

The peer plays the same game: which tokens are masked, which squares are grey. It is called on the game itself, so that no
tokeniser or segmentation of its own stands in between.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import nn

from audit.data.texts import MASK, PAD, UNKNOWN
from audit.explain import Attribution, Game, Images, Texts, game, shapley
from benchmarks import explain_models as models
from benchmarks.harness import Case

TOKENS, WORDS = 30, 200
PIXELS, SQUARE = 28, 4  # 49 squares
EVALUATIONS = 2_000  # of the peer on a picture
PICTURES, SENTENCES = 3, 4
MANY = 160_000  # coalitions of the references


# ------------------------------------------------------------------------------------------------------- models
class Reader(nn.Module):
    """Token ids (n, 30) to log-odds (n,): two layers of attention over embeddings of 64."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.places = nn.Embedding(WORDS + 3, 64), nn.Parameter(0.1 * torch.randn(TOKENS, 64))
        layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True)
        self.layers, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(64, 1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Log-odds (n,)."""
        return self.head(self.layers(self.table(ids) + self.places).mean(dim=1))[:, 0]


def _trained(net: nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int, loss: Callable[..., Any]) -> nn.Module:
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(epochs):
        for part in torch.randperm(len(x)).split(64):
            optimiser.zero_grad()
            loss(net(x[part]), y[part]).backward()
            optimiser.step()
    return net.eval()


def _sentences(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids (count, 30) and labels (count,): words with weights, and a word that turns the one behind it around."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(3, WORDS + 3, size=(count, TOKENS))
    weights = np.random.default_rng(0).normal(size=WORDS + 3) * (np.arange(WORDS + 3) % 3 == 0)
    turned = np.where((ids[:, :-1] % 10) == 4, -2.0, 1.0)
    odds = weights[ids[:, 0]] + (weights[ids[:, 1:]] * turned).sum(axis=1)
    return ids, (odds > 0).astype(np.float32)


@functools.cache
def reader() -> nn.Module:
    """A small transformer, trained for some seconds."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        ids, labels = _sentences(3_000, 1)
        loss = nn.functional.binary_cross_entropy_with_logits
        return _trained(Reader(), torch.from_numpy(ids), torch.from_numpy(labels), 4, loss)


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = torch.from_numpy(digits.images / 16.0)[:, None].float()
    return nn.functional.interpolate(small, size=PIXELS, mode="bilinear").double().numpy(), digits.target


@functools.cache
def looker() -> nn.Module:
    """A small network of convolutions, trained on handwritten digits."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(16 * 49, 10),
        )  # fmt: skip
        x, y = _digits()
        return _trained(net, torch.from_numpy(x).float(), torch.from_numpy(y), 4, nn.functional.cross_entropy)


# -------------------------------------------------------------------------------------------------------- games
@functools.cache
def texts() -> Game:
    """Four sentences of thirty tokens, each of which may be masked."""
    vocabulary = (PAD, UNKNOWN, MASK, *(f"w{place}" for place in range(WORDS)))
    ids = _sentences(SENTENCES, 9)[0]
    words = np.tile(np.arange(TOKENS), (SENTENCES, 1))
    sentences = Texts(ids=ids, words=words, vocabulary=vocabulary, pad=0, mask=2)
    return game(reader(), sentences, players="token", fill="mask", output="logit")


@functools.cache
def pictures() -> Game:
    """Three digits of 49 squares, each of which may be grey."""
    x, _ = _digits()
    seen, classes = Images(values=x[-PICTURES:]), tuple("0123456789")
    return game(
        looker(), seen, Images(values=x[:200]), players="grid", size=SQUARE, fill="mean", output="logit",
        classes=classes, target="predicted",
    )  # fmt: skip


def _many_tokens() -> np.ndarray:
    return _least_squares(texts())


def _many_squares() -> np.ndarray:
    return _least_squares(pictures())


def _least_squares(played: Game) -> np.ndarray:
    """The reference (2, rows, players): the mean and the standard error of four runs of least squares."""
    runs = [shapley(played, budget=MANY // 4, estimator="wls", seed=100 + seed).values for seed in range(4)]
    return np.stack([np.mean(runs, axis=0), np.std(runs, axis=0, ddof=1) / 2])


def permutation(played: Game, rows: Sequence[int], evaluations: int, seed: int) -> np.ndarray:
    """shap.PermutationExplainer on the game of who is present (rows, players); its batches are those of the game."""
    shap = models.peer("shap")
    found = []
    for row in rows:

        def value(z: np.ndarray, row: int = row) -> np.ndarray:
            filled = played.masker.fill(np.array([row]), z > 0.5)
            inputs = played.model.tensor(filled)  # type: ignore[attr-defined]
            with torch.no_grad():
                raw = played.model.module(inputs)  # type: ignore[attr-defined]
            scores = torch.sigmoid(raw) if raw.ndim == 1 else raw.softmax(dim=1)[:, played.targets[row]]
            return scores.numpy()

        players = len(played.masker.players[row])
        explainer = shap.PermutationExplainer(value, shap.maskers.Independent(np.zeros((1, players))), seed=seed)
        found.append(explainer(np.ones((1, players)), max_evals=evaluations, silent=True).values[0])
    return np.array(found)


def _bare(played: Game) -> Callable[[Attribution], float]:
    module, inputs = played.model.module, played.model.tensor(played.masker.inputs)  # type: ignore[attr-defined]
    rows = lambda size: inputs[torch.arange(min(size, 1_000)) % len(inputs)]  # noqa: E731

    def limit(ours: Attribution) -> float:
        return models.forward_seconds(module, rows, ours.evaluations, sizes=(50, 200, 1_000))

    return limit


def words(size: int, quick: bool) -> Case:
    """Tokens of four sentences."""
    played, budget, evaluations = texts(), 256, 1_000
    truth, doubt = models.kept("tokens", reader(), _many_tokens)
    rows = range(SENTENCES)
    permutation(played, [0], 200, 0)

    def errors() -> tuple[float, float]:
        mine = [shapley(played, budget=budget, seed=seed).values for seed in range(3)]
        other = [permutation(played, rows, evaluations, seed) for seed in range(2)]
        return float(np.abs(np.array(mine) - truth).mean()), float(np.abs(np.array(other) - truth[rows]).mean())

    return Case(
        name="explain-text-permutation",
        peer=f"shap {version('shap')} PermutationExplainer, {evaluations} evaluations a sentence; ours {budget}",
        goal=6.0,
        ours=lambda: shapley(played, budget=budget),
        theirs=lambda: permutation(played, rows, evaluations, 0),
        rounds=1 if quick else 3,
        repeats=2,
        errors=errors,
        truth=f"a reference of {MANY} coalitions (standard error {doubt.mean():.1e})",
        limit=_bare(played),
    )


def squares(size: int, quick: bool) -> Case:
    """Squares of three pictures: how few coalitions come to the peer's error."""
    played, budget = pictures(), 900
    truth, doubt = models.kept("squares", looker(), _many_squares)
    permutation(played, [0], 200, 0)
    rows = range(PICTURES)

    def errors() -> tuple[float, float]:
        mine = [shapley(played, budget=budget, seed=seed).values for seed in range(3)]
        other = [permutation(played, rows, EVALUATIONS, seed) for seed in range(2)]
        return float(np.abs(np.array(mine) - truth).mean()), float(np.abs(np.array(other) - truth).mean())

    return Case(
        name="explain-image-permutation",
        peer=f"shap {version('shap')} PermutationExplainer, {EVALUATIONS} evaluations a picture; ours {budget}",
        goal=1.0,
        ours=lambda: shapley(played, budget=budget),
        theirs=lambda: permutation(played, rows, EVALUATIONS, 0),
        rounds=1 if quick else 3,
        repeats=2,
        errors=errors,
        truth=f"a reference of {MANY} coalitions (standard error {doubt.mean():.1e})",
        evaluations=lambda ours, theirs: (ours.evaluations, PICTURES * EVALUATIONS),
        evaluations_goal=6.0,
        limit=_bare(played),
    )


CASES = {"explain-text-permutation": words, "explain-image-permutation": squares}
