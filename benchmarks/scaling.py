"""How the loss of a causal language model falls with its size, on sentences whose entropy is known.

python -m benchmarks scaling [--quick], or python -m benchmarks.scaling [ROWS]
"""

import sys
import time

import numpy as np
import torch

from audit.core import stream
from audit.data.worlds.occupations import occupations
from audit.models.families.gpt import GPT, gpt

SIZES = ((8, 1, 1), (16, 1, 2), (32, 2, 4), (64, 2, 4))  # width, layers, heads
ROWS, QUICK, UNSEEN = 8000, 1000, 2000


def line(width: int, layers: int, heads: int, rows: int, seed: int = 0) -> tuple[int, float, float, float]:
    """Parameters, loss of a sentence on unseen ones in nats, the largest error of P(she | occupation), and CPU-seconds."""
    world = occupations()
    data, unseen = (world.draw(n, stream(seed, f"scaling.{name}")) for name, n in (("t", rows), ("u", UNSEEN)))
    start = time.process_time()
    model = gpt(data, seed=seed, width=width, layers=layers, heads=heads)
    seconds = time.process_time() - start
    ids = torch.as_tensor(unseen.inputs.ids)
    with torch.no_grad():
        loss = float(model.losses(ids).sum(dim=1).mean())
        chance = torch.sigmoid(model(ids)).double().numpy()
    truth = np.round(world.posterior(unseen), 6)
    error = max(abs(float(chance[truth == each].mean()) - each) for each in np.unique(truth))
    return _size(model), loss, error, seconds


def _size(model: GPT) -> int:
    return sum(each.numel() for each in model.parameters())


def scaling(rows: int = ROWS) -> None:
    """Print a row a size, and the least loss that any model can have: the entropy of a sentence."""
    torch.set_num_threads(1)
    least = occupations().truth()["sentence_entropy"]
    print(f"{rows} sentences, five epochs; no model can have a loss below {least:.3f} nats a sentence")
    print(
        f"{'width':>6}{'layers':>8}{'heads':>7}{'parameters':>12}{'loss':>8}{'above least':>13}{'P(she) off by':>15}{'CPU-s':>7}"
    )
    for width, layers, heads in SIZES:
        count, loss, error, seconds = line(width, layers, heads, rows)
        row = (
            f"{width:>6}{layers:>8}{heads:>7}{count:>12,}{loss:>8.3f}{loss - least:>13.3f}{error:>15.3f}{seconds:>7.1f}"
        )
        print(row, flush=True)


TABLES = {"scaling": lambda quick: scaling(QUICK if quick else ROWS)}


if __name__ == "__main__":
    scaling(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)
