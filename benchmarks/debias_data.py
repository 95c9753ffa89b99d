"""Debiasing on people: Adult and COMPAS, our models and fairlearn's, every one judged by the same function on the same rows.

python -m benchmarks debias-data [--quick]; the folder of the data is AUDIT_TEST_DATA, by default ../shared/data.
"""

import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from audit import stats
from audit.core import Dataset, Floats, Ints, stream
from audit.fairness import count
from audit.fairness.disparities import Disparity, disparity
from audit.models.debias.held_out import held_out_adversary
from audit.models.encoding import encoder, group_of, labels_of, rows_of
from audit.models.families.adversarial import adversarial
from audit.models.families.lagrangian import lagrangian
from audit.models.families.mlp import mlp
from audit.models.families.reductions import reductions
from benchmarks.people import Split, adult, compas

EPS = 0.05
JUDGED = 8_000  # rows that the held-out adversary is cross-fitted on
PARITY, ODDS = "demographic_parity", "equalized_odds"


# ------------------------------------------------------------------------------------------------------ models
@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Decisions (n,), the score (n,) that an adversary reads, and whether the score ranks by the chance of the label."""

    decided: Ints
    score: Floats
    ranks: bool = True


def ours(family: Callable[..., torch.nn.Module], **options: object) -> Callable[[Split, int], Said]:
    """A family of ours with logits, decided at 0."""

    def run(split: Split, seed: int) -> Said:
        module = family(split.train, seed=seed, **options)
        with torch.no_grad():
            logit = module(rows_of(split.test)).double().numpy()
        return Said(decided=(logit > 0).astype(np.int64), score=logit)

    return run


def drawn(chance: Floats, seed: int) -> Said:
    """Decisions drawn by lot, as the bound of a randomised mixture is meant."""
    lots = stream(seed, "debias.lots").random(len(chance))
    return Said(decided=(lots < chance).astype(np.int64), score=chance, ranks=False)


def our_reductions(split: Split, seed: int) -> Said:
    """A mixture of our networks by fairlearn's algorithm."""
    module = reductions(split.train, seed=seed, eps=EPS)
    with torch.no_grad():
        chance = module(rows_of(split.test)).double().numpy()
    return drawn(chance, seed)


