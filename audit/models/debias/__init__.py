"""Ways to train any differentiable model so that it treats groups more alike."""

from audit.models.debias.adversarial import adversarial
from audit.models.debias.counterfactual import equations
from audit.models.debias.held_out import held_out_adversary
from audit.models.debias.lagrangian import lagrangian
from audit.models.debias.penalties import penalised
from audit.models.debias.reductions import reductions
from audit.models.debias.reweighing import reweighed

__all__ = [
    "adversarial",
    "equations",
    "held_out_adversary",
    "lagrangian",
    "penalised",
    "reductions",
    "reweighed",
]
