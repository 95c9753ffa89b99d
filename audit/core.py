"""The nouns of an audit: frozen values, the protocols they meet through, and the tree of errors.

AuditError                  everything a user can mend; the command line turns it into exit code 2
├── UsageError              a call or a command line that cannot be understood
├── ConfigError             audit.toml is wrong; lists every mistake at once
├── DataError               a file, a column or a value of the data cannot be used
├── ModelError              the model cannot be loaded, raises, or returns what is not a prediction
│   ├── MissingOffer        the model was asked for what it does not offer
│   └── MissingExtra        an optional package that the model is built of is not installed
├── RecordError             a result.json is damaged or of another version
└── OutputError             a report cannot be written
NotApplicable               a check's way to say "not for me", with the reason
Stopped                     the deadline or Ctrl-C, raised inside Context.track
└── BudgetSpent             one check has asked the model for more rows than [run] budget allows; the others go on
"""

from __future__ import annotations

import difflib
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Offer = Literal[
    "gradients",
    "first_layer",
    "linear",
    "trees",
    "attention",
    "embedding",
    "sample",
    "likelihood",
    "rules",
    "uncertainty",
    "reconstruction",
    "experts",
    "graph",
    "segmentation",
    "matching",
]
Need = (
    Literal[
        "labels",
        "decisions",
        "scores",
        "groups",
        "rows",
        "model",
        "parameters",
        "strata",
        "target",
        "twin",
        "classes",
        "mask",
    ]
    | Offer
)
Grade = Literal["computed", "A", "B", "C", "D", "E"]
View = Literal[
    "table", "bars", "waterfall", "beeswarm", "tokens", "image", "matrix", "trace", "timeline", "neighbourhood"
]
Better = Literal["higher", "lower", "zero", "one", "none"]
Status = Literal["done", "not_applicable", "error", "stopped"]
Judgement = Literal["pass", "fail", "inconclusive", "undefined", "not_tested", "error"]
Severity = Literal["high", "medium", "low"]
Output = Literal["probability", "logit", "value"]
ModelKind = Literal[
    "predictions",
    "counts",
    "torch",
    "sklearn",
    "xgboost",
    "lightgbm",
    "onnx",
    "transformers",
    "geometric",
    "http",
    "callable",
    "family",
    "oracle",
]
Task = Literal["classification", "masked_lm", "causal_lm"]
Missing = Literal["report", "group", "bounds"]
Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Scalar = str | int | float | bool | None
Cell = str | int | float | None

OFFERS: frozenset[str] = frozenset(get_args(Offer))
ALL = "*"  # in `where`: the measure speaks of all groups of the attribute at once


# ------------------------------------------------------------------------------------------------ errors
class AuditError(Exception):
    """Base of every error that a user can mend; its text names what was allowed and what came."""


class UsageError(AuditError):
    """A call or command line that cannot be understood."""


class ConfigError(AuditError):
    """A configuration with one or more mistakes, all of them in the message."""


class DataError(AuditError):
    """A file, column or value of the data that cannot be used."""


class ModelError(AuditError):
    """A model that cannot be loaded, raises, or returns what is not a prediction."""


class MissingOffer(ModelError):
    """A model was asked for something it does not offer."""


class MissingExtra(ModelError):
    """An optional package that a model is built of is not installed; the message says how to install it."""


class RecordError(AuditError):
    """A record (result.json) that is damaged or of another version."""


class OutputError(AuditError):
    """An output that cannot be written."""


class NotApplicable(Exception):
    """Raised by a check that does not suit the subject; its text is the reason."""


class Stopped(Exception):
    """Raised inside Context.track when the deadline has passed or the user pressed Ctrl-C."""


class BudgetSpent(Stopped):
    """Raised by a counted model where a check asks for more rows than it may."""


