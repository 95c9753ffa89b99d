"""What becomes of data and a model before the first check."""

from dataclasses import replace

import numpy as np
import pytest

from audit import codec, engine
from audit.core import Card, Codes, Dataset, Measure, Origin, Table
from audit.data.graphs import graph
from audit.data.tabular import Tabular
from audit.data.texts import tokenised
from audit.models.load import wrap
from audit.reports.arrange import redact
from audit.subject import assemble, fingerprint

SPEC = codec.spec_from_toml('[data]\npath = "x.csv"\n[checks]\nonly = ["fairness", "performance"]\n')


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 5, (400, 2)).astype(np.float64)
    return Dataset(
        inputs=Tabular(values=values, columns=("a", "b"), integers=frozenset("ab")),
        groups={"sex": Codes(values=(values[:, 0] > 2).astype(np.uint8), levels=("f", "m"))},
        origin=Origin(name="made"),
        y=(values.sum(axis=1) + rng.normal(size=400) > 4).astype(np.int64),
        names=("a", "b"),
    )


def test_whole_numbers_that_are_disturbed_are_not_cut_back(data):
    assert data.inputs.frame()["a"].dtype == np.int64
    disturbed = data.inputs.with_values(data.inputs.values + 0.3)
    assert disturbed.frame()["a"].to_numpy() == pytest.approx(data.inputs.values[:, 0] + 0.3)


def test_a_model_that_writes_into_its_input_does_not_write_into_the_data(data):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    before = data.inputs.values.copy()
    kept = make_pipeline(StandardScaler(), LogisticRegression()).fit(before, data.y)
    writing = make_pipeline(StandardScaler(copy=False), LogisticRegression()).fit(before.copy(), data.y)
    scores = [assemble(SPEC, data, wrap(model, data, SPEC)).score for model in (kept, writing)]
    assert np.array_equal(data.inputs.values, before)
    assert scores[1] == pytest.approx(scores[0])


class Moody:
    """A model that answers otherwise each time."""

    family, offers, card = "moody", frozenset(), Card(family="moody", kind="callable")

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def predict(self, inputs):
        return self.rng.random(len(inputs))


def test_a_model_that_does_not_repeat_itself_is_told(data):
    assert any("asked again" in note for note in assemble(SPEC, data, Moody()).data.notes)
    steady = wrap(lambda x: np.full(len(x), 0.2), data, SPEC)
    notes = assemble(SPEC, data, steady).data.notes
    assert not any("asked again" in note for note in notes)
    assert any("Every decision is negative" in note for note in notes)


def test_equal_data_have_equal_fingerprints_and_renamed_groups_have_not(data):
    assert fingerprint(data) == fingerprint(replace(data, notes=("x",)))
    renamed = replace(data, groups={"sex": replace(data.groups["sex"], levels=("m", "f"))})
    assert fingerprint(renamed) != fingerprint(data)
    assert fingerprint(replace(data, origin=Origin(name="f", sha256="abc"))) == "abc"


def test_fingerprints_tell_graphs_with_other_ties_and_texts_with_other_words_apart():
    features, lines = np.ones((3, 2)), (["a b"], ["a c"])
    first, second = (graph(features, np.array([tie])) for tie in ([0, 1], [1, 2]))
    prints = [
        fingerprint(Dataset(inputs=inputs, groups={}, origin=Origin(name="here")))
        for inputs in (first, second, *(tokenised(each, ["[PAD]", "[UNK]", "[MASK]", "a", "b", "c"]) for each in lines))
    ]
    assert len(set(prints)) == 4


def test_one_score_says_nothing_about_three_classes(data):
    three = replace(data, y=np.arange(400) % 3, classes=("a", "b", "c"), inputs=None, score=np.full(400, 0.7))
    report = engine.run(SPEC, assemble(SPEC, three, None))
    overall = next(o for o in report.outcomes if o.check == "performance.overall")
    assert all(e.value is None for e in overall.evidence if isinstance(e, Measure))


def test_suppression_hides_the_counts_as_well(data):
    spec = replace(SPEC, report=replace(SPEC.report, suppress_below=300))
    recorded = replace(data, inputs=None, score=data.inputs.values[:, 0] / 5)
    report = engine.run(spec, assemble(spec, recorded, None))
    small = {row[1] for row in next(t for t in _tables(report) if t.name == "confusion").rows if row[2] < 300}
    assert small
    for table in _tables(redact(report)):
        for row in table.rows:
            if row[1] in small:
                assert not [cell for cell in row if isinstance(cell, int | float)]


def _tables(report):
    return [e for o in report.outcomes for e in o.evidence if isinstance(e, Table)]
