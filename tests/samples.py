"""Records built by hand, for tests of everything that reads a record."""

import math
import random
from dataclasses import replace

from audit.core import (
    ALL,
    Card,
    Curve,
    Environment,
    Evidence,
    Gate,
    GroupSpec,
    Interval,
    Measure,
    NotTested,
    Origin,
    Outcome,
    Report,
    ReportSpec,
    Ruling,
    Run,
    SliceRuling,
    Spec,
    SubjectCard,
    SystemSpec,
    Table,
    Verdict,
)

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "עברית وعربي \u202egnp.exe",
    "🧪👩🏽‍⚖️ 群組名稱很長很長很長很長",
    "long " + "0123456789" * 1000,
    "two\nlines | a pipe `tick` *star* [link](http://example.org) @team #1 &amp; ]]> \\",
    "control \x00\x07\x1b[31m\x85 end",
    "{{ 7 * 7 }} {% raw %} ${x}",
    "x" * 300,
    "' onmouseover='alert(1)",
)
PEOPLE = (
    "African-American",
    "Asian",
    "Caucasian",
    "Hispanic",
    "Native American",
    "Other",
    "Pacific",
    "Mixed",
    "Roma",
    "Sámi",
)


def wilson(k: int, n: int) -> Interval:
    """Wilson's interval, written out."""
    z, p = 1.959963984540054, k / n
    middle, half = (
        (p + z * z / 2 / n) / (1 + z * z / n),
        z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / 4 / n / n),
    )
    return Interval(low=max(0.0, middle - half), high=min(1.0, middle + half), level=0.95, method="Wilson")


def _rate(name: str, where: dict[str, str], dice: random.Random, note: str = "") -> Measure:
    n = dice.randrange(3, 2500)
    k = dice.randrange(0, n + 1)
    return Measure(
        name=name, value=k / n, unit="proportion", n=n, interval=wilson(k, n), where=where, better="higher", note=note
    )


def _ratio(where: dict[str, str], dice: random.Random) -> Measure:
    value = dice.uniform(0.5, 1.1)
    interval = Interval(low=value * 0.82, high=value * 1.2, level=0.95, method="Katz+1/2")
    note = "reference: " + next(iter(where.values()))[:400]
    return Measure(
        name="impact_ratio",
        value=value,
        unit="ratio",
        n=dice.randrange(30, 900),
        interval=interval,
        where=where,
        note=note,
    )


def _fairness(attributes: dict[str, tuple[str, ...]], names: tuple[str, ...], dice: random.Random) -> list[Evidence]:
    found: list[Evidence] = []
    for name in names:
        found.append(_rate(name, {}, dice))
        for attribute, groups in attributes.items():
            found += [_rate(name, {attribute: group}, dice) for group in groups]
            gap = Interval(low=0.01, high=0.2, level=0.95, method="simultaneous Newcombe")
            where = {attribute: ALL}
            found.append(
                Measure(name=f"{name}_difference", value=0.081, unit="difference", n=5000, interval=gap, where=where)
            )
    first = next(iter(attributes))
    note = "no positives in this group: 0/0"
    found.append(
        Measure(name="ppv", value=None, unit="proportion", n=0, where={first: attributes[first][0]}, note=note)
    )
    rows = tuple((group, 100 + k, 40 + k, 0.25, None) for k, group in enumerate(attributes[first]))
    columns = ("group", "n", "selected", "share", "unknown")
    found.append(Table(name="sizes", title=f"Sizes by {first}", columns=columns, rows=rows, note="no group was merged"))
    return found


