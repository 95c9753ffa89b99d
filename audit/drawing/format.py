"""Where numbers and names become text, for every page and for the terminal."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from audit.core import ALL, Cell, Measure

NBSP = "\u00a0"
NOTHING = 1e-13  # in a table, less than this is rounding
SUPPRESSED = "suppressed (n < "
LABELS: Mapping[str, str] = {
    "auc": "AUC",
    "brier": "Brier score",
    "ece": "Expected calibration error",
    "expected_calibration_error": "Expected calibration error",
    "tpr": "True positive rate",
    "fpr": "False positive rate",
    "fnr": "False negative rate",
    "tnr": "True negative rate",
    "ppv": "Positive predictive value",
    "npv": "Negative predictive value",
    "fdr": "False discovery rate",
    "for": "False omission rate",
    "mcc": "Matthews correlation",
    "f1": "F1 score",
    "p_max_t": "p (max-T)",
    "for_difference": "False omission rate difference",
    "for_ratio": "False omission rate ratio",
    "mean_abs_shap": "Mean |SHAP|",
    "energy_kwh": "Energy",
    "gco2e": "Greenhouse gas",
}
WORDS: Mapping[str, str] = {
    "auc": "AUC",
    "tpr": "TPR",
    "fpr": "FPR",
    "fnr": "FNR",
    "ppv": "PPV",
    "npv": "NPV",
    "shap": "SHAP",
    "ig": "IG",
    "cpu": "CPU",
    "gpu": "GPU",
    "flops": "FLOPs",
    "ece": "ECE",
    "kwh": "kWh",
    "haenszel": "Haenszel",
    "breslow": "Breslow",
    "xauc": "xAUC",
    "abroca": "ABROCA",
    "ks": "KS",
    "mcc": "MCC",
    "f1": "F1",
    "fdr": "FDR",
    "rmsce": "RMSCE",
    "ndkl": "NDKL",
    "mae": "MAE",
    "rmse": "RMSE",
}
MARKS: Mapping[str, tuple[str, str]] = {
    "pass": ("✓", "kept"),
    "fail": ("✗", "broken"),
    "inconclusive": ("≈", "undecided"),
    "undefined": ("∅", "undefined"),
    "not_tested": ("○", "not tested"),
    "error": ("!", "error"),
    "ungated": ("○", "measured"),
}
_PREFIXES = ("n", "µ", "m", "", "k", "M", "G", "T", "P", "E")
# unit -> (unit as shown, factor to it, smallest and largest prefix that people read)
_PHYSICAL: Mapping[str, tuple[str, float, int, int]] = {
    "FLOP": ("FLOP", 1, 0, 6),
    "FLOPs": ("FLOP", 1, 0, 6),
    "bytes": ("B", 1, 0, 6),
    "s": ("s", 1, -3, 0),
    "kWh": ("Wh", 1000, -3, 6),
    "Wh": ("Wh", 1, -3, 6),
    "gCO2e": ("gCO2e", 1, -3, 2),
    "kgCO2e": ("gCO2e", 1000, -3, 2),
    "J": ("J", 1, -3, 6),
    "W": ("W", 1, -3, 6),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number as a reader sees it, with the exact number and the place in the record that holds it.

    `ref` is "check#index/field" for evidence, else a JSON pointer into the record; a pointer to an object of numbers
    means their sum, a pointer to a list its length.
    """

    text: str
    number: float
    ref: str


# ------------------------------------------------------------------------------------------------- numbers
def value(number: float | None, unit: str = "", apart: float | None = None) -> str:
    """A number with its unit; None is "undefined".

    `apart` is a limit that the text must not be mistaken for: 0.7996 against 0.80 gets as many digits as it takes.
    """
    if number is None:
        return "undefined"
    text = _written(number, unit, 0)
    extra = 1
    while apart is not None and number != apart and extra < 8 and text == _written(apart, unit, extra - 1):
        text = _written(number, unit, extra)
        extra += 1
    return text


