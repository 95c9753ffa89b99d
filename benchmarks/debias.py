"""Debiasing by gradients on fresh draws of the credit world: gap, accuracy and a held-out adversary on unseen rows.

python -m benchmarks debias-world [--quick], or python -m benchmarks.debias [SEEDS]
"""

import sys
import time

import torch

from audit.core import Dataset, DataSpec, stream
from audit.data.worlds.base import planted
from audit.data.worlds.credit import best_accuracy
from audit.models.debias.held_out import held_out_adversary
from audit.models.debias.selection import gap
from audit.models.encoding import rows_of
from audit.models.families.adversarial import adversarial
from audit.models.families.lagrangian import lagrangian
from audit.registry import entries

TRAINING, UNSEEN, JUDGED = 20_000, 100_000, 20_000
RUNS = [
    (adversarial, "demographic_parity", 0.05),
    (adversarial, "equalized_odds", 0.05),
    *((lagrangian, "demographic_parity", eps) for eps in (0.02, 0.05, 0.1, 0.15)),
]


def line(
    train, criterion: str, eps: float, seed: int, data: Dataset, unseen: Dataset
) -> tuple[float, float, float, float]:
    """Gap, accuracy, the held-out adversary's AUC and CPU seconds of one run."""
    start = time.process_time()
    module = train(data, seed=seed, criterion=criterion, eps=eps)
    seconds = time.process_time() - start
    with torch.no_grad():
        logits = module(rows_of(unseen)).double().numpy()
    sex, part = unseen.groups["sex"].values, slice(JUDGED)
    said = held_out_adversary(logits[part], sex[part], unseen.y[part] if criterion == "equalized_odds" else None)
    return gap(logits > 0, unseen.y, sex, criterion), float(((logits > 0) == unseen.y).mean()), said.auc, seconds


def main(seeds: int = 10) -> None:
    """Print one line a setting: of its seeds the mean and the worst."""
    torch.set_num_threads(1)
    entries("worlds")
    world = planted(DataSpec(world="credit"))
    unseen = world.draw(UNSEEN, stream(0, "debias.unseen"))
    for train, criterion, eps in RUNS:
        found = [
            line(train, criterion, eps, seed, world.draw(TRAINING, stream(seed, "debias.train")), unseen)
            for seed in range(seeds)
        ]
        gaps, right, aucs, seconds = zip(*found, strict=True)
        print(
            f"{train.__name__:<12}{criterion:<20} eps {eps:<5g} gap worst {max(gaps):.4f} mean {sum(gaps) / seeds:.4f}"
            f"  accuracy worst {min(right):.4f} mean {sum(right) / seeds:.4f}"
            f" best {best_accuracy(world, eps, constraint=criterion):.4f}"
            f"  held-out AUC worst {max(aucs):.4f}  CPU s {max(seconds):.1f}  above eps: {sum(g > eps for g in gaps)} of {seeds}",
            flush=True,
        )


TABLES = {"debias-world": lambda quick: main(2 if quick else 10)}

if __name__ == "__main__":
    main(*(int(each) for each in sys.argv[1:2]))
