"""Real data with a model each, written as a user would: a model.py and an audit.toml in a folder of their own."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

HEART = ["age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak", "slope", "ca", "thal"]
GERMAN = {"words": ["c1", "c3", "c4", "c6", "c7", "c10", "c12", "c14", "c15", "c17", "c19", "foreign_worker"]}
GERMAN["numbers"] = ["c2", "c5", "c8", "c11", "c13", "c16", "c18"]
ADULT = ["age", "education_num", "capital_gain", "capital_loss", "hours_per_week"]
_ADULT_COLUMNS = [
    *["age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship"],
    *["race", "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country", "income"],
]


def few(check: str, **params: object) -> str:
    """A table of [checks] in TOML."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in params.items()]
    return "\n".join([f'[checks."{check}"]', *lines, ""])


SMALL = "".join(
    [
        few("explain.global_importance", rows=32, background=16, budget=64),
        few("explain.group_reasons", rows=64, background=16, budget=64, permutations=99),
        few("explain.interactions", rows=24, background=16),
        few("explain.completeness", rows=6, background=16),
        few("explain.faithfulness", rows=6, background=16),
        few("explain.agreement", rows=6, background=16),
        few("explain.complexity", rows=6, background=16),
        few("explain.stability", rows=3, background=16, copies=2, seeds=2),
        few("explain.randomisation", rows=3, background=16, draws=2, layers=1, labels=False),
        few("explain.proxies", rows=24, background=16),
        few("explain.retraining", rows=40, repeats=1),
        few("explain.scaffold", rows=8, background=16),
        few("explain.recourse", rows=24, background=32),
    ]
)


# ------------------------------------------------------------------------------------------------- heart disease
HEART_MODEL = """
import pandas as pd
from sklearn.linear_model import LinearRegression

def build():
    frame = pd.read_csv({rows!r})
    return LinearRegression().fit(frame[{features!r}], frame["disease"])
"""


def heart(folder: Path, data: Path) -> None:
    """Least squares of heart disease on every complete row, as the published figures have it."""
    path = data / "heart_cleveland" / "processed.cleveland.data"
    frame = pd.read_csv(path, header=0, names=[*HEART, "num"], na_values="?").dropna()
    frame = frame.assign(disease=(frame.pop("num") > 0).astype(float), gender=np.where(frame["sex"] == 1, "m", "f"))
    frame.to_csv(folder / "rows.csv", index=False)
    (folder / "model.py").write_text(HEART_MODEL.format(features=HEART, rows=str(folder / "rows.csv")))
    (folder / "audit.toml").write_text(
        f"""
        [model]
        kind = "sklearn"
        factory = "model:build"
        output = "value"
        [data]
        path = "rows.csv"
        target = "disease"
        features = {json.dumps(HEART)}
        [groups]
        attributes = ["gender"]
        """
        + SMALL
        + few("explain.cases", rows=2, background=len(frame), budget=2 ** len(HEART))
    )


# ------------------------------------------------------------------------------------------------- German credit
GERMAN_MODEL = """
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

def build():
    frame = pd.read_csv({train!r})
    columns = make_column_transformer((StandardScaler(), {numbers!r}), (OneHotEncoder(handle_unknown="ignore"), {words!r}))
    return make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(frame[{numbers!r} + {words!r}], frame["good"] == 1)
"""


def german(folder: Path, data: Path) -> None:
    """Logistic regression on numbers and words, foreign worker among them; 100 applicants are scored."""
    names = [f"c{i}" for i in range(1, 20)] + ["foreign_worker", "c21"]
    frame = pd.read_csv(data / "german_credit" / "german.data", sep=" ", names=names)
    frame["good"] = (frame.pop("c21") == 1).astype(int)
    frame.iloc[:900].to_csv(folder / "train.csv", index=False)
    frame.iloc[900:].to_csv(folder / "test.csv", index=False)
    (folder / "model.py").write_text(GERMAN_MODEL.format(train=str(folder / "train.csv"), **GERMAN))
    (folder / "audit.toml").write_text(
        f"""
        [model]
        kind = "sklearn"
        factory = "model:build"
        [data]
        path = "test.csv"
        label = "good"
        features = {json.dumps(GERMAN["numbers"] + GERMAN["words"])}
        [groups]
        attributes = ["foreign_worker"]
        """
        + SMALL
        + few("explain.cases", rows=3, background=16, budget=96)
        + few("explain.reason_codes", rows=100, background=100, budget=96, seeds=2, shown=100, link="logit")
        + few("explain.permutation_importance", rows=100)
        + few("explain.surrogate_tree", rows=100)
    )


