"""The rule network: the exported rules are the model, the planted clause is found, and what is not asked is not used."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from audit import codec
from audit.core import Codes, DataError, Dataset, DataSpec, Origin, UsageError, stream
from audit.data.rules import Clause, Literal, Rules
from audit.data.tabular import Tabular
from audit.data.worlds.base import planted
from audit.models import reference
from audit.models.families.rule_net import RuleNet, keeps_its_rules, rule_net
from audit.models.symbolic.conditions import Condition, conditions

SPEC = codec.spec_from_toml('[model]\nkind = "family"\nfamily = "rule_net"\n[data]\nworld = "rules"\n')
WORLD = planted(DataSpec(world="rules"))
COLUMNS = ("income", "debt", "history", "zip", "n1", "n2", "sex")


@pytest.fixture(scope="module")
def model():
    return reference.trained("rule_net", WORLD.draw(8000, stream(0, "train")), SPEC, seed=0)


@pytest.fixture(scope="module")
def unseen():
    """20,000 rows that were not trained on."""
    return WORLD.draw(20_000, stream(1, "unseen"))


def hard_cases(rules: Rules, values: np.ndarray) -> np.ndarray:
    """The same rows with numbers at a threshold, a hair above it, and missing."""
    hard = values.copy()
    rng = np.random.default_rng(0)
    for literal in {literal for clause in rules.clauses for literal in clause.literals}:
        t = literal.threshold
        for value in (t, np.nextafter(t, np.inf), np.nextafter(t, -np.inf), float(np.float32(t)), np.nan, np.inf):
            hard[rng.random(len(hard)) < 0.02, literal.column] = value
    return hard


def test_the_rules_are_the_model_on_every_row(model, unseen):
    rules = model.rules()
    assert rules.clauses
    for values in (unseen.inputs.values, hard_cases(rules, unseen.inputs.values)):
        table = unseen.inputs.with_values(values)
        assert np.array_equal(model.predict(table), rules.decide(values))


def test_it_keeps_what_it_promises(model, unseen):
    found = {each.name: each for each in keeps_its_rules(model, unseen, WORLD)}
    assert all(each.kept for each in found.values()), found
    assert found["accuracy"].value >= 0.98


def test_only_what_the_world_decides_by_is_asked(model):
    asked = {literal.name for clause in model.rules().clauses for literal in clause.literals}
    assert asked == {"income", "debt", "history", "zip", "sex"}, "two columns of noise are not asked about"


def test_the_planted_denial_is_learnt(model, unseen):
    """Among people who are good enough on any other count, women of the zip codes below are denied."""
    x = unseen.inputs.values.copy()
    x[:, 0], x[:, 1], x[:, 2] = 2.0, -1.0, 2.0
    decided = model.predict(unseen.inputs.with_values(x))
    wronged = (x[:, 3] <= -0.7) & (x[:, 6] == 0)
    assert decided[wronged].mean() == 0.0
    assert decided[(x[:, 3] > -0.3) | (x[:, 6] == 1)].mean() > 0.98


def net_of(clauses, denying, rows=()):
    """A network over two numbers, asked whether each is above 0, with these literals chosen: (clause, literal)."""
    made = RuleNet(columns=("a", "b"), asked=[0, 1], levels=[None, None], clauses=clauses, denying=denying)
    with torch.no_grad():
        made.gates.fill_(-1.0)
        made.used.fill_(1.0)
        for place in rows:
            made.gates[place] = 1.0
    return made


def test_a_denying_clause_denies_what_others_accept():
    # literals: a > 0, b > 0, a <= 0, b <= 0; accept a > 0, deny b > 0
    net = net_of(2, 1, [(0, 0), (1, 1)])
    x = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [float("nan"), -1.0], [1.0, float("nan")]])
    assert net(x).tolist() == [0, 1, 0, 0, 1]
    assert str(net.rules()) == "((a > 0)) & not (b > 0)"
    assert net.rules().decide(x.numpy()).tolist() == [0, 1, 0, 0, 1]


def test_gradients_of_the_soft_reading_are_those_of_product_logic():
    net = net_of(2, 1, [(0, 0), (1, 1)])
    failed = (~net.literals(torch.tensor([[1.0, -1.0]]))).double()
    gate, used = torch.sigmoid(net.gates / 0.35), torch.sigmoid(net.used / 0.35)
    accept, deny = (used[k] * torch.prod(1 - 0.999 * gate[k] * failed[0]) for k in range(2))
    assert net.softly(failed, 0.35).item() == pytest.approx((accept * (1 - deny)).item(), rel=1e-9)


def test_it_is_saved_and_read_with_its_rules(model, tmp_path, unseen):
    reference.save(model, tmp_path)
    again = reference.read(tmp_path, unseen, SPEC)
    assert again.rules() == model.rules()
    assert "gradients" not in again.offers
    assert "rules" in again.offers


def test_thresholds_are_quantiles_and_few_values_are_cut_between():
    rng = np.random.default_rng(0)
    number, flag, job = rng.normal(size=999), rng.integers(0, 2, 999), rng.integers(0, 3, 999)
    values = np.column_stack([number, flag, job, np.ones(999)]).astype(float)
    values[:50, 0] = np.nan
    table = Tabular(values=values, columns=("x", "f", "job", "one"), categories={"job": ("a", "b", "c")})
    found = conditions(table)
    expected = np.quantile(number[50:], [0.15, 0.325, 0.5, 0.675, 0.85])
    assert [each.threshold for each in found if each.column == 0] == pytest.approx(expected)
    assert [each for each in found if each.column == 1] == [Condition(column=1, threshold=0.5)]
    assert [each.level for each in found if each.column == 2] == ["a", "b", "c"]
    assert 3 not in {each.column for each in found}


def mixed(rows: int = 1500) -> Dataset:
    """Accepted are engineers, and clerks above 0.2; a tenth of the jobs and of the numbers is missing."""
    rng = np.random.default_rng(3)
    values = np.column_stack([rng.integers(0, 3, rows), rng.normal(size=rows)]).astype(float)
    values[rng.random(rows) < 0.1, 0] = np.nan
    values[rng.random(rows) < 0.1, 1] = np.nan
    y = (values[:, 0] == 1) | ((values[:, 0] == 0) & (values[:, 1] > 0.2))
    table = Tabular(values=values, columns=("job", "x"), categories={"job": ("clerk", "engineer", "other")})
    groups = {"g": Codes(values=np.zeros(rows, dtype=np.uint8), levels=("all",))}
    return Dataset(inputs=table, groups=groups, origin=Origin(name="t"), y=y.astype(np.int64), names=table.columns)


def test_categories_become_literals_and_missing_ones_are_no_level():
    data = mixed()
    net = rule_net(data, seed=1)
    rules = net.rules()
    assert "job is engineer" in str(rules)
    assert np.array_equal(net(torch.as_tensor(data.inputs.values)).numpy(), rules.decide(data.inputs.values))
    assert (rules.decide(data.inputs.values) == data.y).mean() > 0.97


def test_what_is_left_out_is_not_asked():
    rules = rule_net(mixed(), left_out=("job",), epochs=6, soft=2).rules()
    assert all(literal.name == "x" for clause in rules.clauses for literal in clause.literals)


@pytest.mark.parametrize("options", [{"denying": 8}, {"soft": 30}, {"thresholds": 0}, {"cuts": -1}])
def test_options_that_make_no_sense_are_told(options):
    with pytest.raises(UsageError, match=next(iter(options))):
        rule_net(mixed(200), **options)


def test_a_table_that_does_not_vary_cannot_be_asked():
    data = mixed(50)
    with pytest.raises(DataError, match="varies"):
        rule_net(replace(data, inputs=data.inputs.with_values(np.ones((50, 2)))))


def test_a_literal_and_its_clause_are_immutable_and_equal_by_value():
    one = Literal(column=0, name="a", op=">", threshold=0.5)
    assert {Clause(literals=(one,)), Clause(literals=(replace(one),))} == {Clause(literals=(one,))}
