"""Predicted numbers by group against scikit-learn, scipy and simulation, and the way of a target through the house."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from subjects import context_of, find

from audit import codec, engine
from audit.core import DataError, Dataset, Measure, ModelError, NotApplicable, Origin, Subject
from audit.data.readers import from_frame
from audit.fairness.encode import encode
from audit.fairness.regression import regression, regression_by_group
from audit.models.load import wrap
from audit.subject import assemble


def people(seed: int, n: int, noise: float = 1.0) -> pd.DataFrame:
    """Group b's targets are 1 higher, its predictions 0.5 higher, and its errors `noise` times as large."""
    rng = np.random.default_rng(seed)
    b = rng.integers(0, 2, n)
    x = rng.normal(size=n)
    error = rng.normal(size=n) * np.where(b, noise, 1.0)
    return pd.DataFrame(
        {
            "g": np.where(b, "b", "a"),
            "x": x,
            "y": x + b + error,
            "p": x + 0.5 * b,
            "w": rng.gamma(2.0, size=n),
            "f": rng.integers(0, 4, n),
        }
    )


def subject(frame, **more) -> Subject:
    groups = {"g": encode(frame.g)}
    score, target = frame.p.to_numpy(float), frame.y.to_numpy(float)
    data = Dataset(inputs=None, groups=groups, origin=Origin(name="by hand"), target=target, score=score, **more)
    return Subject(model=None, data=data, y=None, decision=None, score=score, groups=groups, slices=(("g",),))


def test_figures_equal_scikit_learn():
    frame = people(1, 500)
    for weights in (None, frame.w):
        found = regression_by_group(frame.y, frame.p, sensitive_features=frame.g, weights=weights)
        for i, name in enumerate("ab"):
            part = frame[frame.g == name]
            more = {} if weights is None else {"sample_weight": part.w}
            expected = {
                "prediction_mean": np.average(part.p, weights=more.get("sample_weight")),
                "residual_mean": np.average(part.p - part.y, weights=more.get("sample_weight")),
                "mae": mean_absolute_error(part.y, part.p, **more),
                "rmse": root_mean_squared_error(part.y, part.p, **more),
                "r2": r2_score(part.y, part.p, **more),
            }
            for figure, value in expected.items():
                assert found.of(figure)[0][i] == pytest.approx(value, abs=1e-12), figure


def test_the_check():
    frame = people(2, 600)
    evidence = list(regression(subject(frame), context_of(), replicates=100))
    a, b = (frame[frame.g == name] for name in "ab")
    assert find(evidence, "rmse").value == pytest.approx(root_mean_squared_error(frame.y, frame.p), abs=1e-12)
    assert find(evidence, "prediction_mean_difference", g="a").value == pytest.approx(
        a.p.mean() - b.p.mean(), abs=1e-12
    )
    sizes = [root_mean_squared_error(part.y, part.p) for part in (a, b)]
    assert find(evidence, "rmse_ratio", g="*").value == pytest.approx(min(sizes) / max(sizes), abs=1e-12)
    moved = scipy.stats.wasserstein_distance(a.p, b.p)
    assert find(evidence, "wasserstein_distance", g="a").value == pytest.approx(moved, abs=1e-12)
    assert find(evidence, "ks_distance", g="*").value == pytest.approx(
        scipy.stats.ks_2samp(a.p, b.p).statistic, abs=1e-12
    )
    # Welch's interval, near the one that adds the squares
    welch = scipy.stats.ttest_ind(a.p, b.p, equal_var=False).confidence_interval()
    mine = find(evidence, "prediction_mean_difference", g="a").interval
    assert [mine.low, mine.high] == pytest.approx([welch.low, welch.high], abs=1e-3)
    for measure in evidence:
        if measure.interval is not None:
            assert measure.interval.low <= measure.value <= measure.interval.high, measure


def test_intervals_hold_the_truth():
    # the truth of group a: residual mean 0, MAE sqrt(2/pi), RMSE 1, R2 1/2
    truth = {"residual_mean": 0.0, "mae": np.sqrt(2 / np.pi), "rmse": 1.0, "r2": 0.5}
    held = dict.fromkeys((*truth, "rmse_ratio"), 0)
    for seed in range(300):
        frame = people(seed, 240, noise=1.5)
        found = regression_by_group(frame.y, frame.p, sensitive_features=frame.g)
        for name, value in truth.items():
            _, low, high = found.of(name)
            held[name] += low[0] <= value <= high[0]
        ratio = (
            find(list(regression(subject(frame), context_of(), replicates=1)), "rmse_ratio", g="*")
            if seed < 100
            else None
        )
        # b is biased by .5: its root mean square is sqrt(1.5² + .5²)
        held["rmse_ratio"] += ratio is None or ratio.interval.low <= 1 / np.sqrt(2.5) <= ratio.interval.high
    assert all(0.92 <= count / 300 <= 0.985 for name, count in held.items() if name != "rmse_ratio"), held
    assert held["rmse_ratio"] >= 292


def test_frequencies_count_like_rows():
    frame = people(8, 200)
    spread = frame.loc[frame.index.repeat(frame.f)]
    counted = regression_by_group(frame.y, frame.p, sensitive_features=frame.g, frequency=frame.f)
    repeated = regression_by_group(spread.y, spread.p, sensitive_features=spread.g)
    for one, other in ((counted.value, repeated.value), (counted.low, repeated.low), (counted.n, repeated.n)):
        np.testing.assert_allclose(one, other, atol=1e-9)