# --------------------------------------------------------------------------------------------------------- Adult
ADULT_MLP = """
import numpy as np
import pandas as pd
import torch
from torch import nn

FEATURES = {features!r}


class Scorer(nn.Module):
    def __init__(self, mean, scale):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.net = nn.Sequential(nn.Linear(len(FEATURES), 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, x):
        return self.net((x - self.mean) / self.scale)


def build():
    frame = pd.read_csv({train!r})
    x = torch.tensor(frame[FEATURES].to_numpy(dtype=np.float32))
    y = torch.tensor((frame["income"] == ">50K").to_numpy(dtype=np.float32))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Scorer(x.mean(0), x.std(0))
        optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(3):
            for batch in torch.randperm(len(x)).split(256):
                optimiser.zero_grad()
                nn.functional.binary_cross_entropy_with_logits(model(x[batch])[:, 0], y[batch]).backward()
                optimiser.step()
    return model
"""
ADULT_TREES = """
import pandas as pd
from sklearn.ensemble import GradientBoostingClassifier

FEATURES = {features!r}


def build():
    frame = pd.read_csv({train!r})
    return GradientBoostingClassifier(n_estimators=40, random_state=0).fit(frame[FEATURES], frame["income"])
"""


def _adult(folder: Path, data: Path, model: str, kind: str, more: str) -> None:
    for name, rows in (("adult.data", 8000), ("adult.test", 400)):
        with (data / "adult" / name).open() as lines:
            cells = [[cell.strip().rstrip(".") for cell in row] for row in csv.reader(lines)]
        good = [row for row in cells if len(row) == len(_ADULT_COLUMNS)][:rows]
        pd.DataFrame(good, columns=_ADULT_COLUMNS).to_csv(folder / f"{name}.csv", index=False)
    (folder / "model.py").write_text(model.format(features=ADULT, train=str(folder / "adult.data.csv")))
    (folder / "audit.toml").write_text(
        f"""
        [model]
        kind = "{kind}"
        factory = "model:build"
        {'output = "logit"' if kind == "torch" else ""}
        [data]
        path = "adult.test.csv"
        label = "income"
        positive = ">50K"
        features = {json.dumps(ADULT)}
        [groups]
        attributes = ["sex"]
        """
        + SMALL
        + more
    )


def adult_mlp(folder: Path, data: Path) -> None:
    """A perceptron on five numbers of Adult."""
    _adult(folder, data, ADULT_MLP, "torch", "")


def adult_trees(folder: Path, data: Path) -> None:
    """Gradient boosting on five numbers of Adult; single decisions in log-odds against all rows."""
    _adult(folder, data, ADULT_TREES, "sklearn", few("explain.cases", rows=6, background=400, link="logit"))


# -------------------------------------------------------------------------------------------------------- digits
DIGITS_MODEL = """
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from audit.core import Codes, Dataset, Origin
from audit.data.images import Images


def build():
    found = load_digits()
    images, labels = torch.tensor(found.images[:1200, None] / 16, dtype=torch.float32), torch.tensor(found.target[:1200])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10),
        )
        optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
        for _ in range(4):
            for batch in torch.randperm(len(images)).split(64):
                optimiser.zero_grad()
                nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
                optimiser.step()
    return net


def data():
    found = load_digits()
    values = found.images[1200:, None] / 16
    ink = values.mean(axis=(1, 2, 3))
    return Dataset(
        inputs=Images(values=values),
        groups={"ink": Codes(values=(ink > np.median(ink)).astype(int), levels=("thin", "thick"))},
        origin=Origin(name="digits", source="scikit-learn"),
        y=found.target[1200:],
        classes=tuple(str(k) for k in range(10)),
    )
"""


