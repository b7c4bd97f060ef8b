"""Measurements, tables and figures of models and runs."""
