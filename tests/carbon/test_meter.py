"""The meter on a made-up powercap tree, and on this machine."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from audit.carbon import meter

WHOLE = 262_143_328_850


def domain(root, folder, name, energy, whole=WHOLE):
    path = root / folder
    path.mkdir(parents=True, exist_ok=True)
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{energy}\n")
    (path / "max_energy_range_uj").write_text(f"{whole}\n")


def tree(root, first, second):
    """Two sockets, and all that would count them twice."""
    domain(root, "intel-rapl:0", "package-0", first)
    domain(root, "intel-rapl:1", "package-1", second)
    domain(root, "intel-rapl:0:0", "core", first // 2)
    domain(root, "intel-rapl:0:1", "dram", first // 3)
    domain(root, "intel-rapl:2", "psys", first * 3)
    domain(root, "intel-rapl-mmio:0", "package-0", first)
    (root / "intel-rapl").mkdir(exist_ok=True)


def test_two_sockets_add_up_and_nothing_counts_twice(tmp_path):
    tree(tmp_path, 1_000_000, 5_000_000)
    before = meter.start(tmp_path)
    tree(tmp_path, 4_500_000, 6_000_000)
    assert meter.read(before).cpu_joules == pytest.approx(4.5)


def test_a_counter_goes_round(tmp_path):
    tree(tmp_path, WHOLE - 1_000_000, 0)
    before = meter.start(tmp_path)
    tree(tmp_path, 2_000_000, 0)
    assert meter.read(before).cpu_joules == pytest.approx(3.0)


def test_a_counter_that_may_have_gone_round_again_is_unknown(tmp_path):
    tree(tmp_path, 100, 100)
    before = meter.start(tmp_path)
    long_ago = replace(before, wall=before.wall - 3600)
    used = meter.read(long_ago)
    assert used.cpu_joules is None
    assert any("gone round" in reason for reason in used.missing)
    assert meter.read(replace(before, wall=before.wall - 300)).cpu_joules == 0


def test_what_cannot_be_read_is_none_with_the_reason(tmp_path):
    assert meter.start(tmp_path / "absent").rapl is None
    assert "not there" in " ".join(meter.start(tmp_path).missing)
    tree(tmp_path, 1, 1)
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("broken")
    reading = meter.start(tmp_path)
    assert reading.rapl is None
    assert "not readable" in " ".join(reading.missing)
    used = meter.read(reading)
    assert used.cpu_joules is None
    assert "not readable" in " ".join(used.missing)


def test_nvml_counters_of_all_devices(monkeypatch, tmp_path):
    """A stand-in for the driver's library: this machine need not have a device."""
    energy = {0: 1_000, 1: 5_000}

    class Trouble(Exception):
        pass

    library = SimpleNamespace(
        NVMLError=Trouble,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: len(energy),
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetTotalEnergyConsumption=lambda index: energy[index],
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    before = meter.start(tmp_path)
    energy.update({0: 3_500, 1: 5_500})
    assert meter.read(before).gpu_joules == pytest.approx(3.0)

    def fails(index):
        raise Trouble("not supported")

    library.nvmlDeviceGetTotalEnergyConsumption = fails
    assert "not supported" in " ".join(meter.start(tmp_path).missing)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "not installed" in " ".join(meter.start(tmp_path).missing)


def test_cpu_seconds_hold_the_work_of_children():
    before = meter.start()
    start = time.process_time()
    while time.process_time() - start < 0.15:
        pass
    subprocess.run(
        [sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True, env=os.environ
    )
    used = meter.read(before)
    assert used.cpu_seconds >= 0.15 + 0.3 - 0.05
    assert used.wall_seconds > 0