def digits(folder: Path, data: Path) -> None:
    """A small convolutional network in the manner of LeNet on scikit-learn's digits."""
    (folder / "model.py").write_text(DIGITS_MODEL)
    (folder / "audit.toml").write_text(
        """
        [system]
        name = "digits"
        [model]
        kind = "torch"
        factory = "model:build"
        output = "logit"
        [data]
        factory = "model:data"
        [groups]
        attributes = ["ink"]
        """
        + SMALL
        + few("explain.cases", rows=4, budget=256)
    )


# ----------------------------------------------------------------------------------------------------- Winogender
WINOGENDER_MODEL = """
import csv
from pathlib import Path

import numpy as np
import torch
from torch import nn

from audit.core import Codes, Dataset, Origin
from audit.data.texts import tokenised

FOLDER = Path({folder!r})
LEVELS = ("female", "male", "neutral")


def sentences():
    with (FOLDER / "all_sentences.tsv").open() as lines:
        rows = list(csv.DictReader(lines, delimiter="\\t"))
    facts = [row["sentid"].split(".") for row in rows]  # occupation, participant, who is meant, pronoun
    return [row["sentence"] for row in rows], facts, np.array([int(fact[2] == "0") for fact in facts])


class Small(nn.Module):
    \"\"\"Two layers of self-attention over words; says whether the pronoun is the occupation's.\"\"\"

    def __init__(self, vocabulary, length, pad):
        super().__init__()
        self.pad = pad
        self.words = nn.Embedding(vocabulary, 24)
        self.places = nn.Parameter(torch.zeros(length, 24))
        layer = nn.TransformerEncoderLayer(24, 4, 48, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(24, 1)

    def forward(self, ids):
        blank = ids == self.pad
        x = self.encoder(self.words(ids) + self.places[: ids.shape[1]], src_key_padding_mask=blank)
        kept = (~blank).float()[..., None]
        return self.out((x * kept).sum(1) / kept.sum(1).clamp_min(1))


def build():
    texts, _, answer = sentences()
    read = tokenised(texts)
    ids, y = torch.tensor(read.ids), torch.tensor(answer, dtype=torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Small(len(read.vocabulary), read.ids.shape[1], read.pad)
        optimiser = torch.optim.Adam(net.parameters(), lr=0.003)
        for _ in range(6):
            for batch in torch.randperm(len(ids)).split(32):
                optimiser.zero_grad()
                nn.functional.binary_cross_entropy_with_logits(net(ids[batch])[:, 0], y[batch]).backward()
                optimiser.step()
    return net


def data():
    texts, facts, answer = sentences()
    return Dataset(
        inputs=tokenised(texts),
        groups={{"pronoun": Codes(values=np.array([LEVELS.index(fact[3]) for fact in facts]), levels=LEVELS)}},
        origin=Origin(name="Winogender", licence="MIT"),
        y=answer,
        classes=("participant", "occupation"),
    )
"""


def winogender(folder: Path, data: Path) -> None:
    """A small transformer that tells of each Winogender sentence whom the pronoun means."""
    (folder / "model.py").write_text(WINOGENDER_MODEL.format(folder=str(data / "winogender")))
    (folder / "audit.toml").write_text(
        """
        [system]
        name = "Who is meant?"
        [model]
        kind = "torch"
        factory = "model:build"
        output = "logit"
        [data]
        factory = "model:data"
        [groups]
        attributes = ["pronoun"]
        """
        + SMALL
        + few("explain.cases", rows=3, budget=256)
        + few("explain.attention", rows=8, cases=1)
    )


WRITERS: dict[str, Callable[[Path, Path], None]] = {
    "heart": heart,
    "german": german,
    "adult_mlp": adult_mlp,
    "adult_trees": adult_trees,
    "digits": digits,
    "winogender": winogender,
}
