"""The torch_geometric adapter: the module's own answers, its data as a dataset, homophily beside the library's figure."""

import numpy as np
import pytest
import torch
from subjects import context_of, find

from audit import cli, codec
from audit.core import DataError, Dataset, DataSpec, ModelError, ModelSpec, Origin, RunSpec, Spec
from audit.fairness.graphs import graph as graph_check
from audit.models.adapters.geometric import dataset, wrap
from audit.subject import assemble

pytest.importorskip("torch_geometric")
SPEC = Spec(
    model=ModelSpec(kind="geometric", output="logit", factory="own:build"), data=DataSpec(), run=RunSpec(device="cpu")
)


def network(features: int, *, seed: int = 0) -> torch.nn.Module:
    from torch_geometric.nn import GCNConv

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = GCNConv(features, 8), GCNConv(8, 2)

        def forward(self, x, edge_index):
            return self.two(self.one(x, edge_index).relu(), edge_index).log_softmax(1)

        def link(self, x, edge_index, pairs):
            z = self.one(x, edge_index)
            return torch.sigmoid((z[pairs[0]] * z[pairs[1]]).sum(1))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network()


def block_model(nodes: int = 120, *, seed: int = 0):
    """A contextual stochastic block model as torch_geometric data: ties mostly within the group, features after it."""
    from torch_geometric.data import Data
    from torch_geometric.utils import to_undirected

    rng = np.random.default_rng(seed)
    group = rng.integers(0, 2, nodes)
    first, second = np.triu_indices(nodes, 1)
    tied = rng.random(len(first)) < np.where(group[first] == group[second], 0.10, 0.03)
    edges = to_undirected(torch.as_tensor(np.stack([first[tied], second[tied]])))
    x = torch.as_tensor(rng.normal(size=(nodes, 4)) + group[:, None], dtype=torch.float32)
    y = torch.as_tensor((rng.random(nodes) < 0.3 + 0.4 * group).astype(np.int64))
    return Data(x=x, edge_index=edges, y=y, test_mask=torch.as_tensor(rng.random(nodes) < 0.5)), group


@pytest.fixture(scope="module")
def model():
    data, group = block_model()
    rows = dataset(data, attributes={"sex": np.where(group, "f", "m")})
    return wrap(network(4), rows, SPEC), rows, data, group


def test_scores_are_the_modules_own(model):
    wrapped, rows, data, _ = model
    module = network(4).eval()
    with torch.no_grad():
        expected = module(data.x, data.edge_index).double().softmax(1)[:, 1].numpy()
    np.testing.assert_allclose(wrapped.predict(rows.inputs), expected, atol=1e-6)
    some = np.array([7, 3, 99])
    np.testing.assert_allclose(wrapped.predict(rows.inputs.take(some)), expected[some], atol=1e-6)
    assert wrapped.offers >= {"graph", "gradients"}
    assert wrapped.card.kind == "geometric"


def test_ties_and_links_are_numbered_by_rows(model):
    wrapped, _, data, group = model
    assert {tuple(tie) for tie in wrapped.edges().tolist()} == {tuple(tie) for tie in data.edge_index.T.tolist()}
    half = dataset(data, attributes={"sex": group}, nodes="test_mask")
    part = wrap(network(4), half, SPEC)
    kept = np.flatnonzero(data.test_mask.numpy())
    ties = {tuple(kept[tie]) for tie in part.edges()}
    assert ties == {tuple(t) for t in data.edge_index.T.tolist() if t[0] in kept and t[1] in kept}
    assert (len(half), len(half.groups["sex"].values)) == (len(kept), len(kept))
    np.testing.assert_array_equal(half.y, data.y.numpy()[kept])
    pairs = np.array([[0, 1], [5, 2]])
    np.testing.assert_array_equal(part.link(pairs), wrapped.link(kept[pairs]))
    z = network(4).one(data.x, data.edge_index).detach()
    np.testing.assert_allclose(wrapped.link(pairs), torch.sigmoid((z[[0, 5]] * z[[1, 2]]).sum(1)).numpy(), atol=1e-6)


def test_the_check_of_graphs_reads_the_librarys_homophily(model):
    from torch_geometric.utils import homophily

    wrapped, rows, data, group = model
    found = list(graph_check(assemble(SPEC, rows, wrapped), context_of(), shuffles=99, dyads=500))
    expected = homophily(data.edge_index, torch.as_tensor(group), method="edge")
    assert find(found, "edge_homophily", sex="*").value == pytest.approx(expected, abs=1e-6)
    assert find(found, "p_value", sex="*").value == pytest.approx(1 / 100)
    assert find(found, "dyadic_parity_difference", sex="*").value is not None


