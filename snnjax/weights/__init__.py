"""Weights of trained models, in folders and by the names of other software."""
