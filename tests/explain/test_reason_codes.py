"""Reason codes against the closed form of linear models, brute force, and the rules of the notice."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from little_models import Plain, codes, context, sigmoid, subject, table

import audit
from audit.core import DataSpec, ModelSpec, NotApplicable, Spec, Table, UsageError
from audit.data.worlds.credit import credit
from audit.explain import game, reason_codes, reference_rows, scorecard, shapley
from audit.explain.denials import denial_reasons
from audit.models.adapters.oracle import oracle

W = np.array([1.5, -0.8, 0.4, 0.0, 0.6])
NAMES = ("income", "debt", "years", "shoe", "calls")


def slow_reasons(effects, errors, most, z=1.959963984540054, least=0.0):
    """The rule, one person at a time."""
    out = []
    for row, error in zip(effects, errors, strict=True):
        against = [(value, place) for place, value in enumerate(row) if value < 0]
        kept = [
            (value, place)
            for value, place in against
            if -value > z * error[place] and -value > least and -value > 1e-9 * max(abs(row))
        ]
        out.append([place for _, place in sorted(kept)][:most])
    return out


def listed(found):
    return [[int(player) for player in row if player >= 0] for row in found.top]


def people(n=200, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 5))


# --------------------------------------------------------------------------------- the closed form of linear models
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 6),
    reference=st.integers(1, 30),
    most=st.integers(1, 7),
    least=st.sampled_from([0.0, 0.3]),
)
def test_reasons_of_a_scorecard_are_those_of_the_rule(seed, rows, reference, most, least):
    rng = np.random.default_rng(seed)
    points, behind = rng.normal(size=(rows, 5)), rng.normal(size=(reference, 5))
    found = scorecard(points, behind, features=NAMES).reason_codes(most=most, least_effect=least)
    effects = points - behind.mean(axis=0)
    error = behind.std(axis=0, ddof=1) / np.sqrt(reference) if reference > 1 else np.zeros(5)
    assert listed(found) == slow_reasons(effects, np.tile(error, (rows, 1)), most, least=least)
    for given_, picked in zip(found.reasons, listed(found), strict=True):
        assert [one.rank for one in given_] == list(range(1, len(picked) + 1))
        assert [one.player for one in given_] == [NAMES[place] for place in picked]
        assert all(one.effect < 0 for one in given_)
    assert found.top.shape == (rows, most)


def test_shapley_values_of_a_linear_model_give_the_reasons_of_its_scorecard():
    x = people()
    model = Plain(lambda v: sigmoid(v @ W))
    by_game = shapley(game(model, table(x[:40], NAMES), table(x[40:], NAMES), link="logit")).reason_codes()
    by_hand = scorecard(x[:40] * W, x[40:] * W, features=NAMES).reason_codes()
    assert by_game.same(by_hand).all()
    np.testing.assert_allclose(by_game.effects, by_hand.effects, atol=1e-12)
    np.testing.assert_allclose(by_game.se, by_hand.se, atol=1e-12)
    assert not by_game.chosen[:, 3].any(), "a feature that is not scored is never a reason"


@pytest.mark.parametrize("method", ["all", "at-cutoff"])
def test_reasons_in_the_credit_world_are_the_known_ones(method):
    world = credit()
    draw = world.draw(500, np.random.default_rng(1))
    model = oracle(Spec(model=ModelSpec(kind="oracle"), data=DataSpec(world="credit")), draw)
    score = model.predict(draw.inputs)
    refused = np.flatnonzero(score < 0.5)
    behind = draw.inputs.take(reference_rows(score, method=method, size=100))
    found = shapley(game(model, draw.inputs.take(refused), behind, link="logit")).reason_codes(protected=["sex"])
    weights = np.array(world.oracle().weights)
    effects = weights * (draw.inputs.values[refused] - behind.values.mean(axis=0))
    errors = np.abs(weights) * behind.values.std(axis=0, ddof=1) / np.sqrt(len(behind))
    assert listed(found) == slow_reasons(effects, np.tile(errors, (len(refused), 1)), 4)
    assert {one.player for given_ in found.reasons for one in given_} == {"income", "debt", "history"}
    women = draw.inputs.values[refused, 6] == 0
    assert [held == ("sex",) for held in found.withheld] == women.tolist()


# ------------------------------------------------------------------------------------------- whom one is compared with
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 80), size=st.integers(1, 40))
def test_those_at_the_cutoff_are_the_approved_nearest_above_it(seed, n, size):
    score = np.random.default_rng(seed).random(n).round(2)
    near = reference_rows(score, method="at-cutoff", threshold=0.5, size=size)
    approved = score[score >= 0.5]
    assert len(near) == min(len(approved), size, max(8, len(approved) // 4))
    assert sorted(score[near]) == sorted(approved)[: len(near)]
    assert (np.diff(near) > 0).all()
    again = reference_rows(score, method="at-cutoff", threshold=0.5, size=size, rng=np.random.default_rng(0))
    assert set(again) <= set(near)


def test_all_applicants_are_all_or_a_sample_of_them():
    score = np.linspace(0, 1, 50)
    assert reference_rows(score).tolist() == list(range(50))
    drawn = reference_rows(score, size=10, rng=np.random.default_rng(0))
    assert len(set(drawn.tolist())) == 10
    assert len(reference_rows(score, size=64, rng=np.random.default_rng(0))) == 64
    assert not len(reference_rows(score, method="at-cutoff", threshold=2.0))


# ---------------------------------------------------------------------------------------------- rules of the notice
def test_no_reason_lies_within_its_error():
    x = people(60)
    reference = x[40:] * 1e-3
    found = scorecard(reference[:5], reference, features=NAMES).reason_codes(confidence=0.999)
    assert (found.top < 0).any()
    wide = scorecard(reference[:5], reference, features=NAMES).reason_codes(confidence=0.5)
    assert (wide.chosen >= found.chosen).all()


def test_only_adverse_rows_have_reasons_and_low_may_be_good():
    x = people(30)
    card = scorecard(x[:10], x[10:], features=NAMES)
    mask = np.arange(10) % 3 == 0
    found = card.reason_codes(adverse=mask)
    assert found.rows.tolist() == [0, 3, 6, 9]
    assert listed(card.reason_codes(adverse=[0, 3, 6, 9])) == listed(found)
    low = card.reason_codes(favourable="low")
    mirrored = scorecard(-x[:10], -x[10:], features=NAMES).reason_codes()
    assert listed(low) == listed(mirrored)
    assert not len(card.reason_codes(adverse=np.zeros(10, dtype=bool)).rows)
    frame = found.frame()
    assert frame["row"].isin(found.rows).all()
    assert len(frame) == sum(map(len, found.reasons))


def test_columns_of_a_one_hot_code_are_one_reason():
    rng = np.random.default_rng(3)
    level = rng.integers(0, 3, size=300)
    x = np.column_stack([rng.normal(size=300), np.eye(3)[level]])
    names = ("income", "job=none", "job=part", "job=full")
    weights = np.array([0.5, -2.0, 0.0, 1.0])
    model = Plain(lambda v: sigmoid(v @ weights))
    t = table(x, names)
    job = {"job": names[1:]}
    together = shapley(game(model, t.take(np.arange(50)), t, link="logit", players=job))
    found = together.reason_codes(groups=job, inputs=t.take(np.arange(50)))
    added = shapley(game(model, t.take(np.arange(50)), t, link="logit")).reason_codes(groups=job)
    assert found.players == ("income", "job")
    np.testing.assert_allclose(found.effects, added.effects, atol=1e-12)  # the model is additive
    assert (added.se >= found.se - 1e-12).all()  # a bound, not the error itself
    jobless = next(given_ for given_, who in zip(found.reasons, level, strict=False) if who == 0)
    assert jobless[0].player == "job"
    assert jobless[0].was == "job=none"


def test_a_protected_attribute_is_withheld_and_its_place_stays_empty():
    x = np.array([[-3.0, -2.0, -1.0, -0.5, -0.1]])
    found = scorecard(x, np.zeros((1, 5)), features=NAMES).reason_codes(protected=["debt"])
    assert [one.rank for one in found.reasons[0]] == [1, 3, 4]
    assert [one.player for one in found.reasons[0]] == ["income", "years", "shoe"]
    assert found.withheld == (("debt",),)


def test_texts_say_what_it_was_and_what_others_have():
    inputs = table([[1.0, 0.0]], ["income", "home"], categories={"home": ("rent", "own")})
    behind = table([[2.0, 1.0], [4.0, 1.0]], ["income", "home"], categories={"home": ("rent", "own")})
    card = scorecard(np.array([[-1.0, -2.0]]), np.zeros((2, 2)), features=("income", "home"))
    found = card.reason_codes(
        inputs=inputs, background=behind, texts={"income": "{rank}: {feature} {value} of {reference}"}
    )
    assert [one.text for one in found.reasons[0]] == [
        "home: rent (compared with own most often)",
        "2: income 1 of 3 on average",
    ]
    plain = scorecard(
        np.array([[-1.0, -2.0]]), np.zeros((2, 2)), features=("income", "home"), data=np.array([[7.0, np.nan]])
    )
    assert [one.text for one in plain.reason_codes().reasons[0]] == ["home: not a single value", "income: 7"]


def test_undefined_rows_have_no_reasons():
    points = np.array([[np.nan] * 5, [-1.0, 0, 0, 0, 0]])
    with np.errstate(all="raise"):
        found = scorecard(points, np.zeros((3, 5)), features=NAMES).reason_codes()
    assert listed(found) == [[], [0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"most": 0}, "most"),
        ({"favourable": "up"}, "favourable"),
        ({"protected": ["incme"]}, "did you mean|income"),
        ({"texts": {"wealth": "x"}}, "texts"),
        ({"texts": {"income": "{salary}"}}, "may hold"),
        ({"adverse": [7]}, "row numbers"),
        ({"adverse": np.ones(2, dtype=bool)}, "mask"),
        ({"inputs": np.zeros((9, 5))}, "3 rows"),
        ({"confidence": 1.0}, "level"),
    ],
)
def test_what_cannot_be_understood_says_so(options, message):
    card = scorecard(-np.ones((3, 5)), np.zeros((3, 5)), features=NAMES)
    with pytest.raises((UsageError, ValueError), match=message):
        reason_codes(card, **options)


def test_scorecards_and_references_of_the_wrong_shape():
    with pytest.raises(UsageError, match="scorecard"):
        scorecard(np.zeros((2, 3)), np.zeros((2, 5)), features=NAMES)
    with pytest.raises(UsageError, match="at least one"):
        scorecard(np.zeros((2, 5)), np.zeros((0, 5)), features=NAMES)
    with pytest.raises(UsageError, match="method"):
        reference_rows(np.zeros(3), method="median")
    with pytest.raises(UsageError, match="size"):
        reference_rows(np.zeros(3), size=0)
    card = scorecard(np.zeros((2, 5)), np.zeros((2, 5)), features=NAMES)
    with pytest.raises(UsageError, match="same rows"):
        card.reason_codes().same(card.reason_codes(adverse=[0]))


# ----------------------------------------------------------------------------------------------------------- the check
def refusing(n=300, weights=W, **facts):
    x = people(n, 5)
    sex = codes(np.where(np.random.default_rng(2).random(n) < 0.4, "female", "male"))
    return subject(Plain(lambda v: sigmoid(v @ weights)), table(x, NAMES), None, {"sex": sex}, **facts)


def measures(evidence, name, **where):
    return [e for e in evidence if e.name == name and where.items() <= dict(getattr(e, "where", {})).items()]


def test_the_check_counts_what_the_closed_form_says():
    s = refusing()
    found = list(denial_reasons(s, context(), rows=1000, background=300, link="logit"))
    refused = np.flatnonzero(s.decision == 0)
    effects = W * (s.data.inputs.values[refused] - s.data.inputs.values.mean(axis=0))
    errors = np.abs(W) * s.data.inputs.values.std(axis=0, ddof=1) / np.sqrt(300)
    truth = slow_reasons(effects, np.tile(errors, (len(refused), 1)), 4)
    for place, name in enumerate(NAMES):
        (share,) = measures(found, "reason_share", feature=name)
        assert share.value == pytest.approx(np.mean([place in row for row in truth]))
        assert share.n == len(refused)
    near = reference_rows(s.score, method="at-cutoff", size=300)
    behind = s.data.inputs.values[near]
    cut = slow_reasons(
        W * (s.data.inputs.values[refused] - behind.mean(axis=0)),
        np.tile(np.abs(W) * behind.std(axis=0, ddof=1) / np.sqrt(len(near)), (len(refused), 1)),
        4,
    )
    (changed,) = measures(found, "reasons_change_with_method")
    assert changed.value == pytest.approx(np.mean([set(a) != set(b) for a, b in zip(truth, cut, strict=True)]))
    assert changed.interval.low <= changed.value <= changed.interval.high
    (none,) = measures(found, "no_reason_share", method="all")
    assert none.value == pytest.approx(np.mean([not row for row in truth]))
    (band,) = measures(found, "cutoff_band")
    assert band.value == pytest.approx(s.score[near].max() - 0.5)
    bars = next(e for e in found if isinstance(e, Table) and e.name == "reasons_by_group")
    assert {row[0].split(": ")[1] for row in bars.rows} == {"female", "male"}
    (share,) = measures(found, "protected_reason_share", method="all", feature="sex")
    assert share.value == 0
    assert "does not read" in share.note


def test_reasons_are_stable_where_nothing_is_near_and_unstable_where_all_is():
    """One feature that decides everything stays the reason; five that weigh the same trade places."""
    sure = list(denial_reasons(refusing(weights=np.array([9.0, 0, 0, 0, 0])), context(), link="logit"))
    (stable,) = measures(sure, "same_reasons_over_seeds", method="all")
    close = list(denial_reasons(refusing(weights=np.ones(5)), context(), link="logit", background=16))
    (loose,) = measures(close, "same_reasons_over_seeds", method="all")
    assert stable.value > 0.9
    assert loose.value < 0.5
    assert loose.interval.high < stable.interval.low


def test_the_check_flags_a_protected_attribute_that_the_model_reads():
    x = people(200, 5)
    sex = codes(np.where(x[:, 4] > 0, "male", "female"))
    s = subject(Plain(lambda v: sigmoid(v @ W)), table(x, (*NAMES[:4], "sex")), None, {"sex": sex})
    found = list(denial_reasons(s, context(), link="logit"))
    (share,) = measures(found, "protected_reason_share", method="all", feature="sex")
    assert share.value > 0.2
    assert share.better == "zero"
    (notices,) = measures(found, "notices")
    assert any("withheld: sex" in row[3] for row in notices.rows)
    assert not any(str(row[3]).startswith("sex") for row in notices.rows)


def test_the_check_says_what_it_cannot_do():
    with pytest.raises(NotApplicable, match="nobody was refused"):
        list(denial_reasons(refusing(threshold=0.0), context()))
    with pytest.raises(UsageError, match="seeds"):
        list(denial_reasons(refusing(), context(), seeds=1))
    with pytest.raises(UsageError, match="rows"):
        list(denial_reasons(refusing(), context(), rows=0))
    nobody = list(denial_reasons(refusing(threshold=1.1), context(), rows=5))
    (changed,) = measures(nobody, "reasons_change_with_method")
    assert changed.value is None
    assert "nobody was approved" in changed.note


def test_german_credit_every_refusal_has_its_reasons(test_data):
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    names = [f"c{i}" for i in range(1, 22)]
    frame = pd.read_csv(test_data / "german_credit" / "german.data", sep=" ", names=names)
    frame["good"] = (frame.pop("c21") == 1).astype(int)
    frame["sex"] = np.where(frame.pop("c9").isin(["A92", "A95"]), "female", "male")
    numbers = ["c2", "c5", "c8", "c11", "c13", "c16", "c18"]
    words = [name for name in names[:-1] if name not in (*numbers, "c9")]
    features = [*numbers, *words]
    model = make_pipeline(
        make_column_transformer((StandardScaler(), numbers), (OneHotEncoder(handle_unknown="ignore"), words)),
        LogisticRegression(max_iter=1000),
    ).fit(frame.loc[:599, features], frame.loc[:599, "good"])
    held = frame.loc[600:].reset_index(drop=True)
    report = audit.run(
        model,
        held,
        label="good",
        features=features,
        sensitive_features=["sex"],
        only=["explain.reason_codes"],
        params={"explain.reason_codes": {"rows": 400, "background": 16, "budget": 82, "seeds": 2, "link": "logit"}},
    )
    (outcome,) = report.outcomes
    assert outcome.status == "done", outcome.reason
    found = outcome.evidence
    refused = int((model.predict_proba(held[features])[:, 1] < 0.5).sum())
    shares = measures(found, "reason_share")
    assert {e.where["feature"] for e in shares} == set(features)
    assert {e.n for e in shares} == {refused}
    assert sum(e.value for e in shares) <= 4
    (none,) = measures(found, "no_reason_share", method="all")
    assert none.value < 0.1
    (notices,) = measures(found, "notices")
    assert any("A11 (compared with" in str(row[3]) for row in notices.rows), "categories by their text"
    # The closed form: a pipeline that ends in a linear model is a scorecard of its encoded columns, added up by feature.
    encoded, weights = model[0].transform(held[features]), model[-1].coef_[0]
    encoded = np.asarray(encoded.todense() if hasattr(encoded, "todense") else encoded)
    owner = [name.split("__")[1].split("_")[0] for name in model[0].get_feature_names_out()]
    points = np.column_stack([(encoded * weights)[:, [o == f for o in owner]].sum(axis=1) for f in features])
    chosen = np.arange(6)
    by_game = shapley(game(model, held.loc[chosen, features], held.loc[100:130, features], link="logit"), budget=82)
    by_hand = scorecard(points[chosen], points[100:131], features=features)
    np.testing.assert_allclose(by_game.values, by_hand.values, atol=1e-5)
    assert by_game.reason_codes().same(by_hand.reason_codes()).all()