def _performance(attribute: str, groups: tuple[str, ...]) -> Outcome:
    points = tuple(k / 10 + 0.05 for k in range(10))
    rates = (*(0.9 * p + 0.03 for p in points[:-1]), None)
    low, high = (tuple(None if r is None else r + side for r in rates) for side in (-0.04, 0.05))
    facts = {"x_label": "score", "y_label": "observed rate", "unit": "proportion", "note": "no cases above 0.9"}
    curves = [
        Curve(name="calibration", x=points, y=rates, low=low, high=high, n=7214, where=where, **facts)
        for where in ({}, *({attribute: group} for group in groups[:3]))
    ]
    span = Interval(low=0.69, high=0.714, level=0.95, method="DeLong")
    auc = Measure(name="auc", value=0.702166, n=7214, interval=span, better="higher")
    acc = Measure(
        name="accuracy", value=0.6537, unit="proportion", n=7214, interval=wilson(4716, 7214), better="higher"
    )
    brier = Measure(name="brier", value=None, n=7214, note="the scores are not probabilities")
    return Outcome(
        check="performance.overall", title="Overall performance", status="done", evidence=(auc, acc, brier, *curves)
    )


def _others(features: tuple[str, ...], dice: random.Random) -> tuple[Outcome, ...]:
    shap = [
        Measure(
            name="mean_abs_shap",
            value=size,
            n=128,
            interval=Interval(low=size * 0.8, high=size * 1.25, level=0.95, method="t"),
            where={"feature": feature},
        )
        for feature in features
        for size in [dice.uniform(0.001, 0.2)]
    ]
    case = Table(
        name="case_1",
        title="Case 1: refused, nearest to the threshold",
        columns=("feature", "value", "shap", "se"),
        rows=tuple(
            (feature, dice.choice([3, 2.5, "own", None]), dice.uniform(-0.2, 0.2), 0.004) for feature in features
        ),
    )
    scales = (0.05, 0.1, 0.25, 0.5)
    rates = (0.011, 0.024, 0.061, 0.13)
    flips = Curve(
        name="flip_rate",
        x=scales,
        y=rates,
        x_label="noise in sd",
        y_label="share of decisions",
        unit="proportion",
        n=2000,
    )
    flip = Measure(name="flip_rate", value=0.024, unit="proportion", n=2000, interval=wilson(48, 2000), better="lower")
    flop = Measure(name="flops_per_prediction", value=12_544.0, unit="FLOP", grade="D")
    return (
        Outcome(
            check="explain.global_importance", title="What the model rests on", status="done", evidence=tuple(shap)
        ),
        Outcome(check="explain.cases", title="Single cases", status="done", evidence=(case,), params={"rows": 6}),
        Outcome(
            check="robustness.noise",
            title="Noise",
            status="done",
            evidence=(flip, flips),
            params={"scales": list(scales)},
        ),
        Outcome(check="carbon.inference", title="Cost of one prediction", status="done", evidence=(flop,)),
        Outcome(
            check="fairness.broken",
            title="A check that broke",
            status="error",
            reason="ValueError: <b>no</b> & nothing",
        ),
        Outcome(check="robustness.shift", title="Shift", status="not_applicable", reason="there is no model"),
        Outcome(
            check="custom.late",
            title="A plug-in's check",
            status="stopped",
            reason="the deadline has passed",
            evidence=(flip,),
        ),
    )


def _significance(attributes: dict[str, tuple[str, ...]]) -> Outcome:
    """Gaps against chance: one of each of the four outcomes for every attribute, and a row of few people."""
    columns = ("attribute", "metric", "n", "gap", "low", "high", "expected_by_chance", "p_adjusted", "outcome")
    kinds = (
        ("selection_rate", 5000, 0.21, 0.15, 0.27, 0.02, 0.0005, "disparity"),
        ("tpr", 2500, 0.004, 0.0, 0.03, 0.015, 1.0, "no material disparity"),
        ("fpr", 40, 0.09, 0.0, 0.25, 0.08, 0.4321, "inconclusive"),
        ("ppv", 0, None, None, None, None, None, "undefined"),
    )
    rows = tuple(
        (attribute, *kind, *(groups[:2] if kind[3] is not None else (None, None)))
        for attribute, groups in attributes.items()
        for kind in kinds
    )
    table = Table(
        name="significance",
        title="Gaps against chance",
        columns=(*columns, "lowest", "highest"),
        rows=rows,
        note="Margin 0.05, level 0.05, correction holm.",
    )
    first = next(iter(attributes))
    measures = tuple(
        Measure(name=name, value=0.25, unit=unit, n=5000, where={first: ALL, "metric": metric})
        for metric in ("tpr", "fpr")
        for name, unit in (("p_value", ""), ("gap_expected_by_chance", "difference"))
    )
    return Outcome(
        check="fairness.significance", title="Gaps against chance", status="done", evidence=(table, *measures)
    )


