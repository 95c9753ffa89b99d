"""Scores by group against scikit-learn, scipy, brute force and simulation."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve
from subjects import context_of, find, subject_of

from audit.core import DataError, NotApplicable, Table
from audit.fairness import parts
from audit.fairness.scores import (
    abroca,
    auc_by_group,
    ks_distance,
    scores,
    wasserstein_distance,
    xauc,
)


def people(seed: int, n: int, ties: bool = True, groups: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    group = rng.integers(0, groups, n)
    y = rng.integers(0, 2, n)
    score = rng.normal(0.4 * y + 0.2 * group, 1.0)
    return pd.DataFrame(
        {
            "g": np.array(["a", "b", "ç女", "d"])[group],
            "y": y,
            "s": np.round(score, 1) if ties else score,
            "w": rng.gamma(2.0, size=n),
            "f": rng.integers(0, 4, n),
        }
    )


def brute_auc(positive, negative):
    apart = np.asarray(positive)[:, None] - np.asarray(negative)
    wins = (apart > 0) + 0.5 * (apart == 0)
    variance = wins.mean(1).var(ddof=1) / len(positive) + wins.mean(0).var(ddof=1) / len(negative)
    return wins.mean(), variance


def side(frame, group, label):
    return frame[(frame.g == group) & (frame.y == label)].s.to_numpy()


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=20, deadline=None)
def test_auc_and_xauc_equal_all_pairs(seed, ties):
    frame = people(seed, 150, ties)
    found = auc_by_group(frame.y, frame.s, sensitive_features=frame.g)
    auc, variance = xauc(frame.y, frame.s, sensitive_features=frame.g)
    names = [group for (group,) in found.groups]
    for i, a in enumerate(names):
        part = frame[frame.g == a]
        assert found.of("auc")[0][i] == pytest.approx(roc_auc_score(part.y, part.s), abs=1e-12)
        for j, b in enumerate(names):
            value, spread = brute_auc(side(frame, a, 1), side(frame, b, 0))
            assert auc[i, j] == pytest.approx(value, abs=1e-12)
            assert variance[i, j] == pytest.approx(spread, abs=1e-12)


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=20, deadline=None)
def test_abroca_equals_fine_quadrature_of_sklearn_curves(seed, ties):
    frame = people(seed, 120, ties, groups=2)
    a, b = (frame.g == "a").to_numpy(), (frame.g == "b").to_numpy()
    grid = (np.arange(400_000) + 0.5) / 400_000  # midpoints miss every jump
    curves = [np.interp(grid, *roc_curve(frame.y[m], frame.s[m], drop_intermediate=False)[:2]) for m in (a, b)]
    assert abroca(frame.y, frame.s, a, b) == pytest.approx(np.abs(curves[0] - curves[1]).mean(), abs=1e-5)
    assert abroca(frame.y, frame.s, a, a) == 0.0
    difference = roc_auc_score(frame.y[a], frame.s[a]) - roc_auc_score(frame.y[b], frame.s[b])
    assert abroca(frame.y, frame.s, a, b) >= abs(difference) - 1e-12


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=40), st.lists(st.integers(-5, 5), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_distances_equal_scipy(first, second):
    grid = np.array([*first, *second])[:, None]  # scipy.stats.ks_2samp gives the same, and p-values that overflow
    theirs = np.abs((np.array(first) <= grid).mean(1) - (np.array(second) <= grid).mean(1)).max()
    assert ks_distance(first, second) == pytest.approx(theirs, abs=1e-12)
    assert wasserstein_distance(first, second) == pytest.approx(
        scipy.stats.wasserstein_distance(first, second), abs=1e-12
    )


def subject(frame, **more):
    return subject_of(frame, attributes=("g",), y="y", score="s", **more)


def test_the_check_equals_its_parts():
    frame = people(3, 600)
    evidence = list(scores(subject(frame, reference={"g": "a"}), context_of(), replicates=50))
    a, b = (frame[frame.g == name] for name in ("a", "b"))
    assert find(evidence, "auc", g="b").value == pytest.approx(roc_auc_score(b.y, b.s), abs=1e-12)
    assert find(evidence, "auc").value == pytest.approx(roc_auc_score(frame.y, frame.s), abs=1e-12)
    assert find(evidence, "score_mean_difference", g="b").value == pytest.approx(b.s.mean() - a.s.mean(), abs=1e-12)
    forth, back = (
        brute_auc(side(frame, "b", 1), side(frame, "a", 0)),
        brute_auc(side(frame, "a", 1), side(frame, "b", 0)),
    )
    disparity = find(evidence, "xauc_disparity", g="b")
    assert disparity.value == pytest.approx(forth[0] - back[0], abs=1e-12)
    # close to the plain normal interval of the two independent statistics
    half = 1.96 * np.sqrt(forth[1] + back[1])
    assert disparity.interval.low == pytest.approx(disparity.value - half, abs=0.02)
    assert disparity.interval.high == pytest.approx(disparity.value + half, abs=0.02)
    assert find(evidence, "ks_distance", g="b").value == pytest.approx(
        scipy.stats.ks_2samp(a.s, b.s, method="asymp").statistic, abs=1e-12
    )
    assert find(evidence, "wasserstein_distance", g="b").value == pytest.approx(
        scipy.stats.wasserstein_distance(a.s, b.s), abs=1e-12
    )
    largest = find(evidence, "abroca", g="*")
    assert largest.value == max(find(evidence, "abroca", g=name).value for name in ("b", "ç女"))
    for measure in evidence:
        if not isinstance(measure, Table) and measure.interval is not None:
            assert measure.interval.low <= measure.value <= measure.interval.high, measure
    table = next(each for each in evidence if isinstance(each, Table))
    assert len(table.rows) == 9
    assert table.columns[-1] == "n"


def test_compas(test_data):
    truth = json.loads((test_data / "expected_A.json").read_text())["compas"]["race"]
    frame = pd.read_csv(test_data / "compas" / "compas_two_years_deidentified.csv")
    compas = subject_of(frame, attributes=("race",), y="two_year_recid", score="decile_score")
    evidence = list(scores(compas, context_of(), replicates=20))
    assert find(evidence, "auc").value == pytest.approx(truth["auc_overall"], abs=1e-12)
    for race, value in truth["auc_by_race"].items():
        assert find(evidence, "auc", race=race).value == pytest.approx(value, abs=1e-12)


def test_weights_and_frequencies_count_like_rows():
    frame = people(8, 300)
    spread = frame.loc[frame.index.repeat(frame.f)]
    counted = auc_by_group(frame.y, frame.s, sensitive_features=frame.g, frequency=frame.f)
    repeated = auc_by_group(spread.y, spread.s, sensitive_features=spread.g)
    np.testing.assert_allclose(counted.value, repeated.value, atol=1e-12)
    np.testing.assert_allclose(counted.high, repeated.high, atol=1e-12)
    np.testing.assert_array_equal(counted.n, repeated.n)
    heavy = auc_by_group(frame.y, frame.s, sensitive_features=frame.g, weights=frame.w)
    twice = auc_by_group(frame.y, frame.s, sensitive_features=frame.g, weights=2 * frame.w)
    np.testing.assert_allclose(heavy.high, twice.high, atol=1e-12)
    part = frame[frame.g == "a"]
    assert heavy.of("auc")[0][0] == pytest.approx(roc_auc_score(part.y, part.s, sample_weight=part.w), abs=1e-12)
    without = frame.assign(w=np.where(frame.g == "b", 0.0, 1.0))
    evidence = list(scores(subject(without, weights="w"), context_of(), replicates=20))
    assert find(evidence, "auc", g="b").value is None
    assert find(evidence, "score_mean", g="b").value is None


def test_one_class_one_group_equal_scores_and_empty_groups():
    frame = people(5, 60).assign(g=lambda f: pd.Categorical(f.g, categories=["a", "b", "ç女", "never"]))
    evidence = list(scores(subject(frame.assign(y=1)), context_of(), replicates=20))
    for name in ("auc", "xauc", "xauc_disparity", "abroca"):
        undefined = [each for each in evidence if not isinstance(each, Table) and each.name == name]
        assert undefined
        assert all(each.value is None and "undefined" in each.note for each in undefined)
    flat = list(scores(subject(frame.assign(s=0.5)), context_of(), replicates=20))
    assert find(flat, "auc", g="a").value == 0.5
    assert find(flat, "abroca", g="*").value == 0.0
    assert find(flat, "ks_distance", g="*").value == 0.0
    assert find(flat, "score_mean", g="never").value is None
    alone = list(scores(subject(frame.assign(g="a")), context_of(), replicates=20))
    assert find(alone, "auc_difference", g="*").value is None
    assert find(alone, "xauc_disparity", g="*").value is None


def test_many_groups():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"g": rng.integers(0, 3000, 12_000).astype(str), "y": rng.integers(0, 2, 12_000)})
    found = auc_by_group(frame.y, rng.random(12_000), sensitive_features=frame.g)
    assert found.value.shape == (len(found.groups), 2)
    gap = parts.largest_difference(*found.of("auc"))
    assert gap[0] == 1.0


def test_not_for_every_subject():
    frame = people(1, 30)
    with pytest.raises(DataError, match="y_true: allowed are 0 and 1, got 2"):
        auc_by_group([0, 1, 2], [1.0, 2.0, 3.0], sensitive_features=["a", "b", "b"])
    with pytest.raises(DataError, match="y_score: allowed are finite numbers, got nan"):
        auc_by_group([0, 1], [1.0, np.nan], sensitive_features=["a", "b"])
    with pytest.raises(DataError, match="reference group of g: allowed are a, b, ç女; got z"):
        list(scores(subject(frame, reference={"g": "z"}), context_of()))
    with pytest.raises(NotApplicable, match="one for each class"):
        next(scores(replace(subject(frame), score=np.full((30, 3), 1 / 3)), context_of()))


def coverage(draw, truths, rounds=100, replicates=100):
    """How often the intervals of the one comparison with group a hold the truth."""
    held = dict.fromkeys(truths, 0)
    for seed in range(rounds):
        frame = draw(np.random.default_rng(seed))
        evidence = list(scores(subject(frame, reference={"g": "a"}), context_of(seed), replicates=replicates))
        for name, truth in truths.items():
            interval = find(evidence, name, g="b").interval
            held[name] += interval.low <= truth <= interval.high
    return {name: count / rounds for name, count in held.items()}


def normals(shift, n=150):
    def draw(rng):
        g, y = np.repeat(["a", "b"], n), rng.integers(0, 2, 2 * n)
        return pd.DataFrame({"g": g, "y": y, "s": rng.normal(y + shift * (g == "b") * (2 * y - 1))})

    return draw


def binormal_auc(apart):
    return scipy.stats.norm.cdf(apart / np.sqrt(2))


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_coverage(shift):
    # group b has its classes 2 * shift further apart
    auc = binormal_auc(1 + 2 * shift) - binormal_auc(1)
    grid = (np.arange(20_000) + 0.5) / 20_000
    roc = [scipy.stats.norm.cdf(d + scipy.stats.norm.ppf(grid)) for d in (1.0, 1 + 2 * shift)]
    # positives of b above negatives of a, less positives of a above negatives of b: 0 by symmetry
    area = np.abs(roc[0] - roc[1]).mean()
    found = coverage(normals(shift), {"auc_difference": auc, "xauc_disparity": 0.0, "abroca": area})
    # two standard errors of .022 around .95
    assert 0.91 <= found["auc_difference"] <= 0.99, found
    assert 0.91 <= found["xauc_disparity"] <= 0.99, found
    assert found["abroca"] >= 0.91, found


def test_coverage_of_the_distance_of_shifted_normals():
    def draw(rng):
        g = np.repeat(["a", "b"], 120)
        return pd.DataFrame({"g": g, "y": 0, "s": rng.normal(0.4 * (g == "b"))})

    for frame_of, moved in ((draw, 0.4), (lambda rng: draw(rng).assign(s=rng.normal(size=240)), 0.0)):
        found = coverage(
            frame_of, {"wasserstein_distance": moved, "ks_distance": 2 * scipy.stats.norm.cdf(moved / 2) - 1}, rounds=80
        )
        assert found["wasserstein_distance"] >= 0.92, found
        assert found["ks_distance"] >= 0.95, found  # conservative
