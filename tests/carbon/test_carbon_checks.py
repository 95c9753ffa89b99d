"""What the two checks of energy and carbon yield, and how sure they say they are."""

import numpy as np
import pytest
import torch
from little_models import Open, Plain, context, seeded_mlp, subject, table

from audit.carbon import meter
from audit.carbon.footprint import components, footprint
from audit.carbon.inference import inference
from audit.core import NotApplicable, UsageError


def made(model=None):
    return subject(model or Open(seeded_mlp(6)), table(np.ones((4, 6))))


def run(tmp_path, **params):
    return {e.name: e for e in footprint(made(), context(meter=meter.start(tmp_path)), **params)}


def usage(**facts):
    return meter.Usage(**{"wall_seconds": 10.0, "cpu_seconds": 9.0, "cpu_joules": None, "gpu_joules": None, **facts})


def test_without_a_sensor_the_default_is_named_and_graded_assumed(tmp_path):
    found = run(tmp_path)
    energy = found["energy_kwh"]
    assert energy.grade == "E"
    assert energy.interval.method == "plausible range"
    assert energy.interval.low == pytest.approx(energy.value / 2)
    assert energy.interval.high == pytest.approx(energy.value * 2)
    assert "no power sensor readable" in energy.note
    assert "a default" in energy.note
    assert energy.value == pytest.approx(found["cpu_seconds"].value * 4 / 3.6e6)
    assert found["gco2e"].value is None
    assert "grid_g_per_kwh" in found["gco2e"].note
    assert found["wall_seconds"].grade == "A"


def test_given_watts_grid_and_overhead(tmp_path):
    found = run(tmp_path, watts_per_cpu=6.0, grid_g_per_kwh=400.0, pue=1.5)
    assert found["energy_kwh"].grade == "D"
    assert found["energy_kwh"].value == pytest.approx(found["cpu_seconds"].value * 6 * 1.5 / 3.6e6)
    assert found["gco2e"].value == pytest.approx(found["energy_kwh"].value * 400)
    assert found["gco2e"].grade == "D"
    assert found["gco2e"].unit == "gCO2e"
    assert found["gco2e"].interval.high == pytest.approx(found["energy_kwh"].interval.high * 400)


def test_counters_are_raised_to_the_wall():
    parts = components(usage(cpu_joules=3.6e6, gpu_joules=7.2e6), None)
    assert parts["processors"].value == pytest.approx(1.38)
    assert (parts["processors"].low, parts["processors"].high) == pytest.approx((1.15, 1.7))
    assert parts["processors"].grade == "B"
    assert parts["accelerators"].value == pytest.approx(2 * 1.38)
    assert parts["accelerators"].unit == "kWh"
    mixed = components(usage(gpu_joules=1.0), None)
    assert (mixed["processors"].grade, mixed["accelerators"].grade) == ("E", "B")
    assert mixed["processors"].value == pytest.approx(9 * 4 / 3.6e6)


@pytest.mark.parametrize("params", [{"pue": 0.9}, {"watts_per_cpu": -1.0}, {"grid_g_per_kwh": float("nan")}])
def test_impossible_parameters(tmp_path, params):
    with pytest.raises(UsageError, match=next(iter(params))):
        run(tmp_path, **params)


def test_without_a_first_reading_there_is_nothing_to_say():
    with pytest.raises(NotApplicable):
        list(footprint(made(), context()))


def test_inference_of_a_perceptron():
    found = {e.name: e for e in inference(made(), context())}
    assert found["flops_per_prediction"].value == 2 * (6 * 16 + 16)
    assert found["flops_per_prediction"].grade == "D"
    assert found["parameters"].value == 6 * 16 + 16 + 16 + 1
    assert found["model_bytes"].value == 8 * (6 * 16 + 16 + 16 + 1)
    assert found["operations_not_counted"].rows == (("aten.tanh", 1),)


def test_a_model_of_uncounted_operations_is_undefined_not_zero():
    class Sines(torch.nn.Module):
        def forward(self, x):
            return x.sin()[:, 0]

    found = {e.name: e for e in inference(made(Open(Sines())), context())}
    assert found["flops_per_prediction"].value is None
    assert "aten.sin" in found["flops_per_prediction"].note
    linear = {e.name: e for e in inference(made(Open(torch.nn.Linear(6, 1).double())), context())}
    assert linear["operations_not_counted"].rows == ()
    assert linear["operations_not_counted"].note == "every operation was counted"


def test_no_model_no_count():
    with pytest.raises(NotApplicable):
        list(inference(subject(None, table(np.ones((2, 2)))), context()))
    assert Plain(len).offers == frozenset()
