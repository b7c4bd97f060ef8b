"""Weights of trained models: folders, the Hub, and the names that other software uses."""