def test_one_type_of_nodes_of_several():
    from torch_geometric.data import HeteroData

    data = HeteroData()
    data["person"].x, data["person"].y = torch.eye(4), torch.tensor([0, 1, 1, 0])
    data["bank"].x = torch.zeros(2, 3)
    data["person", "knows", "person"].edge_index = torch.tensor([[0, 1], [1, 0]])
    data["person", "owes", "bank"].edge_index = torch.tensor([[0, 3], [1, 0]])
    found = dataset(data, attributes={"sex": 0}, node_type="person")
    assert found.inputs.edges.tolist() == [[0, 1], [1, 0]]
    assert found.groups["sex"].levels == ("0", "1")
    assert found.notes == ("Ties to nodes of other types were left out: 'person-owes-bank'.",)
    with pytest.raises(DataError, match="one of 'person', 'bank', got 'people'"):
        dataset(data, attributes={}, node_type="people")


def test_what_does_not_fit_is_named(model):
    _, rows, data, group = model
    with pytest.raises(DataError, match=r"'sex' needs a level for each of 120 nodes, got \(3,\)"):
        dataset(data, attributes={"sex": group[:3]})
    with pytest.raises(DataError, match="from 0 to 3, got 9"):
        dataset(data, attributes={"sex": 9})
    with pytest.raises(DataError, match="no 'train_mask'"):
        dataset(data, attributes={}, nodes="train_mask")
    table = Dataset(inputs=None, groups={}, origin=Origin(name="none"), y=rows.y)
    with pytest.raises(ModelError, match="reads the nodes of a graph, the data hold NoneType"):
        wrap(network(4), table, SPEC)

    class Pooled(torch.nn.Module):
        def forward(self, x, edge_index):
            return x.mean(0, keepdim=True)[:, :2]

    with pytest.raises(ModelError, match=r"returned shape \(1, 2\) for 120 nodes, expected a row for each"):
        wrap(Pooled(), rows, SPEC).predict(rows.inputs)

    class Logits(torch.nn.Module):
        def forward(self, x, edge_index):
            return x[:, :2]

        def link(self, x, edge_index, pairs):
            return x[pairs[0], 0] * 100

    with pytest.raises(ModelError, match=r"Logits\.link: expected a probability for each of 1 pairs"):
        wrap(Logits(), rows, SPEC).link(np.array([[0, 1]]))
    assert wrap(torch.nn.Identity(), rows, SPEC).link(np.array([[0, 1]])) is None


OWN = """
import numpy as np
import pandas as pd
import torch
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv
from torch_geometric.utils import to_undirected
from audit.models.adapters.geometric import dataset

FOLDER = {folder!r}

def build():
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = GCNConv(27, 8), GCNConv(8, 1)

        def forward(self, x, edge_index):
            return self.two(self.one(x, edge_index).relu(), edge_index)

    torch.manual_seed(0)
    return Network()

def data():
    frame = pd.read_csv(FOLDER + "/german.csv")
    ties = np.loadtxt(FOLDER + "/german_edges.txt").astype(np.int64)
    x = frame.drop(columns=["GoodCustomer", "Gender", "PurposeOfLoan"]).to_numpy(np.float32)
    x = (x - x.mean(0)) / (x.std(0) + 1e-9)
    y = torch.as_tensor((frame["GoodCustomer"] == 1).to_numpy().astype(np.int64))
    graph = Data(x=torch.as_tensor(x), edge_index=to_undirected(torch.as_tensor(ties.T.copy())), y=y)
    return dataset(graph, attributes={{"gender": frame["Gender"].to_numpy()}}, name="German credit graph")
"""


def test_a_network_on_the_german_credit_graph_is_audited_by_the_command(test_data, tmp_path):
    (tmp_path / "own.py").write_text(OWN.format(folder=str(test_data / "graph_german")))
    (tmp_path / "audit.toml").write_text(
        '[model]\nkind = "geometric"\nfactory = "own:build"\noutput = "logit"\n[data]\nfactory = "own:data"\n'
        '[checks]\nonly = ["fairness.graph", "fairness.selection", "robustness.precision", "performance.overall"]\n'
        '[checks."fairness.graph"]\nshuffles = 99\n'
    )
    state = torch.random.get_rng_state()
    code = cli.main(["run", str(tmp_path / "audit.toml"), "--out", str(tmp_path / "out"), "-q", "--exit-zero"])
    torch.random.set_rng_state(state)  # the factory seeds it
    report = codec.read_record(tmp_path / "out" / "result.json")
    assert code == 0
    assert {outcome.check: outcome.status for outcome in report.outcomes if outcome.status != "done"} == {}
    assert (report.subject.rows, report.subject.model.kind) == (1000, "geometric")
    assert set(report.subject.groups["gender"]) == {"Female", "Male"}
    graph_outcome = next(outcome for outcome in report.outcomes if outcome.check == "fairness.graph")
    assert 0.5 < find(graph_outcome.evidence, "edge_homophily", gender="*").value < 1
