"""Shapley values of tokens and squares where an answer costs the model a millisecond: larger networks, peers as users run them.

A text model of random weights, played by shap through its own masker of texts; and a network of convolutions, trained
briefly on drawn shapes, whose 49 squares shap plays as a function of who is present.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
import torch
from torch import nn

from audit.data.texts import MASK, PAD, UNKNOWN
from audit.explain import Game, Images, Texts, game, shapley
from benchmarks import explain_models as models
from benchmarks.explain_parts import permutation
from benchmarks.harness import Case

TOKENS, WORDS, SENTENCES = 30, 200, 4
SIDE, SQUARE, PICTURES = 64, 10, 3  # 49 squares
CLASSES = ("disc", "square", "diamond", "cross")
PIECES = 4  # runs of the references
VOCABULARY = (PAD, UNKNOWN, MASK, *(f"w{place}" for place in range(WORDS)))
_WORD = re.compile(r"\[MASK\]|w\d+")  # the peer's masker glues a mask to the word behind it


class Encoder(nn.Module):
    """Token ids (n, 30) to log-odds (n,): four layers of width 128 as BERT has them, read at the first token."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.places, self.norm = nn.Embedding(WORDS + 3, 128), nn.Embedding(TOKENS, 128), nn.LayerNorm(128)
        layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, activation="gelu", batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.pool, self.head = nn.Linear(128, 128), nn.Linear(128, 1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Log-odds (n,)."""
        x = self.layers(self.norm(self.table(ids) + self.places.weight))
        return self.head(torch.tanh(self.pool(x[:, 0])))[:, 0]


@functools.cache
def encoder() -> nn.Module:
    """The text model, with torch's random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Encoder().eval()


def _shapes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (count, 3, 64, 64) of one shape on noise, and its number."""
    rng = np.random.default_rng(seed)
    kinds, line = rng.integers(0, len(CLASSES), count), np.arange(SIDE)
    x = 0.2 * rng.normal(size=(count, 3, SIDE, SIDE))
    for picture, kind in zip(x, kinds, strict=True):
        radius = rng.uniform(8, 16)
        y0, x0 = rng.uniform(radius, SIDE - radius, 2)
        down, along = np.abs(line[:, None] - y0), np.abs(line[None] - x0)
        wide, thin = np.maximum(down, along), np.minimum(down, along)
        inside = (
            down**2 + along**2 < radius**2,
            wide < 0.8 * radius,
            down + along < 1.2 * radius,
            thin < 0.35 * radius,
        )
        picture += (inside[kind] & (wide < radius)) * rng.uniform(0.5, 1.5, 3)[:, None, None]
    return x, kinds


@functools.cache
def convolutions() -> nn.Module:
    """Three layers of convolutions, 22.4 million operations a picture, trained for a few seconds."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4),
            nn.Flatten(), nn.Linear(64 * 16, len(CLASSES)),
        )  # fmt: skip
        x, y = (torch.from_numpy(part) for part in _shapes(1_000, 1))
        optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
        for _ in range(8):
            for part in torch.randperm(len(x)).split(32):
                optimiser.zero_grad()
                nn.functional.cross_entropy(net(x[part].float()), y[part]).backward()
                optimiser.step()
        return net.eval()


def _ids() -> np.ndarray:
    return np.random.default_rng(9).integers(3, WORDS + 3, size=(SENTENCES, TOKENS))


@functools.cache
def texts() -> Game:
    """Four sentences of thirty tokens."""
    places = np.tile(np.arange(TOKENS), (SENTENCES, 1))
    sentences = Texts(ids=_ids(), words=places, vocabulary=VOCABULARY, pad=0, mask=2)
    return game(encoder(), sentences, players="token", fill="mask", output="logit")


@functools.cache
def pictures() -> Game:
    """Three pictures of 49 squares, each of which may have the mean colour."""
    seen, others = Images(values=_shapes(PICTURES, 2)[0]), Images(values=_shapes(200, 3)[0])
    return game(
        convolutions(), seen, others, players="grid", size=SQUARE, fill="mean", output="logit", classes=CLASSES,
        target="predicted",
    )  # fmt: skip


