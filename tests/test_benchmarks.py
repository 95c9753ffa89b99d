import importlib
import json
import time

import numpy as np
import pytest

from audit.explain import game

pytest.importorskip("fairlearn")


def test_a_case_prints_its_verdicts_and_both_sides_agree(capsys):
    """Peak memory is that of fresh processes, each `python -m benchmarks`."""
    code = importlib.import_module("benchmarks.__main__").main(["metrics-categoricals", "--quick", "--size", "1000"])
    told = capsys.readouterr().out.splitlines()
    lines = [json.loads(line) for line in told if line.startswith("{")]
    assert [line["case"] for line in lines] == ["metrics-categoricals-1e3", "metrics-categoricals-1e3-memory"]
    for line in lines:
        assert set(line) == {"case", "peer", "ratio", "goal", "met"}
        assert line["met"] == (line["ratio"] >= line["goal"])
        assert line["peer"].startswith("fairlearn")
    assert code == (0 if all(line["met"] for line in lines) else 1)
    distance = next(line for line in told if "differ by at most" in line)
    assert float(distance.split()[-1]) <= 1e-12


def test_unknown_names_are_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit) as end:
        importlib.import_module("benchmarks.__main__").main(["metric-strings"])
    assert end.value.code == 2
    assert "allowed names are bootstrap" in capsys.readouterr().err


def test_the_beginning_of_names_stands_for_all_of_them():
    main = importlib.import_module("benchmarks.__main__")
    known = main.cases()
    explained = main._beginning("explain", known)
    assert len(explained) > 10
    assert main._beginning("explain-shap-kernel", known) == ["explain-shap-kernel", "explain-shap-kernel-equal"]
    assert main._beginning("bootstrap", known) == ["bootstrap"]
    assert main._beginning("explai", known) == []
    assert all(main.sizes(name, False) == main.EXPLAINED for name in explained)


def test_a_faster_answer_that_is_further_from_the_truth_does_not_count(capsys):
    harness = importlib.import_module("benchmarks.harness")

    def slow():
        end = time.process_time() + 0.02
        while time.process_time() < end:
            pass
        return 10

    def lines(mine: float) -> list[dict]:
        case = harness.Case(
            name="x", peer="y", goal=2.0, ours=lambda: 1, theirs=slow, rounds=1, repeats=1,
            errors=lambda: (mine, 0.1), truth="zero", evaluations=lambda ours, theirs: (ours, theirs), evaluations_goal=11.0,
            limit=lambda ours: 1e-6,
        )  # fmt: skip
        met = harness.run(case, "x", 1)
        told = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
        assert met == all(line["met"] for line in told)
        return told

    time_of, answers = lines(0.1)
    assert (time_of["met"], time_of["mae"], time_of["peer_mae"]) == (True, 0.1, 0.1)
    assert (answers["case"], answers["ratio"], answers["met"]) == ("x-evaluations", 10.0, False)
    assert lines(0.11)[0]["met"] is False


def test_the_exact_values_are_those_of_a_game_known_in_closed_form():
    models = importlib.import_module("benchmarks.explain_models")
    rng = np.random.default_rng(0)
    x, b, weights = rng.normal(size=(3, 5)), rng.normal(size=(4, 5)), np.arange(5.0)
    played = game(lambda rows: rows @ weights, x, b, output="value")
    np.testing.assert_allclose(models.by_definition(played), weights * (x - b.mean(axis=0)), atol=1e-12)


def test_tables_are_named_beside_the_cases():
    main = importlib.import_module("benchmarks.__main__")
    assert main._beginning("debias", [*main.cases(), *main.tables()]) == ["debias-data", "debias-world"]
    assert not set(main.cases()) & set(main.tables())


