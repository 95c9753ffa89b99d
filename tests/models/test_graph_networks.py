"""Graph networks: their layers by hand, ties that they expect, k classes, and gaps that grow with homophily."""

import sys

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from audit.core import Dataset, MissingOffer, ModelError, NotApplicable, Origin, RunSpec, Spec, UsageError
from audit.data.graphs import graph
from audit.data.worlds.lending_network import lending_network
from audit.explain.attention import attention_chefer, attention_raw, attention_rollout
from audit.explain.games import game
from audit.explain.gnn import gnn_explainer
from audit.models.families.gcn import GCN
from audit.models.graph_network import Expecting
from audit.models.graph_promises import simple_convolutions
from audit.models.reference import trained

CPU = Spec(run=RunSpec(device="cpu", threads=1))
IDS = ("gcn", "gat", "gin")


@pytest.fixture(scope="module")
def people():
    return lending_network().draw(300, np.random.default_rng(0))


@pytest.fixture(scope="module")
def models(people):
    return {id: trained(id, people, CPU, seed=1, options={"labelled": 200, "epochs": 30}) for id in IDS}


def adjacency(inputs):
    found = np.zeros((len(inputs.features),) * 2)
    found[inputs.edges[:, 1], inputs.edges[:, 0]] = 1
    return found


def weights(model):
    return {name: value.double().numpy() for name, value in model.module.state_dict().items()}


def read(model, inputs):
    w = weights(model)
    return (inputs.features - w["mean"]) / w["scale"], w


def logits(model, inputs):
    with torch.no_grad():
        return model.module(model.tensor(inputs.features), torch.as_tensor(inputs.edges.T.copy())).numpy()


def test_convolutions_are_normed_by_both_degrees(models, people):
    x, w = read(models["gcn"], people.inputs)
    looped = adjacency(people.inputs) + np.eye(len(x))
    normed = looped / np.sqrt(np.outer(looped.sum(axis=1), looped.sum(axis=1)))
    hidden = np.maximum(normed @ x @ w["first.lin.weight"].T + w["first.bias"], 0)
    out = normed @ hidden @ w["second.lin.weight"].T + w["second.bias"]
    np.testing.assert_allclose(logits(models["gcn"], people.inputs), out[:, 0], atol=1e-4)
    rule = simple_convolutions(people.inputs)
    np.testing.assert_allclose(rule, normed @ normed @ people.inputs.features, atol=1e-9)


def test_attention_is_a_softmax_over_neighbours_and_can_be_read(models, people):
    x, w = read(models["gat"], people.inputs)
    h = (x @ w["first.lin.weight"].T).reshape(len(x), 4, 4)
    to, source = ((h * w[f"first.att_{end}"]).sum(axis=2) for end in ("dst", "src"))
    score = to[:, None] + source[None]
    score = np.exp(np.where(score > 0, score, 0.2 * score)) * (adjacency(people.inputs) + np.eye(len(x)))[:, :, None]
    share = score / score.sum(axis=1, keepdims=True)
    hidden = np.einsum("ijh,jhc->ihc", share, h).reshape(len(x), 16) + w["first.bias"]
    model, edges = models["gat"], torch.as_tensor(people.inputs.edges.T.copy())
    with torch.no_grad():
        z = model.module.embed(model.tensor(people.inputs.features), edges).numpy()
    np.testing.assert_allclose(z, np.where(hidden > 0, hidden, np.expm1(hidden)), atol=1e-4)
    (ends, first), (_, second) = model.module.attention(model.tensor(people.inputs.features), edges)
    np.testing.assert_allclose(first.numpy(), share[ends[1], ends[0]], atol=1e-5)
    sums = np.zeros(len(x))
    np.add.at(sums, ends[1].numpy(), second.numpy()[:, 0])
    np.testing.assert_allclose(sums, 1, atol=1e-5)


