"""A first guess of what the columns of a file are for, each with its reason; a person has the last word."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from audit.data.columns import key_of, text_of
from audit.data.tables import Frame, column, load

MOST_GROUPS = 20
LABELS = (
    "label",
    "target",
    "y",
    "y_true",
    "ytrue",
    "outcome",
    "truth",
    "ground_truth",
    "actual",
    "class",
    "label_value",
)
DECISIONS = (
    "decision",
    "prediction",
    "predicted",
    "y_pred",
    "ypred",
    "pred",
    "y_hat",
    "yhat",
    "approved",
    "selected",
    "hired",
)
SCORES = ("score", "y_score", "probability", "proba", "prob", "p", "y_prob", "risk_score", "decile_score", "logit")
WEIGHTS = ("weight", "weights", "w", "sample_weight", "survey_weight", "pwgtp", "fnlwgt")
PROTECTED = (
    *(
        "sex",
        "gender",
        "race",
        "ethnicity",
        "ethnic",
        "ethnic_group",
        "race_ethnicity",
        "age_cat",
        "age_group",
        "age_band",
    ),
    *(
        "agegroup",
        "disability",
        "disabled",
        "religion",
        "nationality",
        "national_origin",
        "native_country",
        "marital_status",
    ),
    *(
        "marital",
        "foreign_worker",
        "rac1p",
        "sexual_orientation",
        "pregnancy",
        "veteran",
        "citizenship",
        "skin",
        "caste",
    ),
)
GOOD = (
    "1",
    "yes",
    "true",
    "approved",
    "repaid",
    "good",
    "positive",
    "selected",
    "hired",
    "high",
    "pass",
    "accepted",
    "y",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """One or more columns (or, for "positive", one value) and why they were chosen."""

    value: tuple[str, ...]
    reason: str


def guess(path: Path) -> Mapping[str, Guess]:
    """Guessed roles of the columns of a file: label, positive, decision, score, threshold, weight, attributes.

    A role that no column suits is absent. Names are compared without case, spaces, dashes and underscores. Raises
    DataError where the file cannot be read.
    """
    frame = load(path)
    free = {name: column(frame, name, "guess") for name in frame.columns}
    guesses: dict[str, Guess] = {}
    for role, words, fits, what in _SINGLE:
        chosen = _first(free, words, fits)
        if chosen is not None:
            array = free.pop(chosen)
            guesses[role] = Guess(value=(chosen,), reason=f"it is called {chosen!r} and holds {what(array)}")
            if role == "score" and (cut := _threshold(array)) is not None:
                guesses["threshold"] = cut
    if "label" in guesses and (positive := _positive(frame, guesses["label"].value[0])) is not None:
        guesses["positive"] = positive
    protected = tuple(
        name for name in free if _bare(name) in _bare_all(PROTECTED) and 2 <= _distinct(free[name]) <= MOST_GROUPS
    )
    if protected:
        sizes = ", ".join(f"{name!r} {_distinct(free[name])}" for name in protected)
        guesses["attributes"] = Guess(
            value=protected, reason=f"the name is that of a protected attribute, with few groups: {sizes}"
        )
    return guesses


def _threshold(scores: pa.Array) -> Guess | None:
    """The middle of scores that are no probabilities; half is right for those that are."""
    low, high = (float(bound.as_py()) for bound in pc.min_max(scores).values())
    if low >= 0 and high <= 1:
        return None
    reason = f"the scores run from {low:g} to {high:g}: say from which on the decision is positive"
    return Guess(value=(f"{(low + high) / 2:g}",), reason=reason)


def _first(columns: Mapping[str, pa.Array], words: tuple[str, ...], fits: Callable[[pa.Array], bool]) -> str | None:
    """The column whose name is the first among the words; else the only one that ends in such a word."""
    suited = {name: _bare(name) for name, array in columns.items() if fits(array)}
    for word in map(_bare, words):
        for name, bare in suited.items():
            if bare == word:
                return name
    endings = tuple(bare for bare in map(_bare, words) if len(bare) > 3)
    similar = [name for name, bare in suited.items() if bare.endswith(endings)]
    return similar[0] if len(similar) == 1 else None


def _positive(frame: Frame, label: str) -> Guess | None:
    """The positive value of a label, where its values are not 0 and 1."""
    values = [text_of(value) for value in column(frame, label, "guess").unique().to_pylist() if value is not None]
    if any(key_of(value) == 1.0 for value in values):
        return None
    for good in GOOD:
        for value in sorted(values):
            if value.strip().lower() == good:
                return Guess(
                    value=(value,), reason=f"of the values {', '.join(sorted(values))} it reads like the favourable one"
                )
    last = max(values, default=None)
    return (
        None
        if last is None
        else Guess(value=(last,), reason=f"the last of the values {', '.join(sorted(values))}: check it")
    )


def _bare(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _bare_all(words: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(_bare, words))


def _distinct(array: pa.Array) -> int:
    return int(pc.count_distinct(array).as_py())


def _is_number(array: pa.Array) -> bool:
    return bool(pa.types.is_integer(array.type) or pa.types.is_floating(array.type))


def _values(array: pa.Array) -> str:
    return f"{_distinct(array)} distinct values"


_SINGLE: tuple[tuple[str, tuple[str, ...], Callable[[pa.Array], bool], Callable[[pa.Array], str]], ...] = (
    ("label", LABELS, lambda array: _distinct(array) == 2, _values),
    ("decision", DECISIONS, lambda array: 1 <= _distinct(array) <= 2, _values),
    ("score", SCORES, _is_number, lambda array: f"numbers from {pc.min(array).as_py():g} to {pc.max(array).as_py():g}"),
    (
        "weight",
        WEIGHTS,
        lambda array: _is_number(array) and pc.min(array).as_py() >= 0,
        lambda _: "numbers, none negative",
    ),
)
