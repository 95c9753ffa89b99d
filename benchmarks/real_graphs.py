"""Graph networks on German credit by gender (Agarwal 2021) and on Cora's papers (McCallum 2000), audited through the command line.

python -m benchmarks real-graphs [--quick]; the folder of the data is AUDIT_TEST_DATA, by default ../shared/data.
"""

import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch

from audit import codec
from audit.cli import main as audit
from audit.core import Dataset, Ints, Origin, Report, RunSpec, Spec, stream
from audit.data.graphs import graph
from audit.fairness.encode import encode
from audit.models.reference import save, trained
from benchmarks.credit_sequences import told
from benchmarks.people import folder

FAMILIES = ("gcn", "gat", "gin")
LABEL, GENDER, TEXTS = "GoodCustomer", "Gender", ("PurposeOfLoan",)  # the purpose is a text of ten levels
CLASSES = ("bad", "good")


def german(data: Path | None = None) -> Dataset:
    """A thousand borrowers tied where they are alike, whether they are good customers, and their gender, which is no input."""
    where = (data or folder()) / "graph_german"
    frame = pd.read_csv(where / "german.csv")
    inputs = pd.get_dummies(frame.drop(columns=[LABEL, GENDER]), columns=list(TEXTS), dtype=float)
    edges = np.loadtxt(where / "german_edges.txt").astype(np.int64)
    return Dataset(
        inputs=graph(inputs.to_numpy(float), edges, columns=tuple(inputs.columns)),
        groups={"gender": encode(frame[GENDER], "gender")},
        origin=Origin(name="German credit graph", source="NIFTY (Agarwal 2021), UCI 144", licence="MIT"),
        y=(frame[LABEL] == 1).to_numpy(np.int64),
        names=tuple(inputs.columns),
        classes=CLASSES,
    )


def cora(data: Path | None = None) -> Dataset:
    """2,708 papers of seven subjects, the words that each holds and who cites whom; there are no people, and no groups."""
    with np.load((data or folder()) / "graph_citation_blogs" / "cora.npz", allow_pickle=False) as held:
        nodes, words = held["attr_shape"].tolist()
        values = np.zeros((nodes, words))
        values[np.repeat(np.arange(nodes), np.diff(held["attr_indptr"])), held["attr_indices"]] = 1.0
        citing = np.repeat(np.arange(nodes), np.diff(held["adj_indptr"]))
        edges, y = np.column_stack([citing, held["adj_indices"]]), held["labels"].astype(np.int64)
    columns = tuple(f"word {place}" for place in range(words))
    return Dataset(
        inputs=graph(values, edges, columns=columns),
        groups={},
        origin=Origin(name="Cora", source="McCallum 2000, as nettack has it", licence="MIT"),
        y=y,
        names=columns,
        classes=tuple(f"subject {k}" for k in range(int(y.max()) + 1)),
    )


SETS = {"german": german, "cora": cora}


def part(data: Dataset, rows: Ints) -> Dataset:
    """The named nodes as rows; the graph stays whole."""
    assert data.y is not None
    assert data.inputs is not None
    groups = {name: replace(codes, values=codes.values[rows]) for name, codes in data.groups.items()}
    return replace(data, inputs=data.inputs.take(rows), y=data.y[rows], groups=groups)


def split(data: Dataset, training: int, seed: int) -> tuple[Ints, Ints]:
    """Nodes whose labels are learned from, and all others."""
    order = stream(seed, "graphs.real").permutation(len(data))
    return np.sort(order[:training]), np.sort(order[training:])


AUDIT = """
[model]
kind = "family"
path = "model"
[data]
factory = "model:data"
{groups}
[checks]
only = {only}
[checks."explain.cases"]
rows = 2
background = 32
budget = 64
"""

DATA = """
import numpy as np
from pathlib import Path
from benchmarks.real_graphs import {name}, part

def data():
    return part({name}(Path({data!r})), np.load(Path(__file__).parent / "rows.npy"))
"""


def audited(
    name: str, family: str, where: Path, *, training: int, seed: int, only: str, held: int | None = None, **options: Any
) -> tuple[Report, float]:
    """The record of an audit of a family trained by some nodes' labels, on other nodes of the graph, and its CPU-seconds."""
    data = SETS[name]()
    mine, others = split(data, training, seed)
    before = time.process_time()
    spec = Spec(run=RunSpec(device="cpu", threads=1))
    model = trained(family, part(data, mine), spec, seed=seed, options={"labelled": training, **options})
    spent = time.process_time() - before
    save(model, where / "model")
    np.save(where / "rows.npy", others[:held])
    (where / "model.py").write_text(DATA.format(name=name, data=str(folder())))
    groups = '[groups]\nattributes = ["gender"]' if data.groups else ""
    (where / "audit.toml").write_text(AUDIT.format(groups=groups, only=only))
    code = audit(["run", str(where / "audit.toml"), "--out", str(where / "out"), "-q"])
    if code != 0:
        raise RuntimeError(f"the audit ended with {code}")
    return codec.read_record(where / "out" / "result.json"), spent


FIGURES = {
    "german": (
        ("performance.overall", "accuracy"),
        ("performance.overall", "auc"),
        ("fairness.selection", "demographic_parity_difference"),
        ("fairness.error_rates", "equal_opportunity_difference"),
        ("fairness.graph", "assortativity"),
        ("fairness.graph", "dyadic_parity_difference"),
    ),
    "cora": (("performance.overall", "accuracy"),),
}
TRAINING = {"german": 500, "cora": 1000}


def main(seeds: int = 3) -> None:
    """A line a data set, family and seed: accuracy, and the gaps between the genders with their intervals."""
    torch.set_num_threads(1)
    for name, figures in FIGURES.items():
        print(f"{name}: family  seed  CPU s  " + "  ".join(f"{figure:30}" for _, figure in figures))
        for family in FAMILIES:
            for seed in range(seeds):
                with TemporaryDirectory() as where:
                    only = '["performance.overall", "fairness"]'
                    report, spent = audited(name, family, Path(where), training=TRAINING[name], seed=seed, only=only)
                line = "  ".join(f"{told(report, *each):30}" for each in figures)
                print(f"{name}: {family:6}  {seed:4}  {spent:5.2f}  {line}", flush=True)


TABLES = {"real-graphs": lambda quick: main(1 if quick else 3)}