def _written(number: float, unit: str, extra: int) -> str:
    if unit == "proportion":
        return f"{_percent(number, extra)}{NBSP}%"
    if unit == "difference":
        return f"{_percent(number, extra, sign='+')}{NBSP}pp"
    if unit == "ratio":
        return _minus(_not_nil(number, 2 + extra, ""))
    if unit.partition("/")[0] in _PHYSICAL:
        factor, name = _scale(number, unit)
        return f"{_significant(number * factor, 2 + extra)}{NBSP}{name}"
    text = _significant(number, 3 + extra)
    return f"{text}{NBSP}{unit}" if unit else text


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _not_nil(number: float, decimals: int, sign: str) -> str:
    """Fixed decimals, and more of them where a number that matters would be shown as 0."""
    more = decimals
    while more < 9 and number != 0 and round(number, more) == 0:
        more += 1
    if round(number, more) == 0:
        return f"{0:.{decimals}f}"
    return f"{number:{sign}.{more}f}"


def _percent(share: float, extra: int, sign: str = "") -> str:
    """A share in percent, never 100.0 or 0.0 unless it is so."""
    percent, decimals = 100 * share, 1 + extra
    while decimals < 9 and abs(percent) < 100 and round(abs(percent), decimals) == 100:
        decimals += 1
    return _minus(_not_nil(percent, decimals, sign))


def _significant(number: float, digits: int) -> str:
    """Significant digits, thousands in groups; whole numbers under a million in full; powers of ten at the far ends."""
    if number == 0:
        return "0"
    if digits >= 3 and float(number).is_integer() and abs(number) < 1e6:
        return _minus(f"{number:,.0f}")
    rounded = float(f"{number:.{digits - 1}e}")
    power = math.floor(math.log10(abs(rounded)))
    if power < -4 or power > 9:
        return _minus(f"{number:.{digits - 1}e}")
    return _minus(f"{rounded:,.{max(0, digits - 1 - power)}f}")


def _scale(number: float, unit: str) -> tuple[float, str]:
    """The factor and the name of the unit with the prefix that suits the number: 0.0012 kWh is 1.2 Wh."""
    base, slash, per = unit.partition("/")
    shown, factor, least, most = _PHYSICAL[base]
    rounded = float(f"{number * factor:.1e}")
    step = math.floor(math.log10(abs(rounded)) / 3) if rounded else 0
    step = min(max(step, least), most)
    return factor / 1000.0**step, f"{_PREFIXES[step + 3]}{shown}{slash}{per}"


def interval(measure: Measure) -> str:
    """The interval in the measure's own unit, "[0.62, 1.00]"; "" where there is none."""
    return "[{}, {}]".format(*bounds(measure)) if measure.interval else ""


def span(low: float, high: float, unit: str) -> str:
    """A range in a unit that is told elsewhere: "[+0.5, +2.3]"."""
    return "[{}, {}]".format(*(_written(side, unit, 0).partition(NBSP)[0] for side in (low, high)))


def bounds(measure: Measure) -> tuple[str, str]:
    """Both ends of the interval without their unit, in the prefix of the value; empty texts where there is none."""
    if measure.interval is None:
        return "", ""
    low, high, unit = measure.interval.low, measure.interval.high, measure.unit
    if unit.partition("/")[0] in _PHYSICAL:
        factor, _ = _scale(measure.value or high or low, unit)
        return _significant(low * factor, 2), _significant(high * factor, 2)
    return _written(low, unit, 0).partition(NBSP)[0], _written(high, unit, 0).partition(NBSP)[0]


def count(number: int, suppress_below: int = 0) -> str:
    """A number of cases, thousands in groups; one under the limit of suppression is not told."""
    return f"under{NBSP}{suppress_below}" if number < suppress_below else f"{number:,}"


