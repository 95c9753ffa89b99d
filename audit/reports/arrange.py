"""A record in the order in which it is read: what belongs beside what. Nothing is computed here."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from audit.core import ALL, Cell, Curve, Evidence, Gate, Judgement, Measure, Outcome, Report, Ruling, Table
from audit.drawing import format as fmt
from audit.drawing.format import Figure

SECTIONS: tuple[tuple[str, str], ...] = (
    ("compare", "Comparison"),
    ("performance", "Performance"),
    ("fairness", "Fairness"),
    ("explain", "Explanations"),
    ("robustness", "Robustness"),
    ("carbon", "Energy and carbon"),
    ("other", "Other checks"),
)
# The order in which the checks of a section are read, by chapter; those that are not named come last.
READING: Mapping[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "fairness": (
        (
            "Decisions and errors",
            (
                "fairness.selection",
                "fairness.impact_ratio",
                "fairness.error_rates",
                "fairness.multiclass",
                "fairness.disparities",
            ),
        ),
        (
            "Chance, composition and hidden groups",
            (
                "fairness.significance",
                "fairness.strata",
                "fairness.subgroups",
                "fairness.small_groups",
                "fairness.missing",
                "fairness.representation",
                "fairness.routing",
            ),
        ),
        (
            "Scores, thresholds and rankings",
            (
                "fairness.scores",
                "fairness.calibration",
                "fairness.thresholds",
                "fairness.ranking",
                "fairness.retrieval",
                "fairness.regression",
            ),
        ),
        ("Single people", ("fairness.flip", "fairness.individual", "fairness.counterfactual")),
        ("Rules of law and practice", ("fairness.four_fifths", "fairness.ll144")),
        ("Words and networks", ("fairness.association", "fairness.pairs", "fairness.pronouns", "fairness.graph")),
    ),
    "explain": (
        ("Single decisions", ("explain.cases", "explain.reason_codes", "explain.recourse", "explain.attention")),
        (
            "The model as a whole",
            (
                "explain.global_importance",
                "explain.permutation_importance",
                "explain.dependence",
                "explain.ale",
                "explain.interactions",
                "explain.rules",
                "explain.surrogate_tree",
                "explain.prototypes",
            ),
        ),
        ("Between groups", ("explain.group_reasons", "explain.proxies")),
        (
            "Are the explanations true?",
            (
                "explain.truth",
                "explain.completeness",
                "explain.faithfulness",
                "explain.retraining",
                "explain.agreement",
                "explain.stability",
                "explain.randomisation",
                "explain.scaffold",
                "explain.hiding",
                "explain.complexity",
                "explain.localisation",
            ),
        ),
    ),
}
NAMED_FROM: tuple[str, ...] = ("feature",)  # measures by feature are attributions: drawn as bars, not as groups
SIDE_BY_SIDE = 3  # measures that fit beside each other on a sheet of paper
_SEVERITY = ("high", "medium", "low")
_WORST = ("error", "fail", "not_tested", "inconclusive", "undefined", "pass")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A measure with its address in the record, how it was judged ("" if it was not) and the nearest limit."""

    ref: str
    measure: Measure
    judged: str = ""
    limit: float | None = None

    @property
    def words(self) -> tuple[str | Figure, ...]:
        """Value, interval and n, each as a figure; the word "undefined" or "suppressed" where there is no value."""
        measure = self.measure
        words: list[str | Figure] = [fmt.shown(measure)]
        if measure.value is not None:
            text = fmt.shown(measure, self.limit)
            words = [Figure(text=text, number=measure.value, ref=f"{self.ref}/value")]
        if measure.interval is not None:
            low, high = fmt.bounds(measure)
            words += [" [", Figure(text=low, number=measure.interval.low, ref=f"{self.ref}/interval/low"), ", "]
            words += [Figure(text=high, number=measure.interval.high, ref=f"{self.ref}/interval/high"), "]"]
        if measure.n is not None:
            words += [f", n{fmt.NBSP}", Figure(text=fmt.count(measure.n), number=measure.n, ref=f"{self.ref}/n")]
        return tuple(words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Measures of one unit over the groups of one attribute or intersection: `slots` maps (group, name) to a slot."""

    attributes: tuple[str, ...]
    unit: str
    names: tuple[str, ...]
    groups: tuple[str, ...]
    slots: Mapping[tuple[str, str], Slot]
    limits: Mapping[str, tuple[float, ...]]
    over: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What the rows are, in words: "sex × race", or "metric (all of sex)"."""
        rows = " × ".join(_rows(self.attributes, self.over))
        return f"{rows} (all of {' × '.join(self.over)})" if self.over else rows

    @property
    def is_attribution(self) -> bool:
        """Whether the groups are a model's features."""
        return _rows(self.attributes, self.over) == NAMED_FROM

    @property
    def drawn(self) -> tuple[str, ...]:
        """The measures worth a drawing: no p values, no policies (trade-offs show them), no bare points over all groups."""
        if "policy" in self.attributes:
            return ()
        sure = {name for (_, name), slot in self.slots.items() if slot.measure.interval}
        # Bare points say little over all groups at once, or where the rows are methods and not people.
        bare = not self.over and not {"method", "explainer"} & set(self.attributes)
        return tuple(name for name in self.names if not fmt.is_p_value(name) and (name in sure or bare))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """The evidence of one check, put side by side: overall figures, panels, families of curves, tables."""

    outcome: Outcome
    figures: tuple[Slot, ...]
    panels: tuple[Panel, ...]
    curves: tuple[tuple[Curve, ...], ...]
    tables: tuple[Table, ...]

    @property
    def is_idle(self) -> bool:
        """Whether the check had nothing to say about this subject."""
        return self.outcome.status == "not_applicable" and not self.outcome.evidence


def _rows(attributes: Sequence[str], over: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in attributes if name not in over)


def wordy(table: Table) -> tuple[bool, ...]:
    """For each column whether it holds words."""
    return tuple(any(isinstance(row[k], str) for row in table.rows) for k in range(len(table.columns)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A promise that was not kept: the ruling, its place in the record, and the slices that decide it."""

    ruling: Ruling
    pointer: str
    slots: tuple[Slot, ...]

    @property
    def affected(self) -> tuple[Slot, ...]:
        """The slices in which the promise was not kept."""
        return tuple(slot for slot in self.slots if slot.judged != "pass")

    @property
    def detectable(self) -> Figure | None:
        """The smallest distance from the limit that the data could have shown in the deciding slice, if it is told."""
        if not self.slots or not self.ruling.slices or self.ruling.slices[0].detectable is None:
            return None
        distance, unit = self.ruling.slices[0].detectable, self.slots[0].measure.unit
        text = fmt.value(distance, "difference" if unit == "proportion" else unit).removeprefix("+")
        return Figure(text=text, number=distance, ref=f"{self.pointer}/slices/0/detectable")


# -------------------------------------------------------------------------------------------- suppression
def redact(report: Report) -> Report:
    """The report without the figures of cells smaller than [report] suppress_below; addresses stay as they are."""
    least = report.spec.report.suppress_below
    if least <= 0:
        return report
    outcomes = tuple(_redact_outcome(outcome, least) for outcome in report.outcomes)
    run = replace(report.run, outcomes=tuple(_redact_outcome(outcome, least) for outcome in report.run.outcomes))
    hidden = {ref for ref, measure in _addressed((*outcomes, *run.outcomes)) if fmt.is_suppressed(measure)}
    run = replace(run, rulings=_redact_rulings(run.rulings, hidden, least))
    return replace(report, outcomes=outcomes, run=run, rulings=_redact_rulings(report.rulings, hidden, least))


def _redact_outcome(outcome: Outcome, least: int) -> Outcome:
    return replace(outcome, evidence=tuple(_redact_evidence(piece, least) for piece in outcome.evidence))


def _redact_evidence(piece: Evidence, least: int) -> Evidence:
    note = f"{fmt.SUPPRESSED}{least})"
    if isinstance(piece, Table):
        return replace(piece, rows=tuple(_redact_row(piece.columns, row, least, note) for row in piece.rows))
    if piece.n is None or piece.n >= least:
        return piece
    if isinstance(piece, Measure):
        return replace(piece, value=None, n=None, interval=None, note=note)
    return replace(piece, x=(), y=(), low=(), high=(), n=None, note=note)


def _redact_row(columns: Sequence[str], row: Sequence[Cell], least: int, note: str) -> tuple[Cell, ...]:
    """A row that counts fewer cases in a column called n keeps its words and loses its numbers."""
    sizes = [content for name, content in zip(columns, row, strict=True) if name.lower() == "n"]
    if not any(isinstance(size, int | float) and size < least for size in sizes):
        return tuple(row)
    return tuple(content if isinstance(content, str) or content is None else note for content in row)


def _redact_rulings(rulings: tuple[Ruling, ...], hidden: set[str], least: int) -> tuple[Ruling, ...]:
    note = f"{fmt.SUPPRESSED}{least})"

    def redacted(ruling: Ruling) -> Ruling:
        slices = tuple(replace(s, reason=note, detectable=None) if s.ref in hidden else s for s in ruling.slices)
        first = bool(slices) and slices[0].ref in hidden
        return replace(ruling, slices=slices, reason=note if first else ruling.reason)

    # The limit of a promise against a baseline is the group's own old figure.
    told = (r for r in rulings if not (r.origin == "baseline" and any(piece.ref in hidden for piece in r.slices)))
    return tuple(redacted(ruling) for ruling in told)


# ---------------------------------------------------------------------------------------------- the record
def _addressed(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, Measure]]:
    for outcome in outcomes:
        for index, piece in enumerate(outcome.evidence):
            if isinstance(piece, Measure):
                yield f"{outcome.check}#{index}", piece


def slots(report: Report) -> Mapping[str, Slot]:
    """Every measure of the record under its address, with its worst ruling and its limit."""
    judged: dict[str, tuple[Judgement, Gate]] = {}
    for ruling in report.all_rulings:
        for piece in ruling.slices:
            known = judged.get(piece.ref)
            if known is None or _WORST.index(piece.outcome) < _WORST.index(known[0]):
                judged[piece.ref] = (piece.outcome, ruling.gate)
    return {
        ref: Slot(
            ref=ref,
            measure=measure,
            judged=judged[ref][0] if ref in judged else "",
            limit=_nearest(measure, judged[ref][1]) if ref in judged else None,
        )
        for ref, measure in _addressed(report.all_outcomes)
    }


def _nearest(measure: Measure, gate: Gate) -> float | None:
    limits = [limit for limit in (gate.min, gate.max) if limit is not None]
    if measure.value is None or not limits:
        return None
    return min(limits, key=lambda limit: abs(limit - (measure.value or 0.0)))


def sections(report: Report) -> tuple[tuple[str, str, tuple[Shelf, ...]], ...]:
    """(id, title, shelves) of every section that has a check."""
    known = slots(report)
    shelves = [_shelf(outcome, known, report) for outcome in report.all_outcomes]
    return tuple(
        (id, title, tuple(shelf for _, chapter in chapters(id, found) for shelf in chapter))
        for id, title in SECTIONS
        for found in [tuple(shelf for shelf in shelves if section_of(shelf.outcome.check) == id)]
        if found
    )


def chapters(section: str, shelves: Sequence[Shelf]) -> tuple[tuple[str, tuple[Shelf, ...]], ...]:
    """(heading, shelves) of a section in the order of reading; what no chapter names comes last."""
    by_name = {shelf.outcome.check: shelf for shelf in shelves}
    named = [
        (heading, tuple(by_name.pop(check) for check in checks if check in by_name))
        for heading, checks in READING.get(section, ())
    ]
    return tuple((heading, found) for heading, found in [*named, ("Others", tuple(by_name.values()))] if found)


def anchor(check: str) -> str:
    """The address of a check on a page."""
    plain = _ODD.sub("-", check)
    return (
        f"check-{plain}"
        if plain == check and len(check) <= 60
        else f"check-{plain[:40]}-{zlib.crc32(check.encode()):08x}"
    )


_ODD = re.compile(r"[^A-Za-z0-9_.-]+")


def section_of(check: str) -> str:
    """The section that a check belongs to, by the first part of its id."""
    prefix = check.partition(".")[0]
    return prefix if any(prefix == id for id, _ in SECTIONS) else "other"


def _shelf(outcome: Outcome, known: Mapping[str, Slot], report: Report) -> Shelf:
    own = [known[ref] for ref, _ in _addressed((outcome,))]
    curves: dict[tuple[str, tuple[str, ...]], list[Curve]] = {}
    for piece in outcome.evidence:
        if isinstance(piece, Curve):
            curves.setdefault((piece.name, tuple(piece.where)), []).append(piece)
    return Shelf(
        outcome=outcome,
        figures=tuple(slot for slot in own if not _of_a_group(slot.measure)),
        panels=tuple(_panels([slot for slot in own if _of_a_group(slot.measure)], report, outcome.check)),
        curves=tuple(tuple(family) for family in curves.values()),
        tables=tuple(piece for piece in outcome.evidence if isinstance(piece, Table)),
    )


def _of_a_group(measure: Measure) -> bool:
    return any(group != ALL for group in measure.where.values())


def _panels(found: Sequence[Slot], report: Report, check: str) -> Iterator[Panel]:
    """Measures by attribute and unit; a second measure of the same name and group opens a second panel."""
    piles: dict[tuple[tuple[str, ...], tuple[str, ...], str, int], dict[tuple[str, str], Slot]] = {}
    for slot in found:
        where, place = slot.measure.where, (_group(slot.measure), slot.measure.name)
        over = tuple(name for name, group in where.items() if group == ALL)
        copy = 0
        while place in piles.get((tuple(where), over, slot.measure.unit, copy), {}):
            copy += 1
        piles.setdefault((tuple(where), over, slot.measure.unit, copy), {})[place] = slot
    for (attributes, over, unit, _), pile in piles.items():
        names = tuple(dict.fromkeys(name for _, name in pile))
        sheets = -(-len(names) // SIDE_BY_SIDE)
        for sheet in range(sheets):
            chosen = names[sheet * len(names) // sheets : (sheet + 1) * len(names) // sheets]
            slots = {(group, name): slot for (group, name), slot in pile.items() if name in chosen}
            limits = {name: _limits(report, check, name, attributes) for name in chosen}
            groups = _ordered(slots, chosen, _rows(attributes, over))
            yield Panel(
                attributes=attributes, unit=unit, names=chosen, groups=groups, slots=slots, limits=limits, over=over
            )


def _ordered(
    slots: Mapping[tuple[str, str], Slot], names: Sequence[str], attributes: tuple[str, ...]
) -> tuple[str, ...]:
    """The groups in the order of the record, features by the size of what they contribute."""
    groups = list(dict.fromkeys(group for group, _ in slots))
    if attributes == NAMED_FROM and len(names) == 1:
        groups.sort(key=lambda group: -abs(slots[group, names[0]].measure.value or 0.0))
    return tuple(groups)


def _group(measure: Measure) -> str:
    return " · ".join(group for group in measure.where.values() if group != ALL)


def _limits(report: Report, check: str, name: str, attributes: Sequence[str]) -> tuple[float, ...]:
    """The limits that promises of the plan set for a measure; those of a baseline differ from group to group."""
    gates = [ruling.gate for ruling in report.all_rulings if ruling.origin != "baseline"]
    fitting = [g for g in gates if (g.check, g.measure) == (check, name) and set(g.by) == set(attributes)]
    return tuple(sorted({limit for gate in fitting for limit in (gate.min, gate.max) if limit is not None}))


# ------------------------------------------------------------------------------------------------ findings
def promises(report: Report) -> tuple[Finding, ...]:
    """Every ruling with its place in the record and its slices, in the order of the record."""
    known = slots(report)
    places = [(f"/rulings/{k}", ruling) for k, ruling in enumerate(report.rulings)]
    places += [(f"/run/rulings/{k}", ruling) for k, ruling in enumerate(report.run.rulings)]
    return tuple(
        Finding(
            ruling=ruling,
            pointer=pointer,
            slots=tuple(replace(known[s.ref], judged=s.outcome) for s in ruling.slices if s.ref in known),
        )
        for pointer, ruling in places
    )


def findings(report: Report) -> tuple[Finding, ...]:
    """The promises that were not kept: required ones first, then by severity, then by how they were judged."""

    def rank(finding: Finding) -> tuple[bool, int, int]:
        gate = finding.ruling.gate
        return not gate.required, _SEVERITY.index(gate.severity), _WORST.index(finding.ruling.outcome)

    return tuple(sorted((f for f in promises(report) if f.ruling.outcome != "pass"), key=rank))


def headline(report: Report) -> tuple[Slot, ...]:
    """The measures worth a headline."""
    known = slots(report)
    return tuple(known[ref] for ref in report.verdict.headline if ref in known)


def expected(finding: Finding) -> tuple[str | Figure, ...]:
    """What was promised, in words and figures."""
    gate = finding.ruling.gate
    unit = finding.slots[0].measure.unit if finding.slots else ""
    at_once = bool(finding.slots) and ALL in finding.slots[0].measure.where.values()
    whom = f" {'over the groups' if at_once else 'in every group'} of {' × '.join(gate.by)}" if gate.by else ""
    words: list[str | Figure] = [f"{fmt.label(gate.measure)}{whom}"]
    for word, name, limit in (("at least", "min", gate.min), ("at most", "max", gate.max)):
        if limit is not None:
            words.append(" and " if len(words) > 1 else ": ")
            figure = Figure(
                text=fmt.value(limit, unit) if unit else f"{limit:.6g}",
                number=limit,
                ref=f"{finding.pointer}/gate/{name}",
            )
            words += [f"{word} ", figure]
    return tuple(words)
