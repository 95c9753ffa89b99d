"""A randomised mixture says what fairlearn's own says, and keeps the bound that was asked for."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from audit import codec
from audit.core import DataError, ModelError, UsageError, stream
from audit.data.tabular import Tabular
from audit.fairness.mitigation import exponentiated_gradient
from audit.models.debias.reductions import Mixture, TorchLearner, mixture, reductions
from audit.models.reference import trained
from audit.models.training import Training
from audit.registry import entries

SPEC = codec.spec_from_toml(
    '[model]\nkind = "family"\nfamily = "reductions"\n[data]\nworld = "credit"\nrows = 3000\n[groups]\nattributes = ["sex"]\n'
)


class Logistic(LogisticRegression):
    """A scikit-learn learner that can say which module it is."""

    def module(self) -> nn.Module:
        made = nn.Linear(self.coef_.shape[1], 1).double()
        with torch.no_grad():
            made.weight.copy_(torch.as_tensor(self.coef_))
            made.bias.copy_(torch.as_tensor(self.intercept_))
        return made


@pytest.fixture(scope="module")
def world():
    return entries("worlds")["credit"].function()


@pytest.fixture(scope="module")
def drawn(world):
    return world.draw(3000, stream(3, "reductions"))


def test_a_mixture_of_scikit_learn_models_is_fairlearns_own_on_new_rows(world, drawn):
    sex, new = drawn.groups["sex"].values, world.draw(500, stream(4, "reductions")).inputs.values
    fitted = exponentiated_gradient(
        Logistic(), drawn.inputs.values, drawn.y, sensitive_features=sex, limit=0.03, max_iter=8
    )
    said = mixture(fitted)(torch.as_tensor(new)).detach().numpy()
    assert 0 < ((said > 0) & (said < 1)).mean() < 1  # the mixture is truly randomised somewhere, and not everywhere
    np.testing.assert_allclose(said, fitted._pmf_predict(new)[:, 1], atol=1e-6)


def test_a_mixture_of_modules_is_fairlearns_own(drawn):
    x = torch.as_tensor(drawn.inputs.values[:1500], dtype=torch.float32)
    places = np.arange(len(x))[:, None]
    learner = TorchLearner(lambda: nn.Linear(x.shape[1], 1), x, Training(epochs=2, batch=256, rate=0.02, seed=0))
    sex, y = drawn.groups["sex"].values[: len(x)], drawn.y[: len(x)]
    fitted = exponentiated_gradient(learner, places, y, sensitive_features=sex, limit=0.02, max_iter=6)
    np.testing.assert_allclose(mixture(fitted)(x).detach().numpy(), fitted._pmf_predict(places)[:, 1], atol=1e-6)


def test_a_mixture_by_hand():
    up, down = nn.Linear(1, 1), nn.Linear(1, 1)
    with torch.no_grad():
        for each, sign in ((up, 1.0), (down, -1.0)):
            each.weight.fill_(sign)
            each.bias.zero_()
    said = Mixture([up, down], shares=[0.6, 0.3], always=0.1)(torch.tensor([[2.0], [-2.0], [0.0]]))
    np.testing.assert_allclose(said.detach(), [0.7, 0.4, 0.1], atol=1e-12)


@pytest.mark.parametrize(("criterion", "rates"), [("demographic_parity", (None,)), ("equalized_odds", (0, 1))])
def test_the_gap_between_groups_is_the_one_asked_for_where_it_was_trained(drawn, criterion, rates):
    x = torch.as_tensor(drawn.inputs.values, dtype=torch.float32)
    sex = drawn.groups["sex"].values.astype(int)
    found = reductions(
        lambda: nn.Linear(x.shape[1], 1),
        x,
        torch.as_tensor(drawn.y),
        sex,
        criterion=criterion,
        eps=0.06,
        training=Training(epochs=3, batch=256, rate=0.02, seed=0),
        rounds=8,
    )
    score = found(x).detach().numpy()
    for label in rates:
        inside = np.ones(len(score), dtype=bool) if label is None else drawn.y == label
        gap = abs(score[inside & (sex == 1)].mean() - score[inside & (sex == 0)].mean())
        assert gap <= 0.06 + 0.01


def test_the_family_is_deterministic_and_keeps_its_promise(world, drawn):
    one, other = (trained("reductions", drawn, SPEC, seed=1, options={"rounds": 6}) for _ in range(2))
    test = world.draw(4000, stream(5, "reductions"))
    assert np.array_equal(one.predict(test.inputs), one.predict(test.inputs))
    assert np.array_equal(one.predict(test.inputs), other.predict(test.inputs))
    kept = list(entries("families")["reductions"].facts["promise"](one, test, world))
    assert all(each.kept for each in kept), kept
    assert "gradients" not in one.offers
    assert any("randomised" in note for note in one.card.notes)


@pytest.mark.parametrize(
    ("options", "word"), [({"eps": 0.0}, "eps"), ({"rounds": 0}, "rounds"), ({"criterion": "x"}, "criterion")]
)
def test_what_is_not_allowed_is_named(drawn, options, word):
    with pytest.raises(UsageError, match=word):
        trained("reductions", drawn, SPEC, options=options)


TRAINING = Training(epochs=1, batch=64, rate=0.02, seed=0)


def told(x, y, a, *, build=lambda: nn.Linear(2, 1), **options):
    options = {"training": TRAINING, "rounds": 2} | options
    return reductions(build, x, y, a, **options)


def few():
    rng = np.random.default_rng(5)
    a = rng.integers(0, 2, 120)
    x = np.column_stack([a + rng.normal(size=120), rng.normal(size=120)]).astype(np.float32)
    return x, (x.sum(axis=1) + rng.normal(size=120) > 0.5).astype(int), a


def test_arrays_tensors_tables_and_text_give_the_same_mixture():
    x, y, a = few()
    wanted = told(x, y, a)(torch.tensor(x))
    table = Tabular(values=x.astype(np.float64), columns=("one", "two"))
    for given in ((torch.tensor(x), torch.tensor(y), torch.tensor(a)), (table, list(y), np.array(["f", "m"])[a])):
        assert torch.equal(told(*given)(torch.tensor(x)), wanted)


@pytest.mark.parametrize(
    ("change", "error", "word"),
    [
        ({"eps": "a"}, UsageError, "eps: a gap above 0 and below 1, got 'a'"),
        ({"criterion": "parity"}, UsageError, "criterion: one of 'demographic_parity'"),
        ({"y": np.arange(120) % 3}, DataError, r"y: both 0 and 1 are needed, got \[0, 1, 2\]"),
        ({"a": np.zeros(120)}, DataError, "two groups"),
        ({"build": lambda: nn.Linear(5, 1)}, ModelError, r"cannot read x of shape \(120, 2\)"),
    ],
)
def test_what_cannot_be_reduced_is_named(change, error, word):
    given = dict(zip("xya", few(), strict=True)) | change
    with pytest.raises(error, match=word):
        told(**given)
