"""Uncertainty against entropies of SciPy, closed forms, and a Bayesian network whose rows go where nobody was."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from little_models import Plain, codes, context, sigmoid, subject, table
from trained_families import DATA, OPTIONS, unseen

from audit.core import NotApplicable, UsageError
from audit.models.reference import trained
from audit.robustness.uncertainty import decomposed, uncertainty
from audit.subject import assemble


class Drawn(Plain):
    """x0 + x1 e as log-odds, with e one draw of the model: x1 is how little it knows."""

    offers = frozenset({"uncertainty"})

    def draws(self, inputs, count, *, seed):
        e = np.random.default_rng(seed).standard_normal((count, 1))
        return sigmoid(inputs.values[:, 0] + inputs.values[:, 1] * e)


def made(n=400):
    rng = np.random.default_rng(0)
    sex = rng.choice(["f", "m", "?"], size=n)
    doubt = np.where(sex == "f", 2.0, 0.5) * rng.random(n)
    values = np.column_stack([rng.normal(size=n), doubt])
    return subject(Drawn(lambda v: sigmoid(v[:, 0])), table(values), None, {"sex": codes(sex, ("f", "m"))}), sex


def one(evidence, name, **where):
    (found,) = [e for e in evidence if e.name == name and dict(e.where) == where]
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(1, 5), st.integers(2, 4))
def test_the_parts_add_up_and_are_scipys_entropies(seed, draws, rows, classes):
    p = np.random.default_rng(seed).dirichlet(np.full(classes, 0.3), size=(draws, rows))
    found = decomposed(p)
    np.testing.assert_allclose(found.total, found.aleatoric + found.epistemic, atol=1e-12)
    np.testing.assert_allclose(found.total, scipy.stats.entropy(p.mean(axis=0), axis=-1), atol=1e-12)
    np.testing.assert_allclose(found.aleatoric, scipy.stats.entropy(p, axis=-1).mean(axis=0), atol=1e-12)
    assert (found.epistemic >= 0).all()
    if classes == 2:
        again = decomposed(p[..., 1])
        np.testing.assert_allclose(again.epistemic, found.epistemic, atol=1e-12)


def test_draws_that_agree_know_all_and_certain_draws_that_differ_know_nothing():
    agree = decomposed(np.full((3, 2), 0.3))
    np.testing.assert_allclose(agree.epistemic, 0.0, atol=1e-15)
    np.testing.assert_allclose(agree.aleatoric, -(0.3 * np.log(0.3) + 0.7 * np.log(0.7)))
    differ = decomposed(np.array([[0.0], [1.0]]))
    assert (differ.total, differ.aleatoric, differ.epistemic) == pytest.approx((np.log(2), 0.0, np.log(2)))


def test_groups_have_their_own_means_less_what_few_draws_leave_out():
    s, sex = made()
    found = list(uncertainty(s, context(3), draws=20))
    seed = int(context(3).rng.integers(2**31))
    p = s.model.draws(s.data.inputs, 20, seed=seed)
    women, every = one(found, "epistemic_uncertainty", sex="f"), np.arange(20)

    def mean(kept, group):
        return decomposed(p[kept]).epistemic[sex == group].mean()

    without = np.array([mean(every % 10 != left, "f") for left in range(10)])
    assert women.value == pytest.approx(10 * mean(every, "f") - 9 * without.mean(), abs=1e-12)
    assert women.n == (sex == "f").sum()
    peer = scipy.stats.ttest_1samp(decomposed(p).epistemic[sex == "f"], 0).confidence_interval()
    error = np.sqrt(0.9 * ((without - without.mean()) ** 2).sum())
    half = np.hypot((peer.high - peer.low) / 2, scipy.stats.norm.ppf(0.975) * error)
    assert (women.interval.low, women.interval.high) == pytest.approx((women.value - half, women.value + half))
    gap = one(found, "epistemic_uncertainty_difference", sex="*")
    apart = [mean(every % 10 != left, "f") - mean(every % 10 != left, "m") for left in range(10)]
    whole = mean(every, "f") - mean(every, "m")
    assert gap.value == pytest.approx(10 * whole - 9 * np.mean(apart), abs=1e-12)
    assert gap.interval.low > 0
    assert one(found, "epistemic_uncertainty_difference", sex="f").note == "reference: m", "the least unsure"
    contested = ((p >= 0.5) != (p.mean(axis=0) >= 0.5)).mean(axis=0) >= 0.05
    assert one(found, "contested_rate").value == pytest.approx(contested.mean())
    total = one(found, "total_uncertainty").value
    parts = [one(found, name).value for name in ("aleatoric_uncertainty", "epistemic_uncertainty")]
    assert total == pytest.approx(sum(parts), abs=1e-12)


def test_few_draws_read_what_many_draws_read():
    s, _ = made()
    many = one(list(uncertainty(s, context(3), draws=400)), "epistemic_uncertainty").value
    few = np.array(
        [one(list(uncertainty(s, context(seed), draws=20)), "epistemic_uncertainty").value for seed in range(8)]
    )
    assert abs(few.mean() - many) <= 3 * few.std(ddof=1) / np.sqrt(8)


def test_a_bayesian_network_is_less_sure_far_away():
    model = trained("bayesian", DATA, OPTIONS)
    found = list(uncertainty(assemble(OPTIONS, unseen(1500), model), context(), draws=30))
    assert one(found, "epistemic_rise_far").interval.low > 0
    near, far = one(found, "epistemic_uncertainty").value, one(found, "epistemic_uncertainty_far").value
    assert far > 2 * near > 0


def test_numbers_and_bad_parameters_are_refused():
    s, _ = made(50)
    s.model.draws = lambda inputs, count, *, seed: np.full((count, len(inputs)), 1.5)
    with pytest.raises(NotApplicable, match="probabilities"):
        list(uncertainty(s, context()))
    for bad in ({"draws": 1}, {"far": 1.0}):
        with pytest.raises(UsageError, match="got"):
            list(uncertainty(s, context(), **bad))
