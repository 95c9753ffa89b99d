"""The cost of recourse by group against the known distance to the boundary."""

import numpy as np
import pandas as pd
import pytest
from little_models import Plain, codes, context, sigmoid, subject, table

import audit
from audit import stats
from audit.core import DataSpec, ModelSpec, NotApplicable, Spec, Table, UsageError
from audit.data.worlds.credit import INCOME, credit
from audit.explain.recourse import recourse
from audit.explain.sample import sampled_rows
from audit.models.adapters.oracle import oracle


def measure(evidence, name, **where):
    (found,) = [e for e in evidence if e.name == name and dict(getattr(e, "where", {})) == where]
    return found


def lender(gap=0.0, n=400, seed=0, sizes=0.4):
    """Approved from x0 + x1 of 0 on; women's x0 is lower by `gap` where they are refused."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    female = rng.random(n) < sizes
    x[:, 0] -= gap * (female & (x.sum(axis=1) < 0))
    sex = codes(np.where(female, "female", "male"))
    return subject(Plain(lambda v: sigmoid(v.sum(axis=1))), table(x, ["a", "b"]), None, {"sex": sex})


def test_costs_in_the_credit_world_are_the_distance_to_the_boundary():
    """With income alone to change, the cost is -logit / weight in income's median absolute deviations."""
    world = credit()
    draw = world.draw(600, np.random.default_rng(3))
    model = oracle(Spec(model=ModelSpec(kind="oracle"), data=DataSpec(world="credit")), draw)
    s = subject(model, draw.inputs, draw.y, dict(draw.groups))
    fixed = ("debt", "history", "zip", "n1", "n2")
    found = list(recourse(s, context(), rows=600, background=600, immutable=fixed, count=1))
    income, seen = draw.inputs.values[:, 0], draw.inputs.values[:, 0]
    need = -world.oracle().logit(draw.inputs.values) / INCOME
    refused = need > 0
    reach = income + need <= seen.max()
    cost = np.where(reach, need / np.median(np.abs(seen - np.median(seen))), np.inf)
    for level, name in enumerate(("female", "male")):
        among = refused & (draw.inputs.values[:, 6] == level)
        there = measure(found, "recourse_cost", sex=name)
        assert there.value == pytest.approx(np.median(cost[among]), rel=1e-3)
        assert there.interval.low <= there.value <= there.interval.high
        assert measure(found, "no_recourse_share", sex=name).value == pytest.approx(1 - reach[among].mean())
    gap = measure(found, "recourse_cost_gap", sex="*")
    medians = [np.median(cost[refused & (draw.inputs.values[:, 6] == level)]) for level in (0, 1)]
    assert gap.value == pytest.approx(abs(medians[0] - medians[1]), rel=1e-3)
    assert gap.interval.low > 0
    assert measure(found, "recourse_cost_gap_p", sex="*").value < 0.01
    assert "sex: protected" in next(e for e in found if e.name == "what_would_have_changed").note


def test_a_planted_gap_is_found_and_chance_is_not():
    planted = list(recourse(lender(gap=1.0), context(), rows=400, count=1))
    assert measure(planted, "recourse_cost_gap_p", sex="*").value < 0.01
    assert measure(planted, "recourse_cost_gap", sex="*").interval.low > 0
    ps, hits = [], 0
    for seed in range(40):
        found = list(recourse(lender(seed=seed, n=120), context(seed), rows=60, background=32, count=1))
        ps.append(measure(found, "recourse_cost_gap_p", sex="*").value)
        hits += measure(found, "recourse_cost_gap", sex="*").interval.low <= 0
    assert np.mean(np.array(ps) <= 0.05) <= 0.15
    assert 0.3 < np.mean(ps) < 0.7
    assert hits >= 34


def test_the_interval_of_a_median_covers_it():
    """The costs of exponential needs have a known median, ln 2."""
    rng = np.random.default_rng(0)
    from audit.explain.recourse import _medians, _percentiles

    inside = 0
    for _ in range(200):
        low, high = _percentiles(_medians(rng.exponential(size=60), rng), 0.95)
        inside += low <= np.log(2) <= high
    assert 0.9 <= inside / 200 <= 0.99


def test_people_without_any_change_count_as_infinitely_dear():
    s = lender()
    none = list(recourse(s, context(), immutable=("a", "b")))
    assert measure(none, "no_recourse_share").value == 1
    assert measure(none, "recourse_cost").value is None
    assert "100%" in measure(none, "recourse_cost").note
    assert measure(none, "features_changed").value is None
    assert measure(none, "recourse_cost_gap", sex="*").value is None
    table_ = next(e for e in none if e.name == "what_would_have_changed")
    assert table_.rows[0][2] == "no feature may change"
    falling = list(recourse(s, context(), immutable=("a",), falling=("b",)))
    assert measure(falling, "no_recourse_share").value == 1
    rising = list(recourse(s, context(), immutable=("a",), rising=("b",)))
    assert measure(rising, "no_recourse_share").value < 0.2