# ---------------------------------------------------------------------------------------------- evidence
def _finite(owner: str, **numbers: float | None) -> None:
    for name, number in numbers.items():
        if number is not None and not math.isfinite(number):
            raise ValueError(f"{owner}: {name} must be a finite number or None with a note, got {number}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A confidence (or, for physical quantities, plausible) range: bounds, level in (0, 1), method."""

    low: float
    high: float
    level: float
    method: str

    def __post_init__(self) -> None:
        _finite("Interval", low=self.low, high=self.high, level=self.level)
        if self.low > self.high:
            raise ValueError(f"Interval: low {self.low} lies above high {self.high}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One number with its doubt; a value of None carries its reason in `note`.

    `where` maps attribute to group, {} for everyone; the group "*" speaks of all groups of the attribute at once.
    `n` is the number of cases that the value rests on (the denominator of a rate), None for what is no estimate: a gate
    on a value with n and without interval stays undecided.
    """

    name: str
    value: float | None
    unit: str = ""
    n: int | None = None
    interval: Interval | None = None
    where: Mapping[str, str] = field(default_factory=dict)
    better: Better = "none"
    note: str = ""
    grade: Grade = "computed"
    kind: Literal["measure"] = "measure"

    def __post_init__(self) -> None:
        _finite(f"Measure {self.name!r}", value=self.value)
        if self.value is None and not self.note:
            raise ValueError(f"Measure {self.name!r}: a value of None needs a note that says why")


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Points of one line, with an optional band; a y of None is a gap and needs a note."""

    name: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    x_label: str = ""
    y_label: str = ""
    unit: str = ""
    n: int | None = None
    where: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    kind: Literal["curve"] = "curve"

    def __post_init__(self) -> None:
        sizes = {len(self.x), len(self.y)} | {len(side) for side in (self.low, self.high) if side}
        if len(sizes) != 1:
            raise ValueError(f"Curve {self.name!r}: x, y, low and high differ in length: {sorted(sizes)}")
        for number in (*self.x, *self.y, *self.low, *self.high):
            _finite(f"Curve {self.name!r}", point=number)
        if None in self.y and not self.note:
            raise ValueError(f"Curve {self.name!r}: a gap in y needs a note that says why")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of cells under named columns; `title` is its caption.

    `view` names the picture that the columns are made for (docs/explain.md lists them); the figures are the same in each.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    view: View = "table"
    kind: Literal["table"] = "table"

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"Table {self.name!r}: a row has {len(row)} cells, the header {len(self.columns)}")
            for cell in row:
                _finite(f"Table {self.name!r}", cell=cell if isinstance(cell, float) else None)


Evidence = Measure | Curve | Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one check came to: its evidence, or the reason why there is none (or not all of it)."""

    check: str
    title: str
    status: Status
    evidence: tuple[Evidence, ...] = ()
    reason: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()


# ----------------------------------------------------------------------------------------- configuration
@dataclass(frozen=True, slots=True, kw_only=True)
class SystemSpec:
    """[system]: what is audited, in words; nothing is computed from it."""

    name: str = "unnamed system"
    version: str = ""
    purpose: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSpec:
    """[model.http]: an address that answers rows as JSON, and how patiently it is asked.

    timeout: seconds a request. retries: of a request that failed. concurrency: requests at once. queries: the most rows
    that are sent in all. token: the name of the environment variable that holds a bearer token.
    """

    url: str
    timeout: float = 10.0
    retries: int = 3
    concurrency: int = 4
    queries: int | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """[model]: where the predictions come from; paths are relative to the configuration file.

    path: a local folder, of a transformers model or of a trained family. family: which reference family it is, or is
    like: what is known of the instruments on that family is quoted in the report. task: what a transformers model does.
    layer: the one whose hidden states are a transformers model's embedding, 0 for what enters the first, -1 for the last.
    """

    kind: ModelKind = "predictions"
    factory: str | None = None
    weights: str | None = None
    path: str | None = None
    family: str | None = None
    task: Task = "classification"
    layer: int = -1
    http: HttpSpec | None = None
    sha256: str | None = None
    trust: bool = False
    output: Output = "probability"
    classes: tuple[str, ...] = ()
    batch_size: int = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSpec:
    """[data]: a file (path), a function that returns a frame (factory) or a planted world (world, rows, knobs), and roles."""

    path: str | None = None
    factory: str | None = None
    world: str | None = None
    rows: int = 20_000
    knobs: Mapping[str, float] = field(default_factory=dict)
    label: str | None = None
    positive: str | bool | int | float = 1
    target: str | None = None
    decision: str | None = None
    score: str | None = None
    threshold: float = 0.5
    features: tuple[str, ...] | None = None
    weight: str | None = None
    strata: tuple[str, ...] = ()
    licence: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSpec:
    """[groups]: protected attributes, their intersections, references, the smallest group judged, and the unknown.

    missing: people of unknown group are reported and left out, make a group of their own, or are bounded.
    """

    attributes: tuple[str, ...] = ()
    intersect: tuple[tuple[str, ...], ...] = ()
    reference: Mapping[str, str] = field(default_factory=dict)
    min_n: int = 30
    unknown: tuple[str, ...] = ("",)
    missing: Missing = "report"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """[run]: seed, device, number type and threads of the model, level of the intervals, deadline, most model rows a check.

    dtype: "auto" leaves the model in its own. threads: the most that torch and other engines use; by default what the
    environment gives them. max_seconds: the deadline.
    """

    seed: int = 0
    device: Device = "auto"
    dtype: Dtype = "auto"
    threads: int | None = None
    confidence: float = 0.95
    max_seconds: float | None = None
    budget: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSpec:
    """[checks]: `only` are prefixes of check ids; `params` maps a check id to its parameters."""

    only: tuple[str, ...] = ()
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """[[gate]]: a promise made beforehand about one measure, overall (by = ()) or in every group of `by`."""

    check: str
    measure: str
    by: tuple[str, ...] = ()
    min: float | None = None
    max: float | None = None
    required: bool = True
    severity: Severity = "high"
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotTested:
    """[[not_tested]]: a topic that this audit leaves out, and why."""

    topic: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSpec:
    """[report]: page templates, and the cell size below which a page hides a group's figures."""

    templates: tuple[str, ...] = ("full",)
    suppress_below: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineSpec:
    """[baseline]: an older record; a gated measure that got worse by more than `worse_by` becomes a finding."""

    path: str
    worse_by: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """audit.toml, nothing else."""

    schema: Literal[1] = 1
    system: SystemSpec = field(default_factory=SystemSpec)
    model: ModelSpec = field(default_factory=ModelSpec)
    data: DataSpec = field(default_factory=DataSpec)
    groups: GroupSpec = field(default_factory=GroupSpec)
    run: RunSpec = field(default_factory=RunSpec)
    checks: CheckSpec = field(default_factory=CheckSpec)
    gate: tuple[Gate, ...] = ()
    not_tested: tuple[NotTested, ...] = ()
    report: ReportSpec = field(default_factory=ReportSpec)
    baseline: BaselineSpec | None = None


# ----------------------------------------------------------------------------------- what is examined
class Inputs(Protocol):
    """What a model reads: any container of rows."""

    def __len__(self) -> int: ...

    def take(self, rows: Ints) -> Inputs:
        """The named rows (k,), in that order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Codes:
    """A categorical column: `values` (n,) index into `levels`; the index len(levels) means unknown."""

    values: NDArray[Any]
    levels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.values)

    def known(self) -> NDArray[np.bool_]:
        """True (n,) where the level is known."""
        return np.asarray(self.values < len(self.levels))


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Facts about a model that a report prints and a check may ask for.

    reference: the reference family whose calibration speaks of this model, "" where there is none. trained: where and
    how it was trained (world, knobs, seed, options, hash of the data), where that is known.
    """

    family: str
    reference: str = ""
    trained: Mapping[str, str] = field(default_factory=dict)
    dtype: str = ""
    kind: str
    name: str = ""
    classes: tuple[str, ...] = ("0", "1")
    output: Output = "probability"
    features: tuple[str, ...] = ()
    parameters: int | None = None
    size_bytes: int | None = None
    digest: str = ""
    device: str = "cpu"
    answers_new_inputs: bool = True
    parameters_open: bool = False
    stochastic: bool = False
    notes: tuple[str, ...] = ()


class Model(Protocol):
    """A wrapped model: arrays in, checked float64 scores on the CPU out."""

    @property
    def family(self) -> str:
        """The name of the architecture."""
        ...

    @property
    def card(self) -> Card:
        """Facts to print and to ask for."""
        ...

    @property
    def offers(self) -> frozenset[Offer]:
        """What it can do beside predicting."""
        ...

    def predict(self, inputs: Any) -> Floats:
        """Probability of the positive class (n,), or of every class (n, k); raises ModelError."""
        ...


class FirstLayer(Protocol):
    """What `first_layer()` of a model that offers "first_layer" gives: its linear first layer, and the rest behind it."""

    @property
    def width(self) -> int:
        """Numbers behind the layer."""
        ...

    def hidden(self, values: Floats, *, bias: bool = False) -> Any:
        """The layer's product with values (..., d): (..., width), with its bias or without."""
        ...

    def scores(self, first: Any, second: Any) -> Floats:
        """What `predict` gives (c, r, k, ...) where the layer gives first (c, r, width) + second (c, k, width)."""
        ...


class Embedding(Protocol):
    """What a model that offers "embedding" can do."""

    def embed(self, texts: Sequence[str]) -> Floats:
        """One vector a word or sentence (n, d); a row of NaN for one that the model does not know."""
        ...


class Likelihood(Protocol):
    """What a model that offers "likelihood" can do."""

    def log_likelihood(self, texts: Sequence[str]) -> Floats:
        """The log-likelihood, or pseudo-log-likelihood, of each text (n,); higher = more likely to the model."""
        ...


class Sampler(Protocol):
    """What a model that offers "sample" can do."""

    def sample(self, count: int, *, seed: int) -> Inputs:
        """Rows drawn from the model (count); the same seed draws the same rows."""
        ...


class Uncertain(Protocol):
    """What a model that offers "uncertainty" can do: its predictive distribution, by draws of the model itself."""

    def draws(self, inputs: Any, count: int, *, seed: int) -> Floats:
        """Scores (count, n) or (count, n, k) of the same rows by `count` draws of the model."""
        ...


class Reconstructing(Protocol):
    """What a model that offers "reconstruction" can do: give back its inputs from the little that it keeps of them."""

    def reconstruct(self, inputs: Any) -> tuple[Floats, Floats]:
        """What it reads of each row (n, ...), numbers standardised and categories as blocks, and what it gives back."""
        ...


class Mixed(Protocol):
    """What a model that offers "experts" can do: it sends each row to some of its parts."""

    def routes(self, inputs: Any) -> Floats:
        """The weight (n, experts) with which each expert answers each row, 0 for those that are not asked.

        Weights are those that the answer really uses. A row need not sum to 1: where a softmax gate stays as it is
        though only the largest are asked, the sum is the share of the gate that they hold.
        """
        ...


class Ruled(Protocol):
    """What a model that offers "rules" can do: the rules are the model (see audit.data.rules)."""

    def rules(self) -> Any:
        """The rules (`audit.data.rules.Rules`) whose decisions are the model's own."""
        ...


class Segmenting(Protocol):
    """What a model that offers "segmentation" can do: it says of every pixel what is seen there."""

    def segment(self, inputs: Any) -> Floats:
        """The chance (n, height, width) that each pixel belongs to what the model looks for."""
        ...


class Matching(Protocol):
    """What a model that offers "matching" can do: it says how well pictures and texts go together."""

    def match(self, pictures: Any, texts: Any) -> Floats:
        """The model's score (n, m) of every picture with every text, on the scale of log-odds; higher = they match."""
        ...


class Graph(Protocol):
    """What a model that offers "graph" can do; nodes are the rows of the data set."""

    def edges(self) -> Ints:
        """The ties between nodes (m, 2), as row numbers."""
        ...

    def link(self, pairs: Ints) -> Floats | None:
        """The predicted chance (k,) that each pair of nodes (k, 2) is tied; None where no ties are predicted."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where the data came from."""

    name: str
    sha256: str = ""
    licence: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Rows with their roles; every array has n rows and None means "not there".

    y: class index (n,), 1 = positive. target: a number to predict (n,), for regression. decision: 0/1 (n,) as recorded.
    score: P(positive) (n,) as recorded. twin: every row's counterfactual inputs, known in planted worlds only; twin_of: the
    attribute in which a twin is another, where there are several and no column tells.
    frequency: how many people a row stands for (published counts). weights: survey or importance weights.
    """

    inputs: Inputs | None
    groups: Mapping[str, Codes]
    origin: Origin
    y: Ints | None = None
    target: Floats | None = None
    twin: Inputs | None = None
    twin_of: str = ""
    decision: Ints | None = None
    score: Floats | None = None
    weights: Floats | None = None
    frequency: Ints | None = None
    strata: Mapping[str, Codes] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    classes: tuple[str, ...] = ("0", "1")
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        for column in (self.inputs, self.y, self.decision, self.score, *self.groups.values()):
            if column is not None:
                return len(column)
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What checks read: the model, its data, and the predictions, made once."""

    model: Model | None
    data: Dataset
    y: Ints | None
    decision: Ints | None
    score: Floats | None
    groups: Mapping[str, Codes]
    slices: tuple[tuple[str, ...], ...] = ()
    reference: Mapping[str, str] = field(default_factory=dict)
    threshold: float = 0.5
    min_n: int = 30
    missing: Missing = "report"

    def __len__(self) -> int:
        return len(self.data)


class Track(Protocol):
    """The one loop: shows progress, and stops at the deadline or on Ctrl-C by raising Stopped."""

    def __call__(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        """The items one by one, under a label."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """All that a check may use of the world.

    rng: the check's own random stream. stream(name): another named stream, for work that checks share through
    `scratch`, so that a shared figure does not depend on who asked first. confidence: level of the intervals. budget: the
    most rows that the check may ask the model for, None for no limit.
    """

    rng: np.random.Generator
    stream: Callable[[str], np.random.Generator]
    track: Track
    scratch: dict[Any, Any]
    confidence: float = 0.95
    budget: int | None = None


# --------------------------------------------------------------------------------------------- the record
@dataclass(frozen=True, slots=True, kw_only=True)
class SliceRuling:
    """How one slice of a gate was judged; `ref` points to its measure in the record ("check#index")."""

    ref: str
    outcome: Judgement
    reason: str
    detectable: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """How a gate was judged: the worst slice decides, and comes first."""

    gate: Gate
    outcome: Judgement
    reason: str
    slices: tuple[SliceRuling, ...] = ()
    origin: Literal["spec", "default", "baseline"] = "spec"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer in one word, the count of required gates by judgement, and the measures worth a headline."""

    outcome: Literal["pass", "fail", "inconclusive", "error", "ungated"]
    required: Mapping[str, int]
    headline: tuple[str, ...]
    exit_code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectCard:
    """The system and the data as the report prints them; `groups` maps attribute to group to size."""

    model: Card | None
    origin: Origin
    rows: int
    people: int
    features: tuple[str, ...]
    classes: tuple[str, ...]
    positives: int | None
    groups: Mapping[str, Mapping[str, int]]
    unknown: Mapping[str, int]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What is needed to repeat the run on this machine: versions, seed, device, hashes, the command."""

    audit: str
    python: str
    platform: str
    packages: Mapping[str, str]
    seed: int
    device: str
    hashes: Mapping[str, str]
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The one block whose figures differ between two equal runs: time, duration, energy."""

    started: str
    seconds: float
    check_seconds: Mapping[str, float] = field(default_factory=dict)
    outcomes: tuple[Outcome, ...] = ()
    rulings: tuple[Ruling, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """How one measure of one check read on reference models whose truth is known, over many audits.

    by: what the measure is sliced by, () for everyone; its slices count together. gap: it speaks of all groups at once.
    truth, read: means. bias: mean of read less truth. error: its root mean square. within: what 95 % of the absolute
    errors lie below. coverage: share of the `trials` intervals that held the truth, None with a reason in `note`.
    """

    check: str
    measure: str
    by: tuple[str, ...] = ()
    gap: bool = False
    unit: str = ""
    truth: float
    read: float
    bias: float
    error: float
    within: float
    readings: int
    coverage: float | None = None
    coverage_interval: Interval | None = None
    trials: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What the instruments read on the reference models of one family, beside what is known of these models.

    seeds: models trained. audits: audits of each, explained: of those with explanations. rows: people in an audit.
    level: of the intervals. unknown: checks that applied and whose truth nothing tells.
    """

    schema: Literal[1] = 1
    family: str
    title: str
    world: str
    knobs: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    audit: str
    seeds: int
    audits: int
    explained: int
    rows: int
    level: float
    figures: tuple[Calibrated, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The record: everything a renderer may draw, and the only thing that is kept."""

    schema: Literal[1] = 1
    spec: Spec
    subject: SubjectCard
    environment: Environment
    outcomes: tuple[Outcome, ...]
    rulings: tuple[Ruling, ...]
    not_tested: tuple[NotTested, ...]
    limitations: tuple[str, ...]
    verdict: Verdict
    complete: bool
    run: Run
    calibration: Calibration | None = None

    @property
    def all_outcomes(self) -> tuple[Outcome, ...]:
        """The outcomes of every check, those that measure this very run last."""
        return self.outcomes + self.run.outcomes

    @property
    def all_rulings(self) -> tuple[Ruling, ...]:
        """Every ruling, those on measurements of this very run last."""
        return self.rulings + self.run.rulings

    def find(self, ref: str) -> Evidence:
        """The evidence that a reference "check#index" names; raises RecordError."""
        check, _, index = ref.rpartition("#")
        for outcome in self.all_outcomes:
            if outcome.check == check and index.isdigit() and int(index) < len(outcome.evidence):
                return outcome.evidence[int(index)]
        raise RecordError(f"the record has no evidence {ref!r}")


def stream(seed: int, name: str) -> np.random.Generator:
    """The random stream of one name: adding or dropping another name changes nothing in it; raises UsageError."""
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        raise UsageError(f"seed: a whole number from 0 on, got {seed!r}")
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(zlib.crc32(name.encode()),)))


def suggest(word: str, allowed: Iterable[str]) -> str:
    """A question that names the nearest allowed word, upper or lower case, or an empty text."""
    known = {each.lower(): each for each in allowed}
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return f"; did you mean {known[near[0]]!r}?" if near else ""
