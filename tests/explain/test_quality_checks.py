"""The quality checks on models whose explanations are known, and on explainers that are known to be wrong."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from little_models import Open, Plain, codes, context, seeded_mlp, sigmoid, subject, table

from audit import registry
from audit.core import BudgetSpent, Curve, DataError, DataSpec, Measure, ModelSpec, NotApplicable, Spec, Table, stream
from audit.data.images import Images
from audit.data.series import series
from audit.data.worlds.credit import credit
from audit.explain import game
from audit.explain.attribution import attribution
from audit.explain.quality.agreement import agreement
from audit.explain.quality.completeness import completeness, relative_errors
from audit.explain.quality.complexity import complexity
from audit.explain.quality.faithfulness import faithfulness
from audit.explain.quality.localisation import localisation
from audit.explain.quality.panel import defined, panel
from audit.explain.quality.proxies import proxies
from audit.explain.quality.randomisation import randomisation, randomised, stages
from audit.explain.quality.retraining import retraining
from audit.explain.quality.scaffold import hidden, scaffold
from audit.explain.quality.stability import _scale, nudged, stability
from audit.explain.quality.truth import truth
from audit.models.adapters.oracle import form_of, oracle
from audit.models.counted import Counted
from audit.registry import Entry

WEIGHTS = np.array([2.0, -1.0, 0.5, 0.0])


def rows(count: int, columns: int = 4) -> np.ndarray:
    return stream(3, "rows").standard_normal((count, columns))


def linear() -> Open:
    module = torch.nn.Linear(4, 1).double()
    with torch.no_grad():
        module.weight.copy_(torch.tensor(WEIGHTS)[None])
        module.bias.zero_()
    return Open(module)


def measures(evidence) -> dict:
    return {(e.name, e.where.get("explainer")): e for e in evidence if isinstance(e, Measure)}


def read_only_inputs(game, *, seed: int = 0):
    """An explainer that shows the input and never asks the model."""
    return attribution(game, game.masker.data(), base=np.zeros(len(game)), outputs=game.outputs(), method="input only", complete=False)  # fmt: skip


@pytest.fixture
def input_only(monkeypatch):
    registry.entries("explainers")
    entry = Entry(id="input_only", title="Input only", function=read_only_inputs, needs=frozenset({"model", "rows"}))
    monkeypatch.setitem(registry._entries["explainers"], "input_only", entry)


# ------------------------------------------------------------------------------------------------- the panel
def test_the_panel_is_run_once_and_says_who_is_missing():
    model = Plain(lambda v: sigmoid(v @ WEIGHTS))
    whom, where = subject(model, table(rows(60))), context()
    game, found = panel(whom, where)
    asked = len(model.calls)
    assert panel(whom, where)[1] is found
    assert len(model.calls) == asked
    assert {"shapley", "lime"} <= set(defined(found))
    assert "gradients" in found["saliency"]
    assert len(game) == 12
    left_out = [e for e in agreement(whom, where) if isinstance(e, Table) and e.name == "left_out"]
    assert "saliency" in {row[0] for row in left_out[0].rows}


def test_a_spent_budget_is_no_reason_to_leave_an_explainer_out():
    whom = subject(Plain(lambda v: sigmoid(v @ WEIGHTS)), table(rows(60)))
    whom = replace(whom, model=Counted(model=whom.model, limit=500))
    with pytest.raises(BudgetSpent):
        panel(whom, replace(context(), budget=500))


# --------------------------------------------------------------------------- completeness and faithfulness
def test_relative_errors_by_hand():
    played = game(Plain(lambda v: v.sum(axis=1) / 10 + 0.5), rows(3, 2), rows(5, 2))
    found = attribution(
        played,
        np.array([[1.0, 1.0], [0.5, 0.0], [0.0, 0.0]]),
        base=np.array([0.0, 0.0, 1.0]),
        outputs=np.array([2.0, 1.0, 1.0]),
        method="by hand",
    )
    assert relative_errors(found)[:2] == pytest.approx([0, 0.5])
    assert np.isnan(relative_errors(found)[2])


def test_completeness_catches_a_promise_that_is_not_kept(input_only, monkeypatch):
    def promising(game, *, seed=0):
        return replace(read_only_inputs(game), complete=True)

    entry = Entry(id="promising", title="Promising", function=promising, needs=frozenset({"model", "rows"}))
    monkeypatch.setitem(registry._entries["explainers"], "promising", entry)
    found = measures(completeness(subject(linear(), table(rows(60))), context()))
    assert found["share_above_1_percent", "promising"].value == 1
    assert found["share_above_1_percent", "shapley"].value == 0
    assert found["relative_completeness_error", "shapley"].value < 1e-9
    assert ("relative_completeness_error", "input_only") not in found, "it promises nothing"


def test_on_a_linear_model_exact_explanations_are_faithful_and_the_input_is_not(input_only):
    whom, where = subject(linear(), table(rows(60))), context()
    evidence = list(faithfulness(whom, where, link="logit"))
    found = measures(evidence)
    for id in ("shapley", "integrated_gradients"):
        assert found["infidelity", id].value == pytest.approx(0, abs=1e-12)
        for n in ("1", "2", "half"):
            assert found[f"sensitivity_{n}", id].value == pytest.approx(1)
        assert found["deletion_beats_random", id].interval.low > 0.8
        assert found["insertion_beats_random", id].interval.low > 0.8
    assert found["infidelity", "input_only"].value > 0.1
    assert found["deletion_beats_random", "input_only"].value < found["deletion_beats_random", "shapley"].value
    played, panelled = panel(whom, where, link="logit")
    falling = -np.sort(-panelled["shapley"].values, axis=1)
    start, ends = played.outputs()[:, None], np.cumsum(falling, axis=1)
    curves = np.hstack([start, start - ends])
    closed = ((curves[:, :-1] + curves[:, 1:]) / 2).mean()
    assert found["deletion_auc", "shapley"].value == pytest.approx(closed)
    curve = next(e for e in evidence if isinstance(e, Curve) and e.where == {"explainer": "shapley"})
    assert curve.y == pytest.approx(curves.mean(axis=0))
    assert len(curve.low) == len(curve.y)


def test_a_constant_model_is_undefined_not_nought():
    found = measures(faithfulness(subject(Plain(lambda v: np.full(len(v), 0.5)), table(rows(40))), context()))
    assert found["infidelity", "shapley"].value is None
    assert "does not move" in found["infidelity", "shapley"].note
    assert found["deletion_beats_random", "shapley"].value == 0.5


# ----------------------------------------------------------------------------------------------------- truth
def planted(omega: float):
    data = credit(omega=omega).draw(300, np.random.default_rng(0))
    spec = Spec(model=ModelSpec(kind="oracle"), data=DataSpec(world="credit", knobs={"omega": omega}))
    model = oracle(spec, data)
    return replace(subject(model, data.inputs), data=data)


@pytest.mark.parametrize("omega", [0.0, 0.8])
def test_explainers_meet_their_own_truth_on_the_planted_world(omega):
    found = measures(truth(planted(omega), context()))
    for id in ("shapley", "integrated_gradients", "saliency", "input_x_gradient"):
        assert found["mean_absolute_error", id].value == pytest.approx(0, abs=1e-9)
    assert found["mean_absolute_error", "expected_gradients"].value < 1e-3
    held = found["coverage", "shapley (population)"]
    assert 0.85 < held.value <= 1
    assert held.n == 16
    assert found["coverage", "shapley"].value is None
    assert found["rank_correlation_with_shapley", "shapley"].value == pytest.approx(1)
    assert found["rank_correlation_with_shapley", "saliency"].value < 1


def test_the_truth_of_other_weights_is_missed(input_only, monkeypatch):
    whom = planted(0.8)
    form = form_of(whom.model)
    assert form == credit(omega=0.8).oracle()
    monkeypatch.setattr("audit.models.adapters.oracle.form_of", lambda model: replace(form, weights=(0.0,) * 7))
    assert measures(truth(whom, context()))["mean_absolute_error", "shapley"].value > 0.1


def test_there_is_no_truth_without_a_planted_world():
    with pytest.raises(NotApplicable, match="planted"):
        list(truth(subject(linear(), table(rows(40))), context()))


# -------------------------------------------------------------------------- agreement, complexity, stability
def test_on_a_linear_model_the_exact_explainers_agree():
    evidence = list(agreement(subject(linear(), table(rows(60))), context(), link="logit", k=2))
    matrix = next(e for e in evidence if isinstance(e, Table) and e.name == "rank_correlation")
    ids = matrix.columns[1:]
    values = np.array([row[1:] for row in matrix.rows], dtype=float)
    assert np.allclose(values, values.T)
    assert values[ids.index("shapley"), ids.index("integrated_gradients")] == pytest.approx(1)
    assert matrix.view == "matrix"
    signs = next(e for e in evidence if isinstance(e, Table) and e.name == "sign_agreement")
    assert "saliency" not in signs.columns


def test_complexity_of_known_weights():
    found = measures(complexity(subject(linear(), table(rows(60))), context(), link="logit"))
    share = np.abs(WEIGHTS[:3]) / np.abs(WEIGHTS).sum()
    assert found["entropy", "saliency"].value == pytest.approx(-(share * np.log(share)).sum())
    assert found["effective_features", "saliency"].value == pytest.approx(np.prod(share**-share))


def test_stability_of_a_linear_model(input_only):
    found = measures(stability(subject(linear(), table(rows(60))), context(), link="logit"))
    assert found["sensitivity_max", "saliency"].value == pytest.approx(0, abs=1e-12)
    # The slope per standard deviation is at most the gradient in those units.
    steepest = np.linalg.norm(WEIGHTS * rows(60).std(axis=0))
    assert 0 < found["output_lipschitz", "the model"].value <= steepest + 1e-9
    change = np.linalg.norm(np.diag(WEIGHTS * rows(60).std(axis=0)), ord=2)
    assert 0 < found["local_lipschitz", "integrated_gradients"].value <= change + 1e-9
    assert found["seed_spread", "shapley"].value == 0
    assert found["seed_spread", "lime"].value > 0


def test_the_input_itself_moves_as_far_as_it_is_moved(input_only):
    columns = rows(60) / rows(60).std(axis=0)
    found = measures(stability(subject(linear(), table(columns)), context()))
    assert found["local_lipschitz", "input_only"].value == pytest.approx(1)


# ------------------------------------------------------------------------------------------- randomisation
def test_noise_from_the_top_leaves_the_users_module_alone():
    module = seeded_mlp(4)
    before = [p.clone() for p in module.parameters()]
    top, whole = randomised(module, 1, stream(0, "a")), randomised(module, 2, stream(0, "a"))
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
    assert torch.equal(top[0].weight, module[0].weight)
    assert not torch.equal(top[2].weight, module[2].weight)
    assert not torch.equal(whole[0].weight, module[0].weight)
    sizes = [float(m[0].weight.detach().square().mean().sqrt()) for m in (whole, module)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.5)
    assert stages(5, 3) == (1, 3, 5)
    assert stages(1, 3) == (1,)
    assert stages(5, 1) == (5,), "one stage: every layer is noise, as the note says"


def test_an_explainer_that_ignores_the_model_is_caught(input_only):
    whom = subject(Open(seeded_mlp(4)), table(rows(80)), y=(rows(80)[:, 0] > 0).astype(int))
    evidence = list(randomisation(whom, context()))
    found = measures(evidence)
    for name in ("parameter_rank_correlation", "label_rank_correlation"):
        assert found[name, "input_only"].value == pytest.approx(1)
        assert ": 0.9 or above; to be read as" in found[name, "input_only"].note
        assert found[name, "shapley"].value < 0.9
        assert ": below 0.9" in found[name, "shapley"].note
    curve = next(e for e in evidence if isinstance(e, Curve) and e.where == {"explainer": "input_only"})
    assert curve.x == (0.0, 0.5, 1.0)
    assert curve.y == pytest.approx((1, 1, 1))


def test_closed_parameters_say_so():
    found = measures(randomisation(subject(Plain(lambda v: sigmoid(v @ WEIGHTS)), table(rows(40))), context()))
    assert "not open" in found["parameter_rank_correlation", None].note
    assert "labels" in found["label_rank_correlation", None].note


# -------------------------------------------------------------------------------------- scaffold and proxies
def one_factor(count: int = 600):
    """Columns that all follow one factor, so that mixing two rows makes one that no person has."""
    rng = stream(1, "factor")
    factor = rng.standard_normal(count)
    values = factor[:, None] * np.array([1, -1, 1, 0.8, 1.2, 0.9, 0]) + 0.1 * rng.standard_normal((count, 7))
    values[:, 6] = factor + 0.3 * rng.standard_normal(count) > 0
    names = ("a", "b", "c", "d", "e", "f", "sex")
    return table(values, names), codes(["fm"[int(v)] for v in values[:, 6]])


def test_lime_and_kernel_shap_are_fooled_and_nearest_rows_less_so():
    inputs, sex = one_factor()
    whom = subject(Plain(lambda v: sigmoid(v[:, 0])), inputs, groups={"sex": sex})
    evidence = list(hidden(whom, context(), rows=20, background=300))
    found = measures(evidence)
    assert found["people_recognised", "the wrapper"].value > 0.6
    assert found["survival", "lime"].value == 0
    assert found["survival", "shapley"].interval.high < 0.5
    assert found["survival", "shapley (nearest fill)"].value > found["survival", "shapley"].value + 0.1
    assert "the interval lies below one half" in found["survival", "lime"].note
    for name, who in (("survival", "lime"), ("people_recognised", "the wrapper")):
        assert "share one detector" in found[name, who].note
        assert found[name, who].interval.method == "Wilson over rows of one wrapper"
    rows = {row[0]: row for row in next(e for e in evidence if isinstance(e, Table)).rows}
    assert rows["lime"][3] == rows["shapley"][3] == 1, "with nothing hidden both see it"
    assert rows["lime"][2] > 0.9, "they name the innocuous feature instead"


def test_the_wrapper_answers_people_by_one_rule_and_probes_by_the_other():
    inputs, _ = one_factor()
    found = scaffold(inputs, 6, 5, stream(0, "s"))
    fake = inputs.values.copy()
    fake[:, 0] = 5 - fake[:, 0]
    assert found.real(inputs.values).mean() > 0.8
    assert found.real(fake).mean() < 0.05
    people = found.real(inputs.values)
    assert (found.answer(inputs)[people] == inputs.values[people, 6]).all()


def test_the_share_that_proxies_carry_is_that_of_their_weights():
    rng = stream(0, "proxies")
    group = rng.integers(2, size=200)
    values = rng.standard_normal((200, 4))
    values[:, 1] = 3 * group + 0.1 * rng.standard_normal(200)
    whom = subject(linear(), table(values), groups={"sex": codes(["fm"[g] for g in group])})
    found = list(proxies(whom, context(), link="logit"))
    carried = measures(found)["proxy_share", "saliency"]
    assert carried.value == pytest.approx(1 / 3.5)
    assert dict(carried.where) == {"sex": "*", "explainer": "saliency"}
    assert next(e for e in found if isinstance(e, Table)).rows[0][0] == "x1"


# ------------------------------------------------------------------------------ localisation and retraining
def pictures(mask: bool = True) -> Images:
    values = stream(0, "pictures").random((12, 1, 16, 16))
    known = np.zeros((12, 16, 16), dtype=bool)
    known[:, :9, :9] = True  # three squares of three pixels each way: no player lies on the edge
    return Images(values=values, mask=known if mask else None)


def test_a_model_of_the_masked_corner_is_explained_within_it():
    model = Plain(lambda v: sigmoid(20 * (v[:, 0, :9, :9].mean(axis=(1, 2)) - 0.5)))
    found = measures(localisation(subject(model, pictures()), context(), rows=4, link="logit"))
    assert found["mask_area", "chance"].value == pytest.approx(81 / 256)
    assert found["relevance_mass", "shapley"].value == pytest.approx(1, abs=0.01)
    other = Plain(lambda v: sigmoid(20 * (v[:, 0, 9:, 9:].mean(axis=(1, 2)) - 0.5)))
    missed = measures(localisation(subject(other, pictures()), context(), rows=4, link="logit"))
    assert missed["relevance_mass", "shapley"].value == pytest.approx(0, abs=0.01)


def test_pictures_keep_their_mask_and_need_one():
    images = pictures()
    assert images.take(np.array([2, 3])).mask.shape == (2, 16, 16)
    assert images.with_values(images.values * 0).mask is None
    with pytest.raises(DataError, match="mask"):
        Images(values=images.values, mask=images.mask[:3])
    model = Plain(lambda v: v[:, 0, 0, 0])
    with pytest.raises(NotApplicable, match="without a mask"):
        list(localisation(subject(model, pictures(mask=False)), context()))


def test_what_shapley_names_is_missed_and_what_a_wrong_explainer_names_is_not(monkeypatch):
    def wrong(game, *, seed=0):
        values = np.tile(np.arange(6.0), (len(game), 1))
        return attribution(game, values, base=np.zeros(len(game)), outputs=game.outputs(), method="wrong")

    registry.entries("explainers")
    entry = Entry(id="wrong", title="Wrong", function=wrong, needs=frozenset({"model", "rows"}))
    monkeypatch.setitem(registry._entries["explainers"], "wrong", entry)
    weights = np.array([2.0, -1.5, 0.0, 0.0, 0.0, 0.0])
    whom = subject(Plain(lambda v: sigmoid(v @ weights)), table(rows(200, 6)))
    found = measures(retraining(whom, context()))
    assert found["fit_lost_beyond_chance", "shapley"].interval.low > 0
    assert found["fit_lost_beyond_chance", "wrong"].interval.high < 0
    assert found["fit", "nothing removed"].value > found["fit", "random features"].value
    with pytest.raises(NotApplicable, match="do not vary"):
        list(retraining(subject(Plain(lambda v: np.full(len(v), 0.5)), table(rows(200, 6))), context()))


def test_sequences_are_nudged_where_they_have_steps():
    inputs = replace(series(np.ones((2, 4, 3))), lengths=np.array([2, 4]))
    near, distance = nudged(inputs, np.ones((2, 1, 1, 1)), 0.1, 5, stream(0, "n"))
    assert near.lengths.tolist() == [2] * 5 + [4] * 5
    assert np.array_equal(near.values[:5, 2:], np.repeat(inputs.values[:1, 2:], 5, axis=0))
    assert distance[0] == pytest.approx(np.linalg.norm(near.values[:5, :2] - 1, axis=(1, 2)))
    model = Plain(lambda v: sigmoid(v[:, :2].sum(axis=(1, 2))))
    everyone = series(rows(120, 3).reshape(30, 4, 3))
    found = measures(stability(subject(model, everyone), context(), rows=4))
    assert 0 < found["sensitivity_max", "shapley"].value < 1


def test_the_steps_of_a_sequence_are_nudged_by_their_own_column_and_not_by_what_fills_them_up():
    rng = stream(2, "s")
    values, lengths = rng.standard_normal((9, 6, 2)) * [1.0, 100.0], np.array([2, 6, 3, 4, 5, 6, 1, 2, 3])
    values[np.arange(6) >= lengths[:, None]] = 1e6
    everyone = replace(series(values), lengths=lengths)
    own = np.concatenate([row[:count] for row, count in zip(values, lengths, strict=True)])
    found = _scale(subject(Plain(lambda v: v[:, 0, 0]), everyone), everyone.take(np.arange(3)))
    np.testing.assert_allclose(found, own.std(axis=0))
    near, _ = nudged(everyone, found, 0.1, 50, stream(0, "n"))
    moved = np.abs(near.values - np.repeat(values, 50, axis=0)).max(axis=(0, 1))
    assert (moved <= 0.1 * found).all()
    assert (moved > 0.09 * found).all()