def test_compas_is_cut_as_published_and_no_row_is_on_both_sides(test_data):
    pytest.importorskip("torch")
    module = importlib.import_module("benchmarks.debias_data")
    split, other = module.compas(2)
    codes = [part.groups["race"].values for part in (split.train, split.test)]
    assert np.bincount(np.concatenate(codes)).tolist() == [3175, 2103]  # ProPublica's counts of Black and White people
    assert (len(codes[0]), len(codes[1])) == (3167, 2111)
    assert "race" not in split.train.inputs.columns
    ages = [np.sort(np.concatenate([part.inputs.values[:, 1] for part in (a.train, a.test)])) for a in (split, other)]
    np.testing.assert_array_equal(ages[0], ages[1])


def test_a_model_is_judged_by_its_decisions_and_its_score(test_data):
    pytest.importorskip("torch")
    module = importlib.import_module("benchmarks.debias_data")
    test = module.compas(1)[0].test
    race = test.groups["race"].values
    said = module.Said(decided=race.astype(np.int64), score=race.astype(float))
    found = module.judged(said, test, 1.0)
    assert (found.parity.value, found.odds.value) == (1.0, 1.0)
    assert found.told == pytest.approx(1.0)
    assert found.accuracy == pytest.approx((race == test.y).mean())


@pytest.fixture(scope="module")
def scale():
    pytest.importorskip("torch")
    return importlib.import_module("benchmarks.scale")


def test_a_family_grows_and_its_operations_are_those_counted_by_hand(scale):
    budget = scale.Budget(one_pass=0.02, family=600.0, doublings=1, parameters=2**22, batch=512)
    *found, why = scale.sizes("mlp", "cpu", budget)
    assert why == "as large as asked"
    assert [each.factor for each in found] == [1, 2]
    for each in found:
        wide = 64 * each.factor
        assert each.flops_per_row == 2 * (7 * wide + wide * wide + wide)
        assert each.parameters == 7 * wide + wide + wide * wide + wide + wide + 1
        assert each.flops_per_second == pytest.approx(each.rows_per_second * each.flops_per_row)
        assert each.rows_per_second > 0
        assert each.batch <= budget.batch
        assert scale.line(each).split()[0] == "mlp"


def test_only_sizes_grow(scale):
    assert scale.options_of("mlp", 4) == {"hidden": [256, 256]}
    assert scale.options_of("rbf", 2) == {"centres": 96}
    assert scale.options_of("perceptron", 2) == {}
    for id in scale.entries("families"):
        params = scale.find(id).params
        assert set(scale.options_of(id, 2)) <= {*scale.SIZES, "phi"}
        assert "phi" not in params or scale.options_of(id, 4) == {"phi": params["phi"] + 2}


def test_a_family_without_an_option_of_size_says_so(scale):
    only, why = scale.sizes("perceptron", "cpu", scale.QUICK)
    assert only.factor == 1
    assert why == "it has no option of size"


def test_copies_of_a_graph_lie_beside_one_another(scale):
    from audit.data.graphs import graph

    class Sums:
        device = "cpu"

        def tensor(self, values):
            return torch.tensor(values)

    torch = pytest.importorskip("torch")
    one = graph(np.arange(6.0).reshape(3, 2), np.array([[0, 1], [1, 2]]))
    features, edges = scale.tensors(Sums(), one, 3)
    assert features.shape == (9, 2)
    assert edges.shape == (2, 12)
    summed = torch.zeros_like(features).index_add_(0, edges[1], features[edges[0]])
    np.testing.assert_array_equal(summed, np.tile([[2.0, 3.0], [4.0, 6.0], [2.0, 3.0]], (3, 1)))


def test_the_table_of_sizes_is_printed_for_a_device(scale, capsys):
    scale.main(quick=True, device="cpu", names=["perceptron"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("on the CPU")
    assert lines[1].split()[:2] == ["family", "size"]
    assert lines[2].split()[0] == "perceptron"
    assert lines[3].startswith("perceptron: it has no option of size; at best")
    assert "scale" in importlib.import_module("benchmarks.__main__").on_device()
