"""The duties that every wrapped model shares: batches, checked outputs, the order of classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.core import Card, Dataset, Floats, ModelError, Offer, Output, Spec, Stopped
from audit.data.columns import find, key_of
from audit.data.graphs import Graphs
from audit.data.images import Images
from audit.data.tables import listed
from audit.data.tabular import Tabular
from audit.data.texts import Texts
from audit.models.offering import Offering

Answer = Callable[[Any], Any]
TOLERANCE = 1e-4  # how far a row of probabilities may be from summing to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How raw outputs become scores: probability, logit or plain number, column of each class, largest batch."""

    output: Output = "probability"
    order: tuple[int, ...] = (0, 1)
    batch_size: int = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapped(Offering):
    """A model that answers and shows nothing of its inside; `answer` maps a batch of inputs to raw outputs."""

    card: Card
    answer: Answer
    reading: Reading
    offers: frozenset[Offer] = frozenset()

    @property
    def family(self) -> str:
        """The name of the family, from the card."""
        return self.card.family

    def predict(self, inputs: Any) -> Floats:
        """Probability of the positive class (n,), or of every class (n, k); raises ModelError."""
        return predict(self.answer, inputs, self.reading)


def matrix(inputs: Any) -> Floats:
    """The numbers (n, d) of tabular inputs or of an array; raises ModelError."""
    values = array(inputs)
    if values.ndim != 2:
        raise ModelError(f"inputs: expected a table of numbers (n, d), got {values.dtype} of shape {values.shape}")
    return values.astype(np.float64, copy=False)


def array(inputs: Any) -> NDArray[Any]:
    """The numbers (n, ...) that a model reads of any inputs (token ids stay whole numbers); raises ModelError."""
    values = np.asarray(getattr(inputs, "values", inputs))
    if values.ndim < 2 or values.dtype.kind not in "fiub":
        raise ModelError(
            f"inputs: expected a table of numbers (n, d) or (n, ...), got {values.dtype} of shape {values.shape}"
        )
    return values if isinstance(inputs, Texts) else values.astype(np.float64, copy=False)


def predict(answer: Answer, inputs: Any, reading: Reading) -> Floats:
    """Scores of all rows: (n,) the positive class or a number, (n, k) of more than two classes; raises ModelError."""
    if not len(inputs):
        return np.empty(0 if len(reading.order) == 2 else (0, len(reading.order)))
    parts = list(_batches(answer, inputs, reading.batch_size))
    shapes = sorted({part.shape[1:] for part in parts})
    if len(shapes) > 1:
        raise ModelError(f"the model's output has another shape from batch to batch: {shapes}")
    return _scores(np.concatenate(parts), reading)


def _batches(answer: Answer, inputs: Any, size: int) -> Iterator[NDArray[Any]]:
    """Raw outputs batch by batch; a batch too large for the memory is halved."""
    start, total = 0, len(inputs)
    # Nodes of one graph need all of it, however few are asked about: batches of them would only repeat the work.
    size = total if isinstance(inputs, Graphs) and not inputs.copies.any() else max(1, min(size, total))
    while start < total:
        stop = min(start + size, total)
        try:
            part = _numbers(answer(_slice(inputs, start, stop)), stop - start)
        except (Stopped, ModelError):
            raise
        except (Exception, SystemExit) as error:
            if not _out_of_memory(error):
                raise ModelError(f"the model raised {type(error).__name__}: {error}") from error
            if size == 1:
                raise ModelError("the model runs out of memory even for one row") from error
            size = size // 2
        else:
            yield part
            start = stop


def _slice(inputs: Any, start: int, stop: int) -> Any:
    # Always a copy: a model that writes into its input must not write into the data.
    if isinstance(inputs, Tabular | Images):
        return inputs.with_values(inputs.values[start:stop].copy())
    return inputs[start:stop].copy() if isinstance(inputs, np.ndarray) else inputs.take(np.arange(start, stop))


def _out_of_memory(error: BaseException) -> bool:
    # By name, so that a machine without torch need not import it; the texts are what torch raises on the CPU, and what
    # CUDA's libraries raise as a plain RuntimeError. Torch gives its cache back before it raises, and what the failed
    # batch held is freed with the error, so nothing has to be emptied before the next, smaller batch.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(words in str(error) for words in ("can't allocate memory", "CUDA out of memory", "STATUS_ALLOC_FAILED"))
    )


def scored(raw: Any, rows: int, reading: Reading) -> Floats:
    """The scores of a batch of raw outputs, one row for each asked, checked; raises ModelError."""
    return _scores(_numbers(raw, rows), reading)


