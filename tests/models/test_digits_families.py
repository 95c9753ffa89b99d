"""LeNet-5 and ResNet on real handwritten digits, trained, saved, and audited as a company would: from a folder and a function.

The digits come with scikit-learn: 8 x 8 pixels in 17 greys, ten classes, no people in them, and so no protected groups.
"""

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits

from audit.cli import main
from audit.core import Dataset, Origin, RunSpec, Spec
from audit.data.images import Images
from audit.models.reference import read, save, trained

FACTORY = """
import numpy as np
from sklearn.datasets import load_digits
from audit.core import Dataset, Origin
from audit.data.images import Images

def data():
    bunch = load_digits()
    images = Images(values=bunch.images[1300:, None], black=16.0, white=0.0)
    return Dataset(
        inputs=images,
        y=bunch.target[1300:],
        groups={},
        classes=tuple(map(str, range(10))),
        origin=Origin(name="digits", licence="CC BY 4.0", source="scikit-learn load_digits, last 497"),
    )
"""
CONFIG = """
schema = 1
[system]
name = "Digits"
[model]
kind = "family"
path = "model"
[data]
factory = "digits:data"
[run]
device = "cpu"
threads = 1
[checks]
only = ["performance.overall", "explain.cases", "carbon.inference"]
[checks."explain.cases"]
rows = 2
[[gate]]
check = "performance.overall"
measure = "accuracy"
min = 0.80
why = "a third of the errors of chance would be too many on a cheque"
"""
SPEC = Spec(run=RunSpec(device="cpu", threads=1))


def digits(start: int, stop: int) -> Dataset:
    bunch = load_digits()
    images = Images(values=bunch.images[start:stop, None], black=16.0, white=0.0)
    origin = Origin(name="digits", source="scikit-learn load_digits")
    return Dataset(
        inputs=images, y=bunch.target[start:stop], groups={}, classes=tuple(map(str, range(10))), origin=origin
    )


@pytest.mark.parametrize(("id", "options"), [("lenet", {"epochs": 8}), ("resnet", {"epochs": 8})])
def test_digits_are_read_and_the_audit_runs_through(id, options, tmp_path, capsys):
    model, unseen = trained(id, digits(0, 1300), SPEC, seed=0, options=options), digits(1300, 1797)
    scores = model.predict(unseen.inputs)
    assert scores.shape == (497, 10)
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, atol=1e-6)
    accuracy = float((scores.argmax(axis=1) == unseen.y).mean())
    assert accuracy >= 0.88
    save(model, tmp_path / "model")
    np.testing.assert_array_equal(read(tmp_path / "model", unseen, SPEC).predict(unseen.inputs), scores)

    (tmp_path / "digits.py").write_text(FACTORY)
    (tmp_path / "audit.toml").write_text(CONFIG)
    code = main(["run", str(tmp_path / "audit.toml"), "--out", str(tmp_path / "out"), "-q"])
    assert code in (0, 3), capsys.readouterr().err
    report = json.loads((tmp_path / "out" / "result.json").read_text())
    outcomes = {each["check"]: each for each in report["outcomes"]}
    assert not [each["reason"] for each in outcomes.values() if each["status"] == "error"]
    told = {each["name"]: each for each in outcomes["performance.overall"]["evidence"] if not each.get("where")}
    assert told["accuracy"]["value"] == pytest.approx(accuracy)
    assert outcomes["explain.cases"]["status"] == "done"
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count('class="pixels"') >= 3
