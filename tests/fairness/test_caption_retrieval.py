"""Retrieval of pictures by captions: hand counts, brute force over orders, the truth of the captions world."""

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import scipy.stats
from subjects import context_of, find

from audit import codec, fairness
from audit.core import Card, Codes, Dataset, NotApplicable, Origin, Subject, UsageError
from audit.data.captioned import Captioned
from audit.data.images import Images
from audit.data.texts import tokenised
from audit.data.worlds.captions import CAPTIONS, OCCUPATIONS, captions
from audit.fairness import galleries, representation
from audit.fairness.caption_retrieval import retrieval
from audit.fairness.galleries import match_association, orders
from audit.fairness.ranking import ndkl, skew
from audit.models.adapters.oracle import oracle
from audit.subject import assemble


@dataclass(frozen=True)
class ByHand:
    """A model whose match of a picture with a text is the picture's pixel of the text's place."""

    card: Card = Card(family="by hand", kind="callable")  # noqa: RUF009
    family: str = "by hand"
    offers: frozenset = frozenset({"matching"})

    def match(self, pictures, texts):
        return pictures.values[:, 0, 0][:, texts.ids[:, 0] - 3]


def by_hand(scores, groups, levels=("a", "b"), said=None):
    """A subject of pictures with these scores (n, m) for the texts "t0", "t1", ..."""
    n, m = scores.shape
    names = [f"t{k}" for k in range(m)]
    texts = tokenised(names, ("[PAD]", "[UNK]", "[MASK]", *names))
    said = np.arange(n) % m if said is None else np.asarray(said)
    inputs = Captioned(images=Images(values=scores[:, None, None, :]), texts=texts.take(said))
    codes = Codes(values=np.asarray(groups), levels=levels)
    data = Dataset(inputs=inputs, groups={"g": codes}, origin=Origin(name="by hand"))
    return Subject(model=ByHand(), data=data, y=None, decision=None, score=None, groups=data.groups, slices=(("g",),))


@pytest.fixture(scope="module")
def of_the_world():
    world = captions()
    data = world.draw(1000, np.random.default_rng(0))
    spec = codec.spec_from_toml('[model]\nkind = "oracle"\n[data]\nworld = "captions"\n')
    return world, assemble(spec, data, oracle(spec, data))


@pytest.fixture(scope="module")
def evidence(of_the_world):
    return list(retrieval(of_the_world[1], context_of(), replicates=100, permutations=99))


def spreads(world):
    """The standard deviations of the largest skew of the first 100 and of ndkl between galleries, by occupation."""
    spec = codec.spec_from_toml('[model]\nkind = "oracle"\n[data]\nworld = "captions"\n')
    found = []
    for seed in range(10, 22):
        data = world.draw(1000, np.random.default_rng(seed))
        texts = tokenised(CAPTIONS, data.inputs.texts.vocabulary)
        scores = oracle(spec, data).match(data.inputs.images, texts)
        codes = data.groups["tone"]
        skews = [skew(each, 100, sensitive_features=codes).max() for each in scores.T]
        found.append((skews, [ndkl(each, sensitive_features=codes) for each in scores.T]))
    each = np.std(found, axis=0, ddof=1)
    return {
        name: dict(zip(OCCUPATIONS, row, strict=True)) for name, row in zip(("max_skew", "ndkl"), each, strict=True)
    }


def test_hand_counts():
    scores = np.array([[6.0, 0.0], [5.0, 1.0], [4.0, 2.0], [3.0, 3.0], [2.0, 4.0], [1.0, 5.0]])
    groups = [0, 0, 1, 0, 1, 1]  # for "t0" the order is a a b a b b, for "t1" b b a b a a
    found = list(retrieval(by_hand(scores, groups), context_of(), k=(2, 3), replicates=20, permutations=999))
    assert find(found, "skew@2", caption="t0", g="a").value == pytest.approx(math.log(1 / 0.5))
    assert find(found, "skew@2", caption="t0", g="b").value is None
    assert "nobody" in find(found, "skew@2", caption="t0", g="b").note
    assert find(found, "skew@3", caption="t0", g="b").value == pytest.approx(math.log((1 / 3) / 0.5))
    assert find(found, "max_skew@3", caption="t1", g="*").value == pytest.approx(math.log((2 / 3) / 0.5))
    assert find(found, "max_skew@3", caption="t1", g="*").note.startswith("of b; random orders give")
    share = find(found, "share@2", caption="t0", g="b")
    assert (share.value, share.n, share.note) == (0.0, 2, "of all pictures 0.500")
    assert (share.interval.low, share.interval.high) == pytest.approx(
        tuple(scipy.stats.binomtest(0, 2).proportion_ci(method="wilson"))
    )
    assert find(found, "share@3", caption="t0", g="b").value == pytest.approx(1 / 3)
    assert find(found, "mean_max_skew@3", g="*").value == pytest.approx(math.log((2 / 3) / 0.5))
    total, weights = 0.0, 0.0
    for i, a in enumerate((1, 2, 2, 3, 3, 3), 1):
        divergence = sum(p * math.log(p / 0.5) for p in (a / i, 1 - a / i) if p)
        total, weights = total + divergence / math.log2(i + 1), weights + 1 / math.log2(i + 1)
    assert find(found, "ndkl", caption="t0", g="*").value == pytest.approx(total / weights)
    assert find(found, "mean_ndkl", g="*").value == pytest.approx(total / weights)
    top = [max(ones, 3 - ones) / 3 for ones in (sum(part) for part in itertools.permutations([0, 0, 0, 1, 1, 1], 3))]
    chance = find(found, "mean_max_skew@3_expected_by_chance", g="*")
    assert chance.value == pytest.approx(np.mean(np.log(np.array(top) / 0.5)), abs=0.03)
    assert find(found, "max_skew@3_p_value", caption="t0", g="*").value == 1.0  # every order has two of three, or more
    difference = (6 + 5 + 3) / 3 - (4 + 2 + 1) / 3
    assert find(found, "association", caption="t0", g="a").value == pytest.approx(difference)
    assert find(found, "association", caption="t1", g="a").value == pytest.approx(-difference)
    assert find(found, "relative_association", caption="t0", g="a").value == pytest.approx(difference)
    effect = difference / np.std([6, 5, 4, 3, 2, 1], ddof=1)
    assert find(found, "effect_size", caption="t0", g="a").value == pytest.approx(effect)
    ways = [np.mean(scores[list(part), 0]) * 2 - 7 for part in itertools.combinations(range(6), 3)]
    exact = np.mean(np.abs(ways) >= difference - 1e-9)
    assert find(found, "p_value", caption="t0", g="a").value == pytest.approx(exact, abs=0.05)


