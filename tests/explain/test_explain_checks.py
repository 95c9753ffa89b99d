"""The two checks of explanations: what they yield, and that neither depends on the other having run."""

import numpy as np
import pytest
from little_models import Open, Plain, codes, context, seeded_mlp, sigmoid, subject, table

from audit.core import Measure, NotApplicable, Table, UsageError
from audit.explain.cases import cases, choose
from audit.explain.features import said
from audit.explain.global_importance import global_importance

W = np.array([1.5, -0.8, 0.0])
HOSTILE = '<script>alert("x")</script>'


def linear_subject(n=400, model=None):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3))
    y = (rng.random(n) < sigmoid(x @ W)).astype(np.int64)
    sex = codes(np.where(rng.random(n) < 0.5, "female", HOSTILE))
    model = model or Plain(lambda v: sigmoid(v @ W))
    return subject(model, table(x, ["income", HOSTILE, "noise"]), y, {"sex": sex})


def named(evidence, name):
    return [e for e in evidence if e.name == name]


def test_importance_of_a_linear_log_odds_model_lies_in_its_interval():
    """E|w (x - E b)| = |w| sqrt(2 / pi) for standard normal features."""
    found = list(global_importance(linear_subject(), context(), rows=200, background=150, link="logit"))
    measures = named(found, "mean_abs_shap")
    assert [m.where["feature"] for m in measures] == ["income", HOSTILE, "noise"]
    for measure, weight in zip(measures, W, strict=True):
        truth = abs(weight) * np.sqrt(2 / np.pi)
        assert measure.interval.low - 1e-9 <= truth <= measure.interval.high + 1e-9
        assert measure.n == 200
    (ranking,) = named(found, "ranking")
    assert [row[1] for row in ranking.rows] == ["income", HOSTILE, "noise"]
    assert sum(row[3] for row in ranking.rows) == pytest.approx(1)
    (evaluations,) = named(found, "evaluations")
    # everyone is asked once a row, no one once
    assert evaluations.value == 200 * (6 * 150 + 1) + 150
    assert measures[0].note.startswith("background: SE ")


def test_a_budget_too_small_for_many_features_is_raised_to_what_they_need():
    rng = np.random.default_rng(1)
    wide = subject(Plain(lambda v: sigmoid(v[:, :3].sum(axis=1))), table(rng.normal(size=(30, 40))))
    found = list(global_importance(wide, context(), rows=4, background=3, budget=20))
    assert named(found, "evaluations")[0].value == 4 * (160 * 3 + 1) + 3


def test_one_row_has_no_interval():
    found = list(global_importance(linear_subject(), context(), rows=1, background=5))
    assert all(m.interval is None for m in named(found, "mean_abs_shap"))


def test_figures_do_not_depend_on_which_check_ran_first():
    alone = list(global_importance(linear_subject(), context(), rows=10, background=5))
    shared = context()
    first = list(cases(linear_subject(), shared, background=5))
    assert list(global_importance(linear_subject(), shared, rows=10, background=5)) == alone
    assert list(cases(linear_subject(), context(), background=5)) == first


def test_cases_are_chosen_by_rule():
    s = linear_subject()
    chosen = choose(s, 6)
    refused = np.flatnonzero(s.decision == 0)
    rows = list(chosen)
    assert rows[0] == refused[s.score[refused].argmax()]
    assert rows[1] == refused[s.score[refused].argmin()]
    for row, why in list(chosen.items())[2:4]:
        assert s.decision[row] == 0
        assert s.y[row] == 1
        assert "although the label is positive" in why
    assert len(chosen) == 6
    assert len(choose(linear_subject(n=3), 6)) == 3


def test_cases_of_a_model_with_gradients():
    found = list(cases(linear_subject(model=Open(seeded_mlp(3))), context(), background=20))
    tables = [e for e in found if isinstance(e, Table)]
    assert len(tables) == 6
    for one in tables:
        assert one.columns[-1].startswith("integrated gradients")
        assert len(one.rows) == 3
        shap = [row[2] for row in one.rows]
        assert [abs(v) for v in shap] == sorted((abs(v) for v in shap), reverse=True)
    (agreement,) = named(found, "shap_ig_rank_correlation")
    assert -1 <= agreement.value <= 1
    assert all(m.value < 1e-3 for m in named(found, "completeness_error"))