def cell(content: Cell) -> str:
    """A table's cell as text."""
    if content is None:
        return "undefined"
    if isinstance(content, bool | str):
        return str(content)
    if isinstance(content, int):
        return _minus(f"{content:,}")
    return _minus(f"{0.0 if abs(content) < NOTHING else content:.4g}")


def number(content: Cell) -> float | None:
    """A cell as a number, None where it is none."""
    return float(content) if isinstance(content, int | float) and not isinstance(content, bool) else None


def shown(measure: Measure, apart: float | None = None) -> str:
    """The value of a measure as text: undefined or suppressed where it has none."""
    if is_suppressed(measure):
        return measure.note
    return value(measure.value, measure.unit, apart)


def full(measure: Measure, apart: float | None = None) -> str:
    """Value, interval and n in one line: "44.8 % [43.1, 46.5], n 2,454"."""
    text = " ".join(part for part in (shown(measure, apart), interval(measure)) if part)
    return text if measure.n is None else f"{text}, n{NBSP}{measure.n:,}"


def is_suppressed(measure: Measure) -> bool:
    """Whether the figures of this measure were taken out because its group is too small."""
    return measure.value is None and measure.note.startswith(SUPPRESSED)


def tick(number: float, unit: str) -> str:
    """A number beside an axis."""
    if unit == "proportion":
        return f"{100 * number:.6g}%"
    if unit == "difference":
        return _minus(f"{100 * number:+.6g}" if number else "0")
    if unit.partition("/")[0] in _PHYSICAL:
        factor, name = _scale(number, unit)
        return f"{number * factor:.4g}{NBSP}{name}"
    return _minus(f"{number:.6g}")


def duration(seconds: float) -> str:
    """A time that a person reads: "0.24 s", "3 min 12 s", "2 h 5 min"."""
    if seconds < 99.5:
        return value(seconds, "s")
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


# --------------------------------------------------------------------------------------------------- names
def label(name: str) -> str:
    """A measure's name in words: selection_rate is "Selection rate"."""
    if name in LABELS:
        return LABELS[name]
    return brief(name)


def brief(name: str) -> str:
    """A measure's name in few letters: tpr is "TPR"."""
    words = [WORDS.get(word, word) for word in name.replace("_", " ").split(" ")]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def p_value(number: float) -> str:
    """A p value as readers of tables know it: three decimals, or below the smallest of them."""
    return "< 0.001" if number < 0.001 else f"{number:.3f}"


def heading(name: str) -> str:
    """The name of a table's column: words instead of underscores, the rest as the check wrote it."""
    return name.replace("_", " ")


def is_p_value(name: str) -> bool:
    """Whether a measure of this name is a p value."""
    return "p" in name.split("_")


def who(where: Mapping[str, str]) -> str:
    """Whom a measure speaks of: "everyone", "race: all groups", "race: Black, sex: Female"."""
    if not where:
        return "everyone"
    return ", ".join(f"{name}: {'all groups' if group == ALL else group}" for name, group in where.items())


def plural(number: int, one: str, many: str) -> str:
    """The word that goes with a number."""
    return one if number == 1 else many


def clean(text: str) -> str:
    """The text without characters that XML and pages cannot carry; they become U+FFFD."""
    return _UNPRINTABLE.sub("\ufffd", text)


# Marks that turn the direction of what follows go too: a name must not rearrange the page around it.
_UNPRINTABLE = re.compile(
    "[\u202a-\u202e\u2066-\u2069]|[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\x7f-\x9f]"
)


def one_line(text: str) -> str:
    """Clean text with every run of white space as one space."""
    return " ".join(clean(text).split())


def short(text: str, most: int = 120) -> str:
    """At most `most` characters, the last of them an ellipsis where something was cut."""
    return text if len(text) <= most else text[: most - 1] + "…"


def fit(text: str, cells: int) -> str:
    """At most `cells` columns of fixed width, wide characters counted as two."""
    text, used = one_line(text), 0
    for place, letter in enumerate(text):
        used += 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if used > cells:
            return text[: max(place - 1, 0)] + "…"
    return text