def test_a_shift_that_every_caption_shares_is_no_relative_association():
    same = np.random.default_rng(0).standard_normal((30, 3))
    scores, groups = np.concatenate([same, same + 5.0]), np.repeat([0, 1], 30)
    found = list(retrieval(by_hand(scores, groups), context_of(), replicates=50, permutations=99))
    for place in range(3):
        assert find(found, "association", caption=f"t{place}", g="b").value == pytest.approx(5)
        measure = find(found, "relative_association", caption=f"t{place}", g="b")
        assert measure.value == pytest.approx(0, abs=1e-9)
        assert measure.interval.low < 0 < measure.interval.high


def test_pictures_in_random_order_show_nothing():
    rng = np.random.default_rng(4)
    scores, groups = rng.standard_normal((400, 20)), rng.integers(0, 2, 400)
    found = list(retrieval(by_hand(scores, groups), context_of(), k=(50,), replicates=100, permutations=199))
    p = np.array([e.value for e in found if e.name == "p_value" and e.where["g"] == "a"])
    assert 0.2 < (p < 0.5).mean() < 0.8
    inside = [e.interval.low <= 0 <= e.interval.high for e in found if e.name in ("association", "skew@50")]
    assert np.mean(inside) > 0.85


def test_orders_with_ties_and_without_give_the_figures_of_rankings(monkeypatch):
    """Against the measures of one list, whole and one caption at a time; several scores are equal."""
    rng = np.random.default_rng(6)
    scores, code = rng.standard_normal((40, 5)), rng.integers(0, 3, 40)
    scores[:, 1:4] = np.round(scores[:, 1:4])
    scores[:, 4] = 0.0
    codes = Codes(values=code, levels=("a", "b", "c", "d"))
    for block in (galleries.BLOCK, 1):
        monkeypatch.setattr(galleries, "BLOCK", block)
        found = orders(scores).figures(code, 4, (3, 7, 90))
        for place in range(5):
            assert found["ndkl"][place] == pytest.approx(ndkl(scores[:, place], sensitive_features=codes), abs=1e-12)
            for at, top in enumerate((3, 7)):
                skews = skew(scores[:, place], top, sensitive_features=codes)[:3]
                assert found["max_skew"][place, at] == pytest.approx(skews.max())
                whole = np.bincount(code, minlength=3) / 40
                np.testing.assert_allclose(found["share"][place, at, :3], np.exp(skews) * whole)


def test_random_scores_are_no_more_skewed_than_chance():
    """Sixty small galleries: p values are as rare as they say, expectations meet the figures, shares are held."""
    rng, p, excess, held = np.random.default_rng(9), [], [], []
    for _ in range(60):
        scores, groups = rng.standard_normal((50, 2)), rng.permutation(np.repeat([0, 1], [20, 30]))
        found = list(retrieval(by_hand(scores, groups), context_of(), k=(10,), replicates=0, permutations=39))
        for name in ("mean_max_skew@10", "mean_ndkl"):
            one = find(found, name, g="*")
            assert one.interval is None
            p.append(find(found, f"{name}_p_value", g="*").value)
            excess.append(one.value - find(found, f"{name}_expected_by_chance", g="*").value)
        shares = [(e, {"a": 0.4, "b": 0.6}[e.where["g"]]) for e in found if e.name == "share@10"]
        held += [e.interval.low <= whole <= e.interval.high for e, whole in shares]
    assert np.mean(np.array(p) <= 0.05) <= 0.12
    assert 0.35 < np.mean(np.array(p) <= 0.5) < 0.65
    assert abs(np.mean(excess)) < 4 * np.std(excess) / np.sqrt(60)
    assert np.mean(held) >= 0.9


