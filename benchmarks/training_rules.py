"""Does the way a network is trained change its gap? Each optimiser by each learning rule on the credit world.

python -m benchmarks.training_rules
"""

import math
import statistics
import time
from typing import get_args

import numpy as np
import torch

from audit.core import Dataset, DataSpec, stream
from audit.data.worlds.base import planted
from audit.models.encoding import rows_of
from audit.models.families.mlp import mlp
from audit.models.feedback import Rule
from audit.models.promises import auc
from audit.models.training import Optimiser

SEEDS, TRAINING, UNSEEN = 5, 8_000, 100_000
DECAY = 0.01  # of AdamW alone: without it, it is Adam
T_975 = 2.776  # of Student's t with 4 degrees of freedom


def gap(data: Dataset, positive: np.ndarray) -> float:
    """Selection rate of men less that of women."""
    sex = data.groups["sex"].values
    return float(positive[sex == 1].mean() - positive[sex == 0].mean())


def measured(
    optimiser: Optimiser, rule: Rule, draws: list[Dataset], unseen: Dataset
) -> list[tuple[float, float, float]]:
    """Gap, AUC and CPU seconds of one run a draw, which is also its seed."""
    found = []
    for seed, data in enumerate(draws):
        start = time.process_time()
        module = mlp(
            data, seed=seed, optimiser=optimiser, rule=rule, weight_decay=DECAY if optimiser == "adamw" else 0.0
        )
        seconds = time.process_time() - start
        with torch.no_grad():
            logits = module(rows_of(unseen)).double().numpy()
        found.append((gap(unseen, logits > 0), auc(unseen, logits), seconds))
    return found


def main() -> None:
    """Print the table; a difference is that of the same draw to Adam by backpropagation, with its 95 % t interval."""
    torch.set_num_threads(1)
    world = planted(DataSpec(world="credit"))
    draws = [world.draw(TRAINING, stream(seed, "training_rules.train")) for seed in range(SEEDS)]
    unseen = world.draw(UNSEEN, stream(0, "training_rules.unseen"))
    oracle = world.oracle().logit(unseen.inputs.values)  # type: ignore[union-attr]
    print(
        f"oracle: gap {gap(unseen, oracle > 0):.4f} (true {world.truth()['demographic_parity_difference']:.4f}), AUC {auc(unseen, oracle):.4f}"
    )
    mlp(draws[0], epochs=1)  # the first call imports what it needs
    plain: list[float] = []
    print(
        f"{'optimiser':<10}{'rule':<27}{'gap':>8}{'sd':>8}{'less Adam + backpropagation':>30}{'AUC':>8}{'lowest':>8}{'CPU s':>7}"
    )
    for rule in get_args(Rule):
        for optimiser in ("adam", *(each for each in get_args(Optimiser) if each != "adam")):
            gaps, aucs, seconds = zip(*measured(optimiser, rule, draws, unseen), strict=True)
            plain = plain or list(gaps)
            differences = [a - b for a, b in zip(gaps, plain, strict=True)]
            half = T_975 * statistics.stdev(differences) / math.sqrt(SEEDS)
            mean = statistics.mean(differences)
            told = f"{mean:+.4f} [{mean - half:+.4f}, {mean + half:+.4f}]"
            print(
                f"{optimiser:<10}{rule:<27}{statistics.mean(gaps):>8.4f}{statistics.stdev(gaps):>8.4f}{told:>30}"
                f"{statistics.mean(aucs):>8.4f}{min(aucs):>8.4f}{statistics.mean(seconds):>7.2f}"
            )


if __name__ == "__main__":
    main()
