"""What a verdict says in words: figures stay figures, so that a page can tie them to the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from audit.core import Judgement, Report
from audit.drawing import format as fmt
from audit.drawing.format import Figure
from audit.reports.arrange import Finding

Words = tuple[str | Figure, ...]
UNDECIDED: tuple[Judgement, ...] = ("inconclusive", "undefined", "not_tested")
_STATE: Mapping[str, str] = {
    "pass": "kept",
    "fail": "broken",
    "error": "stopped by an error",
    "inconclusive": "undecided",
    "undefined": "undefined",
    "not_tested": "not tested",
}
NOT_SAID: tuple[str, ...] = (
    "It describes one model on one set of data at one time; other people, places or versions can come out otherwise.",
    "It does not say why a difference arose, nor whether it is justified or lawful: that is for people to judge.",
    "A kept promise means that these data support it, not that every harm is absent; what was not measured is not known.",
    "Intervals speak of chance alone, not of wrong labels, of people missing from the data, or of attributes recorded wrongly.",
)
NEXT: Mapping[Judgement, str] = {
    "fail": "Find the cause before the model is used: look at the data, the labels and the threshold of the groups "
    "named here; mend the model or limit its use, and audit it again.",
    "inconclusive": "Collect more cases and audit again; these data can decide neither way.",
    "undefined": "Supply the data that the figure needs, or say in writing why this promise cannot be tested.",
    "not_tested": "Make the check able to run, or say in writing why this promise is not tested.",
    "error": "Mend what the message names, and audit again: until then nothing is known about this promise.",
    "pass": "",
}


def verdict(report: Report) -> Words:
    """The verdict in one sentence (a second one says what else is open)."""
    counts = report.verdict.required
    total = sum(counts.values())
    if total == 0:
        return (_without_promises(report), *_unfinished(report))
    whole = Figure(text=fmt.count(total) if total > 1 else "one", number=total, ref="/verdict/required")
    open_ones = [name for name in ("error", "fail", *UNDECIDED) if counts.get(name, 0)]
    if total == 1:
        words: Words = ("The ", whole, f" required promise is {_STATE[open_ones[0] if open_ones else 'pass']}.")
        return (*words, *_unfinished(report))
    if not open_ones:
        return ("All ", whole, " required promises are kept.", *_unfinished(report))
    if open_ones[0] in ("error", "fail"):
        first = open_ones.pop(0)
        number = counts[first]
        state = f"{fmt.plural(number, 'is', 'are')} {_STATE[first]}"
        words = (_tally(report, first), " of ", whole, f" required promises {state}.")
    else:
        words = ("None of ", whole, " required promises is broken.")
    return (*words, *_also(report, open_ones), *_unfinished(report))


def _tally(report: Report, name: str) -> Figure:
    number = report.verdict.required.get(name, 0)
    return Figure(text=fmt.count(number), number=number, ref=f"/verdict/required/{name}")


def _also(report: Report, names: Sequence[str]) -> Words:
    """The other open promises: "1 is undecided, 2 are not tested."."""
    words: list[str | Figure] = []
    for name in names:
        number = report.verdict.required[name]
        words += [", " if words else " ", _tally(report, name), f" {fmt.plural(number, 'is', 'are')} {_STATE[name]}"]
    return (*words, ".") if words else ()


def _without_promises(report: Report) -> str:
    if report.verdict.outcome == "error":
        return "The audit met an error: no promise was judged."
    if report.rulings or report.run.rulings:
        return "No promise was required: measured, and judged for information only."
    return "No promise was set: measured, not judged."


def _unfinished(report: Report) -> Words:
    return () if report.complete else (" The audit was stopped before its end.",)


def plain(words: Sequence[str | Figure]) -> str:
    """The words without their ties."""
    return "".join(word if isinstance(word, str) else word.text for word in words)


def found(finding: Finding) -> Words:
    """The slice that decided: "race: Black 0.62 [0.55, 0.70], n 312"; empty where there is none."""
    if not finding.slots:
        return ()
    return (f"{fmt.who(finding.slots[0].measure.where)}: ", *finding.slots[0].words)