def test_a_search_that_was_stopped_counts_for_nobody_without_recourse(monkeypatch):
    from audit.explain import search

    x = np.tile(np.eye(14), (4, 1))
    deep = subject(Plain(lambda v: sigmoid(v.sum(axis=1) - 12.5)), table(x))
    assert measure(list(recourse(deep, context(), count=1)), "no_recourse_share").value == 0
    monkeypatch.setattr(search, "TRIALS", 1)
    found = list(recourse(deep, context(), count=1))
    assert measure(found, "recourse_cost").note.endswith("; of 56 the search was stopped at its limit")
    stopped = measure(found, "no_recourse_share")
    assert stopped.value is None
    assert stopped.note == "56 whose search was stopped at its limit are not counted"


def test_the_features_that_move_and_how_many():
    found = list(recourse(lender(), context(), weights={"b": 30.0}, count=2, shown=2))
    bars = next(e for e in found if e.name == "changed_features")
    assert bars.view == "bars"
    assert bars.rows[0][0] == "a"
    assert bars.rows[0][1] > 0.9
    low, high = stats.wilson(round(bars.rows[0][1] * 96), 96)
    assert bars.rows[0][2:] == pytest.approx((float(low), float(high)))
    cases = next(e for e in found if e.name == "what_would_have_changed")
    assert {row[0] for row in cases.rows} <= set(range(400))
    assert len({row[0] for row in cases.rows}) == 2
    assert all(row[4] >= 0.5 for row in cases.rows)
    changed = measure(found, "features_changed")
    assert 1 <= changed.value <= 2
    assert changed.n == 96


def test_values_stay_within_the_shared_background():
    s, shared = lender(), context()
    seen = s.data.inputs.values[sampled_rows(s, shared, 20, "background")]
    found = list(recourse(s, shared, background=20, shown=96, immutable=("b",)))
    cases = next(e for e in found if e.name == "what_would_have_changed")
    ends = [float(row[2].split(" to ")[1]) for row in cases.rows if " to " in row[2]]
    assert ends
    assert max(ends) <= seen[:, 0].max() + 1e-3


def test_what_does_not_suit():
    with pytest.raises(UsageError, match="rows"):
        list(recourse(lender(), context(), rows=0))
    with pytest.raises(UsageError, match="immutable: allowed"):
        list(recourse(lender(), context(), immutable=("c",)))
    s = lender()
    approved = subject(Plain(lambda v: np.ones(len(v))), s.data.inputs)
    with pytest.raises(NotApplicable, match="nobody was refused"):
        list(recourse(approved, context()))
    three = subject(Plain(lambda v: np.full((len(v), 3), 1 / 3)), s.data.inputs)
    with pytest.raises(NotApplicable, match="one score"):
        list(recourse(three, context()))
    bare = list(recourse(subject(s.model, s.data.inputs), context(), count=1))
    assert not any("gap" in e.name for e in bare)
    alone = subject(s.model, s.data.inputs, None, {"sex": codes(["male"] * 400)})
    assert measure(list(recourse(alone, context(), count=1)), "recourse_cost_gap", sex="*").value is None


def test_german_credit_with_categories_through_a_report(test_data):
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    names = [f"c{i}" for i in range(1, 22)]
    frame = pd.read_csv(test_data / "german_credit" / "german.data", sep=" ", names=names)
    frame["good"] = (frame.pop("c21") == 1).astype(int)
    numbers, words = ["c2", "c5", "c8", "c13"], ["c1", "c3", "c4", "c6", "c9", "c20"]
    features = [*numbers, *words]
    columns = make_column_transformer((StandardScaler(), numbers), (OneHotEncoder(handle_unknown="ignore"), words))
    model = make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(frame[features], frame["good"])
    report = audit.run(
        model,
        frame,
        label="good",
        features=features,
        sensitive_features=["c9"],
        only=["explain.recourse"],
        params={"explain.recourse": {"rows": 30, "background": 64, "rising": ["c13"], "immutable": ["c20"]}},
    )
    (outcome,) = report.outcomes
    assert outcome.status == "done", outcome.reason
    cases = next(e for e in outcome.evidence if isinstance(e, Table) and e.name == "what_would_have_changed")
    assert not any("c9:" in row[2] or "c20:" in row[2] for row in cases.rows)
    assert any(": A1" in row[2] for row in cases.rows), "levels by their text"
    assert measure(outcome.evidence, "no_recourse_share").value < 0.5
