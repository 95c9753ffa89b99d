"""Backgrounds: which rows, in which words."""

import numpy as np
import pandas as pd
import pytest
from little_models import Plain, codes, sigmoid, table

from audit.core import DataError, UsageError
from audit.explain import game, shapley
from audit.explain.backgrounds import choose

ROWS = table(np.arange(10.0)[:, None])
SCORES = np.array([0.1, 0.9, 0.45, 0.5, 0.56, 0.2, 0.55, 0.3, 0.7, 0.8])


def taken(found):
    return found.inputs.values[:, 0].astype(int).tolist()


def test_rows_of_all_are_drawn_once_each_by_the_seed():
    found = choose(ROWS, size=4, seed=3)
    assert taken(found) == taken(choose(ROWS, size=4, seed=3)) == sorted(set(taken(found)))
    assert found.words == "4 of 10 rows, drawn at random"
    assert {tuple(taken(choose(ROWS, size=4, seed=seed))) for seed in range(5)} != {tuple(taken(found))}
    counts = np.bincount(np.concatenate([taken(choose(ROWS, size=4, seed=seed)) for seed in range(500)]))
    assert (np.abs(counts - 200) < 4 * np.sqrt(500 * 0.4 * 0.6)).all()


def test_no_more_rows_than_there_are():
    assert taken(choose(ROWS)) == list(range(10))
    assert choose(ROWS).words == "all 10 rows"
    assert len(choose(ROWS, kind="boundary", scores=SCORES)) == 10


def test_rows_nearest_to_the_boundary():
    found = choose(ROWS, kind="boundary", scores=SCORES, size=3)
    assert taken(found) == [2, 3, 6]  # .45, .5, .55
    assert found.words == "3 of 10 rows, those nearest to the decision boundary"
    assert taken(choose(ROWS, kind="boundary", scores=SCORES, size=2, threshold=0.85)) == [1, 9]
    assert taken(choose(ROWS, kind="boundary", scores=SCORES[:, None], size=1)) == [3]
    assert taken(choose(ROWS, kind="boundary", scores=np.full(10, 0.5), size=2)) == [0, 1]


def test_of_several_classes_the_two_highest_scores_decide():
    scores = np.column_stack([SCORES, 1 - SCORES, np.full(10, 0.52)])
    assert taken(choose(ROWS, kind="boundary", scores=scores, size=3)) == [2, 3, 6]


def test_rows_of_a_group():
    labels = ["f", "m"] * 5
    for groups in (labels, np.array(labels), codes(labels)):
        found = choose(ROWS, kind="group", groups=groups, group="m")
        assert taken(found) == [1, 3, 5, 7, 9]
        assert found.words == "all 5 rows of the group 'm'"
    some = choose(ROWS, kind="group", groups=labels, group="f", size=2)
    assert set(taken(some)) <= {0, 2, 4, 6, 8}
    assert some.words == "2 of 5 rows of the group 'f', drawn at random"
    assert some.take(np.array([1])).words == "1 of 2 of 5 rows of the group 'f', drawn at random"
    assert taken(choose(ROWS, kind="group", groups=codes(["f", "?"] * 5, ("f",)), group="f")) == [0, 2, 4, 6, 8]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"kind": "boundry"}, UsageError, "did you mean 'boundary'"),
        ({"size": 0}, UsageError, "size of at least 1"),
        ({"kind": "boundary"}, UsageError, "needs the scores"),
        ({"kind": "boundary", "scores": SCORES[:5]}, DataError, r"expected numbers \(10,\)"),
        ({"kind": "boundary", "scores": SCORES * np.nan}, DataError, "gaps"),
        ({"kind": "group", "group": "f"}, UsageError, "needs the labels"),
        ({"kind": "group", "groups": ["f"] * 10}, UsageError, "one label"),
        ({"kind": "group", "groups": ["f"] * 9, "group": "f"}, DataError, "expected 10 labels"),
        ({"kind": "group", "groups": ["female"] * 10, "group": "femal"}, UsageError, "did you mean 'female'"),
    ],
)
def test_mistakes(options, error, message):
    with pytest.raises(error, match=message):
        choose(ROWS, **options)
    with pytest.raises(UsageError, match="0 rows"):
        choose(table(np.zeros((0, 1))))


def test_the_choice_changes_the_answer_and_every_result_names_it():
    """With one column phi = f(x) - mean of f over the background: the boundary's mean is near 1/2, the group's is its own."""
    rng = np.random.default_rng(0)
    rows = table(rng.normal(2, 1, size=(400, 1)))
    model = Plain(lambda x: sigmoid(x[:, 0]))
    scores = model.predict(rows)
    case, bases = table([[3.0]]), {}
    for kind in ("all", "boundary", "group"):
        background = choose(rows, kind=kind, size=20, scores=scores, groups=scores > 0.9, group=True)
        found = shapley(game(model, case, background))
        assert found.background.startswith(background.words)
        expected = model.predict(background.inputs).mean()
        assert found.values[0, 0] == pytest.approx(sigmoid(3.0) - expected)
        bases[kind] = found.base[0]
    assert abs(bases["boundary"] - 0.5) < 0.1 < bases["group"] - bases["all"]


def test_frames_are_chosen_from_and_their_categories_are_aligned():
    known = pd.DataFrame({"job": ["c", "a", "b", "a"], "pay": [1.0, 2.0, 3.0, 4.0]})
    case = pd.DataFrame({"job": ["b"], "pay": [9.0]})
    chosen = choose(known, kind="group", groups=known.job.tolist(), group="a")

    def model(frame):
        return np.asarray(frame.job == "a") * 10.0 + np.asarray(frame.pay)

    found = shapley(game(model, case, chosen, output="value"))
    np.testing.assert_allclose(found.values, [[-10, 6]])
    assert found.background.startswith("all 2 rows of the group 'a', sha256 ")