def matrices(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """What our own networks read, standardised and one-hot, for the peers."""
    front = encoder(split.train)
    return front(rows_of(split.train)).numpy(), front(rows_of(split.test)).numpy()


def their_adversary(criterion: str, alpha: float) -> Callable[[Split, int], Said]:
    """The adversarial classifier of fairlearn on torch, with the layers, batches and epochs of ours and its own rate."""

    def run(split: Split, seed: int) -> Said:
        from fairlearn.adversarial import AdversarialFairnessClassifier

        x, unseen = matrices(split)
        peer = AdversarialFairnessClassifier(
            backend="torch",
            predictor_model=[32, "relu"],
            adversary_model=[16, "relu", 16, "relu"],
            constraints=criterion,
            alpha=alpha,
            epochs=24,  # ours takes 4 alone and 20 against the adversary
            batch_size=256,
            shuffle=True,
            random_state=seed,
        )
        peer.fit(x, labels_of(split.train).numpy(), sensitive_features=group_of(split.train))
        score = np.asarray(peer._raw_predict(unseen), dtype=np.float64).reshape(-1)  # what `predict` cuts at 1/2
        return Said(decided=np.asarray(peer.predict(unseen)).reshape(-1).astype(np.int64), score=score)

    return run


def their_reductions(criterion: str) -> Callable[[Split, int], Said]:
    """The exponentiated gradient of fairlearn with logistic regression, held to half of the gap against everybody."""

    def run(split: Split, seed: int) -> Said:
        from fairlearn.reductions import DemographicParity, EqualizedOdds, ExponentiatedGradient
        from sklearn.linear_model import LogisticRegression

        x, unseen = matrices(split)
        moment = {PARITY: DemographicParity, ODDS: EqualizedOdds}[criterion](difference_bound=EPS / 2)
        peer = ExponentiatedGradient(LogisticRegression(max_iter=300), moment)
        peer.fit(x, labels_of(split.train).numpy(), sensitive_features=group_of(split.train))
        return drawn(np.asarray(peer._pmf_predict(unseen))[:, 1].astype(np.float64), seed)

    return run


MODELS: Mapping[str, Callable[[Split, int], Said]] = {
    "plain perceptron": ours(mlp, hidden=(32,)),
    "parity: ours, adversarial": ours(adversarial, criterion=PARITY, eps=EPS),
    "parity: ours, lagrangian": ours(lagrangian, criterion=PARITY, eps=EPS),
    "parity: ours, reductions": our_reductions,
    "parity: fairlearn, adversarial, alpha 1": their_adversary(PARITY, 1.0),
    "parity: fairlearn, adversarial, alpha 3": their_adversary(PARITY, 3.0),
    "parity: fairlearn, reductions": their_reductions(PARITY),
    "odds: ours, adversarial": ours(adversarial, criterion=ODDS, eps=EPS),
    "odds: ours, lagrangian": ours(lagrangian, criterion=ODDS, eps=EPS),
    "odds: fairlearn, adversarial, alpha 1": their_adversary(ODDS, 1.0),
    "odds: fairlearn, reductions": their_reductions(ODDS),
}
QUICK = ("plain perceptron", "parity: ours, adversarial", "parity: ours, lagrangian", "parity: fairlearn, reductions")


# ------------------------------------------------------------------------------------------------------ scores
@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one model does on the rows that it has not seen."""

    accuracy: float
    auc: float  # NaN where the score is no ranking
    parity: Disparity
    odds: Disparity
    told: float  # AUC of a held-out adversary that reads the score
    seconds: float


def judged(said: Said, test: Dataset, seconds: float) -> Figures:
    """The one function by which ours and the peers' are scored."""
    assert test.y is not None
    cells = count(test.y, said.decided, sensitive_features=dict(test.groups))
    rows = slice(JUDGED)
    return Figures(
        accuracy=float((said.decided == test.y).mean()),
        auc=stats.delong(said.score, test.y)[0] if said.ranks else float("nan"),
        parity=disparity(cells, "demographic_parity_difference"),
        odds=disparity(cells, "equalized_odds_difference"),
        told=held_out_adversary(said.score[rows], group_of(test)[rows]).auc,
        seconds=seconds,
    )


def worst(found: list[Disparity]) -> str:
    """Mean over seeds, and the seed of the largest gap with its interval."""
    largest = max(found, key=lambda each: each.value)
    mean = sum(each.value for each in found) / len(found)
    return f"{mean:.3f}; {largest.value:.3f} [{largest.low:.3f}, {largest.high:.3f}]"


def line(name: str, found: list[Figures]) -> str:
    """A row of the table: means over seeds, and the worst seed's gaps."""

    def mean(values: Iterable[float]) -> str:
        average = float(np.mean(list(values)))
        return "" if np.isnan(average) else f"{average:.3f}"

    cells = [
        name,
        mean(each.accuracy for each in found),
        mean(each.auc for each in found),
        worst([each.parity for each in found]),
        worst([each.odds for each in found]),
        mean(each.told for each in found),
        f"{np.mean([each.seconds for each in found]):.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def main(quick: bool = False) -> None:
    """Print a table of either data set."""
    torch.set_num_threads(1)
    for title, splits in (("COMPAS, race", compas(1 if quick else 3)), ("Adult, sex", adult(1 if quick else 2))):
        test = splits[0].test
        print(f"\n{title}: {len(splits[0].train)} rows to learn from, {len(test)} unseen, seeds: {len(splits)}")
        print(
            "| model | accuracy | AUC | parity gap: mean; worst seed | odds gap: mean; worst seed | adversary | CPU s |"
        )
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for name in QUICK if quick else MODELS:
            found = []
            for seed, split in enumerate(splits):
                with warnings.catch_warnings():  # deprecations and unfinished iterations of the peers are their affair
                    warnings.simplefilter("ignore")
                    start = time.process_time()
                    said = MODELS[name](split, seed)
                    seconds = time.process_time() - start
                found.append(judged(said, split.test, seconds))
            print(line(name, found), flush=True)


TABLES = {"debias-data": main}
