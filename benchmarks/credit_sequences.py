"""Recurrent networks on the credit card clients of Taiwan (Yeh and Lien 2009), audited by sex through the command line.

python -m benchmarks credit-sequences [--quick]; the folder of the data is AUDIT_TEST_DATA, by default ../shared/data.
"""

import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch

from audit import codec
from audit.cli import main as audit
from audit.core import Codes, Dataset, Ints, Measure, Origin, Report, RunSpec, Spec, stream
from audit.data.series import series
from audit.models.reference import save, trained
from benchmarks.people import folder

COLUMNS = ("status", "bill", "payment")  # months behind, what was billed, what was paid
MONTHS = (6, 5, 4, 3, 2, 1)  # April to September 2005: the oldest is numbered highest
FAMILIES = ("elman", "birnn", "lstm", "gru")
HELD = 10_000  # people that no model has seen


def people(data: Path | None = None) -> Dataset:
    """All 30,000 clients: six months of three columns, whether they paid in October, and their sex, which is no input."""
    frame = pd.read_csv((data or folder()) / "default_credit_taiwan" / "credit-card-clients.csv")
    status = {month: f"PAY_{0 if month == 1 else month}" for month in MONTHS}
    columns = [[status[month], f"BILL_AMT{month}", f"PAY_AMT{month}"] for month in MONTHS]
    return Dataset(
        inputs=series(np.stack([frame[names].to_numpy(float) for names in columns], axis=1), COLUMNS),
        groups={"sex": Codes(values=(frame["SEX"] == 2).to_numpy(np.uint8), levels=("male", "female"))},
        origin=Origin(name="default of credit card clients, Taiwan 2005", source="UCI 350", licence="CC BY 4.0"),
        y=(frame["default payment"] == 0).to_numpy(np.int64),
        names=COLUMNS,
        classes=("default", "paid"),
    )


def part(data: Dataset, rows: Ints) -> Dataset:
    """The named people."""
    assert data.y is not None
    assert data.inputs is not None
    groups = {name: replace(codes, values=codes.values[rows]) for name, codes in data.groups.items()}
    return replace(data, inputs=data.inputs.take(rows), y=data.y[rows], groups=groups)


def split(data: Dataset, training: int, held: int, seed: int) -> tuple[Dataset, Ints]:
    """People to learn from, and the rows of others."""
    order = stream(seed, "credit.sequences").permutation(len(data))
    return part(data, order[:training]), np.sort(order[training : training + held])


AUDIT = """
[model]
kind = "family"
path = "model"
[data]
factory = "model:data"
[groups]
attributes = ["sex"]
[checks]
only = {only}
[checks."explain.cases"]
rows = 3
background = 32
budget = 64
"""

DATA = """
import numpy as np
from pathlib import Path
from benchmarks.credit_sequences import part, people

def data():
    return part(people(Path({data!r})), np.load(Path(__file__).parent / "rows.npy"))
"""


def audited(family: str, where: Path, *, training: int, held: int, seed: int, only: str) -> tuple[Report, float]:
    """The record of an audit of a family trained on some and audited on other people, and the CPU-seconds of training."""
    mine, rows = split(people(), training, held, seed)
    before = time.process_time()
    model = trained(family, mine, Spec(run=RunSpec(device="cpu", threads=1)), seed=seed)
    spent = time.process_time() - before
    save(model, where / "model")
    np.save(where / "rows.npy", rows)
    (where / "model.py").write_text(DATA.format(data=str(folder())))
    (where / "audit.toml").write_text(AUDIT.format(only=only))
    code = audit(["run", str(where / "audit.toml"), "--out", str(where / "out"), "-q"])
    if code != 0:
        raise RuntimeError(f"the audit ended with {code}")
    return codec.read_record(where / "out" / "result.json"), spent


def told(report: Report, check: str, name: str) -> str:
    """A figure with its interval."""
    outcome = next(one for one in report.all_outcomes if one.check == check)
    found = next(e for e in outcome.evidence if isinstance(e, Measure) and e.name == name)
    if found.value is None or found.interval is None:
        return f"{found.value}"
    return f"{found.value:+.4f} [{found.interval.low:+.4f}, {found.interval.high:+.4f}]"


FIGURES = (
    ("performance.overall", "auc"),
    ("fairness.selection", "demographic_parity_difference"),
    ("fairness.error_rates", "equal_opportunity_difference"),
    ("fairness.impact_ratio", "impact_ratio"),
)


def main(seeds: int = 3) -> None:
    """A line a family and seed: AUC, and the gaps between the sexes with their intervals."""
    torch.set_num_threads(1)
    print("family  seed  CPU s  " + "  ".join(f"{name:30}" for _, name in FIGURES))
    for family in FAMILIES:
        for seed in range(seeds):
            with TemporaryDirectory() as where:
                only = '["performance.overall", "fairness"]'
                report, spent = audited(family, Path(where), training=20_000, held=HELD, seed=seed, only=only)
            print(f"{family:6}  {seed:4}  {spent:5.2f}  " + "  ".join(f"{told(report, *each):30}" for each in FIGURES))


TABLES = {"credit-sequences": lambda quick: main(1 if quick else 3)}
