"""A physical quantity with its doubt: bounds, a grade of evidence, and where it comes from."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from audit.core import Grade, Interval, Measure

Evidence = Literal["A", "B", "C", "D", "E"]  # metered, counted, modelled, derived, assumed: best first


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A value that is not negative, with its plausible range; a value of None is unknown, and so is all made of it.

    unit: products of names joined by "·", one "/" before those it is divided by ("gCO2e/kWh"). grade: A metered,
    B counted, C modelled, D derived, E assumed; what is made of several carries the worst.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    unit: str
    grade: Evidence
    method: str
    source: str = ""

    def __post_init__(self) -> None:
        parts = (self.low, self.value, self.high)
        if self.value is None:
            if self.low is not None or self.high is not None:
                raise ValueError(f"Quantity: an unknown value has no bounds, got {parts}")
            return
        low = self.value if self.low is None else self.low
        high = self.value if self.high is None else self.high
        if not (math.isfinite(high) and 0 <= low <= self.value <= high):
            raise ValueError(f"Quantity: 0 <= low <= value <= high, all finite, got {parts}")
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    def __add__(self, other: Quantity) -> Quantity:
        """The sum, its bounds the sums of the bounds; raises ValueError where the units differ."""
        if self.unit != other.unit:
            raise ValueError(f"Quantity: {self.unit!r} and {other.unit!r} cannot be added")
        bounds = [None if a is None or b is None else a + b for a, b in zip(_bounds(self), _bounds(other), strict=True)]
        return _joined(self, other, bounds, self.unit, " + ")

    def __mul__(self, other: Quantity | float) -> Quantity:
        """The product with a quantity or an exact number, its bounds the products of the bounds."""
        if not isinstance(other, Quantity):
            other = Quantity(value=float(other), unit="", grade="A", method="")
        bounds = [None if a is None or b is None else a * b for a, b in zip(_bounds(self), _bounds(other), strict=True)]
        return _joined(self, other, bounds, _product(self.unit, other.unit), " × ")

    __rmul__ = __mul__

    def measure(self, name: str, *, level: float, note: str = "") -> Measure:
        """The quantity as evidence; the range is a plausible one, not a confidence interval."""
        interval = None
        if self.low is not None and self.high is not None and self.low < self.high:
            interval = Interval(low=self.low, high=self.high, level=level, method="plausible range")
        grade: Grade = self.grade
        text = "; ".join(filter(None, (self.method, note)))
        return Measure(
            name=name, value=self.value, unit=self.unit, interval=interval, better="lower", note=text, grade=grade
        )


def _bounds(quantity: Quantity) -> tuple[float | None, float | None, float | None]:
    return quantity.low, quantity.value, quantity.high


def _joined(first: Quantity, second: Quantity, bounds: list[float | None], unit: str, sign: str) -> Quantity:
    low, value, high = bounds
    methods = dict.fromkeys(filter(None, (first.method, second.method)))
    sources = dict.fromkeys(filter(None, (first.source, second.source)))
    return Quantity(
        value=value,
        low=low,
        high=high,
        unit=unit,
        grade=max(first.grade, second.grade),
        method=sign.join(methods),
        source=", ".join(sources),
    )


def _product(first: str, second: str) -> str:
    """The unit of a product, with what stands above and below the line cancelled."""
    powers: Counter[str] = Counter()
    for unit in (first, second):
        above, _, below = unit.partition("/")
        powers.update(filter(None, above.split("·")))
        powers.subtract(filter(None, below.split("·")))
    above, below = ("·".join(name for name, power in powers.items() for _ in range(sign * power)) for sign in (1, -1))
    return f"{above}/{below}" if below else above
