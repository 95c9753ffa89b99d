"""The quality measures as arrays: worked by hand, in closed form, by brute force."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from little_models import codes

from audit.core import stream
from audit.explain.quality.agreement import sign_agreement, top, top_agreement
from audit.explain.quality.complexity import entropy, gini
from audit.explain.quality.faithfulness import (
    area,
    beaten,
    correlation,
    counts,
    deletions,
    infidelity,
    insertions,
    order,
    subsets,
)
from audit.explain.quality.figures import mean, share
from audit.explain.quality.localisation import relevance_mass, relevance_rank
from audit.explain.quality.panel import sizes
from audit.explain.quality.proxies import association
from audit.explain.quality.scaffold import first_by
from audit.explain.quality.stability import _moved, local_lipschitz, sensitivity_max, spread
from audit.explain.quality.truth import covered

NAN = np.nan
WEIGHTS = arrays(np.float64, 5, elements=st.floats(-4, 4).filter(lambda x: abs(x) > 1e-3))


# ---------------------------------------------------------------------------------------------- faithfulness
def test_deletion_and_insertion_of_a_hand_made_ranking():
    ranked = order(np.array([0.5, -2.0, 1.0]))
    assert ranked.tolist() == [2, 0, 1]
    assert order(np.array([0.5, -2.0, 1.0]), signed=False).tolist() == [1, 2, 0]
    at = counts(3)
    assert at.tolist() == [0, 1, 2, 3]
    gone = deletions(ranked, at)
    assert gone.tolist() == [[True] * 3, [True, True, False], [False, True, False], [False] * 3]
    assert (insertions(ranked, at) == ~gone).all()
    assert counts(49, 12)[[0, -1]].tolist() == [0, 49]
    assert len(counts(49, 12)) == 13


@given(WEIGHTS)
def test_on_an_additive_game_the_exact_order_has_the_closed_form_area_and_no_order_beats_it(weights):
    at = counts(5)
    falling = np.sort(weights)[::-1]
    curve = np.concatenate([[weights.sum()], weights.sum() - np.cumsum(falling)])
    closed = (curve[:-1] + curve[1:]).sum() / 10
    exact = area(deletions(order(weights), at) @ weights, at)
    assert exact == pytest.approx(closed)
    rng = stream(0, "orders")
    others = np.array([area(deletions(rng.permutation(5), at) @ weights, at) for _ in range(20)])
    assert (others >= exact - 1e-9).all()
    assert beaten(float(exact), others, lower=True) >= 0.5
    assert area(insertions(order(weights), at) @ weights, at) == pytest.approx(weights.sum() - closed)


@given(WEIGHTS, st.floats(0.1, 10))
def test_infidelity_and_sensitivity_n_of_the_exact_explanation_of_an_additive_game(weights, scale):
    sets = stream(0, "sets").random((40, 5)) < 0.5
    moved = sets @ weights
    assert infidelity(sets @ (scale * weights), moved) == pytest.approx(0, abs=1e-12)
    for size in (1, 2):
        gone = subsets(5, size, 40, stream(0, "sizes"))
        if np.ptp(gone @ weights) > 1e-6:
            assert correlation(gone @ weights, gone @ weights) == pytest.approx(1)
            assert correlation(gone @ -weights, gone @ weights) == pytest.approx(-1)


def test_infidelity_by_hand_and_where_it_is_undefined():
    # The best multiple of (1, 0) for (3, 4) leaves 4: 16 of 25.
    assert infidelity(np.array([1.0, 0.0]), np.array([3.0, 4.0])) == pytest.approx(16 / 25)
    assert infidelity(np.zeros(2), np.array([3.0, 4.0])) == 1
    assert np.isnan(infidelity(np.ones(2), np.zeros(2)))
    assert np.isnan(correlation(np.ones(3), np.arange(3.0)))


def test_subsets_are_different_and_of_their_size():
    assert (subsets(4, 1, 99, stream(0, "a")) == np.eye(4)).all()
    pairs = subsets(4, 2, 200, stream(0, "a"))
    assert {tuple(np.flatnonzero(one)) for one in pairs} == set(combinations(range(4), 2))


def test_ties_with_random_orders_count_half():
    assert beaten(1.0, np.array([1.0, 2.0, 0.5, 1.0]), lower=True) == 0.5
    assert beaten(1.0, np.array([2.0, 3.0]), lower=True) == 1
    assert beaten(1.0, np.array([2.0, 3.0]), lower=False) == 0


# ----------------------------------------------------------------------------------------------- complexity
def test_entropy_and_gini_by_hand():
    values = np.array([[1.0, -1.0, 1.0, 1.0], [0.0, -3.0, 0.0, 0.0], [3.0, 1.0, NAN, NAN], [0.0, 0.0, 0.0, 0.0]])
    assert entropy(values)[:3] == pytest.approx([np.log(4), 0, -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))])
    assert np.isnan(entropy(values)[3])
    # Of four, one has all: 1 - 1/4. Of two, 3 and 1: mean absolute difference 1, over twice the mean 2: 1/4.
    assert gini(values)[:3] == pytest.approx([0, 0.75, 0.25])
    assert np.isnan(gini(values)[3])


@given(arrays(np.float64, 6, elements=st.floats(0.01, 5)))
def test_gini_is_half_the_relative_mean_difference(values):
    apart = np.abs(values[:, None] - values[None]).mean()
    assert gini(values[None])[0] == pytest.approx(apart / (2 * values.mean()), abs=1e-12)


# ------------------------------------------------------------------------------------------------ agreement
def test_agreement_by_hand():
    first = np.array([[3.0, -2.0, 1.0, 0.0], [1.0, 2.0, 3.0, NAN]])
    second = np.array([[3.0, 2.0, 0.0, -1.0], [-1.0, 2.0, 3.0, NAN]])
    assert top(first, 2).tolist() == [[True, True, False, False], [False, True, True, False]]
    assert top_agreement(first, second, 2) == pytest.approx([1, 1])
    assert top_agreement(first, second, 3)[0] == pytest.approx(2 / 3)
    assert np.isnan(top_agreement(first, second, 3)[1]), "of three players the top three are all"
    # Both move players 0 and 1 of the first row, with one sign alike.
    assert sign_agreement(first, second) == pytest.approx([0.5, 2 / 3])
    assert np.isnan(sign_agreement(np.zeros((1, 2)), np.ones((1, 2)))[0])


def test_rounding_ranks_nobody():
    assert sizes(np.array([[1.0, -1e-17, 2e-16]])).tolist() == [[1.0, 0.0, 0.0]]
    assert first_by(np.array([[0.0, 2.0], [3.0, 3.0], [0.0, 0.0]]), 1).tolist() == [True, False]


# ------------------------------------------------------------------------------------------------ stability
def test_sensitivity_and_lipschitz_by_hand():
    original = np.array([[3.0, 4.0], [0.0, 0.0]])
    near = np.array([[[3.0, 4.0], [0.0, 0.0], [3.0, 5.0]], [[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]])
    distance = np.array([[1.0, 10.0, 0.5], [0.0, 0.0, 0.0]])
    assert sensitivity_max(original, near)[0] == pytest.approx(1.0)
    assert np.isnan(sensitivity_max(original, near)[1])
    assert local_lipschitz(original, near, distance)[0] == pytest.approx(2.0)
    assert np.isnan(local_lipschitz(original, near, distance)[1]), "nothing was moved"


def test_copies_that_were_refused_are_left_out_not_called_unchanged():
    original = np.array([[3.0, 4.0, NAN], [3.0, 4.0, NAN], [3.0, 4.0, 0.0]])
    near = np.full((3, 2, 3), NAN)
    near[0, 1, :2] = 3.0, 5.0
    near[2, 0] = 3.0, NAN, 9.0
    distance = np.ones((3, 2))
    assert sensitivity_max(original, near) == pytest.approx([0.2, NAN, NAN], nan_ok=True)
    assert local_lipschitz(original, near, distance) == pytest.approx([1.0, NAN, NAN], nan_ok=True)
    (sensitivity, slope) = _moved("x", original[:2], near[:2], distance[:2], 0.1, 0.95, "")
    assert "3 of 4 copies have no attribution and are left out" in sensitivity.note
    assert "3 of 4" in slope.note
    assert (sensitivity.n, sensitivity.value) == (1, pytest.approx(0.2))
    none, _ = _moved("x", original[1:2], near[1:2], distance[1:2], 0.1, 0.95, "refused")
    assert none.value is None
    assert none.note == "refused; 2 of 2 copies have no attribution and are left out"


def test_spread_over_seeds_by_hand():
    runs = np.array([[[1.0, 2.0, NAN]], [[3.0, 2.0, NAN]]])
    assert spread(runs) == pytest.approx([np.sqrt(2) / 2 / 2])
    assert spread(np.repeat(runs[:1], 3, axis=0)).tolist() == [0.0]
    assert np.isnan(spread(np.zeros((2, 1, 2)))[0])


# --------------------------------------------------------------------------------------------- localisation
def test_mass_and_rank_accuracy_by_hand():
    mask = np.array([[True, True, False, False]] * 4)
    relevance = np.array([[3.0, 1.0, 1.0, -9.0], [0.0, 0.0, 5.0, 5.0], [2.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    assert relevance_mass(relevance, mask) == pytest.approx([0.8, 0, 0.6, 0.5])
    # Row 0: one sure, and one of two that tie. Row 2: one sure, and one of three that tie.
    assert relevance_rank(relevance, mask)[:3] == pytest.approx([0.75, 0, (1 + 1 / 3) / 2])
    assert np.isnan(relevance_rank(relevance, mask)[3])
    assert np.isnan(relevance_mass(-relevance[1:2], mask[:1])[0])


# --------------------------------------------------------------------------------------- proxies and figures
def test_association_is_the_correlation_for_two_groups_and_cramers_v_for_categories():
    rng = stream(0, "association")
    group = rng.integers(2, size=200)
    column = group + rng.standard_normal(200)
    names = codes(["ab"[g] for g in group])
    assert association(column, names) == pytest.approx(abs(np.corrcoef(column, group)[0, 1]))
    kind = np.where(rng.random(200) < 0.7, group, 1 - group).astype(float)
    assert association(kind, names, categorical=True) == pytest.approx(abs(np.corrcoef(kind, group)[0, 1]))
    assert np.isnan(association(np.ones(200), names))
    assert np.isnan(association(column, codes(["a"] * 200)))


def test_three_groups_against_the_analysis_of_variance():
    from scipy.stats import f_oneway

    rng = stream(0, "groups")
    group = rng.integers(3, size=90)
    column = 0.5 * group + rng.standard_normal(90)
    eta = association(column, codes(["abc"[g] for g in group])) ** 2
    f = f_oneway(*(column[group == g] for g in range(3))).statistic
    assert eta / (1 - eta) * 87 / 2 == pytest.approx(f)


def test_coverage_counts_only_what_states_an_error():
    values, known = np.array([[1.0, 2.0, 3.0]]), np.array([[1.1, 9.0, 3.0]])
    assert covered(values, known, np.array([[0.1, 1.0, 0.0]]), 0.95).tolist() == [True, False]
    assert not len(covered(values, known, np.zeros((1, 3)), 0.95))


def test_figures_leave_out_what_is_undefined_and_say_why():
    found = mean("m", np.array([1.0, NAN, 3.0]), explainer="e", level=0.95, most=2.5)
    assert (found.value, found.n, found.interval.high) == (2.0, 2, 2.5)
    assert mean("m", np.array([4.0]), explainer="e", level=0.95).interval is None
    nothing = mean("m", np.array([NAN]), explainer="e", level=0.95, why="because")
    assert (nothing.value, nothing.note) == (None, "because")
    assert share("s", np.zeros(0, dtype=bool), explainer="e", level=0.95, why="because").value is None
    half = share("s", np.array([True, False]), explainer="e", level=0.95)
    assert half.interval.low < half.value < half.interval.high


def test_figures_that_are_all_alike_are_not_sure_beyond_their_number():
    from audit.explain.quality import figures
    from audit.stats import wilson

    found = figures.mean("m", np.ones(12), explainer="e", level=0.95, least=0.0, most=1.0)
    low, _ = wilson(12, 12, 0.95)
    assert (found.interval.low, found.interval.high) == pytest.approx((float(low), 1.0))
    both = figures.mean("m", np.full(12, -1.0), explainer="e", level=0.95, least=-1.0, most=1.0)
    assert both.interval.high == pytest.approx(-1 + 2 * (1 - float(low)))
