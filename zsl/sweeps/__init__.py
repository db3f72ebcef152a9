"""Sweeps: a file in the format of Weights & Biases, searched by Optuna on one's own machines."""
