"""What `game` and its neighbours refuse, and what they read: classes by name, labels by place, texts as tokens."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from audit.core import AuditError
from audit.explain import game, integrated_gradients, interactions, saliency, shapley, tokenised

X = np.random.default_rng(0).normal(size=(60, 3))
Y = np.where(X[:, 0] > 0, "yes", "no")
LINE = LogisticRegression().fit(X, Y)


def test_a_class_is_named_or_told_by_its_place():
    no, yes, second = (shapley(game(LINE, X[:3], X, target=each)).values for each in ("no", "yes", 1))
    np.testing.assert_allclose(no, -yes)
    np.testing.assert_array_equal(yes, second)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: game(LinearSVC().fit(X, Y), X[:2], X), "no predict_proba"),
        (lambda: game(LINE, X[:2], X, classes=["yes", "no"]), "own order is"),
        (lambda: game(LINE, X[:2], X, target=1.7), "0 = no, 1 = yes"),
        (lambda: game(LINE, X[:2], X, target=[0, 1, 1]), "one place a row"),
        (lambda: game(LINE, X[:2], X, target=None), "target: "),
        (lambda: game(LINE, X[:2], X, target=2), "has 2 classes"),
        (lambda: game(LINE, X[:2], X, output="x"), "output: one of probability"),
        (lambda: game(LINE, X[:2], X, players=[["a"]]), "players: the name of a unit"),
        (lambda: game(LINE, ["a b"], X), "tokenised"),
        (lambda: tokenised("a b"), "a list of texts"),
        (lambda: shapley(game(LINE, X[:2], X), seed=-1), "seed: a whole number"),
        (lambda: shapley(game(LINE, X[:2], X)).aggregate([["x0"]]), "a mapping"),
        (lambda: shapley(game(LINE, X[:2], X)).plot().save("p.png"), "ends in .html"),
        (lambda: interactions(game(lambda x: x[:, 0] * 0 + 0.5, X[:2, :1], X[:, :1])), "two at least"),
        (lambda: integrated_gradients(game(torch.nn.Linear(3, 3), X[:3], X)), "3 columns, but there are 2 classes"),
        (lambda: saliency(game(torch.nn.Linear(3, 1), X[:3] * 9, X)), "not probabilities"),
        (lambda: shapley(game(lambda x: np.full(len(x), 0.5), tokenised(["a b", ""]))), "row 1 has no players"),
    ],
)
def test_what_is_refused_is_named(call, message):
    with pytest.raises(AuditError, match=message):
        call()
