"""A scikit-learn pipeline on the diabetes data that scikit-learn carries (Efron et al. 2004), split by a fixed seed."""

import pandas as pd
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

FAST = 140  # units of the progression score after one year; the median is 140.5


def _halves() -> list[pd.DataFrame]:
    frame = load_diabetes(as_frame=True, scaled=False).frame
    frame["fast_progression"] = (frame.pop("target") > FAST).astype(int)
    frame["sex"] = frame["sex"].map({1.0: "group 1", 2.0: "group 2"})  # the source does not say which is which
    return train_test_split(frame, test_size=0.5, random_state=0, stratify=frame["sex"])


def holdout() -> pd.DataFrame:
    """The half that the model has not seen."""
    return _halves()[1].reset_index(drop=True)


def build() -> Pipeline:
    """The pipeline, fitted to the other half without the column sex."""
    train = _halves()[0]
    features = train.drop(columns=["fast_progression", "sex"])
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(features, train["fast_progression"])
