"""Published tables of people, split into rows to learn from and unseen rows: Adult by sex, COMPAS by race."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from audit.core import Dataset, DataSpec, GroupSpec, Ints, ModelSpec, Spec, stream
from audit.data.readers import from_frame
from audit.models.encoding import table_of

ADULT = (
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education_num",
    "marital_status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital_gain",
    "capital_loss",
    "hours_per_week",
    "native_country",
    "income",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Rows to train on and rows that no model has seen."""

    train: Dataset
    test: Dataset


def folder() -> Path:
    """Where the published files lie."""
    return Path(os.environ.get("AUDIT_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


def part(data: Dataset, rows: Ints) -> Dataset:
    """Those rows of a table, its labels and its groups."""
    assert data.y is not None
    groups = {name: replace(codes, values=codes.values[rows]) for name, codes in data.groups.items()}
    return replace(data, inputs=table_of(data).take(rows), y=data.y[rows], groups=groups)


def read(frame: pd.DataFrame, attribute: str, label: str, positive: str | int, features: Iterable[str]) -> Dataset:
    """A dataset whose models do not read the protected attribute."""
    spec = Spec(
        model=ModelSpec(kind="torch"),
        data=DataSpec(label=label, positive=positive, features=tuple(features)),
        groups=GroupSpec(attributes=(attribute,)),
    )
    return from_frame(frame, spec)


def adult(seeds: int) -> list[Split]:
    """Income above 50,000 by sex: 8,000 rows of the training file a seed, and the whole test file."""
    files = [("adult.data", 0), ("adult.test", 1)]
    frames = [
        pd.read_csv(folder() / "adult" / name, names=ADULT, skipinitialspace=True, skiprows=skip)
        for name, skip in files
    ]
    frame = pd.concat(frames, ignore_index=True)
    frame["income"] = frame["income"].str.rstrip(".")
    data = read(frame, "sex", "income", ">50K", [n for n in ADULT if n not in ("sex", "income", "fnlwgt", "education")])
    first, rows = len(frames[0]), np.arange(len(frame))
    chosen = [stream(seed, "debias.adult").permutation(first)[:8_000] for seed in range(seeds)]
    return [Split(train=part(data, each), test=part(data, rows[first:])) for each in chosen]


def compas(seeds: int) -> list[Split]:
    """Arrest within two years by race, Black and White people, ProPublica's filters: 60 to 40 by chance."""
    frame = pd.read_csv(folder() / "compas" / "compas_two_years_deidentified.csv", keep_default_na=False)
    days = pd.to_numeric(frame["days_b_screening_arrest"], errors="coerce")
    kept = days.between(-30, 30) & (frame["is_recid"] != -1) & (frame["c_charge_degree"] != "O")
    kept &= (frame["score_text"] != "N/A") & frame["race"].isin(["African-American", "Caucasian"])
    names = ("sex", "age", "juv_fel_count", "juv_misd_count", "juv_other_count", "priors_count", "c_charge_degree")
    data = read(frame[kept].reset_index(drop=True), "race", "two_year_recid", 1, names)
    orders = [stream(seed, "debias.compas").permutation(len(data)) for seed in range(seeds)]
    cut = round(0.6 * len(data))
    return [Split(train=part(data, order[:cut]), test=part(data, order[cut:])) for order in orders]
