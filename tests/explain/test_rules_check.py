"""The rules of a model as evidence: agreement, flagged clauses, rivals, traces, and the picture of a trace."""

import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from samples import HOSTILE
from subjects import context_of, find

from audit import codec
from audit.core import Codes, DataSpec, MissingOffer, NotApplicable, Table, UsageError, stream
from audit.data.rules import Clause, Literal, Rules, clause_of
from audit.data.tabular import Tabular
from audit.data.worlds.base import planted
from audit.drawing import pictures
from audit.explain.clauses import cramers_v, scan
from audit.explain.rules import rules as check
from audit.explain.traces import trace
from audit.models import reference
from audit.subject import assemble

SPEC = codec.spec_from_toml(
    '[model]\nkind = "family"\nfamily = "rule_net"\n[data]\nworld = "rules"\n[groups]\nattributes = ["sex"]\n'
)
COLUMNS = ("income", "debt", "history", "zip", "n1", "n2", "sex")
TRUE = Rules(
    columns=COLUMNS,
    clauses=(
        clause_of("income > 0 & debt <= 0.5", COLUMNS),
        clause_of("history > 1", COLUMNS),
        clause_of("zip <= -0.5 & sex <= 0.5", COLUMNS, accepts=False),
    ),
)


@pytest.fixture(scope="module")
def world():
    return planted(DataSpec(world="rules"))


@pytest.fixture(scope="module")
def subject(world):
    data = world.draw(4000, stream(1, "audited"))
    model = reference.trained("rule_net", world.draw(4000, stream(0, "train")), SPEC, options={"epochs": 20})
    return assemble(SPEC, data, model)


@pytest.fixture(scope="module")
def evidence(subject):
    return list(check(subject, context_of()))


def tables(evidence, name):
    return [each for each in evidence if isinstance(each, Table) and each.name == name]


def test_the_rules_agree_with_the_model_and_the_planted_clause_is_flagged(evidence):
    agreement = find(evidence, "rule_agreement")
    assert (agreement.value, agreement.n) == (1.0, 4000)
    flagged = find(evidence, "flagged_clauses", sex="*")
    assert flagged.value >= 1
    assert "sex" in flagged.note


def test_agreement_falls_where_other_rules_are_exported(subject):
    class Other:
        """The same model that tells of other rules."""

        offers, card, family = subject.model.offers, subject.model.card, subject.model.family
        predict = subject.model.predict

        def rules(self):
            return TRUE

    told = find(check(replace(subject, model=Other()), context_of()), "rule_agreement")
    expected = (TRUE.decide(subject.data.inputs.values) == subject.score).mean()
    assert told.value == pytest.approx(expected)
    assert told.value < 1


def test_the_table_of_rules_counts_coverage_and_precision(subject, evidence):
    (table,) = tables(evidence, "rules")
    found, x = subject.model.rules(), subject.data.inputs.values
    assert len(table.rows) == len(found.clauses)
    for clause, row in zip(found.clauses, table.rows, strict=True):
        held = np.all([each.holds(x) for each in clause.literals], axis=0)
        assert row[3:5] == (held.mean(), held.sum())
        assert row[5] == pytest.approx((subject.y[held] == int(clause.accepts)).mean())
        assert row[6] <= row[5] <= row[7]


def test_rivals_are_scored_on_rows_that_they_have_not_seen(evidence):
    accuracy = {model: find(evidence, "accuracy", model=model) for model in ("rules", "tree", "linear")}
    assert {each.n for each in accuracy.values()} == {2000}
    assert accuracy["rules"].value > 0.97
    assert accuracy["tree"].value > 0.95, "a small tree can say these rules as well"
    assert accuracy["linear"].value < 0.92, "a sum of weights cannot"
    assert 2 <= find(evidence, "size", model="tree").value <= 8
    assert find(evidence, "size", model="linear").value <= len(COLUMNS)


def test_traces_tell_accepted_and_denied_decisions(subject, evidence):
    shown = tables(evidence, "trace")
    assert len(shown) == 4
    assert {each.title.split(": ")[1].split()[0] for each in shown} == {"accepted", "denied"}
    for table in shown:
        row = int(table.title.split(":")[0].removeprefix("Row "))
        assert ("accepted" in table.title) == bool(subject.score[row])
    again = [each.title for each in tables(check(subject, context_of()), "trace")]
    assert again == [each.title for each in shown]


def test_a_trace_says_what_was_asked_what_the_row_is_and_what_follows():
    woman = np.array([1.0, 0.2, 0.0, -0.8, 0.0, 0.0, 0.0])
    found = trace(TRUE, woman)
    assert (found.decision, found.because) == (0, "denied: clause 3 denies, though clause 1 accepts")
    rows = found.table().rows
    assert rows[0] == ("1 accepts", "income > 0", 0.0, 1.0, "yes", "fires")
    assert rows[2] == ("2 accepts", "history > 1", 1.0, 0.0, "no", "does not fire")
    assert [row[5] for row in rows] == ["fires"] * 2 + ["does not fire"] + ["fires"] * 2
    man = np.where(np.arange(7) == 6, 1.0, woman)
    assert trace(TRUE, man).because == "accepted by clause 1; no clause denies"
    missing = np.where(np.arange(7) == 0, np.nan, man)
    assert trace(TRUE, missing).because == "denied: no clause accepts"
    assert trace(TRUE, missing).table().rows[0][3] == "missing"
    with pytest.raises(UsageError, match="7 numbers"):
        trace(TRUE, woman[:3])


