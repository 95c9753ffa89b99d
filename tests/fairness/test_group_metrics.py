import numpy as np
import pandas as pd
import pytest
from fairlearn import metrics as peer
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, precision_score

from audit.core import DataError, UsageError
from audit.fairness import RATES, count, group_metrics, rates, theil_index

PEERS = {
    "selection_rate": peer.selection_rate,
    "accuracy": accuracy_score,
    "tpr": peer.true_positive_rate,
    "fpr": peer.false_positive_rate,
    "fnr": peer.false_negative_rate,
    "tnr": peer.true_negative_rate,
    "ppv": precision_score,
}


def people(seed: int, n: int, races: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "y": rng.integers(0, 2, n),
            "p": rng.integers(0, 2, n),
            "sex": rng.choice(["F", "M"], n),
            "race": rng.choice([f"race {i}" for i in range(races)], n),
            "w": rng.gamma(2.0, size=n) + 0.01,
        }
    )


def everywhere_defined(frame: pd.DataFrame) -> bool:
    """fairlearn says 0 for 0/0: it is a peer only where every group has all four cells."""
    cells = frame.groupby(["sex", "race", "y", "p"]).size()
    return len(cells) == 4 * frame["sex"].nunique() * frame["race"].nunique()


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=12, deadline=None)
def test_agrees_with_fairlearn_wherever_it_is_defined(seed, weighted):
    frame = people(seed, 400)
    assume(everywhere_defined(frame))
    features = frame[["sex", "race"]]
    weights = frame["w"] if weighted else None
    mine = group_metrics(frame["y"], frame["p"], sensitive_features=features, metrics=list(PEERS), weights=weights)
    params = {name: {"sample_weight": weights} for name in PEERS} if weighted else None
    theirs = peer.MetricFrame(
        metrics=PEERS, y_true=frame["y"], y_pred=frame["p"], sensitive_features=features, sample_params=params
    )
    pd.testing.assert_frame_equal(mine.frame(), theirs.by_group.astype(float), rtol=0, atol=1e-12)
    np.testing.assert_allclose(mine.overall, theirs.overall.astype(float), rtol=0, atol=1e-12)
    np.testing.assert_allclose(mine.difference, theirs.difference(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(mine.ratio, theirs.ratio(), rtol=0, atol=1e-12)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_named_differences_agree_with_fairlearn(seed):
    frame = people(seed, 300)
    assume(everywhere_defined(frame))
    y, p, sex = frame["y"], frame["p"], frame["sex"]
    mine = group_metrics(y, p, sensitive_features=sex)
    gap = dict(zip(mine.metrics, mine.difference, strict=True))
    quotient = dict(zip(mine.metrics, mine.ratio, strict=True))
    assert gap["selection_rate"] == pytest.approx(
        peer.demographic_parity_difference(y, p, sensitive_features=sex), abs=1e-12
    )
    assert quotient["selection_rate"] == pytest.approx(
        peer.demographic_parity_ratio(y, p, sensitive_features=sex), abs=1e-12
    )
    odds = peer.equalized_odds_difference(y, p, sensitive_features=sex)
    assert max(gap["tpr"], gap["fpr"]) == pytest.approx(odds, abs=1e-12)


def test_undefined_is_undefined_where_fairlearn_says_zero():
    y, p, group = [1, 0, 0, 0], [1, 0, 0, 1], ["a", "a", "b", "b"]  # b has no positive label
    mine = group_metrics(y, p, sensitive_features=group)
    theirs = peer.MetricFrame(metrics=PEERS, y_true=y, y_pred=p, sensitive_features=group)
    assert theirs.by_group.loc["b", "tpr"] == 0.0
    assert peer.equalized_odds_difference(y, p, sensitive_features=group) == 1.0
    tpr = mine.metrics.index("tpr")
    assert np.isnan(mine.by_group[1, tpr])
    assert np.isnan(mine.difference[tpr])
    assert np.isnan(mine.ratio[tpr])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_rates_obey_their_identities(seed):
    frame = people(seed, 80, races=5)
    mine = group_metrics(frame["y"], frame["p"], sensitive_features=frame["race"])
    get = dict(zip(mine.metrics, mine.by_group.T, strict=True))
    np.testing.assert_allclose(get["tpr"] + get["fnr"], np.where(np.isnan(get["tpr"]), np.nan, 1.0))
    np.testing.assert_allclose(get["ppv"] + get["fdr"], np.where(np.isnan(get["ppv"]), np.nan, 1.0))
    np.testing.assert_allclose(get["npv"] + get["for"], np.where(np.isnan(get["npv"]), np.nan, 1.0))
    np.testing.assert_allclose(get["tnr"] + get["fpr"], np.where(np.isnan(get["tnr"]), np.nan, 1.0))


def test_rates_in_terms_of_n_and_effective_n():
    frame = people(3, 200)
    counts = count(frame["y"], frame["p"], sensitive_features=frame["sex"], weights=frame["w"])
    value, n, effective = rates(counts).column("tpr")
    positive = frame[(frame["sex"] == "F") & (frame["y"] == 1)]
    assert n[0] == len(positive)
    assert effective[0] == pytest.approx(positive["w"].sum() ** 2 / (positive["w"] ** 2).sum(), rel=1e-12)
    assert value[0] == pytest.approx(np.average(positive["p"], weights=positive["w"]), rel=1e-12)


def test_theil_equals_its_definition_over_rows():
    frame = people(9, 500)
    benefit = frame["p"] - frame["y"] + 1
    share = benefit / benefit.mean()
    expected = (share * np.log(share.where(share > 0, 1.0))).mean()
    assert theil_index(count(frame["y"], frame["p"]).cells())[0] == pytest.approx(expected, rel=1e-12)
    assert np.isnan(theil_index(np.array([0, 0, 5, 0])))
    assert theil_index(np.array([3, 0, 0, 2])) == 0.0


def test_bootstrap_and_closed_form_intervals():
    frame = people(1, 2000)
    mine = group_metrics(
        frame["y"], frame["p"], sensitive_features=frame[["sex", "race"]], n_boot=400, rng=np.random.default_rng(1)
    )
    drawn, closed = mine.bootstrap, mine.intervals()
    assert drawn.by_group.shape == closed.by_group.shape == (2, 6, len(mine.metrics))
    for bounds in (drawn, closed):
        assert (bounds.by_group[0] <= mine.by_group).all()
        assert (mine.by_group <= bounds.by_group[1]).all()
        assert (bounds.overall[0] <= mine.overall).all()
    # two derivations of the same interval: they differ by a small part of its width
    assert np.abs(drawn.by_group - closed.by_group).max() < 0.03
    assert (closed.difference[0] <= mine.difference).all()
    assert not (closed.ratio[1] < mine.ratio).any()  # undefined where an mcc is negative
    again = group_metrics(
        frame["y"], frame["p"], sensitive_features=frame[["sex", "race"]], n_boot=400, rng=np.random.default_rng(1)
    )
    np.testing.assert_array_equal(again.bootstrap.by_group, drawn.by_group)


def test_bootstrap_bounds_equal_those_of_fairlearn_within_noise():
    frame = people(2, 500, races=2)
    chosen = {"selection_rate": peer.selection_rate}
    theirs = peer.MetricFrame(
        metrics=chosen,
        y_true=frame["y"],
        y_pred=frame["p"],
        sensitive_features=frame["sex"],
        n_boot=150,
        ci_quantiles=[0.025, 0.975],
        random_state=7,
    )
    mine = group_metrics(
        None, frame["p"], sensitive_features=frame["sex"], n_boot=4000, rng=np.random.default_rng(7)
    ).bootstrap
    expected = np.array([bound["selection_rate"].to_numpy() for bound in theirs.by_group_ci])
    np.testing.assert_allclose(mine.by_group[:, :, 0], expected, atol=0.025)


def test_equal_weights_draw_the_same_bootstrap_and_unequal_ones_widen_it():
    frame = people(8, 400)
    args = (frame["y"], frame["p"])

    def bounds(weights):
        result = group_metrics(
            *args, sensitive_features=frame["sex"], weights=weights, n_boot=600, rng=np.random.default_rng(2)
        )
        return result.bootstrap.overall

    np.testing.assert_allclose(bounds(np.full(400, 2.5)), bounds(None), atol=1e-12)
    uneven = np.where(np.arange(400) % 10 == 0, 20.0, 1.0)
    assert (np.ptp(bounds(uneven), axis=0) > np.ptp(bounds(None), axis=0)).all()


def test_one_attribute_gives_a_plain_index():
    frame = group_metrics(None, [1, 0, 1], sensitive_features=pd.Series(["b", "a", "b"], name="team")).frame()
    assert list(frame.index) == ["a", "b"]
    assert frame.index.name == "team"
    assert frame.loc["b", "selection_rate"] == 1.0


def test_groups_that_never_occur_are_undefined_and_left_out_of_the_gap():
    column = pd.Series(pd.Categorical(["a", "b", "b"], categories=["a", "b", "never"]))
    mine = group_metrics(None, [1, 0, 1], sensitive_features=column)
    assert mine.groups[2] == ("never",)
    assert np.isnan(mine.by_group[2, 0])
    assert mine.difference[0] == 0.5


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"metrics": ["selection_rat"]}, UsageError, "did you mean 'selection_rate'"),
        ({"metrics": ["tpr"]}, UsageError, "'tpr' needs labels and decisions"),
        ({"n_boot": 10}, UsageError, "rng: n_boot needs a numpy Generator"),
    ],
)
def test_errors(options, error, message):
    with pytest.raises(error, match=message):
        group_metrics(None, [0, 1], sensitive_features=["a", "b"], **options)


def test_a_rate_that_was_not_counted_is_refused():
    with pytest.raises(DataError, match="rate 'tpr' is not to be had"):
        rates(count(None, [0, 1]), ["tpr"])
    assert set(RATES) >= set(PEERS)
