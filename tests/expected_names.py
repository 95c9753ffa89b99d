"""The names of the independently computed figures, and ours."""

NAMES = {
    "TPR": "tpr",
    "FPR": "fpr",
    "FNR": "fnr",
    "TNR": "tnr",
    "PPV": "ppv",
    "NPV": "npv",
    "ACC": "accuracy",
    "selection_rate": "selection_rate",
    "base_rate": "base_rate",
}
GAPS = {
    "demographic_parity_diff": "demographic_parity_difference",
    "demographic_parity_ratio": "demographic_parity_ratio",
    "equal_opportunity_diff": "equal_opportunity_difference",
    "TPR_ratio": "tpr_ratio",
    "FPR_diff": "fpr_difference",
    "FPR_ratio": "fpr_ratio",
    "equalized_odds_diff": "equalized_odds_difference",
    "predictive_parity_diff": "predictive_parity_difference",
    "accuracy_diff": "accuracy_difference",
    "FNR_diff": "fnr_difference",
}
