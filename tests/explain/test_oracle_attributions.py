"""Explanations of the credit world's oracle against the world's own closed forms."""

import numpy as np
import pytest

from audit.core import DataSpec, ModelSpec, Spec
from audit.data.worlds.credit import credit
from audit.explain import game, integrated_gradients, shapley
from audit.models.adapters.oracle import oracle


@pytest.mark.parametrize("omega", [0.0, 0.8])
def test_shapley_and_gradients_recover_the_truth(omega):
    world = credit(omega=omega)
    draw = world.draw(400, np.random.default_rng(0))
    model = oracle(Spec(model=ModelSpec(kind="oracle"), data=DataSpec(world="credit", knobs={"omega": omega})), draw)
    inputs, background = draw.inputs.take(np.arange(60)), draw.inputs.take(np.arange(60, 400))
    form = world.oracle()
    played = game(model, inputs, background, link="logit")
    found = shapley(played)
    np.testing.assert_allclose(found.values, form.shapley_truth(inputs.values, background.values), atol=1e-9)
    assert found.values[:, 3:6] == pytest.approx(0, abs=1e-9)
    slopes = integrated_gradients(played)
    truth = form.gradients_truth(inputs.values, background.values.mean(axis=0))
    np.testing.assert_allclose(slopes.values, truth, atol=1e-9)
    apart = np.abs(slopes.values - found.values).max()
    assert (apart > 1e-3) == bool(omega)
