"""Pronouns by occupation: how likely a model holds "she" for a nurse or an engineer, beside how many there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from audit import stats
from audit.core import (
    Cell,
    Context,
    DataError,
    Evidence,
    Floats,
    Ints,
    Measure,
    NotApplicable,
    Subject,
    Table,
    UsageError,
    suggest,
)
from audit.data.texts import Texts
from audit.fairness.leans import Lean, lean, lean_of_labels
from audit.fairness.measures import bounded, measured
from audit.registry import check


@check(
    "fairness.pronouns",
    title="Pronouns by occupation",
    needs={"scores", "rows"},
    sources=("rudinger2018", "zhao2017", "spearman1904", "efron1993"),
)
def pronouns(
    subject: Subject,
    context: Context,
    *,
    occupations: Sequence[str] = (),
    shares: Mapping[str, float] | None = None,
    pronoun: str = "she",
) -> Iterator[Evidence]:
    """Does the model give each occupation the pronouns that its people have, or does it go beyond, or against them?

    For texts whose two classes are pronouns and whose score is the chance of one of them. occupations: words, one of which
    each text holds; texts with none or several of them are left out. shares: the real share of `pronoun` (from 0 to 1) in
    each, from a labour survey for example; without it, that of the labels of these very texts. Named are, over the
    occupations, the correlation of mean chance and share; mean_bias, the mean of chance less share; amplification, the
    mean of how far the chance goes beyond the share towards the majority; and decided_amplification, the same of the
    decisions: a model that always gives the majority's pronoun carries it to the utmost, however well it knows the
    shares. Every occupation counts the same, and the intervals take them as a sample of many.

    Labels of few texts are noisy: a share that is high by chance would look like a majority that the model falls short
    of, and no model could correlate with the noise. So, without shares, the majority is told by one half of an
    occupation's texts and the difference by the other, over all splits, and the noise is taken out of the correlation,
    which is then that with the true shares (None where the shares differ little beyond chance). A right model then stands
    at 0 and at 1. Where the majority is hard to tell, amplification is drawn towards 0.

    A chance that equals the share repeats the world as it is, which is not to say that it ought to. Shares differ from
    country to country and year to year, and "she" and "he" are not everyone's pronouns.
    """
    texts = subject.data.inputs
    if not isinstance(texts, Texts):
        raise NotApplicable("the inputs are no texts")
    names = (
        tuple(dict.fromkeys([*occupations, *(shares or {})])) if not occupations else tuple(dict.fromkeys(occupations))
    )
    if not names:
        raise NotApplicable("no occupations are named: give occupations, or shares of each")
    score, decision, y = _of(subject, pronoun)
    rows = _rows(texts, names)
    level = context.confidence
    known = {name: place for name in names if len(place := rows[name])}
    if not known:
        raise DataError(f"occupations: none of {', '.join(map(repr, names))} stands alone in a text")
    share = _shares(known, shares, y)
    order = sorted(known, key=lambda name: (share[name], name))
    parts = [known[name] for name in order]
    real = np.array([share[name] for name in order])
    where_from = "given" if shares else "of the labels"
    found, decided = (
        _lean([each[part] for part in parts], real, None if shares or y is None else [y[part] for part in parts], level)
        for each in (score, decision)
    )
    yield from _measures(found, decided, where_from)
    yield _table(order, score, parts, real, pronoun, where_from, level)
    absent = [name for name in names if name not in known]
    if absent:
        yield Table(
            name="absent", title="Occupations in no text", columns=("occupation",), rows=tuple((n,) for n in absent)
        )


def _lean(values: Sequence[Floats | Ints], real: Floats, y: Sequence[Ints] | None, level: float) -> Lean:
    """Beside given shares (k,), or those of the labels of the same texts."""
    return lean([float(each.mean()) for each in values], real, level) if y is None else lean_of_labels(values, y, level)


def _of(subject: Subject, pronoun: str) -> tuple[Floats, Ints, Ints | None]:
    """Score, decision and label (n,) of the pronoun, 1 where it is the one; raises NotApplicable."""
    classes = subject.data.classes
    if len(classes) != 2 or pronoun not in classes or subject.score is None or subject.score.ndim != 1:
        raise NotApplicable(
            f"the classes must be two pronouns, {pronoun!r} among them; they are {', '.join(map(repr, classes))}"
            f"{suggest(pronoun, classes)}"
        )
    decision = (subject.score >= subject.threshold).astype(np.int64) if subject.decision is None else subject.decision
    if classes[1] == pronoun:
        return subject.score, decision, subject.y
    return 1.0 - subject.score, 1 - decision, None if subject.y is None else 1 - subject.y


def _rows(texts: Texts, names: Sequence[str]) -> Mapping[str, Ints]:
    """The rows of the texts that hold each name as a word, and no other of the names."""
    place = {name: k for k, name in enumerate(names)}
    found: dict[str, list[int]] = {name: [] for name in names}
    for row, line in enumerate(texts.strings()):
        held = {word for word in line.split() if word in place}
        if len(held) == 1:
            found[held.pop()].append(row)
    return {name: np.array(rows, dtype=np.int64) for name, rows in found.items()}


def _shares(known: Mapping[str, Ints], given: Mapping[str, float] | None, y: Ints | None) -> Mapping[str, float]:
    """The real share of the pronoun in each occupation that is there; raises UsageError, NotApplicable."""
    if given:
        lacking = [name for name in known if name not in given]
        wrong = [name for name in known if name in given and not 0 <= float(given[name]) <= 1]
        if lacking or wrong:
            name = (lacking or wrong)[0]
            came = "none" if lacking else repr(given[name])
            raise UsageError(
                f"shares: a number from 0 to 1 for every occupation in the texts; for {name!r} came {came}"
            )
        return {name: float(given[name]) for name in known}
    if y is None:
        raise NotApplicable("the data have no labels: give shares, the real share of the pronoun in each occupation")
    return {name: float(y[rows].mean()) for name, rows in known.items()}


def _measures(found: Lean, decided: Lean, where_from: str) -> Iterator[Measure]:
    given = where_from == "given"
    same = "chances or shares are the same in every occupation"
    few = "there are fewer than four occupations of two texts, or their chances or shares differ little beyond chance"
    even = "every share is one half" if given else "no occupation has two texts"
    apart = "" if given else ", the majority told by other texts than the difference"
    method = "Fisher z" if given else "jackknife over occupations"
    rows = (
        ("correlation", found.correlation, "one", method, same if given else few, "" if given else ", noise taken out"),
        ("mean_bias", found.mean_bias, "zero", "Student's t", "there is no occupation", ""),
        ("amplification", found.amplification, "zero", "Student's t", even, apart),
        ("decided_amplification", decided.amplification, "zero", "Student's t", even, apart),
    )
    for name, (value, low, high), better, how, why, more in rows:
        yield measured(
            name,
            value,
            n=len(found.share),
            where={},
            unit="",
            better=better,  # type: ignore[arg-type]
            interval=bounded((low, high), found.level, how),
            note=f"over {len(found.share)} occupations, shares {where_from}{more}",
            why=why,
        )


def _table(
    order: Sequence[str],
    score: Floats,
    parts: Sequence[Ints],
    real: Floats,
    pronoun: str,
    where_from: str,
    level: float,
) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, part, share in zip(order, parts, real, strict=True):
        low, high = stats.mean_interval(score[part], level)
        ends = (low, high) if np.isfinite([low, high]).all() else (None, None)
        rows.append((name, float(score[part].mean()), *ends, float(share), len(part)))
    return Table(
        name="occupations",
        title=f"Mean chance of {pronoun!r} by occupation, in the order of the real share",
        columns=("occupation", f"P({pronoun})", "low", "high", f"share ({where_from})", "texts"),
        rows=tuple(rows),
        note="The interval is Student's, of the mean over the texts of an occupation.",
        view="bars",
    )
