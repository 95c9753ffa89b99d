"""What this machine lets us read of its own work: the clock, CPU-seconds, RAPL and NVML energy counters.

Nothing is estimated here. What cannot be read is None, and `missing` says why.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
_WATTS_AT_MOST = 500.0  # of one socket: what one more round of a counter is possible at


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The counters at one moment: seconds, CPU-seconds (children included), microjoules and millijoules by device."""

    wall: float
    cpu: float
    rapl: Mapping[str, tuple[int, int]] | None
    nvml: Mapping[str, int] | None
    missing: tuple[str, ...] = ()
    powercap: Path = field(default=POWERCAP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What lies between two readings; cpu_joules and gpu_joules are of the whole machine, None where not readable."""

    wall_seconds: float
    cpu_seconds: float
    cpu_joules: float | None
    gpu_joules: float | None
    missing: tuple[str, ...] = ()


def start(powercap: Path = POWERCAP) -> Reading:
    """The counters now: hand them to `read` when the work is done."""
    rapl, no_rapl = _rapl(powercap)
    nvml, no_nvml = _nvml()
    used = os.times()
    cpu = time.process_time() + used.children_user + used.children_system
    missing = tuple(filter(None, (no_rapl, no_nvml)))
    return Reading(wall=time.perf_counter(), cpu=cpu, rapl=rapl, nvml=nvml, missing=missing, powercap=powercap)


def read(before: Reading) -> Usage:
    """What was used since `before`; children count once they have been waited for."""
    return between(before, start(before.powercap))


def between(before: Reading, after: Reading) -> Usage:
    """What was used between two readings."""
    wall = max(after.wall - before.wall, 0.0)
    joules, reason = _rapl_joules(before, after, wall)
    gpu = None
    if before.nvml and after.nvml and before.nvml.keys() == after.nvml.keys():
        gpu = sum(max(after.nvml[device] - before.nvml[device], 0) for device in before.nvml) / 1e3
    return Usage(
        wall_seconds=wall,
        cpu_seconds=max(after.cpu - before.cpu, 0.0),
        cpu_joules=joules,
        gpu_joules=gpu,
        missing=tuple(filter(None, (*after.missing, reason))),
    )


def _rapl_joules(before: Reading, after: Reading, wall: float) -> tuple[float | None, str]:
    """Energy of all packages; None and the reason where a counter may have gone round more often than it shows."""
    if not before.rapl or not after.rapl or before.rapl.keys() != after.rapl.keys():
        return None, ""
    total = 0
    for domain, (energy, whole) in after.rapl.items():
        used = energy - before.rapl[domain][0]
        used = used % whole if whole else max(used, 0)
        if whole and used + whole <= wall * _WATTS_AT_MOST * 1e6:
            return None, f"the energy counter of {domain} may have gone round once more within {wall:.0f} s"
        total += used
    return total / 1e6, ""


def _rapl(powercap: Path) -> tuple[dict[str, tuple[int, int]] | None, str]:
    """Microjoules and range of each package; a part that cannot be read makes the whole unknown, not smaller.

    Only top domains named package-N: cores, memory and the psys domain lie within or around them, and the
    intel-rapl-mmio folders show the same packages a second time.
    """
    found: dict[str, tuple[int, int]] = {}
    try:
        for folder in sorted(powercap.iterdir()):
            if not re.fullmatch(r"intel-rapl:\d+", folder.name):
                continue
            if not (folder / "name").read_text().strip().startswith("package"):
                continue
            energy, whole = (int((folder / part).read_text()) for part in ("energy_uj", "max_energy_range_uj"))
            found[folder.name] = (energy, whole)
    except (OSError, ValueError) as error:
        kind = "not there" if isinstance(error, FileNotFoundError) else "not readable"
        return None, f"RAPL energy counters are {kind} ({type(error).__name__})"
    return (found, "") if found else (None, "RAPL energy counters are not there")


def _nvml() -> tuple[dict[str, int] | None, str]:
    """Millijoules of each NVIDIA device since its driver was loaded."""
    try:
        import pynvml
    except ImportError:
        return None, "NVML energy counters are not readable (nvidia-ml-py is not installed)"
    try:
        pynvml.nvmlInit()
        try:
            devices = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
            energy = {str(i): int(pynvml.nvmlDeviceGetTotalEnergyConsumption(one)) for i, one in enumerate(devices)}
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        return None, f"NVML energy counters are not readable ({error})"
    return (energy, "") if energy else (None, "NVML sees no device")
