"""Recorded predictions behind the protocol: recorded rows in any order, no others, and equal rows scored apart."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest

from audit.core import DataSpec, ModelError, Spec
from audit.data.readers import from_frame, tabular
from audit.models.adapters.predictions import recorded

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame({"a": RNG.normal(size=200), "b": RNG.choice(["x", "y"], 200), "s": RNG.uniform(size=200)})
FRAME.loc[3, "a"] = np.nan


def data_of(frame, **roles):
    roles = {"score": "s", "features": ("a", "b"), **roles}
    return from_frame(frame, Spec(data=DataSpec(**roles)), inputs=True)


def test_recorded_rows_are_answered_in_any_order():
    data = data_of(FRAME)
    model = recorded(data)
    order = RNG.permutation(200)
    np.testing.assert_array_equal(model.predict(data.inputs.take(order)), FRAME["s"].to_numpy()[order])
    np.testing.assert_array_equal(model.predict(tabular(data).values), FRAME["s"])
    assert model.predict(data.inputs.take(np.arange(0))).shape == (0,)
    assert not model.card.answers_new_inputs
    assert not model.offers
    assert len(model.card.digest) == 64


def test_a_changed_row_is_refused():
    data = data_of(FRAME)
    table = tabular(data)
    values = table.values.copy()
    values[7, 0] = np.nextafter(values[7, 0], 9)
    with pytest.raises(ModelError, match=r"only the rows that were recorded: 1 of 200 rows are others, first row 7"):
        recorded(data).predict(table.with_values(values))


def test_equal_rows_with_one_score_are_one_row_and_with_two_are_not_answered():
    frame = pd.DataFrame({"a": [1.0, 1.0, 2.0, 2.0, 0.0, -0.0], "b": ["x"] * 6, "s": [0.5, 0.5, 0.1, 0.9, 0.3, 0.3]})
    data = data_of(frame)
    model = recorded(data)
    clear = data.inputs.take(np.array([4, 0, 1, 5]))
    np.testing.assert_array_equal(model.predict(clear), [0.3, 0.5, 0.5, 0.3])
    assert "2 rows with equal features were recorded with different scores" in model.card.notes[1]
    with pytest.raises(ModelError, match="2 of 6 rows were recorded more than once with different scores, first row 2"):
        model.predict(data.inputs)


def test_scores_and_features_are_both_needed():
    with pytest.raises(ModelError, match=r"the data hold no scores \(\[data\] score\)"):
        recorded(data_of(FRAME, score=None, features=("a", "b")))
    with pytest.raises(ModelError, match="the data hold no features"):
        recorded(from_frame(FRAME, Spec(data=DataSpec(score="s")), inputs=False))


def test_the_memory_is_that_of_the_hashes():
    wide = pd.DataFrame(RNG.normal(size=(5000, 40))).add_prefix("f").assign(s=0.5)
    data = data_of(wide, features=tuple(f"f{i}" for i in range(40)))
    tracemalloc.start()
    model = recorded(data)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert model.keys.nbytes + model.scores.nbytes == 24 * 5000
    assert kept < 3 * 24 * 5000 < tabular(data).values.nbytes