def _numbers(part: Any, rows: int) -> NDArray[Any]:
    """A batch of raw outputs as numbers, (n,) or (n, k), one row for each asked."""
    values = np.asarray(part)
    if values.dtype.kind not in "fiub":
        raise ModelError(f"the model returned {type(part).__name__} of {values.dtype}, expected numbers (n,) or (n, k)")
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim not in (1, 2) or len(values) != rows:
        raise ModelError(f"the model returned shape {values.shape} for {rows} rows, expected ({rows},) or ({rows}, k)")
    return values


def _scores(raw: NDArray[Any], reading: Reading) -> Floats:
    classes = len(reading.order)
    values = raw.astype(np.float64)
    if reading.output != "value" and (
        (values.ndim == 1 and classes != 2) or (values.ndim == 2 and values.shape[1] != classes)
    ):
        came = "one column" if values.ndim == 1 else f"{values.shape[1]} columns"
        raise ModelError(f"the model returns {came}, but there are {classes} classes")
    finite = np.isfinite(values)
    if not finite.all():
        wrong = ~finite.reshape(len(values), -1).all(axis=1)
        row = int(np.flatnonzero(wrong)[0])
        raise ModelError(
            f"the model's output is not finite in {wrong.sum()} of {len(values)} rows, first in row {row} (from 0): {values[row]}"
        )
    if reading.output == "value":
        return _numbers_only(values)
    probabilities = _from_logits(values) if reading.output == "logit" else _checked(values)
    if probabilities.ndim == 1:
        return probabilities if reading.order[1] == 1 else 1 - probabilities
    ordered = probabilities[:, reading.order]
    return np.ascontiguousarray(ordered[:, 1] if classes == 2 else ordered)


def _numbers_only(values: Floats) -> Floats:
    if values.ndim != 1:
        raise ModelError(
            f'model.output = "value": expected one number a row, the model returns {values.shape[1]} columns'
        )
    return values


def _from_logits(logits: Floats) -> Floats:
    if logits.ndim == 1:
        small = np.exp(-np.abs(logits))
        return np.asarray(np.where(logits >= 0, 1, small) / (1 + small))
    columns = np.ascontiguousarray(logits.T)  # sums over a long axis are several times faster than over a short one
    powers = np.exp(columns - columns.max(axis=0))
    return np.asarray((powers / powers.sum(axis=0)).T)


def _checked(values: Floats) -> Floats:
    """Probabilities (n,) or (n, k), clipped where they leave 0 to 1 by rounding; raises ModelError for what is none."""
    wrong = (values < -TOLERANCE) | (values > 1 + TOLERANCE)
    if values.ndim == 2:
        wrong |= (np.abs(values.sum(axis=1) - 1) > TOLERANCE)[:, None]
    if wrong.any():
        rows = np.flatnonzero(wrong.reshape(len(values), -1).any(axis=1))
        row = int(rows[0])
        raise ModelError(
            f"the model's outputs are not probabilities in {len(rows)} of {len(values)} rows, first in row {row} "
            f'(from 0): {values[row]} (logits? then set model.output = "logit")'
        )
    return np.clip(values, 0.0, 1.0, out=values)


def class_order(found: tuple[str, ...], dataset: Dataset, spec: Spec) -> tuple[int, ...]:
    """For each class of the dataset its position among the model's output columns; raises ModelError.

    `found` are the classes that the model itself names, () where it names none; model.classes names them anew.
    """
    wanted, named = dataset.classes, spec.model.classes or found
    if spec.model.classes and found and len(found) != len(named):
        raise ModelError(f"model.classes names {len(named)} classes, the model has {len(found)}: {listed(found)}")
    if not named:
        return tuple(range(len(wanted)))
    if len(named) == len(wanted) == 2:
        order = _binary_order(named, dataset, spec)
    else:
        order = [find(name, named) for name in wanted]
    places = [place for place in order if place is not None]
    if sorted(places) != list(range(len(named))):
        raise ModelError(
            f"the model's classes are {listed(named)}, the data's {listed(wanted)}: "
            "name the model's classes, in the order of its outputs, in model.classes"
        )
    return tuple(places)


def _binary_order(named: tuple[str, ...], dataset: Dataset, spec: Spec) -> list[int | None]:
    both = dataset.y is not None and len(np.unique(dataset.y)) == 2
    positive = find(dataset.classes[1] if dataset.y is not None else spec.data.positive, named)
    if positive is None and dataset.y is None:
        positive = find(dataset.classes[1], named)
    if positive is not None and (not both or find(dataset.classes[0], named) == 1 - positive):
        return [1 - positive, positive]
    if [key_of(name) for name in named] in ([0.0, 1.0], [-1.0, 1.0]):
        return [0, 1]  # the model was fitted on "is it the positive class?"
    return [None]
