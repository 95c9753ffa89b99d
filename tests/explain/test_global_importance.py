"""The pictures of global importance, and inputs other than tables."""

import numpy as np
import pytest
from little_models import Plain, context, sigmoid, subject, table

from audit.core import NotApplicable, Table
from audit.data.images import Images
from audit.data.texts import tokenised
from audit.explain.friedman import interactions_check
from audit.explain.global_importance import SWARM, global_importance

X = np.random.default_rng(0).normal(size=(300, 3))


def pictures(found):
    return {e.view: e for e in found if isinstance(e, Table)}


def test_a_beeswarm_shows_the_players_by_size_and_single_rows():
    found = list(
        global_importance(subject(Plain(lambda v: sigmoid(v @ [1.0, -2.0, 0.0])), table(X)), context(), rows=200)
    )
    swarm = pictures(found)["beeswarm"]
    assert len(swarm.rows) == SWARM * 3
    assert [swarm.rows[i * SWARM][0] for i in range(3)] == ["x1", "x0", "x2"]
    own = set(X[:, 1])
    assert all(line[1] in own for line in swarm.rows[:SWARM])
    signs = [np.sign(line[1]) * np.sign(line[2]) for line in swarm.rows[:SWARM] if abs(line[1]) > 0.5]
    assert set(signs) == {-1.0}


def test_many_features_leave_the_small_ones_out_of_the_pictures_and_not_out_of_the_figures():
    x = np.random.default_rng(1).normal(size=(40, 30))
    found = list(
        global_importance(
            subject(Plain(lambda v: sigmoid(v[:, :3].sum(axis=1))), table(x)), context(), rows=10, background=5
        )
    )
    assert len({line[0] for line in pictures(found)["beeswarm"].rows}) == 12
    assert len([m for m in found if m.name == "mean_abs_shap"]) == 30


def test_pictures_whose_patches_are_shared():
    values = np.random.default_rng(2).random((30, 1, 8, 8))
    model = Plain(lambda v: sigmoid(v[:, 0, :4, :4].mean(axis=(1, 2)) * 8 - 4))
    found = list(global_importance(subject(model, Images(values=values)), context(), rows=8, background=4))
    assert {m.where["feature"] for m in found if m.name == "mean_abs_shap"} == {
        line[1] for line in pictures(found)["table"].rows
    }
    assert all(line[1] is None for line in pictures(found)["beeswarm"].rows)


def test_sentences_have_no_mean_over_rows():
    s = subject(Plain(lambda v: np.full(len(v), 0.5)), tokenised(["a b c", "d e"] * 10))
    with pytest.raises(NotApplicable, match="players of their own"):
        list(interactions_check(s, context()))


def test_words_have_a_mean_over_the_texts_that_hold_them():
    """Each word adds its own weight, so a word's value is its weight, and twice that where it comes twice."""
    texts = tokenised(["good day", "bad day", "good good night", "rare day"] * 6 + ["odd"])
    weight = np.zeros(len(texts.vocabulary))
    for word, value in (("good", 0.1), ("bad", -0.2), ("day", 0.05)):
        weight[texts.vocabulary.index(word)] = value
    s = subject(Plain(lambda ids: 0.5 + weight[ids].sum(axis=1)), texts)
    found = {m.where["feature"]: m for m in global_importance(s, context(), rows=25) if m.name == "mean_abs_shap"}
    assert next(iter(found)) == "bad"
    assert found["bad"].value == pytest.approx(0.2, abs=1e-9)
    assert found["good"].value == pytest.approx(0.15, abs=1e-9)
    assert found["good"].n == 12
    assert found["good"].interval.low < 0.15 < found["good"].interval.high
    assert found["night"].value == pytest.approx(0, abs=1e-9)
    assert "odd" not in found
