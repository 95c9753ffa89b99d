"""Group fairness: arithmetic on labels, decisions and groups, on one tensor of counts."""

from __future__ import annotations

import importlib
from typing import Any

from audit.fairness.counts import Counts as Counts
from audit.fairness.counts import count as count
from audit.fairness.counts import from_counts as from_counts
from audit.fairness.inequality import theil_index as theil_index
from audit.fairness.metrics import Bounds as Bounds
from audit.fairness.metrics import GroupMetrics as GroupMetrics
from audit.fairness.metrics import group_metrics as group_metrics
from audit.fairness.rates import COMPOSITES as COMPOSITES
from audit.fairness.rates import RATES as RATES
from audit.fairness.rates import Rate as Rate
from audit.fairness.rates import Rates as Rates
from audit.fairness.rates import max_difference as max_difference
from audit.fairness.rates import min_ratio as min_ratio
from audit.fairness.rates import rates as rates

# What is found on first use: the public name and its module.
_HOMES: dict[str, str] = {
    "Association": "association",
    "WEAT": "association",
    "WordTest": "association",
    "effect_interval": "association",
    "relative_norm": "association",
    "ripa": "association",
    "sentences": "association",
    "weat": "association",
    "wefat": "association",
    "word_association": "association",
    "Gap": "comparisons",
    "GroupComparison": "comparisons",
    "compare_groups": "comparisons",
    "gap": "comparisons",
    "Effects": "counterfactual",
    "counterfactual_effects": "counterfactual",
    "Disparity": "disparities",
    "NAMED": "disparities",
    "all_disparities": "disparities",
    "disparity": "disparities",
    "DyadicParity": "graphs",
    "Mixing": "graphs",
    "assortativity": "graphs",
    "chance_homophily": "graphs",
    "class_insensitive_homophily": "graphs",
    "degrees": "graphs",
    "dyadic_parity": "graphs",
    "edge_homophily": "graphs",
    "homophily_p": "graphs",
    "mixing": "graphs",
    "undirected": "graphs",
    "Flips": "individual",
    "consistency_score": "individual",
    "flip_test": "individual",
    "neighbour_distance": "individual",
    "similarity_features": "individual",
    "between_group_generalized_entropy_index": "inequality",
    "bias_amplification": "inequality",
    "conditional_demographic_disparity": "inequality",
    "differential_fairness": "inequality",
    "differential_fairness_bias_amplification": "inequality",
    "directional_bias_amplification": "inequality",
    "generalized_entropy_index": "inequality",
    "Finding": "inference",
    "Null": "inference",
    "Plan": "inference",
    "classify": "inference",
    "joint_null": "inference",
    "permutation_test": "inference",
    "significance": "inference",
    "AdverseImpact": "legal",
    "Category": "legal",
    "CategoryTable": "legal",
    "four_fifths": "legal",
    "ll144_scoring": "legal",
    "ll144_selection": "legal",
    "ProxyBounds": "missing",
    "WorstCase": "missing",
    "proxy_bounds": "missing",
    "proxy_rates": "missing",
    "worst_case": "missing",
    "Comparison": "mitigation",
    "ThresholdRule": "mitigation",
    "compare": "mitigation",
    "exponentiated_gradient": "mitigation",
    "optimise_thresholds": "mitigation",
    "reweighing": "mitigation",
    "Pairs": "pairs",
    "Preference": "pairs",
    "Winogender": "pairs",
    "occupation_correlation": "pairs",
    "preference": "pairs",
    "read_crows_pairs": "pairs",
    "read_winobias": "pairs",
    "read_winogender": "pairs",
    "score_pairs": "pairs",
    "Retrieval": "representation",
    "Shares": "representation",
    "group_shares": "representation",
    "retrieval": "representation",
    "rogan_gladen": "representation",
    "total_variation": "representation",
    "Shrunken": "shrinkage",
    "shrink": "shrinkage",
    "BreslowDay": "strata",
    "MantelHaenszel": "strata",
    "Simpson": "strata",
    "breslow_day": "strata",
    "mantel_haenszel": "strata",
    "simpson": "strata",
    "standardised_difference": "strata",
    "Search": "subgroups",
    "Subgroup": "subgroups",
    "bins": "subgroups",
    "find_subgroups": "subgroups",
    "Moments": "sums",
    "ScoreCounts": "sums",
    "count_scores": "sums",
    "moments": "sums",
    "abroca": "scores",
    "auc_by_group": "scores",
    "auc_difference": "scores",
    "ks_distance": "scores",
    "wasserstein_distance": "scores",
    "xauc": "scores",
    "Recalibration": "calibration",
    "calibration_by_group": "calibration",
    "calibration_errors": "calibration",
    "recalibration": "calibration",
    "regression_by_group": "regression",
    "attention": "ranking",
    "exposure": "ranking",
    "ndkl": "ranking",
    "rank_divergence": "ranking",
    "skew": "ranking",
    "class_distance": "multiclass",
    "confusion_by_group": "multiclass",
    "macro": "multiclass",
    "one_vs_rest": "multiclass",
    "Policy": "thresholds",
    "Sweep": "thresholds",
    "group_thresholds": "thresholds",
    "single_threshold": "thresholds",
    "sweep": "thresholds",
    "trade_off": "thresholds",
    "Figures": "parts",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"audit.fairness.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'audit.fairness' has no attribute {name!r}")
