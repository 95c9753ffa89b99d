"""The lime library asked about its own perturbations: the same coefficients, and the same laws of perturbing."""

import warnings

import numpy as np
import pytest
from little_models import Plain, sigmoid, table

from audit.explain import game
from audit.explain import lime as ours
from audit.explain.surrogate_draws import closeness, coalitions
from audit.explain.surrogate_fits import Neighbours, fit, moments
from audit.explain.surrogate_selection import select
from audit.explain.surrogate_tabular import law_of

KINDS = {"none": "none", "forward": "forward_selection", "highest": "highest_weights", "lasso": "lasso_path"}


def mixed(rows=400):
    """Three columns of numbers, one of them mostly 0, and two of categories."""
    rng = np.random.default_rng(5)
    values = rng.normal(size=(rows, 5)) * [1, 3, 1, 1, 1] + [0, 10, 0, 0, 0]
    values[:, 2] = np.maximum(values[:, 2], 0)  # of a bin of one value, 0 is the one lime gets right
    values[:, 3:] = rng.integers(0, 4, size=(rows, 2))
    return table(values, categories={"x3": tuple("abcd"), "x4": tuple("abcd")})


def model(x):
    return sigmoid(np.tanh(x[:, 0]) * x[:, 2] + 0.3 * (x[:, 1] - 10) + (x[:, 3] == 2) - (x[:, 4] == x[:, 3]))


class Recorded:
    """A classifier that keeps what it was asked."""

    def __init__(self, function):
        self.function, self.asked = function, []

    def __call__(self, x):
        self.asked.append(np.array(x))
        p = self.function(np.asarray(x))
        return np.stack([1 - p, p], axis=1)


def explained(background, row, space, selection="none", count=5, samples=600, seed=0):
    """What lime says of a row, (values, intercept, score), and the rows it asked the model about."""
    from lime.lime_tabular import LimeTabularExplainer

    labelled = [i for i, name in enumerate(background.columns) if name in background.categories]
    peer = LimeTabularExplainer(
        background.values,
        categorical_features=labelled,
        discretize_continuous=space == "discretised",
        sample_around_instance=space == "around",
        feature_selection=KINDS[selection],
        random_state=seed,
    )
    asked = Recorded(model)
    found = peer.explain_instance(row, asked, num_features=count, num_samples=samples)
    values = np.zeros(background.values.shape[1])
    for player, value in found.local_exp[1]:
        values[player] = value
    return values, found.intercept[1], found.score, asked.asked[0]


@pytest.mark.parametrize("space", ["discretised", "continuous", "around"])
@pytest.mark.parametrize("selection", list(KINDS))
def test_the_same_perturbations_give_the_same_coefficients(space, selection):
    background = mixed()
    law = law_of(background, background, space)
    for row in range(4):
        case = background.take(np.array([row]))
        values, intercept, score, asked = explained(background, case.values[0], space, selection, 3, seed=row)
        drawn, outputs = law.read(asked[1:]), model(asked)
        if space == "around":  # there what is drawn are the steps from the row
            drawn = type(drawn)(values=asked[1:], steps=drawn.steps - law.read(case.values).steps, codes=drawn.codes)
        near = law.neighbours(drawn, law.read(case.values), outputs[None, 1:], outputs[:1], 0.75 * np.sqrt(5))
        chosen = select(moments(near), near.anchor, 3, selection, 600)
        found = fit(near, 1.0, chosen)
        np.testing.assert_allclose(found.coefficients[0], values, atol=1e-8)
        np.testing.assert_allclose([found.intercept[0], found.r2[0]], [intercept, score], atol=1e-8)


@pytest.mark.parametrize("space", ["discretised", "continuous", "around"])
def test_the_law_of_tables_is_limes(space):
    """Both libraries draw for themselves; the difference is noise of a size that is known."""
    background = mixed()
    rows = background.take(np.arange(12))
    mine = ours(game(Plain(model), rows, background), space=space, samples=5000)
    peer = np.array([explained(background, row, space, samples=5000, seed=7)[0] for row in rows.values])
    z = (mine.values - peer) / (mine.se_sampling * np.sqrt(2))
    assert np.abs(z).max() < 4.5
    assert 0.6 < np.sqrt((z**2).mean()) < 1.4
    assert np.abs(mine.values).mean() > 5 * mine.se_sampling.mean()


