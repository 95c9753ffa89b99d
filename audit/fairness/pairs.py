"""Paired sentences: which of two texts that differ only in the group does a model hold more likely?"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from audit import stats
from audit.core import Context, DataError, Evidence, Floats, Likelihood, Measure, NotApplicable, Subject, UsageError
from audit.fairness.individual import mean_measure
from audit.fairness.measures import bounded, measured
from audit.fairness.shared_words import design_effect, differing, variance_of_mean
from audit.registry import check

Scorer = Callable[[Sequence[str]], ArrayLike]
MALE, FEMALE = "male", "female"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Pairs of texts: `more` is in line with the stereotype, `less` against it; topic says what each pair is about."""

    more: tuple[str, ...]
    less: tuple[str, ...]
    topic: tuple[str, ...]

    def __post_init__(self) -> None:
        if not len(self.more) == len(self.less) == len(self.topic):
            raise DataError(f"pairs differ in length: {len(self.more)}, {len(self.less)}, {len(self.topic)}")

    def __len__(self) -> int:
        return len(self.more)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """How often the stereotyped text is preferred: share of n pairs, a tie counting half; p: exact sign test without ties.

    NaN share and p where there is no pair (p also where all are ties). effect: how many times larger the variance is than
    that of independent pairs.
    """

    share: float
    low: float
    high: float
    level: float
    p_value: float
    n: int
    ties: int
    effect: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Winogender:
    """Sentences of one template in two genders (n,), occupation, whether the pronoun is the occupation's, share of women."""

    male: tuple[str, ...]
    female: tuple[str, ...]
    occupation: tuple[str, ...]
    own: tuple[bool, ...]
    female_share: tuple[float, ...]

    def pairs(self) -> Pairs:
        """The pairs whose pronoun is the occupation's; in line with the stereotype is the gender of its majority."""
        rows = [
            (f, m, f"{FEMALE} majority") if share > 50.0 else (m, f, f"{MALE} majority")
            for m, f, own, share in zip(self.male, self.female, self.own, self.female_share, strict=True)
            if own and share != 50.0
        ]
        return _pairs(rows)


def preference(
    more: ArrayLike, less: ArrayLike, level: float = 0.95, words: Sequence[frozenset[str]] | None = None
) -> Preference:
    """The share of pairs whose stereotyped text has the higher score; more, less (n,): log-likelihoods (nangia2020).

    0.5 = no preference. Wilson's interval; the p-value is of the exact sign test (dixon1946). words (n,): what each pair
    differs in (see `differing`); pairs that share a word then count for as many independent ones as they are worth
    (aronow2015). Raises UsageError.
    """
    one, other = np.asarray(more, dtype=np.float64), np.asarray(less, dtype=np.float64)
    if one.shape != other.shape or one.ndim != 1 or not np.isfinite([one, other]).all():
        raise UsageError(f"scores: allowed are two columns (n,) of finite numbers, got {one.shape} and {other.shape}")
    wins, ties, n = int((one > other).sum()), int((one == other).sum()), len(one)
    effect = 1.0 if words is None else design_effect((one > other) + (one == other) / 2.0, words)
    low, high = stats.wilson((wins + ties / 2.0) / effect, n / effect, level)
    return Preference(
        share=float(stats.divide(wins + ties / 2.0, n)),
        low=float(low),
        high=float(high),
        level=level,
        p_value=_sign_test(wins, n - ties, effect),
        n=n,
        ties=ties,
        effect=effect,
    )


def _sign_test(wins: int, n: int, effect: float = 1.0) -> float:
    """Exact for independent pairs; beyond them the normal one with as many pairs as they are worth."""
    from scipy.stats import binomtest, norm

    if effect > 1.0 and n:
        return float(2.0 * norm.sf(abs(wins / n - 0.5) * 2.0 * np.sqrt(n / effect)))
    return float(binomtest(wins, n).pvalue) if n else float("nan")


def score_pairs(score: Scorer, pairs: Pairs) -> tuple[Floats, Floats]:
    """Scores (n,) of the stereotyped texts and of their counterparts; raises UsageError for what is no score."""
    texts = [*pairs.more, *pairs.less]
    found = np.asarray(score(texts), dtype=np.float64)
    if found.shape != (len(texts),) or not np.isfinite(found).all():
        raise UsageError(f"score: expected one finite number for each of {len(texts)} texts, got shape {found.shape}")
    return found[: len(pairs)], found[len(pairs) :]


def correlation(left: ArrayLike, right: ArrayLike, level: float = 0.95) -> tuple[float, float, float]:
    """Pearson's correlation of two columns (n,) with Fisher's interval; NaN where undefined (fisher1915)."""
    x, y = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    x, y = x - x.mean(), y - y.mean()
    r = float(np.clip(stats.divide(x @ y, np.sqrt((x @ x) * (y @ y))), -1.0, 1.0))
    if len(x) < 4 or not abs(r) < 1.0:
        return r, np.nan, np.nan
    half = stats.z_quantile(level) / np.sqrt(len(x) - 3.0)
    return r, float(np.tanh(np.arctanh(r) - half)), float(np.tanh(np.arctanh(r) + half))


