"""The habits of every explainer; a new file is tested by being there."""

import copy
import inspect
import random
import re
from pathlib import Path

import little_graphs
import little_transformers
import numpy as np
import pytest
import torch
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from audit import registry
from audit.core import AuditError, NotApplicable
from audit.data.images import Images
from audit.explain import Attribution, game
from audit.explain.games import Game
from audit.models.counted import Counted

ROOT = Path(__file__).resolve().parents[1]
EXPLAINERS = registry.entries("explainers")
EVERY = pytest.mark.parametrize("id", list(EXPLAINERS))
REFUSALS = (NotApplicable, AuditError)


def perceptron():
    return torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1)).double()


def convolution():
    layers = [torch.nn.Conv2d(1, 3, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(192, 3)]
    return torch.nn.Sequential(*layers).double()


def games() -> dict[str, Game]:
    """One small game of each kind; torch's own generator has a seed meanwhile, and is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _games()


def _games() -> dict[str, Game]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 5))
    trees = GradientBoostingClassifier(n_estimators=5, random_state=0).fit(x, x[:, 0] + x[:, 1] > 0)
    texts = little_transformers.texts()
    reader = little_transformers.Encoder(len(texts.vocabulary))
    line = LogisticRegression().fit(x, x[:, 0] + x[:, 1] > 0)
    return {
        "line": game(line, x[:4], x[4:14], link="logit"),
        "table": game(perceptron(), x[:4], x[4:14], output="logit", link="logit"),
        "trees": game(trees, x[:4], x[4:14], link="logit"),
        "pictures": game(
            convolution(),
            Images(values=rng.random((3, 1, 8, 8))),
            output="logit",
            classes=("a", "b", "c"),
            target="predicted",
            link="logit",
        ),
        "texts": game(reader, texts, output="logit", link="logit"),
        "graph": game(
            little_graphs.model(little_graphs.network(3)), little_graphs.random_graph(targets=[1, 2]), link="logit"
        ),
    }


@pytest.fixture(scope="module")
def played():
    return games()


@pytest.fixture(scope="module")
def first(played):
    """What each explainer says of the games, once."""
    done = {}

    def of(id: str) -> dict[str, Attribution]:
        if id not in done:
            done[id] = explained(id, played)
        return done[id]

    return of


def explained(id: str, played: dict[str, Game]) -> dict[str, Attribution]:
    """What an explainer says of each kind of game that it does not refuse."""
    found, refusals = {}, []
    for kind, each in played.items():
        try:
            found[kind] = EXPLAINERS[id].function(each)
        except REFUSALS as refusal:
            refusals.append(str(refusal))
    assert all(len(refusal) > 20 for refusal in refusals), "a refusal says why"
    return found


def state():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist()  # noqa: NPY002


@EVERY
def test_it_is_documented_and_sourced(id):
    entry = EXPLAINERS[id]
    keys = set(re.findall(r"^@\w+\{([^,]+),", (ROOT / "references.bib").read_text(), re.MULTILINE))
    assert entry.sources
    assert set(entry.sources) <= keys
    assert len(entry.doc.split()) > 30
    parameters = list(inspect.signature(entry.function).parameters.values())
    assert parameters[0].name == "game"
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in parameters[1:])
    assert "seed" in entry.params


@EVERY
def test_it_explains_something_and_tells_what_it_is(id, played, first):
    found = first(id)
    assert found, "no game of these suits it"
    for kind, one in found.items():
        rows = len(played[kind])
        assert one.values.shape == (rows, max(len(names) for names in played[kind].masker.players))
        assert one.base.shape == one.outputs.shape == (rows,)
        assert one.method
        assert one.background
        assert one.seed == 0
        assert one.model == played[kind].model.card.digest
        assert one.evaluations > 0 or one.forwards == 0
        assert one.forwards >= one.evaluations or "closed form" in one.method or "tree" in one.method.lower()
        undefined = ~np.isfinite(one.values) & one.present
        assert not undefined.any() or one.note, "what is undefined says why"
        if one.complete and not one.note:
            scale = np.abs(np.where(one.present, one.values, 0)).sum(axis=1)
            assert (np.abs(one.delta) <= 0.011 * scale + 1e-9).all()


@EVERY
def test_the_same_seed_gives_the_same_bytes_and_leaves_no_trace(id, first):
    one = first(id)
    fresh = games()
    kept = {kind: copy.deepcopy(each.masker.inputs.values) for kind, each in fresh.items()}
    before = state()
    other = explained(id, fresh)
    untouched = state() == before
    assert untouched, "a global generator was moved"
    assert one.keys() == other.keys()
    for kind, each in one.items():
        assert each.values.tobytes() == other[kind].values.tobytes()
        np.testing.assert_array_equal(fresh[kind].masker.inputs.values, kept[kind])


@EVERY
def test_it_says_honestly_how_often_it_asked(id, played):
    for kind, each in played.items():
        counted = Counted(model=each.model)
        try:
            found = EXPLAINERS[id].function(
                Game(model=counted, masker=each.masker, targets=each.targets, link=each.link)
            )
        except REFUSALS:
            continue
        assert counted.evaluations == found.evaluations, kind
