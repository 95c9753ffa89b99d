"""Does a family keep its promise whatever the seed? Ten models each, on ten draws of its world.

python -m benchmarks.family_promises [FAMILY...]
"""

import sys
import time

from audit.core import RunSpec, Spec, stream
from audit.data.worlds.base import planted
from audit.models.promises import near_the_oracle
from audit.models.reference import find, trained
from audit.registry import entries
from audit.workflows.calibrate import wanted

SEEDS, TRAINING, UNSEEN = 10, 8_000, 40_000


def main(names: list[str]) -> None:
    """Print, for each promise of each family, the least and the largest figure, how often it was kept, and CPU seconds."""
    print(f"{'family':<20}{'promise':<24}{'least':>9}{'largest':>9}{'kept':>7}{'CPU s':>8}")
    for id in names or list(entries("families")):
        facts = find(id).facts
        spec = wanted(Spec(run=RunSpec(device="cpu", threads=1)), facts["world"], facts["knobs"], id)
        world = planted(spec.data)
        unseen = world.draw(UNSEEN, stream(0, "family_promises.unseen"))
        found: dict[str, list[tuple[float, bool]]] = {}
        seconds = []
        for seed in range(SEEDS):
            data = world.draw(TRAINING, stream(seed, "family_promises.train"))
            start = time.process_time()
            model = trained(id, data, spec, seed=seed)
            seconds.append(time.process_time() - start)
            for promise in (facts["promise"] or near_the_oracle)(model, unseen, world):
                found.setdefault(promise.name, []).append((promise.value, promise.kept))
        for name, each in found.items():
            values = [value for value, _ in each]
            kept = f"{sum(kept for _, kept in each)}/{len(each)}"
            print(
                f"{id:<20}{name:<24}{min(values):>9.4f}{max(values):>9.4f}{kept:>7}{sorted(seconds)[SEEDS // 2]:>8.2f}"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