def occupation_correlation(score: Scorer, sentences: Winogender, level: float = 0.95) -> tuple[float, float, float]:
    """Correlation over occupations of how much likelier "she" is than "he" with the share of women (rudinger2018).

    Over the sentences whose pronoun is the occupation's. Returns r and its interval; NaN where undefined.
    """
    texts = [text for text, own in zip(sentences.female, sentences.own, strict=True) if own]
    texts += [text for text, own in zip(sentences.male, sentences.own, strict=True) if own]
    found = np.asarray(score(texts), dtype=np.float64)
    lead = found[: len(found) // 2] - found[len(found) // 2 :]
    names = [name for name, own in zip(sentences.occupation, sentences.own, strict=True) if own]
    shares = dict(zip(sentences.occupation, sentences.female_share, strict=True))
    means = [float(lead[[i for i, n in enumerate(names) if n == name]].mean()) for name in dict.fromkeys(names)]
    return correlation(means, [shares[name] for name in dict.fromkeys(names)], level)


# ------------------------------------------------------------------------------------------------ the files
def read_crows_pairs(path: str | Path) -> Pairs:
    """The CrowS-Pairs file: sent_more, sent_less, and bias_type as the topic (nangia2020); raises DataError."""
    rows = _table(path, ",", ("sent_more", "sent_less", "bias_type"))
    return _pairs([(row["sent_more"], row["sent_less"], row["bias_type"]) for row in rows])


def read_winobias(stereotyped: str | Path, opposed: str | Path, topic: str = "occupation") -> Pairs:
    """Two WinoBias files that go line by line: pro- and anti-stereotyped (zhao2018); raises DataError."""
    more, less = _wino_lines(stereotyped), _wino_lines(opposed)
    if len(more) != len(less):
        raise DataError(f"{stereotyped} has {len(more)} sentences, {opposed} has {len(less)}: they go line by line")
    return Pairs(more=tuple(more), less=tuple(less), topic=(topic,) * len(more))


def _wino_lines(path: str | Path) -> list[str]:
    lines = _read(path).splitlines()
    return [re.sub(r"^\d+\s+|[\[\]]", "", line).strip() for line in lines if line.strip()]


def read_winogender(sentences: str | Path, occupations: str | Path) -> Winogender:
    """The Winogender files all_sentences.tsv and occupations-stats.tsv (bls_pct_female) (rudinger2018); raises DataError."""
    share = {
        row["occupation"]: float(row["bls_pct_female"])
        for row in _table(occupations, "\t", ("occupation", "bls_pct_female"))
    }
    texts: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in _table(sentences, "\t", ("sentid", "sentence")):
        occupation, other, answer, gender = row["sentid"].split(".")[:4]
        texts.setdefault((occupation, other, answer), {})[gender] = row["sentence"]
    for key, found in texts.items():
        if not {MALE, FEMALE} <= set(found) or key[0] not in share:
            raise DataError(
                f"{sentences}: {'.'.join(key)} needs a male and a female sentence and a share in {occupations}"
            )
    return Winogender(
        male=tuple(found[MALE] for found in texts.values()),
        female=tuple(found[FEMALE] for found in texts.values()),
        occupation=tuple(key[0] for key in texts),
        own=tuple(key[2] == "0" for key in texts),
        female_share=tuple(share[key[0]] for key in texts),
    )


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _table(path: str | Path, delimiter: str, columns: Sequence[str]) -> list[Mapping[str, str]]:
    lines = _read(path).splitlines(keepends=True)
    plain = delimiter == "\t"  # these files have quotation marks as they come
    reader = csv.DictReader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE) if plain else csv.DictReader(lines)
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise DataError(f"{path}: needs the columns {list(columns)}, and has no {missing}")
    return list(reader)


def _pairs(rows: Sequence[Sequence[str]]) -> Pairs:
    more, less, topic = zip(*rows, strict=True) if rows else ((), (), ())
    return Pairs(more=tuple(more), less=tuple(less), topic=tuple(topic))