def test_cases_of_a_closed_model_say_why_there_are_no_gradients():
    found = list(cases(linear_subject(), context(), rows=2, background=5))
    (agreement,) = named(found, "shap_ig_rank_correlation")
    assert agreement.value is None
    assert "does not offer gradients" in agreement.note
    assert all(len(e.columns) == 4 for e in found if isinstance(e, Table))


def test_rank_correlation_is_one_where_both_are_the_closed_form():
    """On a linear log-odds model both methods give w (x - mean)."""
    import torch

    line = torch.nn.Linear(3, 1).double()
    with torch.no_grad():
        line.weight.copy_(torch.tensor([[1.5, -0.8, 0.1]]))
    found = list(cases(linear_subject(model=Open(line)), context(), link="logit"))
    assert named(found, "shap_ig_rank_correlation")[0].value == pytest.approx(1)


def test_features_are_shown_as_people_read_them():
    inputs = table(
        [[1, 2.5, 7], [np.nan, np.inf, 3]],
        ["c", "x", "k"],
        categories={"c": ("low", HOSTILE)},
        integers=frozenset({"k"}),
    )
    assert [said(inputs, j, inputs.values[0, j]) for j in range(3)] == [HOSTILE, 2.5, 7]
    assert [said(inputs, j, inputs.values[1, j]) for j in range(3)] == ["missing", "inf", 3]


def test_cases_of_several_classes_are_the_close_calls_and_the_mistakes():
    def softmax(x):
        odds = np.exp(np.stack([x[:, 0], x[:, 1], 0 * x[:, 0]], axis=1))
        return odds / odds.sum(axis=1, keepdims=True)

    rng = np.random.default_rng(0)
    inputs, names = table(rng.normal(size=(40, 2))), ("a", "b", "c")
    s = subject(Plain(softmax, classes=names), inputs, y=rng.integers(0, 3, 40), classes=names)
    found = list(cases(s, context(), rows=5, background=8))
    tables = [e for e in found if isinstance(e, Table)]
    ranked = np.sort(s.score, axis=1)
    assert tables[0].title.startswith(f"Row {(ranked[:, -1] - ranked[:, -2]).argmin()}: the two likeliest classes")
    wrong = np.flatnonzero(s.score.argmax(axis=1) != s.y)
    assert tables[1].title.startswith(f"Row {wrong[s.score[wrong].max(axis=1).argmax()]}: another class than the label")
    for one, row in zip(tables, (int(t.title.split()[1].strip(":")) for t in tables), strict=True):
        moved = sum(line[2] for line in one.rows)
        base = float(one.note.split("base ")[1].split(",")[0])
        assert base + moved == pytest.approx(s.score[row].max(), abs=1e-3)


def test_cases_of_pictures_are_maps_and_of_texts_coloured_words():
    from audit.data.images import Images
    from audit.data.texts import tokenised

    rng = np.random.default_rng(1)
    pictures = Images(values=rng.random((9, 1, 8, 8)))
    bright = Plain(lambda x: x[:, 0, :4, :4].mean(axis=(1, 2)))
    found = [e for e in cases(subject(bright, pictures), context(), rows=2) if isinstance(e, Table)]
    assert [e.name for e in found] == ["picture", "shap"] * 2
    assert {e.view for e in found} == {"image"}
    weights = np.array(found[1].rows, dtype=float)
    assert np.abs(weights[4:, :]).max() < 1e-9 < np.abs(weights[:4, :4]).max()
    texts = tokenised(["a good day", "a bad day", "no day at all"])
    good = Plain(lambda ids: 0.2 + 0.6 * (ids == texts.vocabulary.index("good")).any(axis=1))
    shown_words = [e for e in cases(subject(good, texts), context(), rows=1) if isinstance(e, Table)]
    assert shown_words[0].view == "tokens"


def test_what_does_not_suit():
    s = linear_subject()
    with pytest.raises(UsageError, match="rows"):
        list(cases(s, context(), rows=0))
    with pytest.raises(UsageError, match="background"):
        list(global_importance(s, context(), background=0))
    with pytest.raises(NotApplicable):
        list(global_importance(subject(None, table(np.zeros((4, 2)))), context()))


def test_every_evidence_is_finite_and_typed():
    for evidence in (
        *global_importance(linear_subject(), context(), rows=5, background=4),
        *cases(linear_subject(), context()),
    ):
        assert isinstance(evidence, Measure | Table)