def test_the_truth_of_the_captions_world_is_recovered(of_the_world, evidence):
    truth, errors = of_the_world[0].truth(), spreads(of_the_world[0])
    for caption, name in zip(CAPTIONS, OCCUPATIONS, strict=True):
        step = truth[f"pmi.dark.{name}"] - truth[f"pmi.light.{name}"]
        assert find(evidence, "association", caption=caption, tone="dark").value == pytest.approx(step, abs=1e-9)
        relative = find(evidence, "relative_association", caption=caption, tone="dark").value
        assert relative == pytest.approx(truth[f"association.{name}"], abs=1e-9)
        assert find(evidence, "p_value", caption=caption, tone="dark").value == pytest.approx(1 / 100)
        for measure, exact in (("max_skew@100", "max_skew"), ("ndkl", "ndkl")):
            one = find(evidence, measure, caption=caption, tone="*")
            assert abs(one.value - truth[f"{exact}.{name}"]) < 4 * errors[exact][name]
            assert find(evidence, f"{measure}_p_value", caption=caption, tone="*").value <= 0.05
    for name in ("mean_max_skew@100", "mean_ndkl"):
        chance = find(evidence, f"{name}_expected_by_chance", tone="*")
        assert chance.interval.low < chance.value < chance.interval.high < find(evidence, name, tone="*").value
        assert find(evidence, f"{name}_p_value", tone="*").value == pytest.approx(1 / 100)


def test_blind_to_the_order_of_rows(of_the_world, evidence):
    subject = of_the_world[1]
    order = np.random.default_rng(1).permutation(len(subject))
    data = subject.data
    groups = {name: replace(codes, values=codes.values[order]) for name, codes in data.groups.items()}
    moved = replace(subject, data=replace(data, inputs=data.inputs.take(order), groups=groups), groups=groups)
    again = list(retrieval(moved, context_of(), replicates=100, permutations=99))
    for one, other in zip(evidence[1:], again[1:], strict=True):
        assert (one.name, one.where, one.n) == (other.name, other.where, other.n)
        assert one.value == pytest.approx(other.value, abs=1e-9)
    assert set(evidence[0].rows) == set(again[0].rows)


def test_associations_against_numpy_with_an_unknown_group_and_an_empty_one():
    rng = np.random.default_rng(2)
    scores, code = rng.standard_normal((30, 2)), np.array([0, 1, 3] * 10)
    difference, effect = match_association(scores, sensitive_features=Codes(values=code, levels=("a", "b", "c")))
    first, second = scores[code == 0].mean(axis=0), scores[code == 1].mean(axis=0)
    assert np.allclose(difference[0], first - second)
    assert np.allclose(effect[0], (first - second) / scores[code < 3].std(axis=0, ddof=1))
    assert np.isnan(difference[2]).all()
    subject = by_hand(scores, code, levels=("a", "b", "c"))
    found = list(retrieval(subject, context_of(), replicates=10, permutations=9))
    assert find(found, "skew@10", caption="t0", g="c").value is None
    assert find(found, "association", caption="t0", g="c").note == "undefined: there is no picture"
    assert find(found, "skew@100", caption="t0", g="a").note == "undefined: only 20 pictures are ranked"


def test_captions_that_are_ranked_for():
    subject = by_hand(np.zeros((6, 3)), [0, 1] * 3, said=[2, 2, 2, 0, 0, 1])
    table = next(retrieval(subject, context_of(), most=2, replicates=0, permutations=1))
    assert table.rows == (("t2", 3), ("t0", 2))
    assert table.note == "1 rarer captions are left out"
    found = list(retrieval(subject, context_of(), queries=("t1",), replicates=0, permutations=1))
    assert found[0].rows == (("t1", 1),)
    measure = find(found, "effect_size", caption="t1", g="a")
    assert (measure.value, measure.note) == (None, "undefined: every picture matches alike")
    assert find(found, "association", caption="t1", g="a").value == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queries": ("t7",)}, "'t7' is not in the vocabulary"),
        ({"queries": "t1"}, "a list of texts"),
        ({"most": 0}, "most: 1 or more"),
        ({"k": (0,)}, "k: 1 or more"),
    ],
)
def test_wrong_options(options, message):
    subject = by_hand(np.zeros((4, 2)), [0, 1, 0, 1])
    with pytest.raises(UsageError, match=message):
        list(retrieval(subject, context_of(), **options))


def test_other_inputs_are_not_ranked():
    subject = by_hand(np.zeros((4, 2)), [0, 1, 0, 1])
    with pytest.raises(NotApplicable, match="the data hold Images"):
        list(retrieval(replace(subject, data=replace(subject.data, inputs=subject.data.inputs.images)), context_of()))


def test_the_check_leaves_the_measure_of_the_same_name_in_place():
    """A module named as the function of groups in order would take its place in the package once it is imported."""
    assert fairness.retrieval is representation.retrieval