def test_sums_add_up_neighbours_and_the_node_itself(models, people):
    x, w = read(models["gin"], people.inputs)
    parts, h, near = [x], x, adjacency(people.inputs)
    for step in ("first", "second"):
        h = (1 + w[f"{step}.eps"]) * h + near @ h
        h = h @ w[f"{step}.nn.0.weight"].T + w[f"{step}.nn.0.bias"]
        spread = np.sqrt(w[f"{step}.nn.1.running_var"] + 1e-5)
        h = (h - w[f"{step}.nn.1.running_mean"]) / spread * w[f"{step}.nn.1.weight"] + w[f"{step}.nn.1.bias"]
        h = np.maximum(np.maximum(h, 0) @ w[f"{step}.nn.3.weight"].T + w[f"{step}.nn.3.bias"], 0)
        parts.append(h)
    out = np.concatenate(parts, axis=1) @ w["last.weight"].T + w["last.bias"]
    np.testing.assert_allclose(logits(models["gin"], people.inputs), out[:, 0], atol=1e-3)


def test_the_line_behind_links_is_that_of_a_logistic_regression(models, people):
    model, edges = models["gcn"], torch.as_tensor(people.inputs.edges.T.copy())
    with torch.no_grad():
        z = model.module.embed(model.tensor(people.inputs.features), edges)
        made = Expecting(width=16)
        made.fit(z, edges, torch.Generator().manual_seed(0))
        other = torch.randint(len(z), tuple(edges.shape), generator=torch.Generator().manual_seed(0))
        score = np.concatenate([made.product(z, pairs).numpy() for pairs in (edges, other)])
    y = np.repeat([1, 0], edges.shape[1])
    peer = LogisticRegression(C=1e10, tol=1e-10, max_iter=1000).fit(score[:, None], y)
    np.testing.assert_allclose(made.line.numpy(), [peer.coef_[0, 0], peer.intercept_[0]], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("id", IDS)
def test_ties_are_told_and_expected(id, models, people):
    model, rng = models[id], np.random.default_rng(0)
    np.testing.assert_array_equal(np.sort(model.edges(), axis=0), np.sort(people.inputs.edges, axis=0))
    tied, others = model.link(model.edges()), model.link(rng.integers(0, 300, (2000, 2)))
    assert tied.mean() > others.mean() + 0.01
    half = trained(id, people, CPU, seed=1, options={"labelled": 200, "epochs": 30})
    np.testing.assert_array_equal(half.link(model.edges()), tied)
    with pytest.raises(MissingOffer, match="does not offer 'experts'"):
        model.routes(people.inputs)


@pytest.mark.parametrize("id", IDS)
def test_several_classes_on_any_graph_without_ties_even(id):
    rng = np.random.default_rng(5)
    y = rng.integers(0, 3, 150)
    ties = np.array([(a, b) for a, b in rng.integers(0, 150, (1500, 2)) if a != b and y[a] == y[b]])
    x = rng.normal(size=(150, 5)) + np.eye(5)[y] * 1.5
    known = Dataset(
        inputs=graph(x, ties), groups={}, origin=Origin(name="three"), y=y, classes=("a", "b", "c"),
        names=("x0", "x1", "x2", "x3", "x4"),
    )  # fmt: skip
    model = trained(id, known, CPU, options={"labelled": 100, "epochs": 60})
    scores = model.predict(known.inputs)
    assert scores.shape == (150, 3)
    assert (scores.argmax(axis=1) == y).mean() > 0.85
    lonely = model.predict(graph(x[:7], np.empty((0, 2)), columns=known.names))
    assert np.isfinite(lonely).all()
    bare = trained(id, Dataset(inputs=graph(x, np.empty((0, 2))), groups={}, origin=known.origin, y=y % 2,
                               names=known.names), CPU, options={"labelled": 50, "epochs": 2})  # fmt: skip
    np.testing.assert_array_equal(bare.link(np.array([[0, 1]])), [0.0])


@pytest.mark.parametrize("id", IDS)
def test_ties_can_be_weighed_by_gnn_explainer(id, models, people):
    played = game(models[id], people.inputs.take(np.array([0, 1])), players="edge", link="logit")
    whole = models[id].tie_weights(people.inputs, np.ones(300, dtype=np.int64))
    there = torch.ones(len(people.inputs.edges))
    with torch.no_grad():
        np.testing.assert_allclose(whole(there).numpy(), logits(models[id], people.inputs), atol=1e-5)
    found = gnn_explainer(played, epochs=5)
    values = found.values[np.isfinite(found.values)]
    assert ((values > 0) & (values < 1)).all()


def test_few_labels_are_noted_and_wrong_options_refused(models, people):
    assert "200 of 300 nodes" in models["gcn"].card.notes[-1]
    assert not trained("gcn", people, CPU, options={"labelled": 300, "epochs": 1}).card.notes
    for options, words in (
        ({"labelled": 1}, "labelled: a whole number of rows from 2 on, got 1"),
        ({"hidden": 0}, "hidden: a whole number from 1 on, got 0"),
        ({"dropout": 1.0}, r"dropout: a number in \[0, 1\), got 1.0"),
    ):
        with pytest.raises(UsageError, match=words):
            trained("gcn", people, CPU, options=options)
    with pytest.raises(UsageError, match="heads: a whole number from 1 on"):
        trained("gat", people, CPU, options={"heads": 0})


def test_without_torch_geometric_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_geometric.nn", None)
    with pytest.raises(ModelError, match=r"pip install 'neural-audit\[geometric\]'"):
        GCN(features=2, classes=1)


def test_attention_rolls_out_over_the_nodes_around(models, people):
    """By the product of both layers' whole matrices, each row a softmax over a node and those who lead to it."""
    model, nodes = models["gat"], len(people)
    told = model.module.attention(model.tensor(people.inputs.features), torch.as_tensor(people.inputs.edges.T.copy()))
    whole = []
    for ends, weights in told:
        matrix = np.zeros((nodes, nodes))
        matrix[ends[1], ends[0]] = weights.double().mean(dim=1).numpy()
        whole.append(matrix)
    for residual, size in ((False, 2), (True, 2), (False, 1)):
        mixed = [(np.eye(nodes) + matrix) / 2 if residual else matrix for matrix in whole]
        wanted = mixed[1] @ mixed[0]
        rows = np.array([4, 9])
        played = game(model, people.inputs.take(rows), players="node", size=size, link="logit")
        found = attention_rollout(played, residual=residual)
        assert found.method == "attention rollout, read from the node itself"
        for k, row in enumerate(rows):
            places = [int(name.removeprefix("node ")) for name in found.players[k]]
            np.testing.assert_allclose(found.values[k, : len(places)], wanted[row, places], atol=1e-6)
            if size == 2:
                assert found.values[k, : len(places)].sum() == pytest.approx(1 - wanted[row, row], abs=1e-5)
    last = attention_raw(played)
    np.testing.assert_allclose(last.values[1, : len(places)], whole[1][9, places], atol=1e-6)


def test_attention_of_a_graph_is_told_of_nodes_by_weights_alone(models, people):
    rows = people.inputs.take(np.array([4]))
    with pytest.raises(NotApplicable, match='between nodes: it needs players="node", got "edge"'):
        attention_rollout(game(models["gat"], rows, players="edge"))
    by_node = game(models["gat"], rows, players="node", link="logit")
    with pytest.raises(UsageError, match='query: of a graph "first"'):
        attention_rollout(by_node, query="last")
    with pytest.raises(NotApplicable, match="not Graphs"):
        attention_chefer(by_node)
    with pytest.raises(MissingOffer, match="gradients of attention are not told for graphs"):
        models["gat"].attention_gradients(rows)
    with pytest.raises(MissingOffer, match="needs a model that offers 'attention'"):
        attention_rollout(game(models["gcn"], rows, players="node", link="logit"))
