"""Operations of one prediction of every family against counts by hand, from the numbers of its architecture alone.

A matrix product costs 2 operations an element of the weights; a batch norm 2 a number; a pooling, a sum, and what is
added up at the nodes of a graph, 1 a number that goes in. A new family is asked for its own count here.
"""

import functools
from itertools import pairwise

import numpy as np
import pytest
from little_families import FAMILIES, drawn, spec_of
from little_models import context

from audit.carbon import flops
from audit.carbon.inference import inference
from audit.data.graphs import Graphs
from audit.models.reference import trained
from audit.subject import assemble

ROWS = 100
FEW = {"epochs": 0}  # counts do not depend on what was learnt
OPTIONS = {
    "adversarial": {"epochs": 1},
    "lagrangian": {"epochs": 1},
    "penalty": {"epochs": 1},
    "perceptron": {"epochs": 1},
    "rule_net": {"epochs": 1, "soft": 0},
}


def dense(*widths):
    """Linear layers one after the other."""
    return 2 * sum(first * second for first, second in pairwise(widths))


def conv(side, given, width, size):
    """A convolution to a map of side x side places."""
    return 2 * side**2 * given * width * size**2


def depthwise(side, width, size):
    return 2 * side**2 * width * size**2


def norm(side, *widths):
    return 2 * side**2 * sum(widths)


def pool(side, width, size):
    """A pooling to a map of side x side places."""
    return side**2 * width * size**2


# --------------------------------------------------------------------------------------------------------- tables
D = 7  # columns of the credit world
CONDITIONS = 5 * 6 + 1  # five thresholds for each number, and whether it is a man


def tables():
    return {
        "adversarial": dense(D, 32, 1),
        "autoencoder": 2 * dense(D, 32, 3) + D,  # there and back, and the mean of the squared differences
        "axioms": dense(D, 64, 64, 1),
        "bayesian": dense(D, 32, 1),
        "concept_bottleneck": dense(D, 64, 4, 1),
        "counterfactual": D * D + dense(D - 1, 32, 1),  # what the equations say is added up
        "lagrangian": dense(D, 32, 1),
        "mcculloch_pitts": 2,  # two excitatory inputs are added up
        "mixture_of_experts": dense(D, 4) + dense(D, 16, 1) + 1,  # the gate, one expert, its answer put in its place
        "mlp": dense(D, 64, 64, 1),
        "neuron": dense(D, 1),
        "pca": 2 * dense(D, 3) + D,
        "penalty": dense(D, 32, 1),
        "perceptron": dense(D, 1),
        "rbf": 48 * (3 * D + 2),
        "reductions": dense(D, 8, 1),  # one member of a mixture that was never trained
        "reweighing": dense(D, 32, 1),
        "rule_net": dense(2 * CONDITIONS, 8),  # a condition may be asked for or against, in each of 8 clauses
        "scaffold": 0,  # comparisons alone: no operation has a formula
    }


# ------------------------------------------------------------------------------------------- pictures, 3 x 32 x 32
FRONT = norm(32, 3)  # standardising is a batch norm


def inception():
    stem = conv(16, 3, 12, 3) + norm(16, 12) + pool(8, 12, 3)
    return FRONT + stem + ways(8, 12, 6, 3) + pool(4, 24, 3) + ways(4, 24, 12, 6) + pool(1, 48, 4) + dense(48, 1)


def ways(side, given, width, few):
    one = conv(side, given, width, 1)
    three = conv(side, given, width, 1) + conv(side, width, 2 * width, 3)
    five = conv(side, given, few, 1) + conv(side, few, few, 5)
    pooled = pool(side, given, 3) + conv(side, given, few, 1)
    return one + three + five + pooled + norm(side, width, width, 2 * width, few, few, few)


def densenet():
    first = sum(norm(16, given) + conv(16, given, 8, 3) for given in (16, 24, 32))
    between = norm(16, 40) + conv(16, 40, 20, 1) + pool(8, 20, 2)
    second = sum(norm(8, given) + conv(8, given, 8, 3) for given in (20, 28, 36))
    last = norm(8, 44) + pool(1, 44, 8) + dense(44, 1)
    return FRONT + conv(16, 3, 16, 3) + first + between + second + last


