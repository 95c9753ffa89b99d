"""A linear causal graph against the world that it is of, and a predictor on what it leaves of people."""

import numpy as np
import pytest

from audit import codec
from audit.core import DataError, stream
from audit.data.tabular import Tabular
from audit.fairness.counterfactual import counterfactual_effects, log_odds
from audit.models.debias.counterfactual import equations
from audit.models.families.counterfactual import CREDIT
from audit.models.reference import trained
from audit.registry import entries

SPEC = codec.spec_from_toml(
    '[model]\nkind = "family"\nfamily = "counterfactual"\n[data]\nworld = "credit"\nrows = 4000\n[groups]\nattributes = ["sex"]\n'
)
UNKNOWN = {name: dict.fromkeys(parents) for name, parents in CREDIT.items()}


@pytest.fixture(scope="module")
def world():
    return entries("worlds")["credit"].function()


@pytest.fixture(scope="module")
def drawn(world):
    return world.draw(4000, stream(7, "counterfactual"))


@pytest.fixture(scope="module")
def unseen(world):
    return world.draw(6000, stream(8, "counterfactual"))


@pytest.fixture(scope="module")
def known(drawn):
    return trained("counterfactual", drawn, SPEC)


@pytest.fixture(scope="module")
def fitted(drawn):
    return trained("counterfactual", drawn, SPEC, options={"graph": UNKNOWN})


def test_twins_of_the_graph_are_twins_of_the_world(drawn):
    found = equations(drawn.inputs, CREDIT)
    sex = drawn.inputs.values[:, 6]
    made = found.counterfactual(drawn.inputs.values, "sex", 1 - sex)
    np.testing.assert_allclose(made, drawn.twin.values, atol=1e-12)
    np.testing.assert_allclose(found.values(found.residuals(drawn.inputs.values)), drawn.inputs.values, atol=1e-12)
    assert set(found.descendants("sex")) == {"income", "debt", "history", "zip"}


def test_fitted_equations_are_those_of_least_squares(drawn):
    from sklearn.linear_model import LinearRegression

    found = equations(drawn.inputs, UNKNOWN | {"debt": {"income": None, "sex": None}})
    x = drawn.inputs.values
    peer = LinearRegression().fit(x[:, [0, 6]], x[:, 1])
    np.testing.assert_allclose(found.weights[1, [0, 6]], peer.coef_, atol=1e-10)
    np.testing.assert_allclose(found.bias[1], peer.intercept_, atol=1e-10)
    np.testing.assert_allclose(found.weights[0, 6], x[x[:, 6] == 1, 0].mean() - x[x[:, 6] == 0, 0].mean(), atol=1e-10)
    assert abs(found.weights[0, 6] - 1.0) < 0.12  # four standard errors of the world's own coefficient


def test_the_full_counterfactual_changes_nothing_at_all(known, unseen):
    assert np.array_equal(known.predict(unseen.inputs), known.predict(unseen.twin))


def test_the_promise_is_kept(known, unseen, world):
    kept = list(entries("families")["counterfactual"].facts["promise"](known, unseen, world))
    assert len(kept) == 3
    assert all(each.kept for each in kept), kept


def test_fitted_coefficients_leave_a_small_change(fitted, unseen):
    change = np.abs(fitted.predict(unseen.inputs) - fitted.predict(unseen.twin))
    assert 0 < change.mean() < 0.02


def test_flip_full_and_paths_are_told_apart(known, unseen, drawn):
    base = trained("mlp", drawn, SPEC, options={"epochs": 8})
    found = {}
    for name, model in (("fair", known), ("base", base)):
        found[name] = counterfactual_effects(
            lambda part, model=model: log_odds(model.predict(part)),
            unseen.inputs,
            unseen.twin,
            "sex",
            unseen.groups["sex"],
        )
    fair, naive = found["fair"], found["base"]
    assert np.abs(fair.full).max() == 0.0
    np.testing.assert_allclose(sum(fair.paths.values()) + fair.rest, 0.0, atol=1e-9)
    assert (
        fair.paths["income"].mean() > 0.3 > -0.3 > fair.paths["sex"].mean()
    )  # what one path gives, another takes back
    assert abs(naive.full.mean() - 2.87) < 0.5  # 1.2 + .45 + .42 + .8 of the world
    assert abs(naive.flip.mean() - 0.8) < 0.45
    assert naive.flip.mean() < naive.full.mean() / 2


def test_gradients_pass_the_grid(known, unseen):
    leaf, forward = known.attribution_point(unseen.inputs.take(np.arange(5)))
    forward(leaf).sum().backward()
    assert bool((leaf.grad.abs().sum(dim=0)[:3] > 0).all())


@pytest.mark.parametrize(
    ("graph", "word"),
    [
        ({"income": {"sx": None}}, "sx"),
        ({"income": {"debt": None}, "debt": {"income": None}}, "circle"),
        ({"kind": {"a": None}}, "category"),
    ],
)
def test_graphs_that_cannot_be_are_refused(graph, word, drawn):
    table = drawn.inputs
    if word == "category":
        table = Tabular(values=np.eye(3)[:, :2], columns=("a", "kind"), categories={"kind": ("x", "y")})
    with pytest.raises(DataError, match=word):
        equations(table, graph)
