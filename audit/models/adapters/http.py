"""The HTTP adapter: a service that answers rows as JSON, asked with care and only at the address that the user names."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from audit.core import BudgetSpent, Card, Dataset, Floats, HttpSpec, ModelError, Offer, Spec, Stopped
from audit.data.tabular import Tabular
from audit.models.base import Reading, array, class_order, predict
from audit.models.columns import table_of
from audit.models.offering import Offering
from audit.models.side_by_side import asked
from audit.models.wire import Wire, endpoint
from audit.registry import adapter

KEPT = 1_000_000  # answers that are remembered: some 200 MB
LEAST = 32  # rows of a request, so that many short ones do not cost more than they save
Answer = tuple[float, ...]


@dataclass(slots=True, kw_only=True)
class _Run:
    """What is known of one run: rows sent, answers by the hash of their row, and whether the service ever answered a call.

    end: the time.monotonic() at which the deadline passes.
    """

    end: float
    sent: int = 0
    known: dict[bytes, Answer] = field(default_factory=dict)
    answered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Service(Offering):
    """A service behind the protocol: rows as JSON to {"predictions": [...]}, every distinct row asked once in a run."""

    card: Card
    reading: Reading
    http: HttpSpec
    wire: Wire
    data: Dataset
    run: _Run
    offers: frozenset[Offer] = frozenset()

    @property
    def family(self) -> str:
        """The name of the family, from the card."""
        return self.card.family

    def predict(self, inputs: Any) -> Floats:
        """Probability of the positive class (n,), or of every class (n, k).

        Raises ModelError, and where the first answers were all there already Stopped at the deadline and BudgetSpent.
        """
        try:
            scores = predict(self._answer, inputs, self.reading)
        except Stopped as stop:
            if self.run.answered:
                raise
            raise ModelError(f"{stop}, before the data had been answered once") from stop
        self.run.answered = True
        return scores

    def _answer(self, inputs: Any) -> NDArray[Any]:
        texts = [json.dumps(row, allow_nan=False) for row in _rows(inputs, self.data)]
        keys = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts]
        known = self.run.known
        fresh = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        answers = dict(zip(fresh, self._asked(list(fresh.values())), strict=True))
        found = [known[key] if key in known else answers[key] for key in keys]
        for key, answer in answers.items():
            if len(known) >= KEPT:
                break
            known[key] = answer
        widths = sorted({len(answer) for answer in found})
        if len(widths) > 1:
            raise ModelError(f"{self.card.name} answers rows with {widths[0]} and with {widths[-1]} numbers")
        return np.array(found, dtype=np.float64)

    def _asked(self, rows: Sequence[str]) -> list[Answer]:
        """The answers to rows, in their order, by requests of which no more than `concurrency` are under way."""
        share = -(-len(rows) // self.http.concurrency)
        size = max(1, min(self.reading.batch_size // self.http.concurrency, max(LEAST, share)))
        blocks = [rows[start : start + size] for start in range(0, len(rows), size)]

        def ask(block: Sequence[str], halt: threading.Event) -> list[Answer]:
            return self.wire.ask(block, before=lambda: self._charge(len(block)), halt=halt)

        found = asked(
            ask,
            blocks,
            workers=self.http.concurrency,
            end=self.run.end,
            look=self.wire.cut,
            stop=lambda: self.wire.cut(everything=True),
        )
        return [answer for block in found for answer in block]

    def _charge(self, rows: int) -> None:
        """Count rows before they are sent, also those that are sent again."""
        with self.wire.lock:
            allowed, used = self.http.queries, self.run.sent
            if allowed is not None and used + rows > allowed:
                raise BudgetSpent(
                    f"[model.http] queries allows {allowed:,} rows: {used:,} were sent and {rows:,} more were to be sent"
                )
            self.run.sent += rows


@adapter("http", title="HTTP service that answers JSON")
def wrap(http: HttpSpec, dataset: Dataset, spec: Spec) -> Service:
    """The service at one address; nothing is sent before the first prediction.

    A row of a table is an object by column name, null for missing; any other row is an array. Raises ModelError.
    """
    wire = Wire(http=http, address=endpoint(http.url), token=_token(http))
    if http.queries is not None and http.queries < len(dataset):
        raise ModelError(f"[model.http] queries allows {http.queries:,} rows; the data alone have {len(dataset):,}")
    card = Card(
        family="HTTP service",
        kind="http",
        name=http.url.partition("?")[0],
        classes=dataset.classes,
        output=spec.model.output,
        features=dataset.names,
        device="elsewhere",
        notes=(
            "A service: its weights are not seen, and it may be another model tomorrow.",
            "What its predictions cost is spent elsewhere: energy that is measured here is that of asking.",
            "Each distinct row is asked once a run: whether the service answers it twice alike is not seen.",
        ),
    )
    reading = Reading(
        output=spec.model.output,
        order=(0, 1) if spec.model.output == "value" else class_order((), dataset, spec),
        batch_size=spec.model.batch_size * http.concurrency,
    )
    end = time.monotonic() + spec.run.max_seconds if spec.run.max_seconds else float("inf")
    return Service(card=card, reading=reading, http=http, wire=wire, data=dataset, run=_Run(end=end))


def load(spec: Spec, dataset: Dataset, base: Path) -> Service:
    """The service of [model.http]; raises ModelError."""
    if spec.model.http is None:
        raise ModelError('model.kind = "http" needs [model.http] url')
    return wrap(spec.model.http, dataset, spec)


def _token(http: HttpSpec) -> str | None:
    if http.token is None:
        return None
    found = os.environ.get(http.token, "")
    if not found:
        raise ModelError(f"[model.http] token: the environment variable {http.token!r} is not set, or empty")
    if not (found.isascii() and found.isprintable()) or " " in found:
        raise ModelError(
            f"[model.http] token: the environment variable {http.token!r} holds a space, a line break or another "
            "character that no token has"
        )
    return found


def _rows(inputs: Any, dataset: Dataset) -> list[Any]:
    """Every row as JSON has it: an object by column name for tables, else an array."""
    if isinstance(inputs, Tabular) or (isinstance(dataset.inputs, Tabular) and np.ndim(inputs) == 2):
        return _objects(table_of(inputs, dataset))
    return cast(list[Any], array(inputs).tolist())


def _objects(table: Tabular) -> list[dict[str, Any]]:
    columns = [
        [_cell(value, table.categories.get(name), name in table.integers) for value in column]
        for name, column in zip(table.columns, table.values.T.tolist(), strict=True)
    ]
    return [dict(zip(table.columns, row, strict=True)) for row in zip(*columns, strict=True)]


def _cell(value: float, levels: Sequence[str] | None, whole: bool) -> str | float | int | None:
    if value != value:
        return None
    if levels is not None:
        return levels[int(value)]
    return int(value) if whole and value.is_integer() else value