def bottleneck(side, to, given, wide, width, size):
    """Widened where it is, depthwise to the side `to`, squeezed to a quarter of what came in, narrowed."""
    widened = 0 if given == wide else conv(side, given, wide, 1) + norm(side, wide)
    seen = depthwise(to, wide, size) + norm(to, wide)
    squeezed = pool(1, wide, to) + dense(wide, given // 4, wide)
    return widened + seen + squeezed + conv(to, wide, width, 1) + norm(to, width)


def efficientnet():
    stem = conv(16, 3, 8, 3) + norm(16, 8)
    blocks = (
        bottleneck(16, 16, 8, 8, 8, 3)
        + bottleneck(16, 8, 8, 32, 12, 3)
        + bottleneck(8, 4, 12, 48, 16, 5)
        + bottleneck(4, 4, 16, 64, 16, 5)
    )
    return FRONT + stem + blocks + conv(4, 16, 64, 1) + norm(4, 64) + pool(1, 64, 4) + dense(64, 1)


def twice(side, given, width):
    return conv(side, given, width, 3) + conv(side, width, width, 3) + norm(side, width, width)


def unet():
    down = twice(32, 3, 6) + pool(16, 6, 2) + twice(16, 6, 12) + pool(8, 12, 2) + twice(8, 12, 24)
    doubled = 2 * 8**2 * 24 * 12 * 2**2 + 2 * 16**2 * 12 * 6 * 2**2  # every place into a window of 2 x 2
    up = twice(16, 24, 12) + twice(32, 12, 6)
    return FRONT + down + doubled + up + conv(32, 6, 2, 1) + pool(1, 1, 32)


def lenet():
    first = conv(28, 3, 6, 5) + depthwise(28, 6, 1) + pool(14, 6, 2)
    second = conv(10, 6, 16, 5) + depthwise(10, 16, 1) + pool(5, 16, 2)
    return FRONT + first + second + conv(1, 16, 120, 5) + pool(1, 120, 1) + dense(120, 84, 1)


def alexnet():
    near = 5 * (16**2 * 8 + 8**2 * 16)  # responses are normalised over five channels
    seen = conv(16, 3, 8, 5) + conv(8, 8, 16, 5) + conv(4, 16, 24, 3) + conv(4, 24, 24, 3) + conv(4, 24, 16, 3)
    pools = pool(8, 8, 3) + pool(4, 16, 3) + pool(2, 16, 3)
    return FRONT + near + seen + pools + dense(16 * 2**2, 128, 128, 1)


def vgg():
    seen = sum(
        conv(side, given, width, 3) + conv(side, width, width, 3) + pool(side // 2, width, 2)
        for side, given, width in ((32, 3, 8), (16, 8, 16), (8, 16, 32))
    )
    return FRONT + seen + dense(32 * 4**2, 64, 1)


def resnet():
    stem = conv(16, 3, 8, 3) + norm(16, 8)
    first = 2 * conv(16, 8, 8, 3) + norm(16, 8, 8)
    halved = sum(
        conv(side, width // 2, width, 3) + conv(side, width, width, 3) + conv(side, width // 2, width, 1)
        for side, width in ((8, 16), (4, 32))
    )
    return FRONT + stem + first + halved + norm(8, 16, 16, 16) + norm(4, 32, 32, 32) + pool(1, 32, 4) + dense(32, 1)


def neocognitron():
    simple = conv(32, 3, 8 + 1, 5) + conv(16, 8, 32 + 1, 5)  # of each layer, one inhibitory cell more
    return FRONT + simple + pool(16, 8, 3) + pool(8, 32, 3) + dense(32 * 8**2, 1)


def pictures():
    return {
        "alexnet": alexnet(),
        "densenet": densenet(),
        "efficientnet": efficientnet(),
        "inception": inception(),
        "lenet": lenet(),
        "neocognitron": neocognitron(),
        "resnet": resnet(),
        "unet": unet(),
        "vgg": vgg(),
    }


# -------------------------------------------------------------------------------- sequences, 24 steps of 5 columns
def recurrent(gates, ways=1):
    return ways * 24 * gates * dense(5 + 32, 32) + dense(32 * ways, 1)


def sequences():
    return {"birnn": recurrent(1, 2), "elman": recurrent(1), "gru": recurrent(3), "lstm": recurrent(4)}


# ---------------------------------------------------------------------------------------------------------- texts
def attended(places, width):
    """Four projections, the scores of every pair, and the means that they weigh."""
    return 4 * places * dense(width, width) + 2 * 2 * places**2 * width


def clip():
    """A picture of 3 x 16 x 16 and a caption of 5 tokens, in 16 numbers each."""
    shown = conv(8, 3, 8, 3) + conv(4, 8, 16, 3) + pool(1, 16, 4) + dense(16, 16)
    said = attended(5, 32) + 4 * 5**2 + 5 * dense(32, 64, 32) + dense(32, 16)  # weights are averaged over 4 heads
    return shown + said + 16  # their inner product


def gpt():
    """10 tokens behind the one that begins a text, 34 words and that one."""
    return 2 * (attended(11, 48) + 11 * dense(48, 192, 48)) + 11 * dense(48, 35)


def encoder(places):
    """Two layers of 48 numbers a token, 96 inside."""
    return 2 * (attended(places, 48) + places * dense(48, 96, 48))


def bert():
    """14 tokens behind one that speaks for the text: its state through one more layer, then a logit."""
    return encoder(15) + dense(48, 48, 1)


def bert_mlm():
    """10 tokens behind that one, each through one more layer and against 34 words and that one."""
    return encoder(11) + 11 * dense(48, 48, 35)


def transformer():
    """10 tokens: 2 layers that attend once, 2 that attend twice, and two words told apart in one place."""
    return 6 * attended(10, 32) + 4 * 10 * dense(32, 64, 32) + dense(32, 2)


def texts():
    return {
        "albert": 15 * dense(16, 48) + bert(),  # looked up in 16 numbers
        "bert": bert(),
        "bert_mlm": bert_mlm(),
        "clip": clip(),
        "gpt": gpt(),
        "roberta": bert(),
        "skip_gram": 6 * dense(12, 27) + 2 * 6,  # 6 words against 27, their log-odds and their number added up
        "transformer": transformer(),
    }


# --------------------------------------------------------------------------------------------------------- graphs
def gcn(nodes, edges):
    """Degrees and messages of both layers are added up over ties and loops; weights first."""
    tied = edges + nodes
    return nodes * dense(8, 16, 1) + tied * (1 + 16) + tied * (1 + 1)


def gat(nodes, edges):
    """4 heads of 4, then 1 of 1: two inner products a node and head, the largest and the sum of scores, and messages."""
    tied = edges + nodes
    return nodes * dense(8, 16, 1) + nodes * 2 * (16 + 1) + tied * (2 * 4 + 16) + tied * (2 * 1 + 1)


def gin(nodes, edges):
    steps = dense(8, 16, 16) + 2 * 16 + dense(16, 16, 16) + 2 * 16
    return nodes * (steps + dense(8 + 2 * 16, 1)) + edges * (8 + 16)


GRAPHS = {"gcn": gcn, "gat": gat, "gin": gin}
BY_HAND = {**tables(), **pictures(), **sequences(), **texts(), **GRAPHS}


@functools.cache
def made(id):
    data = drawn(id, ROWS, 0, "test.counts")
    options = OPTIONS.get(id, FEW if "epochs" in FAMILIES[id].params else {})
    return trained(id, data, spec_of(id), seed=0, options=options), data


@pytest.mark.parametrize("id", list(FAMILIES))
def test_counts_by_hand(id):
    assert id in BY_HAND, f"{id} is a new family: add its hand count, from the numbers of its architecture"
    model, data = made(id)
    shared = isinstance(data.inputs, Graphs)
    expected = BY_HAND[id](len(data.inputs.features), len(data.inputs.edges)) if shared else BY_HAND[id]
    asked = data.inputs if shared else data.inputs.take(np.zeros(1, dtype=np.int64))
    assert flops.count(model.module, *model.arguments(asked)).total == expected


@pytest.mark.parametrize("rows", [5])
@pytest.mark.parametrize("id", ["mlp", "mixture_of_experts", "densenet", "lstm", "gpt"])
def test_rows_cost_the_same_each(id, rows):
    model, data = made(id)
    found = flops.count(model.module, *model.arguments(data.inputs.take(np.arange(rows))))
    assert found.total == rows * BY_HAND[id]


def test_two_experts_cost_two():
    data = drawn("mixture_of_experts", ROWS, 0, "test.counts")
    options = {"experts": 4, "hidden": 16, "top": 2, "epochs": 0}
    model = trained("mixture_of_experts", data, spec_of("mixture_of_experts"), options=options)
    found = flops.count(model.module, model.tensor(data.inputs)[:5])
    assert found.total == 5 * (dense(D, 4) + 2 * (dense(D, 16, 1) + 1))
    assert "on cpu" in found.method


def cost(id):
    model, data = made(id)
    found = inference(assemble(spec_of(id), data, model), context())
    return next(measure for measure in found if measure.name == "flops_per_prediction")


def test_a_graph_is_shared_out_over_the_nodes_asked_about():
    _, data = made("gcn")
    found = cost("gcn")
    assert found.value == gcn(len(data.inputs.features), len(data.inputs.edges)) / ROWS
    assert f"one pass over the graph answers {ROWS} nodes" in found.note


def test_comparisons_alone_are_undefined_and_not_nought():
    found = cost("scaffold")
    assert found.value is None
    assert "0 would be untrue" in found.note
