"""A recurrent network on real sequences: Taiwan's credit card clients by sex, from training to the page."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from audit.core import Measure, Spec, Table
from audit.models.reference import read
from benchmarks.credit_sequences import audited, people, split


@pytest.fixture(scope="module")
def done(test_data, tmp_path_factory):
    where = tmp_path_factory.mktemp("taiwan")
    only = '["performance.overall", "fairness.selection", "fairness.error_rates", "explain.cases"]'
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIT_TEST_DATA", str(test_data))
        report, _ = audited("gru", where, training=2500, held=1500, seed=0, only=only)
    return where, report


def measures(report, check):
    outcome = next(one for one in report.all_outcomes if one.check == check)
    assert outcome.status == "done"
    return {(e.name, tuple(e.where.items())): e for e in outcome.evidence if isinstance(e, Measure)}


def test_the_months_are_in_their_order_and_sex_is_no_input(test_data):
    data = people(test_data)
    frame = pd.read_csv(test_data / "default_credit_taiwan" / "credit-card-clients.csv")
    assert data.inputs.values.shape == (30_000, 6, 3)
    assert data.names == ("status", "bill", "payment")
    np.testing.assert_array_equal(data.inputs.values[:, -1, 0], frame["PAY_0"])
    np.testing.assert_array_equal(data.inputs.values[:, 0, 1], frame["BILL_AMT6"])
    np.testing.assert_array_equal(data.inputs.values[:, 1, 2], frame["PAY_AMT5"])
    assert 1 - data.y.mean() == pytest.approx(0.2212)  # of the clients default, as the source says


def test_the_audit_tells_what_sklearn_and_pandas_tell_of_the_same_people(done, test_data):
    where, report = done
    mine, rows = split(people(test_data), 2500, 1500, 0)
    everyone = people(test_data)
    model = read(where / "model", mine, Spec())
    score = model.predict(everyone.inputs.take(rows))
    y, women = everyone.y[rows], everyone.groups["sex"].values[rows] == 1
    found = measures(report, "performance.overall")
    assert found["auc", ()].value == pytest.approx(roc_auc_score(y, score), abs=1e-9)
    assert found["auc", ()].value > 0.7  # the history says a good deal, even to a network that saw 2,500 people
    share = [(score[group] >= 0.5).mean() for group in (~women, women)]
    gap = measures(report, "fairness.selection")
    found_gap = next(e for (name, _), e in gap.items() if name == "demographic_parity_difference")
    assert found_gap.value == pytest.approx(abs(share[0] - share[1]), abs=1e-9)
    assert found_gap.interval.low <= found_gap.value <= found_gap.interval.high


def test_single_decisions_are_told_month_by_month(done):
    where, report = done
    outcome = next(one for one in report.all_outcomes if one.check == "explain.cases")
    shown = [e for e in outcome.evidence if isinstance(e, Table)]
    assert [e.view for e in shown] == ["timeline"] * 3
    for each in shown:
        assert each.columns[:4] == ("step", "status", "bill", "payment")
        assert len(each.rows) == 6
    page = (where / "out" / "report.html").read_text("utf-8")
    assert page.count('<svg class="timeline"') == 3
    assert "found to be default" in page