def test_a_trace_names_levels_of_categories_and_clauses_without_conditions():
    job = Literal(column=0, name="job", op="is not", threshold=1.0, level="clerk")
    rules = Rules(columns=("job",), clauses=(Clause(literals=()), Clause(literals=(job,), accepts=False)))
    table = trace(rules, np.array([2.0]), {"job": ("cook", "clerk", "judge")}).table()
    assert table.rows[0][:5] == ("1 accepts", "always", None, None, "yes")
    assert table.rows[1][:5] == ("2 denies", "job is not clerk", "clerk", "judge", "yes")


def test_the_picture_shows_every_condition_and_tells_it_in_words():
    picture = pictures.draw(trace(TRUE, np.array([1.0, 0.2, 0.0, -0.8, 0.0, 0.0, 0.0])).table())
    root = ET.fromstring(picture)
    words = "".join(root.itertext())
    for condition in ("income > 0", "debt ≤ 0.5", "history > 1", "zip ≤ -0.5", "sex ≤ 0.5"):
        assert condition in words
    assert [each.get("class") for each in root.iter("rect")] == ["b", "up"], "what accepts, and what denies"
    assert len(list(root.iter("path"))) == 5
    assert "Clause 2 accepts: does not fire, not met: history > 1" in root.find("desc").text
    assert "<script" not in trace(TRUE, np.zeros(7))._repr_html_()


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_stay_words(text):
    rules = Rules(columns=(text,), clauses=(Clause(literals=(Literal(column=0, name=text, op=">", threshold=0.0),)),))
    root = ET.fromstring(pictures.draw(trace(rules, np.ones(1)).table(text)))
    assert not [each for each in root.iter() if each.tag.lower() in ("script", "img", "a", "iframe")]


def test_the_scan_names_the_planted_clause_and_no_lawful_one(world):
    data = world.draw(20_000, stream(2, "scan"))
    found = list(scan(TRUE, data.inputs, data.groups, np.random.default_rng(0)))
    why = {str(each.literal): each.why for each in found}
    assert why == {
        "income > 0": "",
        "debt ≤ 0.5": "",
        "history > 1": "",
        "zip ≤ -0.5": "proxy",
        "sex ≤ 0.5": "attribute",
    }
    assert {each.clause for each in found if each.why} == {2}
    # P(zip <= -.5 | sex) and P(income > 0 | sex) are normal: phi of a two by two table with equal groups.
    from statistics import NormalDist

    for name, low, high in (
        ("zip ≤ -0.5", NormalDist(0.8, 0.6).cdf(-0.5), NormalDist(-0.8, 0.6).cdf(-0.5)),
        ("income > 0", NormalDist(0.5, 1).cdf(0), NormalDist(-0.5, 1).cdf(0)),
    ):
        middle = (low + high) / 2
        phi = (high - low) / 2 / np.sqrt(middle * (1 - middle))
        one = next(each for each in found if str(each.literal) == name)
        assert one.association == pytest.approx(phi, abs=0.02)
        assert one.interval.low <= phi <= one.interval.high


def test_cramers_v_is_scipys():
    from scipy.stats.contingency import association

    rng = np.random.default_rng(0)
    tables = rng.integers(1, 60, (20, 3, 2))
    expected = [association(each, method="cramer") for each in tables]
    assert cramers_v(tables) == pytest.approx(expected, abs=1e-12)
    assert np.isnan(cramers_v(np.array([[5, 0], [7, 0]])))


def test_a_column_that_tells_the_attribute_is_the_attribute():
    rng = np.random.default_rng(0)
    group = rng.integers(0, 2, 500)
    table = Tabular(values=np.column_stack([7.0 - 3 * group, rng.normal(size=500)]), columns=("code", "x"))
    codes = {"race": Codes(values=group.astype(np.uint8), levels=("a", "b"))}
    rules = Rules(columns=table.columns, clauses=(clause_of("code > 5 & x > 9", table.columns),))
    one, other = scan(rules, table, codes, np.random.default_rng(1))
    assert (one.why, one.association) == ("attribute", pytest.approx(1.0))
    assert (other.why, other.association, other.interval) == ("", None, None)
    with pytest.raises(UsageError, match="proxy"):
        next(scan(rules, table, codes, rng, proxy=0.0))


def test_what_cannot_be_done_is_told(subject):
    with pytest.raises(UsageError, match="leaves"):
        list(check(subject, context_of(), leaves=1))
    bare = replace(subject, y=None)
    assert "no labels" in find(check(bare, context_of()), "accuracy", model="rules").note
    with pytest.raises(NotApplicable, match="table"):
        list(check(replace(subject, data=replace(subject.data, inputs=np.ones((4, 4)))), context_of()))
    other = reference.trained("mlp", subject.data, SPEC, options={"epochs": 1})
    with pytest.raises(MissingOffer, match="rules"):
        other.rules()
