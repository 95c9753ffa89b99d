"""How raw outputs become scores: what is refused, logits, classes by name, and real data through it all."""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from audit.core import DataSpec, ModelError, ModelSpec, RunSpec, Spec, Stopped
from audit.data.readers import from_frame, tabular
from audit.models.base import Reading, predict
from audit.models.load import wrap

CPU = RunSpec(device="cpu")


# ------------------------------------------------------------------------------------------ outputs that are refused
LOGIT = Reading(output="logit")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: np.where(np.arange(len(x)) == 2, np.nan, 0.5), "not finite in 1 of 5 rows, first in row 2"),
        (lambda x: np.full((len(x), 2), np.inf), "not finite in 5 of 5 rows, first in row 0"),
        (
            lambda x: np.full(len(x), 1.5),
            'not probabilities in 5 of 5 rows, first in row 0.*set model.output = "logit"',
        ),
        (lambda x: np.full((len(x), 2), 0.4), "not probabilities.*logits"),
        (lambda x: np.array([[-3.0, 2.0]] * len(x)), "not probabilities"),
        (lambda x: np.full(len(x) + 1, 0.5), r"shape \(6,\) for 5 rows"),
        (lambda x: np.full((len(x), 3), 1 / 3), "3 columns, but there are 2 classes"),
        (lambda x: np.full((len(x), 2, 2), 0.5), r"shape \(5, 2, 2\)"),
        (lambda x: 0.5, r"shape \(\) for 5 rows"),
        (lambda x: ["a"] * len(x), "expected numbers"),
        (lambda x: None, "expected numbers"),
        (lambda x: np.full(len(x), 0.5, dtype=complex), "expected numbers"),
        (lambda x: 1 / 0, "the model raised ZeroDivisionError: division by zero"),
    ],
)
def test_bad_outputs_are_named(answer, message):
    with pytest.raises(ModelError, match=message):
        predict(answer, np.zeros((5, 2)), Reading())


def test_the_cause_of_a_failure_is_chained_and_stopping_passes_through():
    def fail(_):
        raise KeyError("lost")

    with pytest.raises(ModelError, match="KeyError") as caught:
        predict(fail, np.zeros((5, 2)), Reading())
    assert isinstance(caught.value.__cause__, KeyError)

    def stop(_):
        raise Stopped("deadline")

    with pytest.raises(Stopped):
        predict(stop, np.zeros((5, 2)), Reading())


@pytest.mark.parametrize("error", [MemoryError, torch.cuda.OutOfMemoryError])
def test_a_batch_too_large_for_the_memory_is_halved(error):
    asked = []

    def narrow(x):
        asked.append(len(x))
        if len(x) > 30:
            raise error("too much")
        return x[:, 0]

    values = np.linspace(0, 1, 100)[:, None]
    np.testing.assert_array_equal(predict(narrow, values, Reading()), values[:, 0])
    assert asked[:4] == [100, 50, 25, 25]

    def never(x):
        raise error("too much")

    with pytest.raises(ModelError, match="out of memory even for one row"):
        predict(never, values, Reading())


def test_a_shape_that_changes_from_batch_to_batch_is_refused():
    shapes = iter([(2,), (2, 2)])
    with pytest.raises(ModelError, match="another shape from batch to batch"):
        predict(lambda x: np.full(next(shapes), 0.5), np.zeros((4, 1)), Reading(batch_size=2))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-800, 800), min_size=1, max_size=6))
def test_logits_become_probabilities_without_overflow(logits):
    z = np.array(logits)
    expected = torch.sigmoid(torch.tensor(z)).numpy()
    with np.errstate(all="raise", under="ignore"):
        single = predict(lambda x: z, np.zeros((len(z), 1)), LOGIT)
        pair = predict(lambda x: np.column_stack([np.zeros_like(z), z]), np.zeros((len(z), 1)), LOGIT)
        column = predict(lambda x: z[:, None], np.zeros((len(z), 1)), LOGIT)
    np.testing.assert_allclose(single, expected, atol=1e-15)
    np.testing.assert_allclose(pair, expected, atol=1e-15)
    np.testing.assert_array_equal(single, column)


def test_several_classes_come_in_the_order_of_the_data():
    raw = np.array([[0.2, 0.3, 0.5], [0.1, 0.6, 0.3]])
    np.testing.assert_array_equal(predict(lambda x: raw, np.zeros((2, 1)), Reading(order=(2, 0, 1))), raw[:, [2, 0, 1]])
    assert predict(lambda x: raw, np.zeros((0, 1)), Reading(order=(2, 0, 1))).shape == (0, 3)
    with pytest.raises(ModelError, match="one column, but there are 3 classes"):
        predict(lambda x: raw[:, 0], np.zeros((2, 1)), Reading(order=(0, 1, 2)))


# ------------------------------------------------------------------------------------------------------ classes
def labelled(values, **spec):
    wanted = Spec(model=ModelSpec(**spec.pop("model", {})), data=DataSpec(label="y", **spec), run=CPU)
    return from_frame(pd.DataFrame({"x": np.linspace(-1, 1, len(values)), "y": values}), wanted), wanted


