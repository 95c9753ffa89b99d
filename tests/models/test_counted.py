"""Counting against the model's own count, and a budget that is kept."""

import json

import numpy as np
import pytest
from little_models import Open, Plain, seeded_mlp, table

from audit import codec, engine
from audit.core import BudgetSpent
from audit.explain import game, shapley
from audit.models.counted import Counted
from audit.subject import prepare

WORLD = """
[model]
kind = "oracle"
[data]
world = "credit"
rows = 300
[groups]
attributes = ["sex"]
[checks]
only = ["explain.global_importance", "fairness.error_rates", "carbon.audit"]
"""


def test_the_count_is_what_the_model_was_asked_for():
    plain = Plain(lambda x: np.tanh(x.sum(axis=1)) / 2 + 0.5)
    counted = Counted(model=plain)
    found = shapley(game(counted, table(np.eye(3)), table(np.zeros((4, 3)))))
    assert counted.evaluations == sum(plain.calls)
    assert found.evaluations == counted.evaluations


def test_gradients_count_and_the_rest_passes_through():
    counted = Counted(model=Open(seeded_mlp(3)))
    leaf, forward = counted.attribution_point(table(np.eye(3)))
    forward(leaf)
    assert counted.evaluations == 3
    assert counted.module is counted.model.module
    with pytest.raises(AttributeError):
        _ = counted.nothing


def test_a_budget_is_never_passed():
    plain = Plain(lambda x: x[:, 0])
    counted = Counted(model=plain, limit=10)
    counted.predict(table(np.zeros((10, 1))))
    with pytest.raises(BudgetSpent, match="budget of 10 model rows"):
        counted.predict(table(np.zeros((1, 1))))
    assert sum(plain.calls) == 10


def run(tmp_path, budget: str = ""):
    spec = codec.spec_from_toml(WORLD + (f"[run]\nbudget = {budget}\n" if budget else ""))
    return engine.run(spec, prepare(spec, tmp_path))


def test_a_check_that_spends_its_budget_is_cut_short_and_the_others_go_on(tmp_path):
    report = run(tmp_path, "1000")
    by_id = {outcome.check: outcome for outcome in report.all_outcomes}
    assert by_id["explain.global_importance"].status == "stopped"
    assert "raise --budget" in by_id["explain.global_importance"].reason
    assert by_id["fairness.error_rates"].status == "done"
    assert not report.complete


def test_each_check_tells_what_it_cost(tmp_path):
    report = run(tmp_path)
    (outcome,) = (outcome for outcome in report.all_outcomes if outcome.check == "carbon.audit")
    (costs,) = (piece for piece in outcome.evidence if piece.name == "checks")
    rows = {row[0]: row[1:] for row in costs.rows}
    (importance,) = (o for o in report.outcomes if o.check == "explain.global_importance")
    (evaluations,) = (m for m in importance.evidence if m.name == "evaluations")
    assert rows["explain.global_importance"][0] == evaluations.value
    assert rows["fairness.error_rates"][0] == 0
    assert rows["explain.global_importance"][2] > 0
    assert json.loads(codec.dumps(report))["spec"]["run"]["budget"] is None