def _thresholds(attribute: str) -> Outcome:
    """Trade-offs of two policies, and four policies as points, two of them at the same place."""
    limits = tuple(k / 20 for k in range(8))
    found: list[Evidence] = [
        Curve(
            name="trade_off_demographic_parity",
            x=limits,
            y=tuple(None if k == 0 and policy == "single threshold" else 0.6 + base + k / 40 for k in range(8)),
            x_label="largest demographic parity difference allowed",
            y_label=f"best accuracy, {policy}",
            unit="proportion",
            n=5000,
            where={attribute: ALL, "policy": policy},
            note="no threshold keeps the smallest limit",
        )
        for base, policy in ((0.0, "single threshold"), (0.05, "threshold of each group"))
    ]
    sweep = tuple(k / 199 for k in range(200))
    found += [
        Curve(name=name, x=sweep, y=sweep, x_label="threshold", y_label=name, unit=unit, where={attribute: ALL})
        for name, unit in (("accuracy", "proportion"), ("demographic_parity_difference", "difference"))
    ]
    policies = {"threshold in use": 0.3, "single threshold": 0.3, "single threshold, demographic parity": 0.05}
    for policy, gap in {**policies, "undefined policy": None}.items():
        where, note = {attribute: ALL, "policy": policy}, "" if gap is not None else "one group"
        span = Interval(low=gap - 0.02, high=gap + 0.03, level=0.95, method="all pairs") if gap is not None else None
        found.append(
            Measure(
                name="demographic_parity_difference",
                value=gap,
                unit="difference",
                n=5000,
                interval=span,
                where=where,
                note=note,
            )
        )
        right = wilson(3500, 5000)
        found.append(Measure(name="accuracy", value=0.7, unit="proportion", n=5000, interval=right, where=where))
    return Outcome(check="fairness.thresholds", title="Thresholds", status="done", evidence=tuple(found))


def _missing(attribute: str, groups: tuple[str, ...]) -> Outcome:
    """What rates could be at worst, and a check that does not suit."""
    worst = tuple(
        Measure(
            name="selection_rate_worst_case",
            value=0.4 + k / 50,
            unit="proportion",
            n=200,
            interval=Interval(low=0.2, high=0.8, level=0.95, method="worst case and Wilson"),
            where={attribute: group},
            note="among the known; 12 have an unknown group",
        )
        for k, group in enumerate(groups)
    )
    return Outcome(check="fairness.missing", title="People of unknown group", status="done", evidence=worst)


def fairness_report() -> Report:
    """A record with the evidence of a long section: gaps against chance, trade-offs, worst cases, idle checks."""
    report = sample_report()
    attributes = {"race": PEOPLE[:6], "sex": ("Female", "Male")}
    idle = Outcome(
        check="fairness.graph", title="Groups in the network", status="not_applicable", reason="there is no graph"
    )
    more = (_thresholds("race"), _missing("race", PEOPLE[:6]), _significance(attributes), idle)
    return replace(report, outcomes=(*report.outcomes, *more))


