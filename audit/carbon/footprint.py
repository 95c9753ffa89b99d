"""What this audit itself has used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from audit.carbon import meter
from audit.carbon.quantity import Quantity
from audit.core import Context, Evidence, Measure, NotApplicable, Subject, Table, UsageError
from audit.registry import check

_KWH = Quantity(value=1 / 3.6e6, unit="kWh/J", grade="A", method="")
_WATTS = 4.0  # of one busy virtual CPU; published machines lie between 2 and 8
_WALL = (1.15, 1.38, 1.7)  # what a wall socket supplied over what the counters saw: low, middle, high


@check(
    "carbon.audit",
    title="What this audit itself has used",
    sources=("fischer2025", "lannelongue2021"),
    volatile=True,
)
def footprint(
    subject: Subject,
    context: Context,
    *,
    watts_per_cpu: float | None = None,
    grid_g_per_kwh: float | None = None,
    pue: float = 1.0,
) -> Iterator[Evidence]:
    """How long did this audit compute, and what energy and carbon did that take?

    Time and CPU-seconds are read from the operating system. Energy is counted where the processor's (RAPL) or the
    accelerator's (NVML) counters can be read, and raised by what power supply, board and fans add (1.38, from 1.15 to
    1.7); elsewhere it is CPU-seconds times `watts_per_cpu`, with a range of half to twice. Without that parameter 4 W
    are assumed. `pue` is the data centre's overhead, `grid_g_per_kwh` the carbon intensity of its electricity; without
    it the carbon is unknown. Each figure carries its grade: A metered, B counted, C modelled, D derived, E assumed.

    The counters see the whole machine, other programs included; the ranges are plausible ones, not confidence
    intervals. Making the machine, and the network, are not in the numbers.
    """
    reading = context.scratch.get("meter")
    if not isinstance(reading, meter.Reading):
        raise NotApplicable("nothing was read at the start of the run")
    _plausible(watts_per_cpu, grid_g_per_kwh, pue)
    used = meter.read(reading)
    parts = components(used, watts_per_cpu)
    spent = _total(parts) * pue
    silent = used.cpu_joules is None and used.gpu_joules is None
    reasons = "; ".join((*(("no power sensor readable",) if silent else ()), *used.missing))
    yield spent.measure("energy_kwh", level=context.confidence, note="; ".join(filter(None, (f"PUE {pue:g}", reasons))))
    yield _carbon(spent, grid_g_per_kwh, context.confidence)
    yield Measure(name="wall_seconds", value=used.wall_seconds, unit="s", better="lower", grade="A", note="wall clock")
    note = "user and system time of this process and of the children it has waited for"
    yield Measure(name="cpu_seconds", value=used.cpu_seconds, unit="s", better="lower", grade="B", note=note)
    yield _table(parts, reasons)
    if ledger := context.scratch.get("ledger"):
        yield _by_check(ledger, watts_per_cpu, pue)


def _by_check(ledger: Mapping[str, tuple[meter.Usage, int]], watts_per_cpu: float | None, pue: float) -> Table:
    """What each check asked of the model, and its share of time and energy."""
    lines = []
    for name, (used, rows) in ledger.items():
        spent = energy(used, watts_per_cpu) * pue
        lines.append((name, rows, used.cpu_seconds, spent.value, spent.low, spent.high))
    return Table(
        name="checks",
        title="What each check has cost",
        columns=("check", "model rows", "CPU seconds", "kWh", "low", "high"),
        rows=tuple(lines),
        note="model rows: inputs that the model answered or was differentiated at; work that checks share counts for the first",
    )


def energy(used: meter.Usage, watts_per_cpu: float | None = None) -> Quantity:
    """The energy (kWh) of some work, from what the meters read of it."""
    return _total(components(used, watts_per_cpu))


def components(used: meter.Usage, watts_per_cpu: float | None) -> dict[str, Quantity]:
    """Energy (kWh) of the processors and, where it was counted, of the accelerators."""
    low, middle, high = _WALL
    wall = Quantity(
        low=low, value=middle, high=high, unit="", grade="B", method="wall factor 1.38", source="fischer2025"
    )
    parts = {"processors": _processors(used, watts_per_cpu, wall)}
    if used.gpu_joules is not None:
        parts["accelerators"] = _kwh(used.gpu_joules, "NVML energy counters") * wall
    return parts


def _processors(used: meter.Usage, watts_per_cpu: float | None, wall: Quantity) -> Quantity:
    if used.cpu_joules is not None:
        return _kwh(used.cpu_joules, "RAPL package counters") * wall
    assumed = watts_per_cpu is None
    watts = _WATTS if watts_per_cpu is None else watts_per_cpu
    origin = "a default" if assumed else "given"
    power = Quantity(
        low=watts / 2,
        value=watts,
        high=watts * 2,
        unit="J/s",
        grade="E" if assumed else "D",
        method=f"{watts:g} W per busy CPU ({origin}; from half to twice that)",
    )
    seconds = Quantity(value=used.cpu_seconds, unit="s", grade="B", method="CPU-seconds")
    return seconds * power * _KWH


def _kwh(joules: float, method: str) -> Quantity:
    return Quantity(value=joules, unit="J", grade="B", method=method) * _KWH


def _total(parts: dict[str, Quantity]) -> Quantity:
    first, *others = parts.values()
    for other in others:
        first = first + other
    return first


def _carbon(energy: Quantity, grid_g_per_kwh: float | None, level: float) -> Measure:
    known = grid_g_per_kwh is not None
    method = f"{grid_g_per_kwh:g} gCO2e/kWh, given" if known else "unknown carbon intensity of the electricity"
    grid = Quantity(value=grid_g_per_kwh, unit="gCO2e/kWh", grade="D", method=method)
    hint = "" if known else 'give it as grid_g_per_kwh under [checks."carbon.audit"]'
    return (energy * grid).measure("gco2e", level=level, note=hint)


def _table(parts: dict[str, Quantity], reasons: str) -> Table:
    lines = tuple((name, q.value, q.low, q.high, q.unit, q.grade, q.method, q.source) for name, q in parts.items())
    return Table(
        name="components",
        title="Energy by component, with its grade of evidence",
        columns=("component", "value", "low", "high", "unit", "grade", "method", "source"),
        rows=lines,
        note=reasons,
    )


def _plausible(watts_per_cpu: float | None, grid_g_per_kwh: float | None, pue: float) -> None:
    limits = {"watts_per_cpu": (watts_per_cpu, 0.0), "grid_g_per_kwh": (grid_g_per_kwh, 0.0), "pue": (pue, 1.0)}
    for name, (value, least) in limits.items():
        if value is not None and not (np.isfinite(value) and value >= least):
            raise UsageError(f"{name}: a finite number of at least {least:g}, got {value}")
