"""Calibration: the truth has oracles of its own, and what is read is summed up rightly."""

import json
from itertools import permutations

import numpy as np
import pytest
from sklearn import metrics
from sklearn.linear_model import LogisticRegression

from audit import cli, codec
from audit.core import ModelError, RecordError, RunSpec, Spec, UsageError
from audit.data.images import Images
from audit.data.readers import read
from audit.data.tabular import Tabular
from audit.models.kinship import reference_of
from audit.models.load import load, wrap
from audit.workflows import calibrate as module
from audit.workflows import commands
from audit.workflows.calibrate import Plan, calibrate, known, of_model, save, wanted
from audit.workflows.population import (
    TRUTHS,
    _overlap,
    auc,
    population,
    rates,
    shapley_by_enumeration,
    slope,
)

ORACLE = codec.spec_from_toml('[model]\nkind = "oracle"\n[data]\nworld = "credit"\nrows = 60000\n')


@pytest.fixture(scope="module")
def people():
    data = read(ORACLE, None)
    return population(load(ORACLE, data, None), [data], threshold=0.5, rng=np.random.default_rng(0), enumerated=32)


@pytest.fixture(scope="module")
def found():
    return calibrate(
        "mlp",
        plan=Plan(seeds=2, audits=3, explained=1, rows=600, training=2000, population=20_000, enumerated=32),
        spec=Spec(run=RunSpec(device="cpu")),
    )


@pytest.fixture
def few_checks(monkeypatch):
    """Calibrated are the checks that the command tells of first; `found` goes through all of them."""
    told = ("performance.overall", "fairness.selection", "fairness.impact_ratio", "explain.global_importance")
    monkeypatch.setattr(module, "TRUTHS", {check: TRUTHS[check] for check in told})


def facts(people, check):
    return {(name, tuple(where.items())): value for name, where, value in TRUTHS[check](people)}


# ----------------------------------------------------------------------------------------------- plain figures
def test_plain_figures_are_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    y, score = rng.integers(0, 2, 500), np.round(rng.random(500), 2)
    yes = score >= 0.4
    assert auc(y, score) == pytest.approx(metrics.roc_auc_score(y, score), abs=1e-12)
    found = rates(y, yes)
    assert found["tpr"] == pytest.approx(metrics.recall_score(y, yes))
    assert found["ppv"] == pytest.approx(metrics.precision_score(y, yes))
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(y, yes))
    clipped = np.clip(score, 0.01, 0.99)
    odds = np.log(clipped / (1 - clipped))[:, None]
    fitted = LogisticRegression(C=np.inf, tol=1e-10).fit(odds, y)
    assert slope(y, clipped) == pytest.approx(fitted.coef_[0, 0], abs=1e-5)


def test_enumerated_shapley_values_are_the_mean_over_all_orders():
    rng = np.random.default_rng(2)
    rows, behind = (Tabular(values=rng.standard_normal((n, 3)), columns=("a", "b", "c")) for n in (4, 5))
    spec = Spec(run=RunSpec(device="cpu"))
    data = read(ORACLE, None)
    model = wrap(lambda x: 1 / (1 + np.exp(-(x[:, 0] * x[:, 1] + x[:, 2]))), data, spec)

    def worth(row, held):
        mixed = behind.values.copy()
        mixed[:, list(held)] = rows.values[row, list(held)]
        return model.predict(mixed).mean()

    expected = np.zeros((4, 3))
    for row in range(4):
        for order in permutations(range(3)):
            for place, player in enumerate(order):
                expected[row, player] += (worth(row, order[: place + 1]) - worth(row, order[:place])) / 6
    np.testing.assert_allclose(shapley_by_enumeration(model, rows, behind), expected, atol=1e-12)


def test_what_is_counted_of_the_oracle_is_its_closed_form(people):
    from audit.data.worlds.credit import credit

    truth, n = credit().truth(), len(people.y)
    selection, errors = facts(people, "fairness.selection"), facts(people, "fairness.error_rates")
    for name, found in (
        ("selection_rate.female", selection["selection_rate", (("sex", "female"),)]),
        ("base_rate", selection["base_rate", ()]),
        ("tpr.male", errors["tpr", (("sex", "male"),)]),
        ("accuracy", errors["accuracy", ()]),
    ):
        assert found == pytest.approx(truth[name], abs=4 * np.sqrt(0.25 / (n / 4))), name
    gap = selection["demographic_parity_difference", (("sex", "*"),)]
    assert gap == pytest.approx(truth["demographic_parity_difference"], abs=0.02)
    effects = facts(people, "fairness.counterfactual")
    assert effects["counterfactual_effect", (("sex", "*"),)] == pytest.approx(truth["counterfactual_logit"], abs=1e-5)


def test_every_truth_names_a_measure_that_the_check_yields(found):
    told = {(figure.check, figure.measure) for figure in found.figures}
    people = population_of_few()
    with_offers = {
        "robustness.uncertainty",
        "performance.reconstruction",
        "performance.segmentation",
        "fairness.routing",
    }
    for check, truths in TRUTHS.items():
        if check in with_offers:
            continue
        names = {name for name, _, _ in truths(people)}
        assert names, check
        assert names <= {name for one, name in told if one == check}, check