def _rulings(outcomes: tuple[Outcome, ...], attribute: str) -> tuple[Ruling, ...]:
    """Promises judged by hand: one broken, one undecided, one kept, one in error, one that is not required."""
    ratios = next(o for o in outcomes if o.check == "fairness.impact_ratio")
    slices = []
    for index, piece in enumerate(ratios.evidence):
        judged = "fail" if piece.interval.high < 0.8 else "pass" if piece.interval.low >= 0.8 else "inconclusive"
        detectable = 0.07 if judged == "inconclusive" else None
        slices.append(
            SliceRuling(
                ref=f"fairness.impact_ratio#{index}", outcome=judged, reason="the interval", detectable=detectable
            )
        )
    slices.sort(key=lambda piece: ("fail", "inconclusive", "pass").index(piece.outcome))
    kept = SliceRuling(ref="performance.overall#0", outcome="pass", reason="the interval lies inside")
    near = SliceRuling(
        ref="performance.overall#1", outcome="inconclusive", reason="the interval spans the limit", detectable=0.011
    )
    ratio = Gate(
        check="fairness.impact_ratio", measure="impact_ratio", by=(attribute,), min=0.8, why="29 CFR 1607.4(D) screen"
    )
    return (
        Ruling(gate=ratio, outcome=slices[0].outcome, reason=slices[0].reason, slices=tuple(slices)),
        Ruling(
            gate=Gate(check="performance.overall", measure="auc", min=0.6),
            outcome="pass",
            reason=kept.reason,
            slices=(kept,),
        ),
        Ruling(
            gate=Gate(check="performance.overall", measure="accuracy", min=0.65, max=0.99, severity="low"),
            outcome="inconclusive",
            reason=near.reason,
            slices=(near,),
        ),
        Ruling(
            gate=Gate(check="fairness.broken", measure="tpr", by=(attribute,), max=0.1, severity="medium"),
            outcome="not_tested",
            reason="the check was not run",
        ),
        Ruling(
            gate=Gate(check="performance.overall", measure="brier", max=0.2, required=False, severity="low"),
            outcome="undefined",
            reason="the scores are not probabilities",
            slices=(
                SliceRuling(
                    ref="performance.overall#2", outcome="undefined", reason="the scores are not probabilities"
                ),
            ),
            origin="default",
        ),
    )


def verdict_of(rulings: tuple[Ruling, ...], headline: tuple[str, ...] = ()) -> Verdict:
    """The verdict that goes with rulings."""
    names = ("error", "fail", "not_tested", "inconclusive", "undefined", "pass")
    required = {name: sum(r.gate.required and r.outcome == name for r in rulings) for name in names}
    if not rulings:
        outcome = "ungated"
    else:
        outcome = next((name for name in ("error", "fail") if required[name]), None)
        outcome = outcome or ("pass" if required["pass"] == sum(required.values()) else "inconclusive")
    code = {"pass": 0, "ungated": 0, "fail": 1, "error": 2, "inconclusive": 3}[outcome]
    return Verdict(outcome=outcome, required=required, headline=headline, exit_code=code)