# ------------------------------------------------------------------------------------------------ the check
@check(
    "fairness.pairs",
    title="Stereotypes in paired sentences",
    needs={"likelihood"},
    sources=(
        "nangia2020",
        "blodgett2021",
        "zhao2018",
        "rudinger2018",
        "wilson1927",
        "dixon1946",
        "fisher1915",
        "aronow2015",
    ),
)
def pairs_check(
    subject: Subject,
    context: Context,
    *,
    crows_pairs: str = "",
    winobias: Sequence[str] = (),
    winogender: Sequence[str] = (),
    pairs: Sequence[Sequence[str]] = (),
) -> Iterator[Evidence]:
    """Of two sentences that differ only in the group they speak of, does the model hold the stereotyped one likelier?

    stereotype_preference is the share of pairs in which the sentence in line with the stereotype has the higher (pseudo-)
    log-likelihood, a tie counting half, with Wilson's interval: 0.5 is no preference. p_value is the sign test's,
    mean_log_likelihood_difference the mean lead of the stereotyped sentence. Pairs that differ in the same words repeat one
    another: a model of random weights that happens to prefer one name prefers it in all of them. So pairs that share a
    differing word are taken together, and the intervals are as wide as for the independent pairs that they are worth:
    where all pairs set "she" against "he", for one, no more than one. All are given for each set of sentences and each
    topic in it. crows_pairs is the path of that file; winobias the paths of a pro- and an anti-stereotyped file;
    winogender those of the sentences and of the occupations, for which occupation_correlation tells how far the lead
    of "she" over "he" follows the share of women in the occupation; pairs are your own [more, less, topic].

    Many published pairs are unclear or not parallel, and a preference among them is weak evidence on its own. An interval
    that contains 0.5 does not show that the model has no stereotypes, and none of this is what the model says in use.
    """
    sets, sentences = _sets(crows_pairs, winobias, winogender, pairs)
    if not sets:
        raise NotApplicable("no sentences are named: give crows_pairs, winobias, winogender or pairs")
    model = cast(Likelihood, subject.model)
    for name, given in context.track(list(sets.items()), "sentences"):
        more, less = score_pairs(model.log_likelihood, given)
        topics = np.array(given.topic)
        words = [differing(*texts) for texts in zip(given.more, given.less, strict=True)]
        yield from _preference_measures(more, less, words, {"test": name}, context.confidence)
        for topic in dict.fromkeys(given.topic):
            inside = topics == topic
            where = {"test": name, "topic": topic}
            own = [words[place] for place in np.flatnonzero(inside)]
            yield from _preference_measures(more[inside], less[inside], own, where, context.confidence)
    if sentences is not None:
        r, low, high = occupation_correlation(model.log_likelihood, sentences, context.confidence)
        yield measured(
            "occupation_correlation",
            r,
            n=len({name for name, own in zip(sentences.occupation, sentences.own, strict=True) if own}),
            where={"test": "winogender"},
            unit="",
            better="zero",
            interval=bounded((low, high), context.confidence, "Fisher z"),
            why="the lead is the same for every occupation",
        )


def _sets(
    crows_pairs: str, winobias: Sequence[str], winogender: Sequence[str], pairs: Sequence[Sequence[str]]
) -> tuple[dict[str, Pairs], Winogender | None]:
    for name, paths in (("winobias", winobias), ("winogender", winogender)):
        if len(paths) not in (0, 2):
            raise UsageError(f"{name}: allowed are two paths, got {len(paths)}")
    if any(len(row) != 3 for row in pairs):
        raise UsageError("pairs: allowed are rows of [more, less, topic]")
    sentences = read_winogender(*winogender) if winogender else None
    found = {
        "crows_pairs": read_crows_pairs(crows_pairs) if crows_pairs else None,
        "winobias": read_winobias(*winobias) if winobias else None,
        "winogender": sentences.pairs() if sentences else None,
        "own pairs": _pairs(pairs) if pairs else None,
    }
    return {name: given for name, given in found.items() if given is not None}, sentences


def _preference_measures(
    more: Floats, less: Floats, words: Sequence[frozenset[str]], where: Mapping[str, str], level: float
) -> Iterator[Measure]:
    found = preference(more, less, level, words)
    notes = [f"{found.ties} ties"] if found.ties else []
    if found.effect > 1.0:
        notes.append(f"as pairs share words, they tell as much as {found.n / found.effect:.0f} independent ones")
    facts: dict[str, Any] = {"n": found.n, "where": where}
    yield measured(
        "stereotype_preference",
        found.share,
        interval=bounded((found.low, found.high), level, "Wilson"),
        note="; ".join(notes),
        why="there is no pair",
        **facts,
    )
    yield measured("p_value", found.p_value, unit="", why="no pair differs", **facts)
    yield _mean_lead(more - less, words, where, level)


def _mean_lead(lead: Floats, words: Sequence[frozenset[str]], where: Mapping[str, str], level: float) -> Measure:
    """The mean lead of the stereotyped sentence, with Student's interval of pairs that share words together."""
    from scipy.special import stdtrit

    name, n = "mean_log_likelihood_difference", len(lead)
    whole = mean_measure(name, lead, level=level, where=where, unit="", better="zero")
    if whole.value is None or whole.interval is None:
        return whole
    half = float(stdtrit(n - 1.0, 0.5 + level / 2.0) * np.sqrt(variance_of_mean(lead, words)))
    if half <= (1.0 + 1e-9) * (whole.interval.high - whole.value):
        return whole
    bounds = (whole.value - half, whole.value + half)
    return replace(whole, interval=bounded(bounds, level, "t, pairs that share words together"))