@pytest.mark.parametrize("positive", ["bad", "good"])
def test_classes_are_matched_by_name_not_by_place(positive):
    data, spec = labelled(["bad", "bad", "good", "good"], positive=positive)
    estimator = LogisticRegression().fit(tabular(data).values, ["bad", "bad", "good", "good"])
    column = list(estimator.classes_).index(positive)
    np.testing.assert_array_equal(
        wrap(estimator, data, spec).predict(data.inputs), estimator.predict_proba(tabular(data).values)[:, column]
    )


@pytest.mark.parametrize(("positive", "sign"), [("good", 1), ("bad", -1)])
def test_model_classes_name_the_outputs_of_a_function(positive, sign):
    data, spec = labelled(
        ["bad", "bad", "good", "good"], positive=positive, model={"classes": ("bad", "good"), "output": "logit"}
    )
    one = wrap(lambda x: 3 * x[:, 0], data, spec).predict(data.inputs)
    two = wrap(lambda x: np.column_stack([0 * x[:, 0], 3 * x[:, 0]]), data, spec).predict(data.inputs)
    np.testing.assert_allclose(one, 1 / (1 + np.exp(-sign * 3 * tabular(data).values[:, 0])))
    np.testing.assert_allclose(two, one)


@pytest.mark.parametrize("fitted", [[0, 0, 1, 1], [False, False, True, True], [-1, -1, 1, 1]])
def test_a_model_fitted_on_zero_and_one_is_read_as_the_positive_class(fitted):
    data, spec = labelled(["bad", "bad", "good", "good"], positive="good")
    estimator = LogisticRegression().fit(tabular(data).values, fitted)
    assert wrap(estimator, data, spec).predict(data.inputs)[-1] > 0.5


def test_other_classes_are_refused():
    data, spec = labelled(["bad", "bad", "good", "good"], positive="good")
    x = tabular(data).values
    for classes in (["a", "a", "b", "b"], ["bad", "good", "maybe", "bad"], [1, 1, 2, 2]):
        with pytest.raises(ModelError, match=r"the model's classes are .* the data's 'bad', 'good'.*model\.classes"):
            wrap(LogisticRegression().fit(x, classes), data, spec)


def test_without_labels_the_positive_value_tells_the_class():
    spec = Spec(data=DataSpec(positive="good"), run=CPU)
    data = from_frame(pd.DataFrame({"x": [-1.0, -0.5, 0.5, 1.0]}), spec)
    estimator = LogisticRegression().fit(tabular(data).values, ["bad", "bad", "good", "good"])
    assert wrap(estimator, data, spec).predict(data.inputs)[-1] > 0.5
    with pytest.raises(ModelError, match="the model's classes are"):
        wrap(estimator, data, replace(spec, data=DataSpec()))


def test_several_classes_through_scikit_learn():
    y = ["a", "b", "c", "a", "b", "c"]
    data, spec = labelled(y, positive="c")
    estimator = LogisticRegression().fit(tabular(data).values, y)
    assert data.classes == ("a", "c", "b")
    np.testing.assert_array_equal(
        wrap(estimator, data, spec).predict(data.inputs), estimator.predict_proba(tabular(data).values)[:, [0, 2, 1]]
    )


# ---------------------------------------------------------------------------------------------------- real data
def german(test_data) -> pd.DataFrame:
    names = [
        *(
            "checking",
            "duration",
            "history",
            "purpose",
            "amount",
            "savings",
            "employment",
            "rate",
            "status",
            "debtors",
            "since",
        ),
        *("property", "age", "plans", "housing", "credits", "job", "liable", "phone", "foreign", "risk"),
    ]
    frame = pd.read_csv(test_data / "german_credit" / "german.data", sep=" ", names=names)
    return frame.assign(sex=frame["status"].map({"A92": "female", "A95": "female"}).fillna("male"))


def test_a_pipeline_over_text_and_numbers_on_german_credit(test_data):
    frame = german(test_data)
    spec = Spec(data=DataSpec(label="risk", positive=1), run=CPU)
    train, test = frame.iloc[:700], frame.iloc[700:].reset_index(drop=True)
    x = train.drop(columns=["risk", "sex"])
    text = x.select_dtypes("str").columns
    pipeline = make_pipeline(
        make_column_transformer((OneHotEncoder(handle_unknown="ignore"), text), remainder=StandardScaler()),
        LogisticRegression(max_iter=500),
    ).fit(x, train["risk"])
    data = from_frame(test.sample(frac=1, axis=1, random_state=0), replace(spec, data=replace(spec.data, positive=1)))
    before = copy.deepcopy(pipeline)
    model = wrap(pipeline, data, spec)
    expected = pipeline.predict_proba(test[x.columns])[:, list(pipeline.classes_).index(1)]
    np.testing.assert_array_equal(model.predict(data.inputs), expected)
    assert model.card.features == tuple(x.columns)
    assert wrap(before, data, spec).card.digest == model.card.digest
    without = from_frame(test, replace(spec, data=replace(spec.data, features=("age", "amount"))))
    with pytest.raises(ModelError, match="fitted on columns that are not among the features: 'checking'"):
        wrap(pipeline, without, spec)


def test_a_function_gets_a_frame_where_a_feature_is_text(test_data):
    frame = german(test_data)
    data = from_frame(frame, Spec(data=DataSpec(label="risk", features=("age", "housing"))))
    model = wrap(lambda rows: (rows["housing"] == "A152").to_numpy() * 0.5, data, Spec(run=CPU))
    np.testing.assert_array_equal(model.predict(data.inputs), (frame["housing"] == "A152").to_numpy() * 0.5)