@pytest.mark.parametrize("space", ["discretised", "continuous"])
def test_moments_of_the_draws_are_limes(space):
    background = mixed()
    *_, asked = explained(background, background.values[0], space, samples=20_000)
    drawn = law_of(background, background, space).draw(20_000, np.random.default_rng(1)).values
    spread = asked[1:].std(axis=0) / 100  # a hundredth of the spread is 1.4 standard errors of such means
    assert (np.abs(drawn.mean(axis=0) - asked[1:].mean(axis=0)) < 4 * spread).all()
    assert (np.abs(drawn.std(axis=0) / asked[1:].std(axis=0) - 1) < 0.04).all()


def test_a_bin_of_one_value_keeps_it():
    """lime asks about 0 where all values of a bin are equal, whatever they are; the right value is that one."""
    values = np.random.default_rng(6).normal(size=(200, 2))
    values[:, 1] = 7.0
    background = table(values)
    *_, asked = explained(table(np.column_stack([values, values, values[:, 0]])), np.zeros(5), "discretised")
    assert (asked[1:, 1] == 0).all()
    drawn = law_of(background, background, "discretised").draw(300, np.random.default_rng(0))
    assert (drawn.values[:, 1] == 7).all()
    assert (drawn.codes[1] == 0).all()


def fitted(present, outputs):
    near = Neighbours(
        design=present[1:].T.astype(np.float64),
        targets=outputs[None, 1:],
        weights=closeness(present[1:], 0.25)[None],
        anchor=np.ones((1, present.shape[1])),
        outputs=outputs[:1],
    )
    return fit(near, 1.0)


def test_pictures_have_limes_kernel_and_coefficients():
    from lime.lime_image import LimeImageExplainer

    segments = np.arange(16).reshape(4, 4) // 2 % 2 + np.arange(4)[:, None] // 2 * 2
    picture = 1 + np.random.default_rng(6).random((4, 4, 3))
    asked = Recorded(lambda x: sigmoid((x.mean(axis=3)[:, :2].sum(axis=(1, 2)) - 5) * (x[:, 3, 3, 0] > 0)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = LimeImageExplainer(feature_selection="none", random_state=0).explain_instance(
            picture, asked, hide_color=0, num_samples=300, segmentation_fn=lambda _: segments
        )
    pictures = np.concatenate(asked.asked)
    present = np.stack([(pictures[:, segments == each] != 0).all(axis=(1, 2)) for each in range(4)], axis=1)
    mine = fitted(present, asked.function(pictures))
    expected = dict(found.local_exp[1])
    np.testing.assert_allclose(mine.coefficients[0], [expected[each] for each in range(4)], atol=1e-8)
    np.testing.assert_allclose([mine.intercept[0], mine.r2[0]], [found.intercept[1], found.score], atol=1e-8)


def test_texts_have_limes_kernel_law_and_coefficients():
    from lime.lime_text import LimeTextExplainer

    words = ("the", "good", "old", "film", "was", "bad")
    asked = []

    def classify(texts):
        asked.extend(texts)
        p = np.array([sigmoid(2.0 * ("good" in t) - 1.0 * ("bad" in t) * ("film" in t)) for t in texts])
        return np.stack([1 - p, p], axis=1)

    found = LimeTextExplainer(bow=False, feature_selection="none", random_state=0).explain_instance(
        " ".join(words), classify, num_samples=4000, num_features=6
    )
    present = np.array([[word in text for word in words] for text in asked])
    mine = fitted(present, classify(list(asked))[:, 1])
    expected = dict(found.local_exp[1])
    np.testing.assert_allclose(mine.coefficients[0], [expected[each] for each in range(6)], atol=1e-8)
    np.testing.assert_allclose([mine.intercept[0], mine.r2[0]], [found.intercept[1], found.score], atol=1e-8)
    drawn = coalitions(6, 4000, True, np.random.default_rng(0)).sum(axis=1)
    theirs, here = (np.bincount(each, minlength=7) / len(each) for each in (present[1:].sum(axis=1), drawn))
    np.testing.assert_allclose(here, theirs, atol=0.03)
    assert here[6] == 0
