"""What the methods that look at a model as a whole share: tables, grids of values, words for them, trees' matrices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.core import Cell, Context, Floats, Ints, NotApplicable, Subject, UsageError, suggest
from audit.data.tabular import Tabular
from audit.explain.games import MAX_BYTES, Game, Link
from audit.explain.masking.tabular import TabularMasker
from audit.explain.sample import game_of, model_and_inputs, sampled_rows

FLOAT32 = 3e38  # scikit-learn's trees read single precision: beyond this a number would become infinite there


def table_game(subject: Subject, context: Context, *, rows: int, background: int = 1, link: Link = "identity") -> Game:
    """The game of sampled rows of a table; raises NotApplicable for inputs without columns."""
    _, inputs = model_and_inputs(subject)
    if not isinstance(inputs, Tabular):
        raise NotApplicable(f"this looks at the columns of a table, and {type(inputs).__name__} have none")
    return game_of(subject, context, sampled_rows(subject, context, rows), background=background, link=link)


def table_of(game: Game) -> Tabular:
    """The table that a game explains; raises NotApplicable where it explains something else."""
    if not isinstance(game.masker, TabularMasker):
        raise NotApplicable(f"this looks at the columns of a table, not at {type(game.masker.inputs).__name__}")
    return game.masker.inputs


def column_of(inputs: Tabular, feature: str) -> int:
    """The place of a column by its name; raises UsageError with the nearest name."""
    if feature not in inputs.columns:
        raise UsageError(
            f"feature: one of {', '.join(inputs.columns)}, got {feature!r}{suggest(feature, inputs.columns)}"
        )
    return inputs.columns.index(feature)


def output_of(game: Game) -> str:
    """The explained output in words."""
    if game.number:
        return "the model's number"
    which = "the predicted class" if len(game.model.card.classes) > 2 else "the positive class"
    return f"{game.scale} of {which}"


def present(inputs: Tabular, column: int) -> NDArray[np.bool_]:
    """Whether a row (n,) has a finite value there."""
    return np.asarray(np.isfinite(inputs.values[:, column]))


def grid(inputs: Tabular, column: int, points: int) -> Floats:
    """Values (g,) that occur in a column, ascending: all levels, else at most `points` quantiles from 5 to 95 %."""
    values = inputs.values[present(inputs, column), column]
    distinct = np.unique(values)
    if inputs.columns[column] in inputs.categories or len(distinct) <= points:
        return distinct
    return np.unique(np.quantile(values, np.linspace(0.05, 0.95, points), method="inverted_cdf"))


def said(inputs: Tabular, column: int, value: float) -> Cell:
    """A value of a column as a person would read it: a category by its name, a gap as "missing"."""
    name = inputs.columns[column]
    if not np.isfinite(value):
        return "missing" if np.isnan(value) else str(value)
    if name in inputs.categories:
        return inputs.categories[name][int(value)]
    return int(value) if name in inputs.integers and value == int(value) else float(value)


def in_words(value: Cell) -> str:
    """A value within a sentence: four digits of a number."""
    if value is None:
        return "not a single value"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def answers(game: Game, rows: Ints, each: int, variants: Callable[[Ints], Floats]) -> Floats:
    """The explained output (r, each) of rows (r,) of a table, `each` variants of every row.

    variants: of a block of row numbers (b,) to values (b, each, columns); the blocks are of bounded memory.
    """
    inputs = table_of(game)
    out = np.zeros((len(rows), each))
    tall = max(1, MAX_BYTES // (8 * each * len(inputs.columns)))
    for top in range(0, len(rows), tall):
        block = rows[top : top + tall]
        filled = inputs.with_values(variants(block).reshape(-1, len(inputs.columns)))
        out[top : top + tall] = game.answer(filled, block).reshape(len(block), each)
    return out


def replaced(game: Game, rows: Ints, columns: tuple[int, ...], values: Floats) -> Floats:
    """The explained output (r, m) of rows (r,) whose columns (c,) are set to values (m, c), or (r, m, c) row by row."""
    inputs = table_of(game)
    wanted = np.broadcast_to(values, (len(rows), *values.shape[-2:]))
    place = np.full(len(game), -1)
    place[rows] = np.arange(len(rows))

    def variants(block: Ints) -> Floats:
        made = np.repeat(inputs.values[block][:, None, :], wanted.shape[1], axis=1)
        made[:, :, list(columns)] = wanted[place[block]]
        return made

    return answers(game, rows, wanted.shape[1], variants)


def most_varied(game: Game, count: int, *, points: int = 5, rows: int = 32) -> list[int]:
    """Up to `count` columns, those first along which the output of single rows varies most; constant ones left out.

    The variation is the mean over some rows of the output's standard deviation over a coarse grid.
    """
    if count < 1:
        raise UsageError(f"features: at least 1 is needed, got {count}")
    inputs, few = table_of(game), np.arange(min(rows, len(game)))
    found = []
    for column in range(len(inputs.columns)):
        at = grid(inputs, column, points)
        if len(at) > 1:
            spread = replaced(game, few, (column,), at[:, None]).std(axis=1).mean()
            found.append((-float(spread), column))
    return [column for _, column in sorted(found)[:count]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A table as trees read it: matrix (n, m), and for each of its columns the feature and the level it stands for.

    levels: the name of a level for a column of zeros and ones, "missing" included; None for a number, NaN where missing.
    """

    matrix: Floats
    features: tuple[str, ...]
    levels: tuple[str | None, ...]


def encoded(inputs: Tabular, columns: tuple[int, ...]) -> Encoded:
    """Numbers as they are, each level of a category that occurs as a column of zeros and ones."""
    parts: list[Floats] = []
    features: list[str] = []
    levels: list[str | None] = []
    for column in columns:
        name, values = inputs.columns[column], inputs.values[:, column]
        if name not in inputs.categories:
            parts.append(np.clip(values, -FLOAT32, FLOAT32))
            features.append(name)
            levels.append(None)
            continue
        known = np.nan_to_num(values, nan=len(inputs.categories[name])).astype(np.int64)
        for code in np.unique(known):
            parts.append((known == code).astype(np.float64))
            features.append(name)
            levels.append((*inputs.categories[name], "missing")[code])
    matrix = np.column_stack(parts) if parts else np.zeros((len(inputs), 0))
    return Encoded(matrix=matrix, features=tuple(features), levels=tuple(levels))


def standardised(inputs: Tabular) -> Floats:
    """Numbers (n, m) on one scale for distances: features of variance 1, levels as indicators, gaps at the mean.

    A missing number also sets an indicator; a category weighs as much as a number. Constant columns are left out.
    """
    parts: list[Floats] = []
    for column, name in enumerate(inputs.columns):
        one = encoded(inputs, (column,)).matrix
        if name not in inputs.categories:
            gaps = np.isnan(one)
            filled = np.where(gaps, 0.0 if gaps.all() else np.nanmean(one), one)
            one = np.hstack([filled, gaps]) if gaps.any() and not gaps.all() else filled
        spread = one.std(axis=0)
        one = (one - one.mean(axis=0))[:, spread > 0] / spread[spread > 0]
        parts.append(one / np.sqrt(max(1, one.shape[1])))
    return np.hstack(parts)
