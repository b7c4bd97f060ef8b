"""Trained models in the formats that other software reads."""
