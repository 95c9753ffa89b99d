"""What boosted trees of several libraries share: columns by name, categories by the model's own levels, one kind of reading."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from audit.core import Card, Dataset, Floats, Ints, ModelError, Offer, Output, Spec
from audit.data.columns import find, text_of
from audit.data.tables import listed
from audit.data.tabular import Tabular
from audit.models.base import Reading, Wrapped, class_order
from audit.models.columns import check_columns, check_width, table_of

if TYPE_CHECKING:
    import pandas as pd

Levels = Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Boosted(Wrapped):
    """A booster behind the protocol; it offers "trees" where shap can read them.

    estimator: a copy of the booster. columns: what it reads, in its order; features: the data's order. single: whether its
    trees read 32-bit floats; rounding: how far its own sums may be off theirs, as a share.
    """

    estimator: Any
    columns: tuple[str, ...]
    features: tuple[str, ...]
    single: bool
    rounding: float = 1e-6

    @property
    def boosted(self) -> bool:
        """Whether its trees add up to log-odds, not to the number itself."""
        return self.reading.output != "value"

    def places(self) -> list[int]:
        """Where the columns that it reads are among those of the data."""
        return [self.features.index(name) for name in self.columns]

    def columns_of(self, targets: Ints) -> Ints:
        """The booster's own number of each of the data's classes (n,)."""
        return np.array(self.reading.order, dtype=np.int64)[targets]


@dataclass(frozen=True, slots=True, kw_only=True)
class Booster:
    """What an adapter knows of a booster; `answer` maps a frame or matrix of its columns to raw outputs.

    names: of its columns, () where it was fitted without. levels: of its categorical columns, none of one where they are not
    kept. outputs: how many classes it tells apart, 1 for a number. classes: their names, in its order.
    """

    library: str
    family: str
    estimator: Any
    answer: Callable[[Any], Any]
    output: Output
    width: int
    digest: str
    size: int
    names: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    levels: Levels = field(default_factory=dict)
    outputs: int = 2
    classes: tuple[str, ...] = ()
    single: bool = False
    rounding: float = 1e-6
    trees: bool = True
    notes: tuple[str, ...] = ()


def wrapped(booster: Booster, dataset: Dataset, spec: Spec) -> Boosted:
    """A booster behind the protocol; raises ModelError where its columns, classes or output do not fit the data."""
    number = booster.output == "value"
    columns = _columns(booster, dataset)
    categories = _categories(booster, columns, dataset)
    named = booster.classes or tuple(str(each) for each in range(booster.outputs))
    notes = [*booster.notes, *_unknown(categories, dataset)]
    if not number and not booster.classes and not spec.model.classes:
        notes.append(
            "The file names no classes: its outputs are read in the order 0, 1, ..., and 1 is the positive class."
        )
    card = Card(
        family=booster.family,
        kind=booster.library,
        name=spec.model.weights or spec.model.factory or booster.family,
        classes=dataset.classes,
        output="value" if number else "probability",
        features=columns,
        size_bytes=booster.size,
        digest=booster.digest,
        notes=tuple(notes),
    )
    offers: frozenset[Offer] = frozenset({"trees"}) if booster.trees and not booster.categorical else frozenset()

    def answer(inputs: Any) -> Any:
        return booster.answer(_read(table_of(inputs, dataset), columns, categories))

    return Boosted(
        card=card,
        answer=answer,
        reading=Reading(
            output=booster.output,
            order=(0, 1) if number else class_order(named, dataset, spec),
            batch_size=spec.model.batch_size,
        ),
        offers=offers,
        estimator=booster.estimator,
        columns=columns,
        features=dataset.names,
        single=booster.single,
        rounding=booster.rounding,
    )


def asked(objective: str, found: Output | None, spec: Spec) -> Output:
    """The output that [model] output asks for, where the objective gives it; raises ModelError."""
    wanted = spec.model.output
    if wanted == "value":
        return "value"
    if found is None or found == "value":
        raise ModelError(
            f'the objective {objective!r} gives no probabilities: set model.output = "value" for a number that is '
            "predicted, or train with one that does (binary:logistic, multi:softprob; binary, multiclass)"
        )
    return found


def absent(kind: str, error: ModuleNotFoundError) -> ModelError:
    """What is said where the library of a kind is not installed."""
    return ModelError(
        f"model.kind = {kind!r} needs a package that is not there ({error.name}): pip install 'neural-audit[{kind}]'"
    )


def _columns(booster: Booster, dataset: Dataset) -> tuple[str, ...]:
    if not booster.names:
        check_width(booster.family, booster.width, dataset)
        return dataset.names
    # LightGBM writes "my column" as "my_column".
    spelt = {name.replace(" ", "_"): name for name in dataset.names}
    names = tuple(name if name in dataset.names else spelt.get(name, name) for name in booster.names)
    check_columns(booster.family, names, dataset)
    return names


@dataclass(frozen=True, slots=True, kw_only=True)
class _Category:
    """A categorical column: the model's levels, and its code of each level of the data; None where these are numbers."""

    levels: tuple[Any, ...]
    codes: tuple[int, ...] | None

    def read(self, column: Floats) -> pd.Categorical:
        """Values (n,) as the data hold them with the model's codes; what the model has never seen is missing."""
        import pandas as pd

        if self.codes is None:
            places = {text_of(level): code for code, level in enumerate(self.levels)}
            coded = np.array([places.get(text_of(float(value)), -1) for value in column], dtype=np.int64)
        else:
            whole = np.where(np.isnan(column), len(self.codes), column).astype(np.int64)
            coded = np.array([*self.codes, -1], dtype=np.int64)[whole]
        return pd.Categorical.from_codes(coded, categories=pd.Index(list(self.levels)))