def _least_squares(played: Game, coalitions: int) -> np.ndarray:
    """The reference (2, rows, players): the mean and the standard error of four runs of least squares."""
    runs = [shapley(played, budget=coalitions, estimator="wls", seed=100 + seed).values for seed in range(PIECES)]
    return np.stack([np.mean(runs, axis=0), np.std(runs, axis=0, ddof=1) / np.sqrt(PIECES)])


def _many_tokens() -> np.ndarray:
    return _least_squares(texts(), 10_000)


def _many_squares() -> np.ndarray:
    return _least_squares(pictures(), 6_000)


def through_masker(evaluations: int, seed: int) -> np.ndarray:
    """shap.PermutationExplainer of the sentences (4, 30) through shap's masker of texts, as its users call it."""
    shap = models.peer("shap")
    number = {word: place for place, word in enumerate(VOCABULARY)}

    def tokens(text: str, return_offsets_mapping: bool = True) -> dict[str, object]:
        found = list(_WORD.finditer(text))
        return {
            "input_ids": [number[each.group()] for each in found],
            "offset_mapping": [each.span() for each in found],
        }

    def probability(strings: Sequence[str]) -> np.ndarray:
        ids = torch.tensor([[number[word] for word in _WORD.findall(text)] for text in strings])
        with torch.no_grad():
            return torch.sigmoid(encoder()(ids)).numpy()

    masker = shap.maskers.Text(tokens, mask_token=MASK, collapse_mask_token=False)
    explainer = shap.PermutationExplainer(probability, masker, seed=seed)
    strings = [" ".join(VOCABULARY[place] for place in row) for row in _ids()]
    return np.array(explainer(strings, max_evals=evaluations, silent=True).values)


def words(size: int, quick: bool) -> Case:
    """Tokens of four sentences."""
    played, budget, evaluations = texts(), 144, 1_000
    truth, doubt = models.kept("larger-tokens", encoder(), _many_tokens)
    through_masker(100, 0)

    def errors() -> tuple[float, float]:
        mine = [shapley(played, budget=budget, seed=seed).values for seed in range(6)]
        other = [through_masker(evaluations, seed) for seed in range(2)]
        return float(np.abs(np.array(mine) - truth).mean()), float(np.abs(np.array(other) - truth).mean())

    return Case(
        name="explain-text-larger",
        peer=f"shap {version('shap')} PermutationExplainer, {evaluations} evaluations a sentence; ours {budget}",
        goal=6.0,
        ours=lambda: shapley(played, budget=budget),
        theirs=lambda: through_masker(evaluations, 0),
        rounds=1 if quick else 3,
        repeats=3,
        errors=errors,
        truth=f"a reference of {PIECES * 10_000} coalitions (standard error {doubt.mean():.1e})",
        evaluations=lambda ours, theirs: (ours.evaluations, SENTENCES * evaluations),
    )


def squares(size: int, quick: bool) -> Case:
    """Squares of three pictures."""
    played, budget, evaluations = pictures(), 320, 2_000
    truth, doubt = models.kept("larger-squares", convolutions(), _many_squares)
    rows = range(PICTURES)
    permutation(played, [0], 200, 0)

    def errors() -> tuple[float, float]:
        mine = [shapley(played, budget=budget, seed=seed).values for seed in range(6)]
        other = [permutation(played, rows, evaluations, seed) for seed in range(2)]
        return float(np.abs(np.array(mine) - truth).mean()), float(np.abs(np.array(other) - truth).mean())

    return Case(
        name="explain-image-larger",
        peer=f"shap {version('shap')} PermutationExplainer, {evaluations} evaluations a picture; ours {budget}",
        goal=1.0,
        ours=lambda: shapley(played, budget=budget),
        theirs=lambda: permutation(played, rows, evaluations, 0),
        rounds=1 if quick else 3,
        repeats=3,
        errors=errors,
        truth=f"a reference of {PIECES * 6_000} coalitions (standard error {doubt.mean():.1e})",
        evaluations=lambda ours, theirs: (ours.evaluations, PICTURES * evaluations),
        evaluations_goal=6.0,
    )


CASES = {"explain-text-larger": words, "explain-image-larger": squares}
