"""Spiking networks from trained ANNs."""