def sample_report(
    *,
    attributes: dict[str, tuple[str, ...]] | None = None,
    names: tuple[str, ...] = ("selection_rate", "tpr", "fpr", "ppv"),
    features: tuple[str, ...] = ("income", "debt", "history", "zip", "age"),
    system: str = "credit-gbm",
    suppress_below: int = 0,
    gates: bool = True,
    complete: bool = True,
    seed: int = 3,
) -> Report:
    """A record with every kind of evidence and status; its figures are drawn from a seed."""
    dice = random.Random(seed)
    attributes = attributes or {"race": PEOPLE[:6], "sex": ("Female", "Male")}
    first, groups = next(iter(attributes.items()))
    ratios = tuple(_ratio({first: group}, dice) for group in groups)
    rates = tuple(_fairness(attributes, names, dice))
    outcomes = (
        _performance(first, groups),
        Outcome(
            check="fairness.impact_ratio",
            title="Impact ratio",
            status="done",
            evidence=ratios,
            sources=("katz1978", "nosuchkey"),
        ),
        Outcome(
            check="fairness.selection", title="Rates by group", status="done", evidence=rates, sources=("wilson1927",)
        ),
        *_others(features, dice),
    )
    rulings = _rulings(outcomes, first) if gates else ()
    energy = Interval(low=0.0004, high=0.0031, level=0.95, method="plausible range")
    used = Measure(
        name="energy_kwh", value=0.0012, unit="kWh", grade="E", interval=energy, note="no power sensor was readable"
    )
    volatile = Outcome(check="carbon.audit", title="This audit's own energy", status="done", evidence=(used,))
    headline = ("performance.overall#0", "fairness.impact_ratio#0", "fairness.selection#0")
    return Report(
        spec=Spec(
            system=SystemSpec(name=system, version="3.1", purpose="Consumer credit approval", owner="Risk"),
            groups=GroupSpec(attributes=tuple(attributes)),
            gate=tuple(ruling.gate for ruling in rulings if ruling.origin == "spec"),
            report=ReportSpec(suppress_below=suppress_below),
        ),
        subject=SubjectCard(
            model=Card(family="mlp", kind="torch", name=system, parameters=12_345, features=features),
            origin=Origin(name="holdout.parquet", sha256="9f2c" * 16, licence="CC-BY-4.0", source="Risk warehouse"),
            rows=7214,
            people=7214,
            features=features,
            classes=("refused", "approved"),
            positives=3251,
            groups={
                name: {group: 7 + 31 * k for k, group in enumerate(members)} for name, members in attributes.items()
            },
            unknown=dict.fromkeys(attributes, 12),
            notes=("12 rows have no group",),
        ),
        environment=Environment(
            audit="0.1.0",
            python="3.11.2",
            platform="Linux-6.1-x86_64",
            packages={"numpy": "2.4.0", "torch": "2.13.0"},
            seed=7,
            device="cpu",
            hashes={"data": "9f2c" * 16, "model": "ab01" * 16},
            command="audit run audit.toml --out out",
        ),
        outcomes=outcomes,
        rulings=rulings,
        not_tested=(
            NotTested(topic="disability", why="not collected"),
            NotTested(topic="robustness.shift", why="there is no model"),
        ),
        limitations=("The data are from one bank.",),
        verdict=verdict_of(rulings, headline),
        complete=complete,
        run=Run(
            started="2026-11-02T09:30:00+00:00",
            seconds=12.345,
            check_seconds={"fairness.selection": 0.25},
            outcomes=(volatile,),
        ),
    )


def hostile_report() -> Report:
    """A record whose every text comes from someone who means ill, or writes at length."""
    report = sample_report(
        attributes={HOSTILE[0]: HOSTILE, HOSTILE[4]: HOSTILE[:4]}, features=HOSTILE, system=HOSTILE[1]
    )
    bad = " ".join(HOSTILE[:4])
    outcomes = tuple(
        replace(o, title=HOSTILE[k % 10], reason=bad if o.reason else "") for k, o in enumerate(report.outcomes)
    )
    table = Table(
        name=HOSTILE[2], title=HOSTILE[5], columns=HOSTILE[:5], rows=(HOSTILE[:5], HOSTILE[5:]), note=HOSTILE[4]
    )
    note = Measure(name=HOSTILE[0], value=None, note=HOSTILE[4], where={HOSTILE[2]: HOSTILE[3]})
    odd = Outcome(
        check=HOSTILE[1], title=HOSTILE[0], status="done", evidence=(note, table), params={HOSTILE[0]: HOSTILE}
    )
    return replace(
        report,
        outcomes=(*outcomes, odd),
        limitations=HOSTILE,
        not_tested=tuple(NotTested(topic=text, why=text) for text in HOSTILE),
        environment=replace(report.environment, command=HOSTILE[4], hashes=dict.fromkeys(HOSTILE, HOSTILE[4])),
        subject=replace(report.subject, notes=HOSTILE, features=HOSTILE, classes=HOSTILE[:2]),
        rulings=tuple(
            replace(r, reason=HOSTILE[k], gate=replace(r.gate, why=HOSTILE[k])) for k, r in enumerate(report.rulings)
        ),
    )
