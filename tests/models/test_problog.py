"""ProbLog programs of rules: chances worked out by hand and by brute force, proofs that add up, flips that name the rule."""

import itertools
import math
import subprocess
import sys
from statistics import NormalDist

import numpy as np
import pytest

from audit.core import UsageError
from audit.data.rules import Literal, Rules, clause_of
from audit.models.symbolic import problog

pytest.importorskip("problog")
COLUMNS = ("income", "debt", "history", "zip", "sex")
RULES = Rules(
    columns=COLUMNS,
    clauses=(
        clause_of("income > 0 & debt <= 0.5", COLUMNS),
        clause_of("history > 1", COLUMNS),
        clause_of("zip <= -0.5 & sex = 0", COLUMNS, accepts=False),
    ),
)
NOISE = {"income": 1.0, "debt": 2.0, "history": 0.5, "zip": 0.25}
at = NormalDist().inv_cdf
# P(income > 0) = .8, P(debt <= .5) = .7, P(history > 1) = .2, P(zip <= -.5) = .5
ROW = np.array([at(0.8), 0.5 - 2 * at(0.7), 1 + 0.5 * at(0.2), -0.5, 0.0])
STRENGTH = (1.0, 1.0, 0.9)
BY_HAND = (1 - (1 - 0.8 * 0.7) * (1 - 0.2)) * (1 - 0.9 * 0.5)


def test_the_chance_of_a_decision_is_what_the_hand_finds():
    found = problog.chances(problog.program(RULES, ROW, noise=NOISE, strength=STRENGTH))
    assert pytest.approx(0.3564, abs=1e-12) == BY_HAND
    assert found.accepted == pytest.approx(BY_HAND, abs=1e-9)
    assert found.clauses == pytest.approx((0.56, 0.2, 0.45), abs=1e-9)


def test_proofs_are_disjoint_and_add_up():
    made = problog.program(RULES, ROW, noise=NOISE, strength=STRENGTH)
    found = problog.proofs(made)
    assert math.fsum(proof.probability for proof in found) == pytest.approx(BY_HAND, abs=1e-9)
    assert found[0].probability == max(proof.probability for proof in found) > 0
    for one, other in itertools.combinations(found, 2):
        assert any(dict(other.facts).get(words, so) != so for words, so in one.facts), "two proofs can hold at once"


def test_another_group_names_the_rule_that_changes():
    told = list(problog.changed(RULES, ROW, "sex", 1.0, noise=NOISE, strength=STRENGTH))
    assert [name for name, _, _ in told] == ["accepted", "not (zip ≤ -0.5 & sex is 0)"]
    assert told[0][1:] == pytest.approx((0.3564, 0.648), abs=1e-9)
    assert told[1][1:] == pytest.approx((0.45, 0.0), abs=1e-9)


def test_two_thresholds_of_one_column_are_not_taken_for_independent():
    rules = Rules(columns=("x",), clauses=(clause_of("x > 0 & x <= 1", ("x",)), clause_of("x > 2", ("x",))))
    found = problog.chances(problog.program(rules, np.array([0.7]), noise={"x": 1.3}))
    cdf = NormalDist(0.7, 1.3).cdf
    assert found.accepted == pytest.approx(cdf(1) - cdf(0) + 1 - cdf(2), abs=1e-9)


def test_levels_exclude_each_other():
    def level(k, op="is"):
        return Literal(column=0, name="job", op=op, threshold=float(k), level="abc"[k])

    clauses = [clause_of("x > 0", ("job", "x")), clause_of("x <= 0", ("job", "x"))]
    rules = Rules(
        columns=("job", "x"),
        clauses=tuple(
            type(clause)(literals=(*clause.literals, literal))
            for clause, literal in zip(clauses, (level(0), level(1, "is not")), strict=True)
        ),
    )
    # The recorded level a is right with .7; else, all alike, it is b or one that no rule names.
    found = problog.chances(problog.program(rules, np.array([0.0, 1.0]), noise={"job": 0.3, "x": 2.0}))
    p = NormalDist(1.0, 2.0).cdf(0)
    assert found.accepted == pytest.approx((1 - p) * 0.7 + p * 0.85, abs=1e-9)


def test_without_doubt_the_program_decides_as_the_rules_do():
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.normal(size=(25, 4)), rng.integers(0, 2, 25)])
    rows[0, 0], rows[1, 2], rows[2, 3] = np.nan, 1.0, np.nan
    decided = RULES.decide(rows)
    assert 0 < decided.sum() < len(rows)
    for row, decision in zip(rows, decided, strict=True):
        assert problog.chances(problog.program(RULES, row)).accepted == decision


def test_the_empty_rules_accept_nobody():
    empty = Rules(columns=("x",), clauses=())
    assert problog.chances(problog.program(empty, np.zeros(1))).accepted == 0.0
    assert problog.proofs(problog.program(empty, np.zeros(1))) == ()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"noise": {"wage": 1.0}}, "wage"),
        ({"noise": {"debt": -1.0}}, "debt"),
        ({"strength": (1.0,)}, "3 probabilities"),
    ],
)
def test_bad_input_is_told(options, named):
    with pytest.raises(UsageError, match=named):
        problog.program(RULES, ROW, **options)


def test_without_problog_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "problog", None)
    with pytest.raises(UsageError, match=r"neural-audit\[symbolic\]"):
        problog.chances(problog.program(RULES, ROW))


def test_the_text_runs_through_problogs_own_command_line(tmp_path):
    path = tmp_path / "rules.pl"
    path.write_text(problog.program(RULES, ROW, noise=NOISE, strength=STRENGTH).text + "query(accepted).\n")
    told = subprocess.run([sys.executable, "-m", "problog", str(path)], capture_output=True, text=True, check=True)
    assert float(told.stdout.split(":")[1]) == pytest.approx(BY_HAND, abs=1e-6)