def test_edges():
    frame = people(4, 60).assign(g=lambda f: pd.Categorical(f.g, categories=["a", "b", "nïe"]))
    exact = list(regression(subject(frame.assign(p=frame.y)), context_of(), replicates=5))
    assert find(exact, "rmse", g="a").value == 0.0
    assert find(exact, "r2", g="a").value == 1.0
    assert find(exact, "mae_ratio", g="*").value is None
    assert find(exact, "mae", g="nïe").value is None
    flat = list(regression(subject(frame.assign(p=1.0, y=2.0)), context_of(), replicates=5))
    assert find(flat, "r2", g="b").value is None
    assert find(flat, "rmse_ratio", g="*").value == pytest.approx(1.0)
    alone = list(regression(subject(frame.assign(g="a")), context_of(), replicates=5))
    assert find(alone, "mae_difference", g="*").value is None
    none = regression_by_group(frame.y, frame.p, sensitive_features=frame.g, weights=1.0 * (frame.g == "a"))
    assert np.isnan(none.value[1]).all()
    with pytest.raises(NotApplicable, match="one predicted number"):
        list(
            regression(
                Subject(model=None, data=subject(frame).data, y=None, decision=None, score=None, groups={}),
                context_of(),
            )
        )


# ------------------------------------------------------------------------------------- from a file to the record
PREDICTED = (
    '[data]\npath = "x.csv"\ntarget = "y"\nscore = "p"\n[groups]\nattributes = ["g"]\n[checks]\nonly = ["fairness"]'
)
MODEL = '[model]\nkind = "sklearn"\nfactory = "m:m"\noutput = "value"\n[data]\npath = "x.csv"\ntarget = "y"\nfeatures = ["x"]\n[groups]\nattributes = ["g"]\n'


def test_recorded_numbers_are_examined_and_no_decision_is_made_of_them():
    spec = codec.spec_from_toml(PREDICTED)
    prepared = assemble(spec, from_frame(people(5, 300), spec), None)
    assert prepared.decision is None
    assert prepared.y is None
    outcomes = {each.check: each for each in engine.run(spec, prepared).outcomes}
    done = outcomes["fairness.regression"]
    assert done.status == "done", done.reason
    assert outcomes["fairness.selection"].status == "not_applicable"
    assert "predict a number" in outcomes["fairness.scores"].reason
    assert not [each for each in outcomes.values() if each.status == "error"]


def test_a_regressor_predicts_and_every_check_copes():
    frame = people(6, 300)
    spec = codec.spec_from_toml(MODEL)
    data = from_frame(frame, spec)
    assert data.names == ("x",)
    regressor = LinearRegression().fit(frame[["x"]], frame.y)
    model = wrap(regressor, data, spec)
    assert model.card.output == "value"
    prepared = assemble(spec, data, model)
    np.testing.assert_allclose(prepared.score, regressor.predict(frame[["x"]]))
    assert prepared.decision is None
    outcomes = {each.check: each for each in engine.run(spec, prepared).all_outcomes}
    assert outcomes["fairness.regression"].status == "done"
    assert find(outcomes["fairness.regression"].evidence, "r2").value == pytest.approx(
        r2_score(frame.y, prepared.score), abs=1e-12
    )
    assert {id: each.reason for id, each in outcomes.items() if each.status == "error"} == {}


def test_functions_and_modules_may_return_numbers():
    torch = pytest.importorskip("torch")
    frame = people(7, 50)
    spec = codec.spec_from_toml(MODEL)
    data = from_frame(frame, spec)
    np.testing.assert_allclose(wrap(lambda x: 100 * x[:, 0], data, spec).predict(data.inputs), 100 * frame.x)
    module = torch.nn.Linear(1, 1).double()
    with torch.no_grad():
        module.weight.fill_(50.0)
        module.bias.fill_(1.0)
    np.testing.assert_allclose(wrap(module, data, spec).predict(data.inputs), 50 * frame.x + 1)
    with pytest.raises(ModelError, match="one number a row, the model returns 2 columns"):
        wrap(lambda x: np.column_stack([x, x]), data, spec).predict(data.inputs)
    with pytest.raises(ModelError, match="not finite"):
        wrap(lambda x: x[:, 0] * np.inf, data, spec).predict(data.inputs)


def test_a_target_is_a_finite_number_and_no_feature():
    frame = people(1, 20)
    spec = codec.spec_from_toml(MODEL)
    with pytest.raises(DataError, match=r"data\.target: column 'y' is missing in 1 of 20 rows"):
        from_frame(frame.assign(y=[np.nan, *frame.y[1:]]), spec)
    with pytest.raises(DataError, match=r"data\.target: column 'y' must hold numbers"):
        from_frame(frame.assign(y="high"), spec)
    wrong = codec.spec_from_toml(MODEL.replace('features = ["x"]', 'features = ["x", "y"]'))
    with pytest.raises(DataError, match="or the target, which a model may not read"):
        from_frame(frame, wrong)
    labelled = codec.spec_from_toml('[data]\npath = "x.csv"\nlabel = "y"')
    with pytest.raises(DataError, match=r"named as \[data\] target"):
        from_frame(pd.concat([frame] * 5).assign(y=np.arange(100) / 7), labelled)
    assert isinstance(find(list(regression(subject(frame), context_of(), replicates=2)), "mae"), Measure)