def _categories(booster: Booster, columns: tuple[str, ...], dataset: Dataset) -> dict[str, _Category]:
    """The categorical columns by their names in the data; raises ModelError where text is read as numbers."""
    own = dataset.inputs.categories if isinstance(dataset.inputs, Tabular) else {}
    place = dict(zip(booster.names or columns, columns, strict=True))
    categorical = {place[name]: booster.levels.get(name) for name in booster.categorical}
    for name in columns:
        if name in own and name not in categorical:
            raise ModelError(
                f"{booster.family} reads column {name!r} as numbers, the data hold text such as {listed(own[name][:3])}"
            )
    return {name: _category(name, levels, own.get(name), dataset) for name, levels in categorical.items()}


def _category(name: str, levels: Sequence[Any] | None, own: Sequence[str] | None, dataset: Dataset) -> _Category:
    if own is None:
        if levels is None:  # the numbers are the codes
            values = table_of(dataset.inputs, dataset).values[:, dataset.names.index(name)]
            levels = range(int(np.nanmax(values, initial=0)) + 1)
        return _Category(levels=tuple(levels), codes=None)
    levels = own if levels is None else levels
    found = (find(level, [text_of(each) for each in levels]) for level in own)
    return _Category(levels=tuple(levels), codes=tuple(-1 if code is None else code for code in found))


def _unknown(categories: Mapping[str, _Category], dataset: Dataset) -> list[str]:
    notes = []
    for name, category in categories.items():
        if category.codes is not None and -1 in category.codes:
            own = dataset.inputs.categories[name]  # type: ignore[union-attr]
            strange = [level for level, code in zip(own, category.codes, strict=True) if code < 0]
            notes.append(
                f"Column {name!r} holds levels that the model never saw and reads as missing: {listed(strange)}."
            )
    return notes


def _read(table: Tabular, columns: tuple[str, ...], categories: Mapping[str, _Category]) -> NDArray[Any] | pd.DataFrame:
    """The columns of the model in its order: a matrix, or a frame where some are categories."""
    values = table.values[:, [table.columns.index(name) for name in columns]]
    if not categories:
        return values
    import pandas as pd

    return pd.DataFrame(
        {
            name: categories[name].read(values[:, i]) if name in categories else values[:, i]
            for i, name in enumerate(columns)
        }
    )