def population_of_few():
    data = read(codec.spec_from_toml('[model]\nkind = "oracle"\n[data]\nworld = "credit"\nrows = 3000\n'), None)
    return population(load(ORACLE, data, None), [data], threshold=0.5, rng=np.random.default_rng(0), enumerated=32)


# ------------------------------------------------------------------------------------------------- the calibration
def test_figures_say_how_far_the_readings_lie_from_the_truth(found):
    assert (found.family, found.world, found.seeds, found.audits) == ("mlp", "credit", 2, 3)
    by = {(figure.check, figure.measure, figure.by, figure.gap): figure for figure in found.figures}
    gap = by["fairness.selection", "demographic_parity_difference", ("sex",), True]
    assert gap.readings == gap.trials == 6
    assert gap.truth == pytest.approx(0.53, abs=0.08)
    assert gap.read - gap.truth == pytest.approx(gap.bias, abs=1e-5)
    assert abs(gap.bias) <= gap.error <= 0.12
    assert gap.within >= gap.error * 0.5
    shap = by["explain.global_importance", "mean_abs_shap", ("feature",), False]
    assert shap.readings == 2 * 7
    assert "explain.ale" in found.unknown
    assert not set(found.unknown) & set(TRUTHS)


def test_an_interval_that_misses_the_truth_counts_as_missed():
    from audit.core import Interval, Measure
    from audit.workflows.calibrate import Read, _figure

    sure = Interval(low=0.4, high=0.6, level=0.95, method="")
    reads = [Read(measure=Measure(name="m", value=0.5, n=9, interval=sure), truth=t) for t in (0.45, 0.55, 0.7, 0.5)]
    one = _figure("a.b", "m", (), False, reads, 0.95)
    assert one.coverage == 0.75
    assert one.bias == pytest.approx(-0.05)
    assert one.error == pytest.approx(np.sqrt((0.05**2 * 2 + 0.2**2) / 4), abs=1e-6)
    bare = _figure("a.b", "m", (), False, [Read(measure=Measure(name="m", value=0.5), truth=0.5)], 0.95)
    assert bare.coverage is None
    assert "no interval" in bare.note


@pytest.mark.usefixtures("few_checks")
def test_the_same_plan_gives_the_same_calibration():
    plan = Plan(seeds=1, audits=1, explained=0, rows=100, training=300, population=2000, enumerated=8)
    one, other = (calibrate("mlp", plan=plan, options={"epochs": 1}) for _ in range(2))
    assert one == other


def test_it_is_kept_found_again_and_quoted(found, tmp_path):
    path = save(found, tmp_path / "calibration")
    assert codec.read_calibration(path) == found
    assert known("mlp", tmp_path) == found
    (tmp_path / "audit.toml").write_text(
        '[model]\nkind = "family"\nfamily = "mlp"\n[data]\nworld = "credit"\nrows = 300\n[checks]\nonly = ["fairness.selection"]\n'
    )
    assert cli.main(["run", str(tmp_path / "audit.toml"), "--out", str(tmp_path / "out"), "-q"]) == 0
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert record["calibration"]["rows"] == 600
    page = (tmp_path / "out" / "report.html").read_text()
    assert "How far to trust the checks" in page
    assert "On reference models of this family" not in page  # six readings tell no 95 %
    assert cli.main(["report", str(tmp_path / "out" / "result.json"), "-o", f"md:{tmp_path}/a.md"]) == 0
    assert "How far to trust the checks" in (tmp_path / "a.md").read_text()
    (tmp_path / "calibration" / "mlp.json").unlink()  # then what is shipped is quoted
    assert cli.main(["run", str(tmp_path / "audit.toml"), "--out", str(tmp_path / "out"), "-q"]) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "On reference models of this family the check recovers Demographic parity difference" in page


def test_a_users_own_perceptron_is_recognised_and_others_are_not(found, tmp_path):
    from sklearn.ensemble import RandomForestClassifier
    from torch import nn

    save(found, tmp_path / "calibration")
    data = read(ORACLE, None)
    spec = codec.spec_from_toml(
        '[model]\nkind = "callable"\noutput = "logit"\nfactory = "a:b"\n[data]\nworld = "credit"\n'
    )
    net = nn.Sequential(nn.Linear(7, 4), nn.ReLU(), nn.Dropout(0.1), nn.Linear(4, 1))
    assert of_model(wrap(net, data, spec), spec, tmp_path) == found
    deep = nn.Sequential(nn.Linear(7, 4), nn.LSTM(4, 1))
    assert wrap(deep, data, spec).card.reference == ""
    wide = nn.Sequential(nn.Linear(7, 3), nn.ReLU(), nn.Linear(3, 7))
    assert reference_of(wide) == ""

    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(7, 3), nn.Linear(7, 3), nn.Linear(3, 1)

        def forward(self, x):
            return self.c(self.a(x).sigmoid() * self.b(x) ** 3)

    assert reference_of(Gated()) == ""
    plain = Spec(run=RunSpec(device="cpu"))
    x = data.inputs.values[:200]
    assert wrap(RandomForestClassifier(2).fit(x, data.y[:200]), data, plain).card.reference == ""
    assert wrap(LogisticRegression().fit(x, data.y[:200]), data, plain).card.reference == "neuron"
    named = codec.spec_from_toml(
        '[model]\nkind = "sklearn"\nfactory = "a:b"\nfamily = "mlp"\n[data]\nworld = "credit"\n'
    )
    assert of_model(None, named, tmp_path) == found
    wrong = codec.spec_from_toml(
        '[model]\nkind = "sklearn"\nfactory = "a:b"\nfamily = "mlq"\n[data]\nworld = "credit"\n'
    )
    with pytest.raises(ModelError, match=r"no family 'mlq'.*mlp"):
        of_model(None, wrong, tmp_path)


