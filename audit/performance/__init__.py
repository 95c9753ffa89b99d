"""How well the model predicts: accuracy, ranking and calibration, overall and by group."""