def test_a_damaged_calibration_and_a_senseless_plan_are_refused(tmp_path):
    (tmp_path / "calibration").mkdir()
    (tmp_path / "calibration" / "mlp.json").write_text('{"family": "mlp"}')
    with pytest.raises(RecordError, match="not a calibration"):
        known("mlp", tmp_path)
    whole = json.loads((module.SHIPPED / "mlp.json").read_text())
    for change, message in (
        ({"family": "neuron"}, "expected the calibration of the family 'mlp'"),
        ({"options": {"epochs": 1}}, "with options"),
        ({"seeds": -3}, "1 or more"),
        ({"figures": []}, "has figures"),
        ({"figures": [{**whole["figures"][0], "truth": 1e308}]}, "below 1e12"),
    ):
        (tmp_path / "calibration" / "mlp.json").write_text(json.dumps({**whole, **change}))
        with pytest.raises(RecordError, match=message):
            known("mlp", tmp_path)
    with pytest.raises(UsageError, match="seeds: 1 or more"):
        Plan(seeds=0)
    with pytest.raises(UsageError, match="explained"):
        Plan(audits=2, explained=3)
    assert known("../../etc/passwd", tmp_path) is None


@pytest.mark.usefixtures("few_checks")
def test_the_command_prints_the_coverage_of_what_people_ask_for_first(tmp_path, capsys):
    options = ["--seeds", "1", "--audits", "1", "--explained", "1", "--rows", "200", "--training", "1500"]
    assert cli.main(["calibrate", "mlp:epochs=2", *options, "--out", str(tmp_path), "-q"]) == 0
    printed = capsys.readouterr().out
    for word in ("demographic_parity_difference", "impact_ratio", "auc", "mean_abs_shap"):
        assert word in printed
    kept = codec.read_calibration(tmp_path / "mlp-epochs-2.json")
    assert dict(kept.options) == {"epochs": 2}
    assert known("mlp", tmp_path.parent) == codec.read_calibration(module.SHIPPED / "mlp.json")
    shipped = commands.told(codec.read_calibration(module.SHIPPED / "mlp.json"))
    for word in ("Demographic parity difference", "Impact ratio", "AUC", "Mean |SHAP|"):
        assert f"{word} (" in shipped
    assert cli.main(["calibrate", "mlq", "-q"]) == 2
    assert "did you mean 'mlp'" in capsys.readouterr().err


def test_what_is_shipped_can_be_read():
    for path in module.SHIPPED.glob("*.json"):
        assert codec.read_calibration(path).family == path.stem


def test_wanted_is_a_plain_spec_of_the_world():
    spec = wanted(Spec(), "credit", {"tau": 0.1}, "mlp")
    assert spec.data.world == "credit"
    assert spec.data.knobs == {"tau": 0.1}


def test_of_rows_that_are_no_table_every_check_is_told_or_listed():
    """A check that applies is among the figures or among those whose truth nothing tells: none is dropped in silence."""
    plan = Plan(seeds=1, audits=1, explained=1, rows=150, training=400, population=300, enumerated=8)
    found = calibrate("elman", plan=plan, options={"epochs": 1}, spec=Spec(run=RunSpec(device="cpu", threads=1)))
    told = {figure.check for figure in found.figures}
    assert {"performance.overall", "fairness.selection", "fairness.counterfactual"} <= told
    assert {"explain.global_importance", "explain.permutation_importance"} <= set(found.unknown)
    assert not told & set(found.unknown)


def test_the_overlap_of_marked_pixels_is_counted_picture_by_picture():
    class Marker:
        offers = frozenset({"segmentation"})

        def segment(self, inputs):
            return np.stack([[[0.9, 0.9], [0.1, 0.1]], [[0.1, 0.1], [0.1, 0.1]]])

    mask = np.array([[[True, False], [True, False]], [[False, False], [False, False]]])
    overlap = _overlap(Marker(), Images(values=np.zeros((2, 1, 2, 2)), mask=mask))
    assert overlap[0] == pytest.approx(1 / 3)
    assert np.isnan(overlap[1])
